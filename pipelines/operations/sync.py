"""`sync`: bring Dagster's record in step with the warehouse, which is the truth.

After a new DAGSTER_HOME, a lost record, or a copied or restored warehouse, stored partitions that
are not on record are recorded without a run, with the figures of their footers and the time at
which their file was written. Partitions on record whose file is gone or damaged are taken off the
record, so that the UI and the schedule see them as missing. No file of the warehouse is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from pipelines.errors import name_sessions
from pipelines.instance.made_keys import made_keys
from pipelines.instance.materializations import forget, put_on_record
from pipelines.instance.names import asset_key
from pipelines.market.market import Market
from pipelines.market.reads import stored_reads
from pipelines.market.stage import WHOLE, Stage
from pipelines.staleness.data_versions import StoredVersions

DATA_VERSION_TAG = "dagster/data_version"


@dataclass(frozen=True)
class Synced:
    """The changes that brought the record in step.

    Attributes:
        recorded: sessions put on record, by asset; `("all",)` for the processors.
        forgotten: sessions taken off the record, by asset, whose file is gone or damaged.
        damaged: sessions whose file is damaged, by asset, on record or not.
    """

    recorded: dict[str, tuple[str, ...]]
    forgotten: dict[str, tuple[str, ...]]
    damaged: dict[str, tuple[str, ...]]


def sync_record(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> Synced:
    """Put stored partitions on record, and take partitions without a file off the record.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
    """
    now = StoredVersions(market, stages)
    recorded: dict[str, tuple[str, ...]] = {}
    forgotten: dict[str, tuple[str, ...]] = {}
    damaged: dict[str, tuple[str, ...]] = {}
    for stage in (stage for stage in stages if stage.is_compared):
        name, table = stage.name, now.table(stage.name)
        asset = asset_key(market, name)
        if not stage.tables:
            if _record_whole(market, now, stage, instance):
                recorded[name] = (WHOLE,)
            continue
        keys = [key for key in market.sessions.keys if key in table.stored]
        table.load(keys)
        known = made_keys(instance, asset)
        new = [key for key in keys if key not in known and table.info(key) is not None]
        # A file without identity may be the one that was served: an upgrade decides.
        lost_keys = {key for key in table.damaged if not now.is_unsigned(stage, key)}
        gone = sorted(key for key in known if key not in table.stored or key in lost_keys)
        reads = stored_reads(stage, lambda name: now.table(name).stored)
        put_on_record(market.warehouse.store, instance, asset, table.infos(new), reads)
        forget(instance, asset, gone)
        for into, found in ((recorded, new), (forgotten, gone), (damaged, sorted(table.damaged))):
            if found:
                into[name] = tuple(found)
    return Synced(recorded, forgotten, damaged)


def _record_whole(
    market: Market, now: StoredVersions, stage: Stage, instance: dg.DagsterInstance
) -> bool:
    """Put a stage without partitions on record if it is not; True if that was done."""
    key, state = asset_key(market, stage.name), now[stage.name][WHOLE]
    if not isinstance(state, str) or instance.get_latest_materialization_event(key) is not None:
        return False
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            metadata={"hash": state, "recorded_by": "sync"},
            tags={DATA_VERSION_TAG: state},
        )
    )
    return True


def sync_lines(synced: Synced) -> list[str]:
    """The changes for a person, a line for each kind."""
    lines = [
        f"put on record: {_counted(synced.recorded)}",
        *(
            f"taken off the record, not in the warehouse or damaged: {asset} {name_sessions(keys)}"
            for asset, keys in synced.forgotten.items()
        ),
        *(
            f"damaged: {asset} {name_sessions(keys)}; materialize it again"
            for asset, keys in synced.damaged.items()
        ),
    ]
    if not synced.recorded and not synced.forgotten and not synced.damaged:
        return ["Dagster's record and the warehouse are in step"]
    return lines if synced.recorded else lines[1:]


def _counted(found: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{asset} {len(keys)}" for asset, keys in found.items())
