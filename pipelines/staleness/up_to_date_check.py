"""Asset check `up_to_date`: `rnn-pipelines status` as a line of the UI, after every report.

The check warns and stops nothing. A whole comparison hashes every file of the market, so only the
newest sessions are compared with what would be made now; earlier ones only have to be stored and on
record. The check can be executed by itself on its page, too. It writes the page of what is served.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipelines.instance.names import asset_key
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.staleness.serving import service
from pipelines.staleness.serving_page import publish_page, serving_markdown
from pipelines.staleness.status_report import AssetStatus, StatusReport, status_report

RECENT = 60  # sessions compared
_SHOWN = 3  # assets in the sentence; the table has them all


def up_to_date_check(
    market: Market, stages: Sequence[Stage], report: str
) -> dg.AssetChecksDefinition:
    """The check of a market, shown on a report, which a person opens every day.

    Args:
        market: the market.
        stages: its stages.
        report: the stage that the check is shown on.
    """

    @dg.asset_check(
        asset=asset_key(market, report),
        # A report that is made by the same run is looked at once it is made.
        additional_deps=[
            asset_key(market, stage.name)
            for stage in stages
            if stage.kind is Kind.REPORT and stage.name != report
        ],
        name="up_to_date",
        blocking=False,
        description=(
            f"Of the newest {RECENT} sessions nothing is missing or stale, and of those before "
            f"them nothing is missing. The command status of rnn-pipelines compares every session."
        ),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return serve_and_check(market, stages, context.instance, own_run=context.run.run_id)

    return check


def serve_and_check(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance, *, own_run: str = ""
) -> dg.AssetCheckResult:
    """Compare the newest sessions, and say on a page and in the result what is served.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
        own_run: id of the run that asks, if one does.
    """
    report = status_report(market, stages, instance, recent=RECENT, keep_verified=True)
    state = service(market, stages, instance, report, own_run=own_run)
    publish_page(market, state)
    return status_result(report, serving_markdown(market, state))


def status_result(report: StatusReport, served: str = "") -> dg.AssetCheckResult:
    """Dagster's result of a comparison: counts and first sessions by asset, and what is served.

    Args:
        report: the comparison.
        served: what is served, as Markdown.
    """
    stale_counts = {asset.asset: _stale(asset) for asset in report.assets}
    counts = {name: count for name, count in stale_counts.items() if count}
    text = f"everything is current up to {report.newest}"
    metadata: dict[str, Any] = {"newest closed session": report.newest}
    metadata |= {"served": dg.MetadataValue.md(served)} if served else {}
    if counts:
        first = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_SHOWN])
        more = f" and {len(counts) - _SHOWN} more assets" if len(counts) > _SHOWN else ""
        text = (
            f"not current up to {report.newest}: {first}{more} (partitions); rnn-pipelines status "
            f"has the command that makes them"
        )
        metadata["not current"] = dg.MetadataValue.table(_records(report))
    return dg.AssetCheckResult(
        passed=report.is_current,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata=metadata,
    )


def _stale(asset: AssetStatus) -> int:
    return sum(len(finding.keys) for finding in asset.findings if finding.is_stale)


def _records(report: StatusReport) -> list[dg.TableRecord]:
    """A row for each reason of each asset."""
    return [
        dg.TableRecord(
            {
                "asset": asset.asset,
                "partitions": len(finding.keys),
                "sessions": finding.shown(),
                "why": finding.why,
            }
        )
        for asset in report.assets
        for finding in asset.findings
        if finding.is_stale
    ]
