"""`{name}_evaluation`, a row a session, and the two reports that set the models side by side.

Partition D scores the predictions of the decision whose labels matured at D. Where none were made,
in the warm-up or because that session was never run, it holds no row and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.assets.asset_factory import Run, chunks, market_asset, session_asset
from pipelines.assets.checks import Check, ic_decay
from pipelines.assets.column_lineage import evaluation_lineage
from pipelines.assets.pictures import picture_metadata
from pipelines.config.models import ModelSpec
from pipelines.market import input_versions
from pipelines.market.market import Market
from pipelines.reports.report_tables import PORTFOLIO_TABLE, SIGNAL_TABLE, shown_table
from pipelines.reports.signal_report import Report, portfolio_report, signal_report
from pipelines.warehouse.schemas import Table, evaluation_table

CODE_VERSION = "2"
_CHUNK = 120


def evaluation_asset(
    market: Market, spec: ModelSpec, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """The asset `{name}_evaluation`."""
    quantiles, checks = market.config.evaluation.quantiles, market.config.checks.evaluation
    table = evaluation_table(quantiles)

    def body(run: Run) -> None:
        for keys in chunks(run.keys, _CHUNK):
            _evaluate(run, spec, table, keys)
        _check_decay(run)

    return session_asset(
        market,
        body,
        name=f"{spec.name}_evaluation",
        table=table,
        group="evaluation",
        deps=(f"{spec.name}_prediction", "label"),
        code_version=CODE_VERSION,
        config={"quantiles": quantiles},
        partitions_def=days,
        description=(
            f"{table.description} IC and rank IC against the raw label, and the mean label of each "
            f"of {quantiles} score quantiles."
        ),
        kinds={"python", "parquet"},
        lineage=evaluation_lineage(spec.name, table.names),
        checks=(
            Check(
                "ic_decay",
                checks.ic_decay,
                f"The mean rank IC of the last {checks.recent_sessions} evaluated sessions is at "
                f"least {checks.min_recent_rank_ic:g}; a third of them is the fewest that tell.",
            ),
        ),
    )


def _check_decay(run: Run) -> None:
    """The mean rank IC up to the newest session of a run, after it was written."""
    market, checks = run.market, run.market.config.checks.evaluation
    if checks.ic_decay == "off":
        return
    last = run.keys[-1]
    keys = [k for k in market.warehouse.sessions(run.name) if k <= last]
    rows = market.warehouse.read(
        run.name,
        keys[-checks.recent_sessions :],
        needed_by=f"{run.name} (its check)",
        columns=["rank_ic"],
    ).frame
    recent, enough = rows["rank_ic"].dropna().to_list(), max(1, checks.recent_sessions // 3)
    run.check(last, ic_decay(recent, checks.min_recent_rank_ic, enough))


def _evaluate(run: Run, spec: ModelSpec, table: Table, keys: tuple[str, ...]) -> None:
    from rnn_core.evaluation import evaluate_session

    market, warehouse = run.market, run.market.warehouse
    name = f"{spec.name}_prediction"
    labels = warehouse.read("label", keys, needed_by=run.name)
    decisions = {key: market.decision_of(key) for key in keys}
    there = set(warehouse.sessions(name))
    asked = [d for d in decisions.values() if d in there]
    predictions = warehouse.read(name, asked, needed_by=run.name) if asked else None
    scores = _by_session(predictions.frame) if predictions else {}
    returns = _by_session(labels.frame)
    digests = {"label": labels.digests, name: predictions.digests if predictions else {}}
    for key, decision in decisions.items():
        made_from = input_versions.evaluation_inputs(market, spec.name, key, digests)
        frame = table.empty()
        status = "ok"
        shown: dict[str, Any] = {}
        if decision is None or decision not in scores:
            status = f"no prediction was made for the decision of {decision or 'the warm-up'}"
        elif key not in returns:
            status = f"no label of {decision} matured"
        else:
            scored, matured = scores[decision], returns[key]
            row = evaluate_session(
                scored.set_index("instrument")["score"],
                matured.set_index("instrument")["label"],
                quantiles=market.config.evaluation.quantiles,
            )
            as_of = scored["as_of"].iloc[0]
            frame = pd.DataFrame(
                [
                    {
                        "decision_date": pd.Timestamp(decision),
                        "as_of": as_of,
                        **row,
                        **_seed_ics(scored, matured),
                    }
                ]
            )
            shown = {"ic": row["ic"], "rank_ic": row["rank_ic"], "n": row["n"]}
        info = warehouse.write(table, run.name, key, frame, run.provenance(made_from, status))
        run.done(key, info, decision_date=decision or "none", **_finite(shown))


def _seed_ics(scored: pd.DataFrame, matured: pd.DataFrame) -> dict[str, list[float] | None]:
    """IC and rank IC of each network of an ensemble; None where there is one."""
    from rnn_core.evaluation import evaluate_session

    if scored["seed_scores"].isna().all():
        return {"seed_ic": None, "seed_rank_ic": None}
    each = np.stack(scored["seed_scores"].to_list(), axis=1)  # [K, N]
    names, label = scored["instrument"], matured.set_index("instrument")["label"]
    rows = [evaluate_session(pd.Series(scores, index=names), label) for scores in each]
    return {f"seed_{name}": [float(row[name]) for row in rows] for name in ("ic", "rank_ic")}


def _by_session(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {f"{day:%Y-%m-%d}": rows for day, rows in frame.groupby("date")}


def _finite(shown: dict[str, Any]) -> dict[str, Any]:
    """Figures that the UI can plot: an undefined one is left out, never shown as 0."""
    return {k: v for k, v in shown.items() if v == v}


def signal_report_asset(market: Market) -> dg.AssetsDefinition:
    """The asset `signal_report`."""
    from pipelines.staleness.served import served_sessions

    def make(market: Market, instance: dg.DagsterInstance) -> Report:
        served = {s.name: served_sessions(market, instance, s.name) for s in market.models}
        return signal_report(market, served)

    return _report_asset(
        market,
        make,
        name="signal_report",
        reads="evaluation",
        description=(
            "All models and their rank average side by side over every evaluated session, against "
            "reversal, momentum and a ridge regression: IC with Newey-West errors, tests of the "
            "differences, quantile returns, decay, turnover, loss curves. The whole page is "
            f"`reports/{market.paths.page.name}` in the data folder."
        ),
    )


def portfolio_report_asset(market: Market) -> dg.AssetsDefinition:
    """The asset `portfolio_report`."""
    settings = market.config.portfolio
    return _report_asset(
        market,
        lambda market, _: portfolio_report(market),
        name="portfolio_report",
        reads="prediction",
        description=(
            f"TopkDropout of each model: the best {settings.topk} names, at most {settings.n_drop} "
            f"replaced a session, after costs of {settings.open_cost:.2%} to buy and "
            f"{settings.close_cost:.2%} to sell, against the equally weighted members."
        ),
    )


def _report_asset(
    market: Market,
    make: Callable[[Market, dg.DagsterInstance], Report],
    *,
    name: str,
    reads: str,
    description: str,
) -> dg.AssetsDefinition:
    """A report over one kind of partition of every model."""
    names = {SIGNAL_TABLE: "models", PORTFOLIO_TABLE: "models"}  # the table by model comes first

    def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        report = make(market, context.instance)
        for line in report.notes:
            context.log.info(line)
        return dg.MaterializeResult(
            metadata={
                **{
                    names.get(file, file.removesuffix(".csv")): dg.MetadataValue.md(
                        shown_table(file, table)
                    )
                    for file, table in report.tables.items()
                },
                **picture_metadata(report.pictures),
                "folder": dg.MetadataValue.path(market.paths.reports),
            }
        )

    return market_asset(
        market,
        body,
        name=name,
        group="evaluation",
        deps=("ohlcv", *(f"{spec.name}_{reads}" for spec in market.models)),
        code_version=CODE_VERSION,
        description=description,
        kinds={"python", "matplotlib"},
    )
