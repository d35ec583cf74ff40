"""What of a market is absent or stale: the work that is left for a command.

A partition is current if its file is there, Dagster's record has it, its provenance names the
asset's present code version and configuration, and its inputs are what is there now. Only footers
are read. Bars are compared with nothing upstream: a source is asked when `ohlcv` runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from pipelines import inputs
from pipelines.assets.base import CONFIG_HASH
from pipelines.bundles import require_bundle
from pipelines.errors import ModelNotTrainedError, ProcessorStateError
from pipelines.market import Market
from pipelines.partition_file import PartitionInfo, fingerprint
from pipelines.processing import ProcessorState, load_state
from pipelines.training import training_config


@dataclass(frozen=True)
class Work:
    """What is left to do: these assets over this range of sessions."""

    assets: tuple[str, ...]
    first: str
    last: str


class Snapshot(dict[str, dict[str, str]]):
    """A market as it is now: digests by table and session, each table read when it is asked for.

    Attributes:
        infos: the footers behind the digests.
    """

    def __init__(self, market: Market) -> None:
        super().__init__()
        self.market = market
        self.infos: dict[str, dict[str, PartitionInfo]] = {}
        self._bundles: dict[tuple[str, str], str] = {}

    def __missing__(self, table: str) -> dict[str, str]:
        warehouse = self.market.warehouse
        keys = warehouse.sessions(table)
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda key: warehouse.info(table, key), keys)
        self.infos[table] = {k: i for k, i in zip(keys, found, strict=True) if i is not None}
        self[table] = {key: info.digest for key, info in self.infos[table].items()}
        return self[table]

    @cached_property
    def processors(self) -> ProcessorState:
        """The fitted processors.

        Raises:
            ProcessorStateError: they are not fitted for this configuration.
        """
        return load_state(self.market)

    def processors_are_current(self) -> bool:
        """Whether the processors are fitted, for this configuration and from this data."""
        try:
            return self.processors.inputs == inputs.processors_inputs(self.market, self)
        except (ProcessorStateError, KeyError):
            return False

    def bundle(self, model: str, anchor: str, *, pinned: bool) -> str:
        """Fingerprint of a bundle, after confirming that it is the one that would be trained now.

        Raises:
            ModelNotTrainedError: it is not there, or of another configuration or data.
        """
        if (model, anchor) not in self._bundles:
            market = self.market
            found = require_bundle(market, model, anchor, f"{model}_model")
            spec = next(spec for spec in market.models if spec.name == model)
            wanted = fingerprint(training_config(market, spec))
            data = inputs.training_inputs(market, anchor, self)
            made = (found.manifest.get("config_hash"), found.manifest.get("data"))
            if not pinned and made != (wanted, data):
                raise ModelNotTrainedError(f"the {model} bundle of {anchor} is stale")
            self._bundles[model, anchor] = found.fingerprint
        return self._bundles[model, anchor]


def pending(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: Sequence[str],
) -> Work | None:
    """What of these assets and sessions is absent or stale; None where nothing is.

    Whatever follows an asset that must run again runs again too.

    Args:
        market: the market.
        defs: its definitions.
        instance: its Dagster record.
        assets: assets, upstream first; `processors` may be among them.
        sessions: the sessions wanted.
    """
    if not sessions:
        return None
    graph, now = defs.resolve_asset_graph(), Snapshot(market)
    affected: list[str] = []
    first: str | None = None
    for name in assets:
        node = graph.get(dg.AssetKey(name))
        if name == "processors":
            missing = None if now.processors_are_current() else sessions[0]
        else:
            recorded = instance.get_materialized_partitions(node.key)
            made_by = (node.code_version, node.metadata[CONFIG_HASH])
            missing = next(
                (
                    key
                    for key in sessions
                    if key not in recorded or not _is_current(name, key, made_by, now)
                ),
                None,
            )
        upstream = {key.to_user_string() for key in node.parent_keys}
        if missing is not None or upstream & set(affected):
            affected.append(name)
        if missing is not None:
            first = missing if first is None else min(first, missing)
    return None if first is None else Work(tuple(affected), first, sessions[-1])


def _is_current(name: str, key: str, made_by: tuple[str | None, str], now: Snapshot) -> bool:
    """Whether a partition is there, of this code and configuration, made from what is there."""
    if key not in now[name]:
        return False
    made = now.infos[name][key].provenance
    if (made.code_version, made.config) != made_by:
        return False
    try:
        return name == "ohlcv" or made.inputs == expected_inputs(name, key, now)
    except (KeyError, ProcessorStateError, ModelNotTrainedError):
        return False


def expected_inputs(name: str, key: str, now: Snapshot) -> dict[str, str]:
    """The inputs that a partition would be made from now; bars, which have a source, have none.

    Raises:
        KeyError: something that it reads is absent.
        ProcessorStateError: the processors are not fitted for this configuration.
        ModelNotTrainedError: the bundle in force is not there, or is stale.
    """
    market = now.market
    if name == "alpha158":
        return inputs.alpha158_inputs(market, key, now)
    if name == "label":
        return inputs.label_inputs(market, key, now)
    if name == "dataset_infer":
        return inputs.dataset_infer_inputs(key, now, now.processors.hash)
    if name == "dataset_learn":
        return inputs.dataset_learn_inputs(market, key, now, now.processors.hash)
    model, kind = name.rsplit("_", 1)
    if kind == "prediction":
        return inputs.prediction_inputs(market, model, key, now)
    if kind == "evaluation":
        return inputs.evaluation_inputs(market, model, key, now)
    anchor = market.plan.anchor(key)
    if anchor is None:
        return {}
    return {"bundle": now.bundle(model, anchor, pinned=market.plan.is_pinned(key))}
