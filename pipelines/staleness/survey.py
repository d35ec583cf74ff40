"""What of a market is absent or stale: the work that is left for a command.

`survey` goes through the assets upstream first and gives each partition that is not current its
reason (`causes.py`). What has to be made again is marked in the snapshot, so that exactly the
partitions that were made from it, and what was made from those, are found stale with it. What was
served is history: it stays as it is, and what follows from it is compared with what is there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from pipelines.assets.asset_factory import CONFIG_HASH
from pipelines.market.market import Market
from pipelines.staleness.causes import Cause, Reason, why_not_current, why_not_fitted
from pipelines.staleness.data_versions import Snapshot
from pipelines.staleness.served import Served

WHOLE = "all"  # stands for the session of an asset without partitions


@dataclass(frozen=True)
class Work:
    """What is left to do: these assets over this range of sessions."""

    assets: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class Survey:
    """What is not current, and why.

    Attributes:
        wanted: the sessions looked at, by asset, upstream first.
        reasons: of those that are not current, by asset and session.
    """

    wanted: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, Mapping[str, Reason]]

    def left(self, asset: str) -> tuple[str, ...]:
        """The sessions of an asset that would be made now; what was served is not among them."""
        found = self.reasons[asset]
        return tuple(
            key for key in self.wanted[asset] if key in found and found[key].cause != Cause.SERVED
        )

    def served(self, asset: str) -> tuple[str, ...]:
        """The sessions of an asset that were served and would have other inputs now."""
        found = self.reasons[asset]
        return tuple(
            key for key in self.wanted[asset] if key in found and found[key].cause == Cause.SERVED
        )

    def work(self, sessions: Sequence[str]) -> Work | None:
        """The assets with anything left and the range that it lies in; None where nothing is.

        Args:
            sessions: the range that stands for an asset without partitions.
        """
        left = {asset: self.left(asset) for asset in self.wanted}
        keys = {key for keys in left.values() for key in keys if key != WHOLE}
        if any(WHOLE in found for found in left.values()):
            keys |= {sessions[0]} if keys else {sessions[0], sessions[-1]}
        if not keys:
            return None
        return Work(tuple(a for a, found in left.items() if found), min(keys), max(keys))


def survey(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    wanted: Mapping[str, Sequence[str]],
    *,
    served: Served | None,
    restated: Collection[str] = (),
) -> Survey:
    """Compare what is there with what would be made now.

    Args:
        market: the market.
        defs: its definitions.
        instance: its Dagster record.
        wanted: sessions by asset, in any order of assets; those of `processors` stand for one.
        served: what stays as it is; None where that may be replaced.
        restated: sessions whose bars the source now gives differently.
    """
    graph, now = defs.resolve_asset_graph(), Snapshot(market, served)
    ordered = [key.to_user_string() for key in graph.toposorted_asset_keys]
    reasons: dict[str, dict[str, Reason]] = {}
    for name in (n for n in ordered if n in wanted):
        if name == "processors":
            why = why_not_fitted(now)
            now.processors_outdated = why is not None
            reasons[name] = {} if why is None else {WHOLE: why}
            continue
        node = graph.get(dg.AssetKey(name))
        keys, config = wanted[name], node.metadata[CONFIG_HASH]
        recorded = instance.get_materialized_partitions(node.key)
        now[name].load(keys)
        if name == "ohlcv":
            now.load_bars(keys)
        found = reasons[name] = {}
        for key in keys:
            why = why_not_current(name, key, node.code_version, config, now)
            if why is None and name == "ohlcv" and key in restated:
                why = Reason(Cause.RESTATED)
            if why is None and key not in recorded:
                why = Reason(Cause.UNRECORDED)
            if why is not None:
                protected = (
                    served is not None
                    and _may_be_kept(why)
                    and served.holds(name, key)
                    and not now.lacks_bundle(name, key)
                )
                found[key] = Reason(Cause.SERVED) if protected else why
        again = (k for k, why in found.items() if why.cause not in (Cause.SERVED, Cause.UNRECORDED))
        now[name].mark_outdated(again)
    shown = {n: (WHOLE,) if n == "processors" else tuple(wanted[n]) for n in reasons}
    return Survey(shown, reasons)


def _may_be_kept(why: Reason) -> bool:
    """Whether what is there could stay: it is intact, and other than what would be made."""
    return why.cause not in (Cause.ABSENT, Cause.DAMAGED, Cause.UNRECORDED)


def pending(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: Sequence[str],
) -> Work | None:
    """What of these assets and sessions is absent or stale; None where nothing is.

    Args:
        market: the market.
        defs: its definitions.
        instance: its Dagster record.
        assets: assets; `processors` may be among them.
        sessions: the sessions wanted.
    """
    if not sessions:
        return None
    wanted = dict.fromkeys(assets, sessions)
    found = survey(market, defs, instance, wanted, served=Served(market, instance))
    return found.work(sessions)
