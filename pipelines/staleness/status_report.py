"""Status of a market: its missing and stale partitions, their causes, and its served sessions.

`status_report` compares, and changes nothing. The command `status` shows the report as a table or
as JSON, the check `up_to_date` in the UI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.bars.bar_versions import restated_sessions
from pipelines.calendar.sessions import Sessions
from pipelines.instance.record_reads import Record, at_work, first_waiting, recorded_sessions
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage, by_model
from pipelines.staleness.causes import Cause, Reason
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey, survey
from pipelines.staleness.verified_record import VerifiedRecord
from pipelines.warehouse import revisions
from pipelines.warehouse.catalog import is_usable
from pipelines.warehouse.market_record import FILE

_SHOWN_RANGES = 3


@dataclass(frozen=True)
class Finding:
    """Partitions of an asset that are not current, or have no rows, for the same reason.

    Attributes:
        keys: their sessions, in order.
        ranges: first and last of each stretch of consecutive sessions.
    """

    cause: str
    detail: str
    keys: tuple[str, ...]
    ranges: tuple[tuple[str, str], ...]

    @property
    def is_stale(self) -> bool:
        """True if there is something to do; served and empty partitions stay as they are."""
        return self.cause not in (Cause.SERVED, Cause.EMPTY)

    @property
    def why(self) -> str:
        """The cause and its detail."""
        return f"{self.cause}: {self.detail}" if self.detail else str(self.cause)

    def shown(self) -> str:
        """The sessions for a person: `2012-07-02 … 2012-08-10 (28)`."""
        if self.keys == (WHOLE,):
            return "–"
        parts = [a if a == b else f"{a} … {b}" for a, b in self.ranges[:_SHOWN_RANGES]]
        more = len(self.ranges) - _SHOWN_RANGES
        return f"{', '.join(parts)}{f' and {more} more' if more > 0 else ''} ({len(self.keys)})"


@dataclass(frozen=True)
class AssetStatus:
    """One asset: the number of its partitions, how many are current, and findings on the rest."""

    asset: str
    sessions: int
    current: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class StatusReport:
    """A market compared with what would be made now.

    Attributes:
        newest: the newest closed session.
        predictions: counts of `served` and `backfilled` sessions, by model.
        revisions: sessions of which an earlier, served version is kept, by table.
        restated: sessions whose bars the source now gives differently; None if not compared.
        busy: the run or backfill that is at work on the market, in words; None if none is.
        calendar: a remark on the end of what the calendar knows; None if it is far.
        bytes: of the state by kind; None if they were not summed up.
        verified: when everything was last verified, and the number of files that have not changed
            since and were not hashed again; None if all were.
        lost: files beside the partitions that are absent or damaged; `sync` makes them again.
    """

    market: str
    newest: str
    assets: tuple[AssetStatus, ...]
    predictions: dict[str, dict[str, int]]
    revisions: dict[str, int]
    restated: tuple[str, ...] | None
    busy: str | None = None
    calendar: str | None = None
    bytes: dict[str, int] | None = None
    verified: tuple[str, int] | None = None
    lost: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """True if nothing is missing or stale."""
        return not any(f.is_stale for asset in self.assets for f in asset.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            "market": self.market,
            "newest_closed_session": self.newest,
            "current": self.is_current,
            "assets": [
                {
                    "asset": asset.asset,
                    "sessions": asset.sessions,
                    "current": asset.current,
                    "findings": [
                        {
                            "cause": str(finding.cause),
                            "detail": finding.detail,
                            "stale": finding.is_stale,
                            "count": len(finding.keys),
                            "ranges": [list(r) for r in finding.ranges],
                        }
                        for finding in asset.findings
                    ],
                }
                for asset in self.assets
            ],
            "predictions": self.predictions,
            "revisions": self.revisions,
            "restated": None if self.restated is None else list(self.restated),
            "busy": self.busy,
            "calendar": self.calendar,
            "bytes": self.bytes,
            "verified": None if self.verified is None else self.verified[0],
            "unchanged_files": 0 if self.verified is None else self.verified[1],
            "lost": list(self.lost),
        }


def status_report(
    market: Market,
    stages: Sequence[Stage],
    record: Record,
    *,
    check_source: bool = False,
    recent: int | None = None,
    keep_verified: bool = False,
) -> StatusReport:
    """Compare every partition that there should be with what would be made now.

    Args:
        market: the market.
        stages: its stages, upstream first.
        record: its Dagster record.
        check_source: ask the source for the bars of every stored session.
        recent: number of newest sessions to compare; of earlier ones only those that are absent or
            not on record, which opens no file but those that reports are made from. None compares
            every session.
        keep_verified: add what is found current to the record of the last verification.

    Raises:
        ConfigError: the market's first session is not over yet.
        SourceError: the source was asked and no longer has a session.
    """
    closed_keys = market.sessions.between(market.sessions.first, market.last_closed())
    sessions = {
        stage.name: keys
        for stage in stages
        if stage.is_compared and (keys := stage.due(closed_keys))
    }
    # The check in the UI compares few sessions, since a comparison hashes whole files.
    if recent is not None:
        for stage in (stage for stage in stages if stage.name in sessions and stage.tables):
            sessions[stage.name] = _few(market, record, stage, sessions[stage.name], recent)
    # Restated bars show in no stored file: only the source knows of them.
    restated_keys = (
        tuple(restated_sessions(market, stored_bars(market, stages, closed_keys)))
        if check_source
        else None
    )
    served = Served(market, stages, record)
    # Served partitions are told apart from stale ones: they stay as they are.
    verified = VerifiedRecord(market, stages, served)
    now = StoredVersions(market, stages, served)
    for table, stored in verified.stored.items():  # each file was looked at just now
        now.table(table).stored = stored
    unchanged = None if check_source else verified.unchanged
    comparison = survey(
        market,
        stages,
        record,
        sessions,
        served=served,
        restated=restated_keys or (),
        now=now,
        unchanged=unchanged,
    )
    if keep_verified:
        verified.keep(comparison, now)
    comparison = _with_waiting(market, stages, record, comparison)
    store = market.warehouse.store
    return StatusReport(
        market=market.config.name,
        newest=closed_keys[-1],
        assets=tuple(
            _asset_status(market.sessions, comparison, asset) for asset in comparison.wanted
        ),
        predictions={
            model: _prediction_counts(market, stage, served.sessions(model))
            for model, stage in by_model(stages, Kind.PREDICTION).items()
        },
        revisions={t: len(revisions.sessions(store, t)) for t in revisions.tables(store)},
        restated=restated_keys,
        busy=at_work(record, market),
        calendar=market.calendar_end(),
        verified=None if unchanged is None else (unchanged.made, unchanged.files),
        lost=_lost_files(market),
    )


def _lost_files(market: Market) -> tuple[str, ...]:
    """The record of the market and the catalog, where there are partitions and not them."""
    tables, lost = market.tables, []
    if market.warehouse.record.is_lost():
        lost.append(tables.path(FILE))
    if tables.is_local and not is_usable(market.paths.catalog):
        lost.append(str(market.paths.catalog))
    return tuple(lost) if lost and any(map(tables.has_partitions, tables.tables())) else ()


def _with_waiting(market: Market, stages: Sequence[Stage], record: Record, found: Survey) -> Survey:
    """Tell sessions that wait for their bars, and what follows from them, from absent ones."""
    sources = [stage.name for stage in stages if stage.is_source and stage.name in found.wanted]
    absent = [
        key
        for name in sources
        for key, why in found.reasons[name].items()
        if why.cause == Cause.ABSENT
    ]
    firsts = [first_waiting(record, market, name, absent) for name in sources if absent]
    since = min((first for first in firsts if first is not None), default=None)
    if since is None:
        return found
    waits = Reason(Cause.WAITS)
    reasons = {
        asset: {
            key: waits if why.cause == Cause.ABSENT and since <= key != WHOLE else why
            for key, why in why_by_key.items()
        }
        for asset, why_by_key in found.reasons.items()
    }
    # A report is made again after the sessions that wait; nothing else is newer than it.
    partitioned = {stage.name for stage in stages if stage.tables}
    if all(why == waits for a in reasons.keys() & partitioned for why in reasons[a].values()):
        for stage in (stage for stage in stages if stage.kind is Kind.REPORT):
            why = reasons.get(stage.name, {}).get(WHOLE)
            if why is not None and why.cause == Cause.INPUTS:
                reasons[stage.name] = {WHOLE: waits}
    return replace(found, reasons=reasons)


def _prediction_counts(market: Market, stage: Stage, served: set[str]) -> dict[str, int]:
    """The number of stored sessions of a model that were served, and that were backfilled."""
    stored_keys = set(stage.due(market.warehouse.sessions(stage.name)))
    in_time = len(served & stored_keys)
    return {"served": in_time, "backfilled": len(stored_keys) - in_time}


def _few(
    market: Market, record: Record, stage: Stage, keys: Sequence[str], recent: int
) -> tuple[str, ...]:
    """The newest sessions of a stage, and those before them that are absent or not on record."""
    stored_keys = set(market.warehouse.sessions(stage.name))
    stored_keys &= recorded_sessions(record, market, stage.name)
    newest, earlier = keys[-recent:], keys[:-recent]
    return (*(key for key in earlier if key not in stored_keys), *newest)


def stored_bars(
    market: Market, stages: Sequence[Stage], keys: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The fingerprints that each stored session of bars was made from.

    Returns:
        By session that of its `bars`, and the versions of the columns beside them by name, as far
        as they were read as they are read now.
    """
    now = StoredVersions(market, stages)
    made: dict[str, dict[str, str]] = {}
    for stage in (stage for stage in stages if stage.is_source):
        now.load(stage, keys)
        stored_keys = [key for key in keys if key in now.table(stage.name).stored]
        for key, info in now.table(stage.name).infos(stored_keys).items():
            made[key] = {"bars": info.provenance.inputs["bars"]}
        for table in stage.tables:
            for key, info in now.table(table.name).infos(made).items():
                versions = info.provenance.inputs
                made[key] |= {
                    name: versions[name]
                    for name, origin in table.origins.items()
                    if versions.get(name, "").startswith(origin)
                }
    return made


def _asset_status(sessions: Sessions, found: Survey, asset: str) -> AssetStatus:
    order = list(Cause)
    by_reason: dict[tuple[Cause, str], list[str]] = {}
    for key, why in (*found.reasons[asset].items(), *found.empty.get(asset, {}).items()):
        by_reason.setdefault((why.cause, why.detail), []).append(key)
    findings = []
    for (cause, detail), keys in sorted(by_reason.items(), key=lambda i: (order.index(i[0][0]), i)):
        keys = sorted(keys)
        blocks = [] if keys == [WHOLE] else sessions.consecutive(keys)
        ranges = tuple((block[0], block[-1]) for block in blocks)
        findings.append(Finding(cause, detail, tuple(keys), ranges))
    count = len(found.wanted[asset])
    return AssetStatus(asset, count, count - len(found.reasons[asset]), tuple(findings))
