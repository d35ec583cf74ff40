"""`rnn-pipelines status`: say what is missing or stale, and why (exit status 3 if anything is).

Exit status 0: everything is current; 3: something is missing or stale; 1: an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.cli.arguments import (
    CONFIG_OR_ALL,
    Arguments,
    for_each_market,
    market_of,
    names_market,
)

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.market.market import Market
    from pipelines.staleness.status_report import StatusReport

STALE = 3
ARGUMENTS: Arguments = {
    "--json": {
        "action": "store_true",
        "help": "as JSON: one object of a market that is named, else a list",
    },
    "--check-source": {
        "action": "store_true",
        "help": "ask the source for the bars of every session and name those that it restated",
    },
    **CONFIG_OR_ALL,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.assets.stages import stages
    from pipelines.instance.record_reads import reading_record
    from pipelines.operations.console import make_console, say
    from pipelines.staleness.state_bytes import state_bytes
    from pipelines.staleness.status_report import status_report

    reports: list[StatusReport] = []

    def one(args: argparse.Namespace) -> int:
        market = market_of(args, read_only=True)
        with reading_record(market) as record:
            report = status_report(market, stages(market), record, check_source=args.check_source)
            report = replace(report, bytes=state_bytes(market, record))
        reports.append(report)
        if not args.json:
            console = make_console()
            console.print(status_table(report))
            say(console, *status_lines(market, report))
        return 0 if report.is_current and not report.lost else STALE

    status = for_each_market(args, one)
    if args.json:
        values = [report.to_dict() for report in reports]
        whole = values[0] if names_market(args) else values
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    return status


def status_table(report: StatusReport) -> Table:
    """The report for a terminal: a line for each reason of each asset."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

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
    """The lines below the table: what was served, what is at work, and the command to give."""
    from pipelines.market.stage import WHOLE
    from pipelines.staleness.causes import Cause
    from pipelines.staleness.state_bytes import bytes_in_words

    lines = [
        f"{model}: predictions of {n['served']} sessions were served, of {n['backfilled']} "
        f"backfilled"
        for model, n in report.predictions.items()
    ]
    lines += [
        f"{table}: earlier versions of {n} sessions are kept, see the view {table}_revisions"
        for table, n in report.revisions.items()
    ]
    if report.bytes is not None:
        sizes = (f"{kind} {bytes_in_words(n)}" for kind, n in report.bytes.items())
        lines.append(f"state: {', '.join(sizes)}")
    if report.verified is not None:
        when, files = report.verified
        lines.append(
            f"{files} files have the size, time and inode of the verification of {when} and were "
            f"not hashed again; `{market.command('verify')}` hashes everything"
        )
    if report.restated:
        lines.append(
            f"the source restated {len(report.restated)} sessions from {report.restated[0]} on; "
            f"`{market.command(f'refresh --since {report.restated[0]}')}` takes them over"
        )
    elif report.restated is not None:
        lines.append("the source gives the bars that are stored")
    if report.busy:
        lines.append(f"{report.busy}; what it has not made yet is shown as missing")
    if report.calendar is not None:
        lines.append(report.calendar)
    if report.lost:
        lines.append(
            f"absent or damaged: {', '.join(report.lost)}; `{market.command('sync')}` makes that "
            f"again from the partitions"
        )
    unfit = _unfit(market, report)
    if report.is_current:
        lines.append("everything is current")
    elif all(f.cause == Cause.UNRECORDED for a in report.assets for f in a.findings if f.is_stale):
        lines.append(f"everything is there; `{market.command('sync')}` puts it on Dagster's record")
    elif not report.busy and unfit:
        lines.append(
            f"`{market.command('refit')}` fits {', '.join(unfit)} again, which a backfill does not "
            f"do by itself; `{market.command('status')}` then says what follows from it"
        )
    elif not report.busy:
        stale = [k for a in report.assets for f in a.findings if f.is_stale for k in f.keys]
        first = min((key for key in stale if key != WHOLE), default=report.newest)
        wanted = market.command(f"backfill --start {first} --end {report.newest}")
        causes = {f.cause for a in report.assets for f in a.findings if f.is_stale}
        does = (
            "asks for the bars again"
            if causes == {Cause.WAITS}
            else "makes what is missing or stale"
        )
        lines.append(f"`{wanted}` {does}")
    return lines


def _unfit(market: Market, report: StatusReport) -> list[str]:
    """Fitted processors that only `refit` makes again, once what they are fitted on is there."""
    from pipelines.staleness.causes import Cause

    fitted = {d.processors for d in market.datasets if d.fit_plan is None}
    found = []
    for status in report.assets:
        causes = {finding.cause for finding in status.findings if finding.is_stale}
        if status.asset in fitted:
            found += [status.asset] if causes - {Cause.ABSENT} else []
        elif causes - {Cause.UNRECORDED} and not found:
            return []
    return found
