"""`status`: what of a market is missing or stale, why, and what was served.

`status_report` is the comparison, without a console, for whoever shows it; the command prints it
as a table or as JSON. Nothing is changed by either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipelines.assets.materialize import consecutive
from pipelines.bars.bar_versions import restated_sessions
from pipelines.calendar.sessions import Sessions
from pipelines.instance.run_history import work_in_progress
from pipelines.market.market import Market
from pipelines.operations.demo import DATA_STAGE, model_assets
from pipelines.staleness.causes import Cause
from pipelines.staleness.data_versions import Snapshot
from pipelines.staleness.served import Served
from pipelines.staleness.survey import WHOLE, Survey, survey
from pipelines.warehouse import revisions

_SHOWN_RANGES = 3


@dataclass(frozen=True)
class Finding:
    """Partitions of an asset that are not current for the same reason.

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
        """Whether there is something to do; what was served stays as it is."""
        return self.cause != Cause.SERVED

    @property
    def why(self) -> str:
        """The cause, and what it concerns."""
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
    """One asset: how many partitions there should be, how many are current, and the others."""

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
        restated: sessions whose bars the source now gives differently; None if it was not asked.
        busy: the run or backfill that is at work on the market, in words; None where none is.
    """

    market: str
    newest: str
    assets: tuple[AssetStatus, ...]
    predictions: dict[str, dict[str, int]]
    revisions: dict[str, int]
    restated: tuple[str, ...] | None
    busy: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether nothing is missing or stale."""
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
        }


def status_report(
    market: Market,
    instance: dg.DagsterInstance,
    *,
    defs: dg.Definitions | None = None,
    check_source: bool = False,
    recent: int | None = None,
) -> StatusReport:
    """Compare every partition that there should be with what would be made now.

    Data assets should have every closed session, models and what follows those from the first
    trained session on.

    Args:
        market: the market.
        instance: its Dagster record.
        defs: its definitions, where they are at hand.
        check_source: ask the source for the bars of every session that is there.
        recent: compare only the newest so many sessions, and those before them that are absent or
            not on record, which takes no look into a file; None compares every session.

    Raises:
        ConfigError: the market's first session is not over yet.
        SourceError: the source was asked and no longer has a session.
    """
    from pipelines.build import build_definitions  # it holds a check that asks this

    closed = market.sessions.between(market.sessions.first, market.last_closed())
    trained = tuple(key for key in closed if key >= market.plan.first_trained)
    wanted = dict.fromkeys(DATA_STAGE, closed)
    wanted |= dict.fromkeys(model_assets(market), trained) if trained else {}
    if recent is not None:
        wanted = {name: _few(market, instance, name, wanted[name], recent) for name in wanted}
    restated = (
        tuple(restated_sessions(market, stored_bars(market, closed))) if check_source else None
    )
    served = Served(market, instance)
    found = survey(
        market,
        defs or build_definitions(market),
        instance,
        wanted,
        served=served,
        restated=restated or (),
    )
    predictions = {}
    for model, table in market.prediction_tables().items():
        there = set(market.warehouse.sessions(table))
        in_time = len(served.sessions(model) & there)
        scored = sum(key >= market.plan.first_trained for key in there)
        predictions[model] = {"served": in_time, "backfilled": scored - in_time}
    store = market.warehouse.store
    return StatusReport(
        market=market.config.name,
        newest=closed[-1],
        assets=tuple(_asset_status(market.sessions, found, asset) for asset in found.wanted),
        predictions=predictions,
        revisions={t: len(revisions.sessions(store, t)) for t in revisions.tables(store)},
        restated=restated,
        busy=work_in_progress(instance, market.sessions.keys),
    )


def _few(
    market: Market, instance: dg.DagsterInstance, asset: str, keys: Sequence[str], recent: int
) -> tuple[str, ...]:
    """The newest sessions of an asset, and those before them that are absent or not on record."""
    newest, earlier = keys[-recent:], keys[:-recent]
    if asset == "processors":
        return tuple(newest)
    there = set(market.warehouse.sessions(asset))
    there &= instance.get_materialized_partitions(dg.AssetKey(asset))
    return (*(key for key in earlier if key not in there), *newest)


def stored_bars(market: Market, keys: Sequence[str]) -> dict[str, str]:
    """Fingerprint of the bars that each session of `ohlcv` was made from, where it is there."""
    table = Snapshot(market)["ohlcv"]
    table.load(keys)
    infos = {key: table.info(key) for key in keys if key in table.there}
    return {k: info.provenance.inputs["bars"] for k, info in infos.items() if info is not None}


def _asset_status(sessions: Sessions, found: Survey, asset: str) -> AssetStatus:
    order = list(Cause)
    by_reason: dict[tuple[Cause, str], list[str]] = {}
    for key, why in found.reasons[asset].items():
        by_reason.setdefault((why.cause, why.detail), []).append(key)
    findings = []
    for (cause, detail), keys in sorted(by_reason.items(), key=lambda i: (order.index(i[0][0]), i)):
        keys = sorted(keys)
        blocks = [] if keys == [WHOLE] else consecutive(keys, sessions)
        ranges = tuple((block[0], block[-1]) for block in blocks)
        findings.append(Finding(cause, detail, tuple(keys), ranges))
    count = len(found.wanted[asset])
    return AssetStatus(asset, count, count - len(found.reasons[asset]), tuple(findings))


def status_table(report: StatusReport) -> Table:
    """The report for a terminal: a line for each reason of each asset."""
    table = Table(
        title=f"{report.market}, newest closed session {report.newest}",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
    )
    for title, side in (("asset", "left"), ("sessions", "right"), ("current", "right")):
        table.add_column(title, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("not current", overflow="fold")
    table.add_column("why", overflow="fold")
    for status in report.assets:
        head = (status.asset, f"{status.sessions}", f"{status.current}")
        for i, finding in enumerate(status.findings):
            style = "" if finding.is_stale else "dim"
            table.add_row(
                *(head if i == 0 else ("", "", "")), finding.shown(), finding.why, style=style
            )
        if not status.findings:
            table.add_row(*head, "", "", style="dim")
    return table


def status_lines(market: Market, report: StatusReport) -> list[str]:
    """What is said below the table: what was served, what is at work, and the command to give."""
    lines = [
        f"{model}: predictions of {n['served']} sessions were served, of {n['backfilled']} "
        f"backfilled"
        for model, n in report.predictions.items()
    ]
    lines += [
        f"{table}: earlier versions of {n} sessions are kept, see the view {table}_revisions"
        for table, n in report.revisions.items()
    ]
    if report.restated:
        lines.append(
            f"the source restated {len(report.restated)} sessions from {report.restated[0]} on; "
            f"`{market.command(f'refresh --since {report.restated[0]}')}` takes them over"
        )
    elif report.restated is not None:
        lines.append("the source gives the bars that are stored")
    if report.busy:
        lines.append(f"{report.busy}; what it has not made yet is shown as missing")
    if report.is_current:
        lines.append("everything is current")
    elif all(f.cause == Cause.UNRECORDED for a in report.assets for f in a.findings if f.is_stale):
        lines.append(f"everything is there; `{market.command('sync')}` puts it on Dagster's record")
    elif not report.busy:
        stale = [k for a in report.assets for f in a.findings if f.is_stale for k in f.keys]
        first = min((key for key in stale if key != WHOLE), default=report.newest)
        wanted = market.command(f"backfill --start {first} --end {report.newest}")
        lines.append(f"`{wanted}` makes what is missing or stale")
    return lines
