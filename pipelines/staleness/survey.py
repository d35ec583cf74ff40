"""Compare the partitions of a market with what would be made now: the work left for a command.

`survey` goes through the stages upstream first and gives each partition that is not current its
reason (`causes.py`). A partition that has to be made again is marked, so that exactly its
descendants are found stale with it. A served partition is history: it stays as it is, and its
descendants are compared with what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.instance.record_reads import Record, recorded_sessions
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.staleness.causes import Cause, Reason, why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.warehouse.partition_file import PartitionInfo


class Unchanged(Protocol):
    """Sessions that were verified and found current, and have not changed since; up to the last."""

    @property
    def last(self) -> str:
        """The newest of them."""

    @property
    def served(self) -> Mapping[str, Collection[str]]:
        """Those that were served and would have other inputs now, by asset."""

    @property
    def empty(self) -> Mapping[str, Mapping[str, str]]:
        """Those without rows, and why, by asset."""

    def digests(self, asset: str) -> dict[str, str]:
        """The digests of the partitions of an asset."""


_DATE = re.compile(r" (of|up to) \d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Work:
    """The work that is left: some assets over a range of sessions."""

    assets: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class Survey:
    """The partitions that are not current, and their reasons.

    Attributes:
        wanted: the sessions compared, by asset, upstream first.
        reasons: the reason of each partition that is not current, by asset and session.
        empty: why a current partition has no rows where it should have some, likewise.
    """

    wanted: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, Mapping[str, Reason]]
    empty: Mapping[str, Mapping[str, Reason]] = field(default_factory=dict)

    def left(self, asset: str) -> tuple[str, ...]:
        """The sessions of an asset that would be made now; served ones are not among them."""
        return tuple(k for k, why in self._reasons_of(asset) if why.cause != Cause.SERVED)

    def served(self, asset: str) -> tuple[str, ...]:
        """The sessions of an asset that were served and would have other inputs now."""
        return tuple(k for k, why in self._reasons_of(asset) if why.cause == Cause.SERVED)

    def _reasons_of(self, asset: str) -> list[tuple[str, Reason]]:
        reasons = self.reasons[asset]
        return [(key, reasons[key]) for key in self.wanted[asset] if key in reasons]

    def work(self, sessions: Sequence[str]) -> Work | None:
        """The assets with sessions left, and the range of these; None if nothing is left.

        Args:
            sessions: the range that stands for assets without partitions, if only those are left.
        """
        keys_by_asset = {asset: self.left(asset) for asset in self.wanted}
        if not any(keys_by_asset.values()):
            return None
        keys = {key for part in keys_by_asset.values() for key in part if key != WHOLE}
        keys = keys or {sessions[0], sessions[-1]}
        return Work(tuple(a for a, part in keys_by_asset.items() if part), min(keys), max(keys))


def survey(
    market: Market,
    stages: Sequence[Stage],
    record: Record,
    wanted: Mapping[str, Sequence[str]],
    *,
    served: Served | None,
    restated: Collection[str] = (),
    now: StoredVersions | None = None,
    unchanged: Unchanged | None = None,
) -> Survey:
    """Compare what is stored with what would be made now.

    Args:
        market: the market.
        stages: all of its stages, upstream first.
        record: its Dagster record.
        wanted: sessions by asset, in any order of assets; those of an asset without partitions
            stand for its one version.
        served: the sessions that stay as served; None if they may be replaced.
        restated: sessions whose bars the source now gives differently.
        now: the versions of the market as it is, with `served` in them, of which some may have been
            read; None to read all of them here.
        unchanged: sessions that were found current before and have not changed since.
    """
    now = now or StoredVersions(market, stages, served)
    keys_by_asset: dict[str, tuple[str, ...]] = {}
    reasons: dict[str, dict[str, Reason]] = {}
    empty: dict[str, dict[str, Reason]] = {}
    for stage in (stage for stage in stages if stage.name in wanted and stage.is_compared):
        keys = keys_by_asset[stage.name] = tuple(wanted[stage.name]) if stage.tables else (WHOLE,)
        recorded_keys: Collection[str] = (
            recorded_sessions(record, market, stage.name) if stage.tables else (WHOLE,)
        )
        stage_reasons = reasons[stage.name] = {}
        if unchanged is not None and stage.tables:
            now.table(stage.name).known = unchanged.digests(stage.name)
            lacks = unchanged.empty.get(stage.name, {})
            for key in (key for key in keys if key <= unchanged.last):
                if key in unchanged.served.get(stage.name, ()):
                    stage_reasons[key] = Reason(Cause.SERVED)
                elif key not in recorded_keys:
                    stage_reasons[key] = Reason(Cause.UNRECORDED)
                elif key in lacks:
                    empty.setdefault(stage.name, {})[key] = Reason(Cause.EMPTY, lacks[key])
            keys = tuple(key for key in keys if key > unchanged.last)
        # Files are read in threads before they are compared one by one.
        now.load(stage, keys)
        if stage.is_source and keys:
            now.load_bars(keys)
        for key in keys:  # in order: a session may be made from the one before it
            why = why_not_current(stage, key, now)
            # Neither restated bars nor a gap in Dagster's record shows in a stored file.
            if why is None and stage.is_source and key in restated:
                why = Reason(Cause.RESTATED)
            if why is None and key not in recorded_keys:
                why = Reason(Cause.UNRECORDED)
            if why is None:
                info = now.table(stage.name).info(key)
                if info is not None and (lack := _lack_of_rows(market, stage, key, info)):
                    empty.setdefault(stage.name, {})[key] = Reason(Cause.EMPTY, lack)
                continue
            if _is_protected(stage, key, why, now, served):
                why = Reason(Cause.SERVED)
            stage_reasons[key] = why
            # A served partition stays, so that nothing downstream becomes outdated by it.
            if why.cause not in (Cause.SERVED, Cause.UNRECORDED) and not why.beside:
                now.mark_outdated(stage, [key])
    return Survey(keys_by_asset, reasons, empty)


def _lack_of_rows(market: Market, stage: Stage, key: str, info: PartitionInfo) -> str:
    """Why a partition has no rows, without its date; empty if it has, or none are due yet."""
    status = info.provenance.status
    if info.rows or not stage.tables or status.startswith(("ok", "warm-up")):
        return ""
    decision: str | None = key
    if stage.kind is Kind.EVALUATION:
        decision = market.decision_of(stage.dataset, key)
    if decision is None or decision < (stage.first or ""):
        return ""
    return _DATE.sub("", status)


def _is_protected(
    stage: Stage, key: str, why: Reason, now: StoredVersions, served: Served | None
) -> bool:
    """True if a partition was served and its intact file stays, though it differs from now's."""
    return (
        served is not None
        and why.cause not in (Cause.ABSENT, Cause.DAMAGED, Cause.UNRECORDED)
        and served.holds(stage, key)
        and not now.lacks_bundle(stage, key)
    )


def pending(
    market: Market,
    stages: Sequence[Stage],
    record: Record,
    wanted: Mapping[str, Sequence[str]],
    sessions: Sequence[str],
) -> Work | None:
    """The absent or stale part of some assets; None if there is none.

    Args:
        market: the market.
        stages: all of its stages.
        record: its Dagster record.
        wanted: sessions by asset, as for `survey`.
        sessions: the range that stands for an asset without partitions.
    """
    served = Served(market, stages, record)
    return survey(market, stages, record, wanted, served=served).work(sessions)
