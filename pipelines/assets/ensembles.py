"""`ensemble_prediction`, `_evaluation` and `_portfolio`: the models of the default label as one.

The reports compare the models with their rank average. With the section `ensemble` of the YAML that
average has partitions of its own, so that what a report praises can be traded. The score of a name
is the mean over models of its rank in the session, (r - 1/2) / n, over the names that all of them
score; a session that one of the models did not score has none. `linear` and `lightgbm`, which the
other models are held against, are no part of it.
"""

from __future__ import annotations

import pandas as pd

from pipelines.assets.evaluation import stage_of_evaluation
from pipelines.assets.partitions import chunks
from pipelines.assets.portfolios import stage_of_model
from pipelines.errors import ConfigError
from pipelines.market.market import ENSEMBLE, Market
from pipelines.market.stage import ColumnRef, DataVersions, Kind, Run, Stage, Version
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import PREDICTION

CODE_VERSION = "1"


def ensemble_stages(market: Market) -> tuple[Stage, ...]:
    """The stages of the ensemble; none without the section `ensemble`.

    Raises:
        ConfigError: fewer than two models learn the default label.
    """
    if market.config.ensemble is None:
        return ()
    models, default = market.ensemble_models, market.datasets[0]
    if len(models) < 2:
        raise ConfigError(
            f"ensemble: {', '.join(models) or 'no model'} learns the default label; expected two "
            f"models or more, or no section `ensemble`"
        )
    return (
        _prediction_stage(market, models),
        stage_of_evaluation(market, ENSEMBLE, f"{ENSEMBLE}_evaluation", default),
        stage_of_model(market, ENSEMBLE, default.name),
    )


def _prediction_stage(market: Market, models: tuple[str, ...]) -> Stage:
    """The stage `ensemble_prediction`."""
    tables = tuple(f"{model}_prediction" for model in models)
    name = f"{ENSEMBLE}_prediction"

    def inputs(key: str, versions: DataVersions) -> dict[str, Version]:
        return {table: versions[table][key] for table in tables}

    return Stage(
        name=name,
        kind=Kind.PREDICTION,
        model=ENSEMBLE,
        dataset=market.datasets[0].name,
        tables=(PREDICTION.named(name),),
        deps=tables,
        first=market.plan.first_trained,
        inputs=inputs,
        make=lambda run: make_ensemble(run, models),
        code_version=CODE_VERSION,
        config={"method": "rank_average", "models": list(models)},
        description=(
            f"The mean rank of each name by {', '.join(models)}, from 0 (worst) to 1, over the "
            f"names that all of them score."
        ),
        lineage={"score": tuple(ColumnRef(table, "score") for table in tables)},
    )


def make_ensemble(run: Run, models: tuple[str, ...]) -> None:
    """Average the ranks of every session of a run."""
    from rnn_core.evaluation import rank_average

    warehouse, table = run.market.warehouse, run.stage.tables[0]
    tables = {model: f"{model}_prediction" for model in models}
    for keys in chunks(run.keys):
        parts = {m: warehouse.read(t, keys, needed_by=table.name) for m, t in tables.items()}
        versions = {tables[model]: part.digests for model, part in parts.items()}
        days = {m: dict(list(part.frame.groupby("date"))) for m, part in parts.items()}
        for key in keys:
            rows = {m: of[pd.Timestamp(key)] for m, of in days.items() if pd.Timestamp(key) in of}
            lacking = [model for model in models if model not in rows]
            frame, status = table.empty(), f"no score by {', '.join(lacking)}"
            if key < str(run.stage.first):
                status = f"warm-up: the first trained session is {run.stage.first}"
            elif not lacking:
                series = [r.set_index(["date", "instrument"])["score"] for r in rows.values()]
                average = rank_average([one.astype("float64") for one in series])
                status = "ok"
                frame = pd.DataFrame(
                    {
                        "instrument": average.index.get_level_values("instrument"),
                        "score": average.to_numpy().astype("float32"),
                        "seed_scores": None,
                        "as_of": max(one["as_of"].iloc[0] for one in rows.values()),
                        "fingerprint": fingerprint(
                            [one["fingerprint"].iloc[0] for one in rows.values()]
                        ),
                    }
                )
            made = run.provenance(key, versions, status)
            run.done(key, warehouse.write(table, table.name, key, frame, made))
