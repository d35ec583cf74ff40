"""`ensemble_prediction`, `_evaluation` and `_portfolio`: the models of the default label as one.

The reports compare the models with their rank average. With the section `ensemble` of the YAML that
average has partitions of its own, so that what a report praises can be traded. The score of a name
is the mean over models of its rank in the session, (r - 1/2) / n, over the names that all of them
score; a session that one of the models did not score has none. `linear` and `lightgbm`, which the
other models are held against, are no part of it.

With `weights: trailing_ic` the mean is weighted by the rank IC of each model over the evaluations
of the last sessions. The evaluation of a session is of labels that matured at it, so weights know
no later label. They are stored beside the scores, in `ensemble_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipelines.assets.evaluation import stage_of_evaluation
from pipelines.assets.portfolios import stage_of_model
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.input_versions import combined
from pipelines.market.market import ENSEMBLE, Market
from pipelines.market.stage import ColumnRef, DataVersions, Kind, Run, Stage, Version
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import ENSEMBLE_WEIGHTS, PREDICTION

CODE_VERSION = "1"


def ensemble_stages(market: Market) -> tuple[Stage, ...]:
    """The stages of the ensemble; none without the section `ensemble`.

    Raises:
        ConfigError: fewer than two models learn the default label.
    """
    if market.config.ensemble is None:
        return ()
    models, default = market.require_ensemble(), market.datasets[0]
    return (
        _prediction_stage(market, models),
        stage_of_evaluation(market, ENSEMBLE, f"{ENSEMBLE}_evaluation", default),
        stage_of_model(market, ENSEMBLE, default.name),
    )


def _prediction_stage(market: Market, models: tuple[str, ...]) -> Stage:
    """The stage `ensemble_prediction`."""
    tables = tuple(f"{model}_prediction" for model in models)
    name, first = f"{ENSEMBLE}_prediction", market.plan.first_trained
    settings = market.config.ensemble
    trailing = settings is not None and settings.weights == "trailing_ic"
    evaluations = tuple(f"{model}_evaluation" for model in models) if trailing else ()

    def inputs(key: str, versions: DataVersions) -> dict[str, Version]:
        made = {table: versions[table][key] for table in tables}
        window = _window(market, key)
        return made | {table: combined(versions[table], window) for table in evaluations}

    more = ENSEMBLE_WEIGHTS.named(f"{ENSEMBLE}_weights")
    weighing = ", by their rank IC of the evaluations that had matured" if trailing else ""
    return Stage(
        name=name,
        kind=Kind.PREDICTION,
        model=ENSEMBLE,
        dataset=market.datasets[0].name,
        tables=(PREDICTION.named(name), *((more,) if trailing else ())),
        deps=(*tables, *evaluations),
        first=first,
        inputs=inputs,
        make=lambda run: make_ensemble(run, models),
        code_version=CODE_VERSION,
        config={
            "method": "rank_average",
            "models": list(models),
            **(settings.model_dump() if settings is not None and trailing else {}),
        },
        description=(
            f"The mean rank of each name by {', '.join(models)}{weighing}, from 0 (worst) to 1, "
            f"over the names that all of them score."
        ),
        lineage={
            "score": (
                *(ColumnRef(table, "score") for table in tables),
                *(ColumnRef(table, "rank_ic") for table in evaluations),
            )
        },
    )


def _window(market: Market, key: str) -> tuple[str, ...]:
    """The sessions whose evaluations weigh the models at a session; none before the first."""
    settings = market.config.ensemble
    length = 0 if settings is None else settings.sessions
    keys = market.sessions.window(key, length)
    return tuple(one for one in keys if one >= market.plan.first_trained)


def make_ensemble(run: Run, models: tuple[str, ...]) -> None:
    """Average the ranks of every session of a run."""
    from rnn_core.evaluation import rank_average

    warehouse, table = run.market.warehouse, run.stage.tables[0]
    tables = {model: f"{model}_prediction" for model in models}
    for keys in chunks_of_rows(warehouse, tables[models[0]], run.keys):
        parts = {m: warehouse.read(t, keys, needed_by=table.name) for m, t in tables.items()}
        versions: dict[str, Mapping[str, Version]] = {
            tables[model]: part.digests for model, part in parts.items()
        }
        weighing = _Weights.read(run, models, keys) if len(run.stage.tables) > 1 else None
        if weighing is not None:
            versions |= weighing.versions
        days = {m: dict(list(part.frame.groupby("date"))) for m, part in parts.items()}
        for key in keys:
            rows = {m: of[pd.Timestamp(key)] for m, of in days.items() if pd.Timestamp(key) in of}
            lacking = [model for model in models if model not in rows]
            weights = None if weighing is None else weighing.at(key)
            frame, status = table.empty(), f"no score by {', '.join(lacking)}"
            if key < str(run.stage.first):
                status = f"warm-up: the first trained session is {run.stage.first}"
            elif not lacking:
                series = [r.set_index(["date", "instrument"])["score"] for r in rows.values()]
                average = rank_average(
                    [one.astype("float64") for one in series],
                    None if weights is None else weights.loc[list(rows), "weight"].tolist(),
                )
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
            words = {}
            if weights is not None:
                # The scores come last: other stages look at them.
                beside, kept = run.stage.tables[1], weights if status == "ok" else weights.iloc[:0]
                warehouse.write(beside, beside.name, key, kept.reset_index(), made)
                shown = (f"{one} {row.weight:.3f}" for one, row in kept.iterrows())
                words = {"weights": ", ".join(shown)} if len(kept) else {}
            run.done(key, warehouse.write(table, table.name, key, frame, made), **words)


@dataclass(frozen=True)
class _Weights:
    """The rank ICs that weigh the models, and the versions of the evaluations.

    Attributes:
        rank_ics: a row a session, a column a model, NaN without an evaluation.
        versions: by table and session.
        market: the market.
    """

    rank_ics: pd.DataFrame
    versions: DataVersions
    market: Market

    @classmethod
    def read(cls, run: Run, models: tuple[str, ...], keys: tuple[str, ...]) -> _Weights:
        """Read the evaluations that the sessions of a run look back to.

        Raises:
            MissingSessionsError: an evaluation is not in the warehouse.
        """
        market, needed_by = run.market, run.stage.name
        window = tuple(dict.fromkeys(one for key in keys for one in _window(market, key)))
        versions = dict[str, Mapping[str, Version]]()
        columns = {}
        for model in models if window else ():
            name = f"{model}_evaluation"
            part = market.warehouse.read(name, window, needed_by=needed_by, columns=["rank_ic"])
            columns[model] = part.frame.set_index("date")["rank_ic"].astype("float64")
            versions[name] = part.digests
        if not window:  # sessions of the warm-up
            versions = {f"{model}_evaluation": {} for model in models}
        frame = pd.DataFrame(columns, columns=list(models), dtype="float64")
        return cls(frame.reindex(pd.DatetimeIndex(list(window))), versions, market)

    def at(self, key: str) -> pd.DataFrame:
        """The rows of `ensemble_weights` of a session, by model."""
        from rnn_core.evaluation import trailing_weights

        settings = self.market.config.ensemble
        window = pd.DatetimeIndex(list(_window(self.market, key)))
        known = self.rank_ics.loc[window].dropna()
        least = 0 if settings is None else settings.min_sessions
        rows = pd.DataFrame(
            {
                "weight": trailing_weights(known, least),
                "mean_rank_ic": known.mean(),
                "sessions": len(known),
            }
        )
        return rows.rename_axis("model")
