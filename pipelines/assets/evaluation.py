"""`{name}_evaluation`: IC, rank IC and quantile returns of one decision, a row a session.

Partition D scores the predictions of the decision whose labels matured at D. Without predictions
(warm-up, or a session that was never run) the partition has no row, and its status says so;
`rnn-pipelines status` names those that should have one.

A model of a dataset with another label than the default one is measured on the default label, too,
so that all models of a market have one common measure: in a stage of its own,
`{name}_evaluation_common`, since the decision whose default label matured at D is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipelines.assets.checks import ic_decay
from pipelines.assets.column_lineage import evaluation_lineage
from pipelines.config.models import ModelSpec
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.input_versions import evaluation_inputs
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.training.tracking import Tracking
from pipelines.warehouse.schemas import evaluation_table

CODE_VERSION = "2"


def evaluation_stage(market: Market, spec: ModelSpec) -> Stage:
    """The stage `{name}_evaluation`, on the label that the model has learned."""
    dataset = market.dataset_of(spec.name)
    return stage_of_evaluation(market, spec.name, f"{spec.name}_evaluation", dataset)


def common_evaluation_stage(market: Market, spec: ModelSpec) -> Stage | None:
    """The stage `{name}_evaluation_common`; None for a model of the default label."""
    default = market.datasets[0]
    if market.dataset_of(spec.name).label == default.label:
        return None
    return stage_of_evaluation(market, spec.name, f"{spec.name}_evaluation_common", default)


def stage_of_evaluation(market: Market, model: str, name: str, dataset: Dataset) -> Stage:
    """The stage of the evaluations of `{model}_prediction` on the label of a dataset."""
    quantiles, checks = market.config.evaluation.quantiles, market.config.checks.evaluation
    table = evaluation_table(quantiles).named(name)

    def make(run: Run) -> None:
        with Tracking(market, run.log) as tracking:
            for keys in chunks_of_rows(market.warehouse, dataset.label, run.keys):
                _evaluate(run, model, dataset, keys, tracking)
        _check_decay(run)

    return Stage(
        name=name,
        kind=Kind.EVALUATION,
        model=model,
        dataset=dataset.name,
        tables=(table,),
        deps=(f"{model}_prediction", dataset.label),
        first=market.plan.first_trained,
        inputs=lambda key, versions: evaluation_inputs(dataset, model, key, versions),
        make=make,
        code_version=CODE_VERSION,
        config={"quantiles": quantiles},
        description=(
            f"{table.description} IC and rank IC against the raw label, and the mean label of each "
            f"of {quantiles} score quantiles."
        ),
        kinds=("python", "parquet"),
        lineage=evaluation_lineage(model, dataset.label, table.names),
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
    """Check the mean rank IC up to the newest session of a run, after it was written."""
    market, checks = run.market, run.market.config.checks.evaluation
    if checks.ic_decay == "off":
        return
    last = run.keys[-1]
    rows = market.warehouse.read(
        run.stage.name,
        market.warehouse.store.newest(run.stage.name, last, checks.recent_sessions),
        needed_by=f"{run.stage.name} (its check)",
        columns=["rank_ic"],
    ).frame
    recent, enough = rows["rank_ic"].dropna().to_list(), max(1, checks.recent_sessions // 3)
    run.check(last, ic_decay(recent, checks.min_recent_rank_ic, enough))


def _evaluate(
    run: Run, model: str, dataset: Dataset, keys: tuple[str, ...], tracking: Tracking
) -> None:
    """Write the evaluations of a chunk of sessions."""
    warehouse, name, table = run.market.warehouse, f"{model}_prediction", run.stage.tables[0]
    labels = warehouse.read(dataset.label, keys, needed_by=table.name)
    decisions = {key: dataset.decision_of(key) for key in keys}
    # Only decisions whose prediction is stored are read; the others get no row.
    made = [decision for decision in decisions.values() if decision is not None]
    stored_keys = set(warehouse.sessions(name, made[0], made[-1]) if made else ())
    decision_keys = [decision for decision in made if decision in stored_keys]
    predictions = (
        warehouse.read(name, decision_keys, needed_by=table.name) if decision_keys else None
    )
    scores = _by_session(predictions.frame) if predictions else {}
    returns = _by_session(labels.frame)
    versions = {dataset.label: labels.digests, name: predictions.digests if predictions else {}}
    for key, decision in decisions.items():
        row, status = _session(run.market, key, decision, scores, returns.get(key))
        frame = table.empty() if row is None else pd.DataFrame([row])
        info = warehouse.write(table, table.name, key, frame, run.provenance(key, versions, status))
        figures = {} if row is None else {n: row[n] for n in ("ic", "rank_ic", "n")}
        run.done(key, info, decision_date=decision or "none", **_finite(figures))
        if row is not None:
            tracking.tell("session", {
                "market": run.market.config.name,
                "folder": str(run.market.paths.root),
                "model": model,
                "table": table.name,
                "session": key,
                "number": run.market.sessions.position(key),
                "decision": decision,
                "as_of": row["as_of"],
                **figures,
            })  # fmt: skip


def _session(
    market: Market,
    key: str,
    decision: str | None,
    scores: Mapping[str, pd.DataFrame],
    returns: pd.DataFrame | None,
) -> tuple[dict[str, Any] | None, str]:
    """The evaluation of a decision by the returns that matured at a session, and the status."""
    from rnn_core.evaluation import evaluate_session

    if key < market.plan.first_trained:
        return None, f"warm-up: the first trained session is {market.plan.first_trained}"
    if decision is None or decision not in scores:
        return None, f"no prediction was made for the decision of {decision or 'the warm-up'}"
    if returns is None:
        return None, f"no label of {decision} matured"
    rows = scores[decision]
    figures = evaluate_session(
        rows.set_index("instrument")["score"],
        returns.set_index("instrument")["label"],
        quantiles=market.config.evaluation.quantiles,
    )
    facts = {"decision_date": pd.Timestamp(decision), "as_of": rows["as_of"].iloc[0]}
    return {**facts, **figures, **_seed_ics(rows, returns)}, "ok"


def _seed_ics(scored: pd.DataFrame, matured: pd.DataFrame) -> dict[str, list[float] | None]:
    """IC and rank IC of each network of an ensemble; None for a single network."""
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
    """Leave out undefined figures, which the UI must not show as 0."""
    return {k: v for k, v in shown.items() if v == v}
