"""`signal`: the scores of a session by every model, and the ensemble of the models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.errors import PipelineError, name_sessions
from pipelines.market.market import ENSEMBLE, Market
from pipelines.market.stage import Kind, Stage, by_model

COLUMNS = ["date", "model", "rank", "instrument", "score", "as_of", "seed_std"]


@dataclass(frozen=True)
class Signal:
    """The scores of a session.

    Attributes:
        key: the session.
        scores: `COLUMNS`, a row for each model and instrument, best first: rank is 1 for the
            highest score; as_of is the session that the model in force was trained at, text as
            date is; seed_std is the standard deviation over the seeds' scores (ddof 1), NaN of a
            single one. The rows of the ensemble come last, and have neither.
        averaged: the models that the ensemble is the mean of.
        notes: a sentence for each model without scores.
    """

    key: str
    scores: pd.DataFrame
    averaged: tuple[str, ...]
    notes: tuple[str, ...]


def session_signal(market: Market, stages: Sequence[Stage], day: str | None = None) -> Signal:
    """Read the scores of a session, and average the ranks of the models that have some.

    Args:
        market: the market.
        stages: its stages.
        day: the session; None for the newest one that a model scored.

    Raises:
        PipelineError: no model has any session; of a day that was given: it is no session, or a
            model has no partition of it.
        WarehouseError: a partition is damaged.
    """
    from rnn_core.evaluation import rank_average

    if day is not None:
        require_session(market, day)
    predictions = by_model(stages, Kind.PREDICTION)
    stored = {stage.name: market.warehouse.sessions(stage.name) for stage in predictions.values()}
    newest = max((keys[-1] for keys in stored.values() if keys), default=None)
    key = day or newest
    if key is None:
        raise PipelineError(
            f"{', '.join(stored)}: no session yet; run `{market.command('demo')}` first"
        )
    notes = [
        f"{table} has no session {key}, it has {len(keys)}"
        f"{f' from {keys[0]} to {keys[-1]}' if keys else ''}; "
        f"run `{market.command(f'backfill --start {key} --end {key}')}` first"
        for table, keys in stored.items()
        if key not in keys
    ]
    if notes and day is not None:
        raise PipelineError("; ".join(notes))
    notes += late_note(market, key) if day is None else []
    scores = {}
    for model, stage in predictions.items():
        if key in stored[stage.name]:
            frame = market.warehouse.read(stage.name, [key], needed_by="signal").frame
            frame["seed_std"] = [_deviation(each) for each in frame["seed_scores"]]
            scores[model] = frame.set_index(["date", "instrument"])[["score", "as_of", "seed_std"]]
    models = tuple(m for m, frame in scores.items() if len(frame) and m != ENSEMBLE)
    if ENSEMBLE in scores:
        scores[ENSEMBLE]["as_of"] = pd.NaT
    notes += [
        f"{m} has no scores of {key}: no model in force" for m in scores if not len(scores[m])
    ]
    averaged = [model for model in models if model in market.ensemble_models]
    others = [model for model in models if model not in market.comparable_models]
    if others:
        notes.append(f"{', '.join(others)}: of another label, no part of the ensemble")
    references = [m for m in models if m in market.comparable_models and m not in averaged]
    if references and len(averaged) > 1:
        notes.append(f"{', '.join(references)}: held against it, no part of the ensemble")
    if len(averaged) > 1 and ENSEMBLE not in predictions:
        average = rank_average([scores[model]["score"] for model in averaged])
        scores[ENSEMBLE] = average.rename_axis(["date", "instrument"]).to_frame("score")
    best_first = {
        model: frame.sort_values(["score", "instrument"], ascending=[False, True])
        for model, frame in scores.items()
    }
    table = pd.concat(best_first, names=["model"]).reset_index()
    table["rank"] = table.groupby("model")["score"].rank(ascending=False, method="min").astype(int)
    for column in ("date", "as_of"):
        table[column] = table[column].dt.strftime("%Y-%m-%d")
    return Signal(key, table[COLUMNS], tuple(averaged), tuple(notes))


def _deviation(seed_scores: Sequence[float] | None) -> float:
    """The standard deviation over seeds; NaN of fewer than two."""
    if seed_scores is None or len(seed_scores) < 2:
        return math.nan
    return float(np.std(np.asarray(seed_scores, dtype=np.float64), ddof=1))


def late_note(market: Market, key: str) -> list[str]:
    """Say which sessions closed after the newest one that has an answer; none, no line."""
    last = market.last_closed()
    later = [one for one in market.sessions.keys if key < one <= last]
    if not later:
        return []
    return [
        f"{key} is the newest session that was made, and {name_sessions(later)} closed since: "
        f"`{market.command('status')}` says what is missing"
    ]


def require_session(market: Market, key: str) -> None:
    """Require that a day is a session that a model may have scored.

    Args:
        market: the market.
        key: the day.

    Raises:
        PipelineError: the day is no session, and the message names its neighbours; or it lies
            before the first trained session.
    """
    sessions = market.sessions
    if key not in sessions:
        neighbours = [
            *[k for k in sessions.keys if k < key][-1:],
            *[k for k in sessions.keys if k > key][:1],
        ]
        raise PipelineError(
            f"{key} is not a session of {sessions.calendar}; the nearest of this market: "
            f"{', '.join(neighbours)}"
        )
    if key < market.plan.first_trained:
        raise PipelineError(
            f"no model has scores of {key}: the first session that trains is "
            f"{market.plan.first_trained} (training.first_trained)"
        )
