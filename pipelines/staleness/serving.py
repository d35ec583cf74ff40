"""State of service of a market: which model serves, how old it is, what drifts, waits or failed.

Everything is read from the newest partitions and the manifests of bundles, so the answer takes a
second. It holds for one moment, which it names together with the newest session, and it says when
the next one is due: an answer that was not replaced by then is old.

Two measures of drift, of the newest session alone:

- of scores, the population stability index to the sessions before that the same bundle scored,
  Σ (p_k - q_k) ln(p_k / q_k) over deciles of theirs, a half counted to each. By chance alone it is
  about (10 - 1) (1 / n + 1 / m) of n and m scores (Yurdakul 2018), stated beside it;
- of features, the largest |median over the names| of a column in the training's units, after the
  norm that the model is served with: 1 is one scale away from the centre that it was fitted to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.config.cron import next_tick
from pipelines.errors import PipelineError
from pipelines.instance.names import DAILY, asset_key, own_name
from pipelines.instance.run_history import failed_attempts
from pipelines.instance.schedule_switch import schedule_is_on
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage, by_model, last_stages
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import StatusReport
from pipelines.training.learning_data import features_for
from pipelines.training.processors import states_in_force
from pipelines.training.registry import Candidate, by_manifest, newest_good, unreadable
from rnn_core.data.processors.fitted import RobustZScoreNorm, ZScoreNorm

FEWEST_NAMES = 100  # of a session, below which its distribution says little
_BACK = 120  # sessions looked back for the begin of a model's service
_FEWEST_BEFORE = 5  # sessions that a distribution is compared with
_BINS = 10


@dataclass(frozen=True)
class ModelState:
    """The state of one model at the newest session that it scored.

    Attributes:
        model: its name.
        session: the newest session with scores; None if there is none.
        behind: closed sessions after it.
        as_of: the session that trained the model; None of an ensemble.
        since: the first session of its service, as far as is looked back.
        age: sessions since the training.
        passed_over: reasons against the models of newer sessions, by session.
        names: names scored.
        members: members of the universe with a bar.
        psi: stability index of the scores and its value by chance; None where it says nothing.
        reason: why the rest cannot be said.
    """

    model: str
    session: str | None = None
    behind: int = 0
    as_of: str | None = None
    since: str | None = None
    age: int = 0
    passed_over: tuple[str, ...] = ()
    names: int = 0
    members: int = 0
    psi: tuple[float, float] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Shift:
    """The distance of the features of a dataset from the centres that its processors know.

    Attributes:
        dataset: its name.
        column: the column that is furthest away; empty if it cannot be said.
        scales: its distance, in units of its scale.
        reason: why it cannot be said.
    """

    dataset: str
    column: str = ""
    scales: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Service:
    """The service of a market at one moment.

    Attributes:
        market: its name.
        made: the moment.
        zone: time zone of the calendar.
        newest: the newest closed session.
        models: one state a model, that of the ensemble last.
        shifts: one a dataset.
        next_tick: when the schedule first asks for the next session; None if it does not.
        schedule: the schedule in words.
        open_points: what is missing, stale, waits, works or failed, in sentences.
    """

    market: str
    made: dt.datetime
    zone: str
    newest: str
    models: tuple[ModelState, ...]
    shifts: tuple[Shift, ...]
    next_tick: dt.datetime | None
    schedule: str
    open_points: tuple[str, ...]


def service(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    status: StatusReport,
    now: dt.datetime | None = None,
    *,
    own_run: str = "",
) -> Service:
    """Look at what a market serves.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
        status: the comparison with what would be made now.
        now: the moment, with a time zone (default now).
        own_run: id of the run that asks, which is no work to wait for.
    """
    moment = now or dt.datetime.now(dt.UTC)
    predictions, pointers = by_model(stages, Kind.PREDICTION), by_model(stages, Kind.MODEL)
    models = tuple(
        _state(market, model, stage, pointers.get(model), status.newest)
        for model, stage in predictions.items()
    )
    is_scored = all(state.session == status.newest for state in models)
    tick, words = _schedule(market, instance, status.newest if is_scored else None, moment)
    return Service(
        market=market.config.name,
        made=moment,
        zone=market.sessions.timezone,
        newest=status.newest,
        models=models,
        shifts=tuple(_shift(market, dataset) for dataset in market.datasets),
        next_tick=tick,
        schedule=words,
        open_points=tuple(_open_points(market, stages, instance, status, own_run)),
    )


def _state(
    market: Market, model: str, stage: Stage, pointer: Stage | None, newest: str
) -> ModelState:
    """The state of a model, or why it cannot be read: one damaged file hides no other model."""
    try:
        return _state_of(market, model, stage, pointer, newest)
    except (PipelineError, OSError) as error:
        return ModelState(model, reason=str(error))


def _state_of(
    market: Market, model: str, stage: Stage, pointer: Stage | None, newest: str
) -> ModelState:
    """Read the newest scores of a model and the pointers to its bundles."""
    keys = [key for key in market.warehouse.sessions(stage.name) if key <= newest]
    if not keys:
        return ModelState(model)
    key, sessions = keys[-1], market.sessions
    scored = market.warehouse.read(stage.name, [key], needed_by="the state of service").frame
    bars = market.warehouse.sessions("ohlcv")
    member = (
        market.warehouse.read("ohlcv", [key], needed_by="coverage", columns=["member"]).frame
        if key in bars
        else pd.DataFrame({"member": []})
    )
    state: dict[str, Any] = {
        "session": key,
        "behind": len(sessions.between(key, newest)) - 1,
        "names": len(scored),
        "members": int(member["member"].sum()),
    }
    made = market.warehouse.sessions(pointer.name) if pointer is not None else ()
    pointed = [k for k in made if k <= key][-_BACK:]
    if pointer is None or not pointed:
        return ModelState(model, **state)
    columns = ["as_of", "fingerprint"]
    rows = market.warehouse.read(pointer.name, pointed, needed_by="its age", columns=columns).frame
    state["passed_over"] = _passed_over(market, model, key)
    if rows.empty or f"{rows['date'].iloc[-1]:%Y-%m-%d}" != key:
        return ModelState(model, **state)  # none in force
    own = rows[rows["fingerprint"] == rows["fingerprint"].iloc[-1]]
    as_of, since = (f"{own[c].iloc[at]:%Y-%m-%d}" for c, at in (("as_of", -1), ("date", 0)))
    before = [k for k in keys if since <= k < key][-60:]
    return ModelState(
        model, **state, as_of=as_of, since=since,
        age=sessions.position(key) - sessions.position(as_of),
        psi=_score_drift(market, stage.name, before, scored["score"].to_numpy()),
    )  # fmt: skip


def _passed_over(market: Market, model: str, key: str) -> tuple[str, ...]:
    """Say why newer models than the one in force do not serve, from their manifests alone."""

    def look(as_of: str) -> Candidate:
        try:
            return by_manifest(market, model, as_of)
        except OSError as error:  # of another user, or of a disk: the others still tell
            return unreadable(error)

    _, reasons = newest_good(market, model, key, look)
    return tuple(f"{as_of}: {', '.join(why)}" for as_of, why in reasons.items())


def _score_drift(
    market: Market, table: str, before: Sequence[str], scores: np.ndarray
) -> tuple[float, float] | None:
    """Compare the newest scores with those that the same bundle gave before."""
    if len(before) < _FEWEST_BEFORE or len(scores) < FEWEST_NAMES:
        return None
    read = market.warehouse.read(table, before, needed_by="drift", columns=["score"])
    return stability(scores, read.frame["score"].to_numpy())


def stability(new: np.ndarray, old: np.ndarray) -> tuple[float, float]:
    """Compute the population stability index of two samples.

    Args:
        new: [n] values.
        old: [m] values, whose deciles are the bins.

    Returns:
        The index, and what it is by chance alone.
    """
    edges = np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, v), minlength=_BINS) + 0.5 for v in (new, old)]
    p, q = (count / count.sum() for count in counts)
    chance = (_BINS - 1) * (1 / len(new) + 1 / len(old))
    return float(((p - q) * np.log(p / q)).sum()), chance


def _shift(market: Market, dataset: Dataset) -> Shift:
    """Measure the newest features of a dataset in the units that its processors know."""
    needed_by = "the drift of features"
    keys = market.warehouse.sessions(dataset.features_read)
    if not keys:
        return Shift(dataset.name, reason="no session has features")
    try:
        state = states_in_force(market, dataset, keys[-1:], needed_by).by_session[keys[-1]]
        if state is None:
            return Shift(dataset.name, reason="its processors were not fitted yet")
        if not any(isinstance(step, ZScoreNorm | RobustZScoreNorm) for step in state.infer):
            return Shift(dataset.name, reason="no processor knows the scale of its columns")
        frame = features_for(market, dataset, keys[-1:], state, needed_by).frame
    except PipelineError as error:
        return Shift(dataset.name, reason=str(error))
    columns = [name for name in dataset.columns if name in frame.columns]
    medians = frame[columns].median().abs()
    if medians.isna().all():
        return Shift(dataset.name, reason=f"{keys[-1]} has no features")
    return Shift(dataset.name, str(medians.idxmax()), float(medians.max()))


def _schedule(
    market: Market, instance: dg.DagsterInstance, scored: str | None, moment: dt.datetime
) -> tuple[dt.datetime | None, str]:
    """Say when the schedule first asks for the session after the newest one.

    Args:
        market: the market.
        instance: its Dagster record, which knows the schedule's switch in the UI.
        scored: the newest closed session; None if a model has not scored it, and it is asked for.
        moment: the present one.
    """
    cron, sessions, since = market.config.schedule.cron, market.sessions, moment
    if scored is not None and (after := sessions.after(scored)):
        since = max(moment, sessions.midnight_after(after).to_pydatetime())
    elif scored is not None and market.config.market.end is not None:
        return None, f"the market ends with {scored}: no session follows"
    if not schedule_is_on(instance, market):
        return None, "the schedule is off (schedule.enabled of the YAML, or its switch in the UI)"
    return next_tick(cron, since, sessions.timezone), f"cron {cron}, {sessions.timezone}"


def _open_points(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    status: StatusReport,
    own_run: str,
) -> list[str]:
    """Name what is not as it should be, worst first."""
    points = []
    absent = sorted(
        key
        for asset in status.assets
        for finding in asset.findings
        if finding.cause in (Cause.ABSENT, Cause.WAITS)
        for key in finding.keys
    )
    if absent:
        ends = [asset_key(market, stage.name) for stage in last_stages(stages)]
        failed = failed_attempts(instance, own_name(market, DAILY), absent[0], ends)
        if failed is not None and failed.count:
            points.append(
                f"{absent[0]} failed {failed.count} time{'s' * (failed.count != 1)}, "
                f"last in run {failed.run_id[:8]}: {failed.reason}"
            )
    points += [
        f"{asset.asset}: {finding.shown()} {finding.why}"
        for asset in status.assets
        for finding in asset.findings
        if finding.is_stale
    ]
    if status.busy and not (own_run and own_run[:8] in status.busy):
        points.append(status.busy)
    return points + ([status.calendar] if status.calendar else [])
