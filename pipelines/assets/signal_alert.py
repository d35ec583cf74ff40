"""The alert of a session that is scored: `alerts.on_signal` names a program that is told once.

The step that completes the scores of the market's newest session tells the program, whoever has
launched the run. A line in `reports/signals.jsonl`, written first and under a lock, is the mark: a
restart, a run of the same session again and a second process find it and tell nobody. A process
that is killed between the mark and the program has told nobody, and nobody is told later: once at
most is what an order desk needs. Older sessions are never told, so a backfill is silent but for
the newest session, and so is catching up.

The program is given, in its environment, RNN_MARKET, RNN_RUN_ID, RNN_SESSION, RNN_MODELS (those
that have scores of the session, by spaces), RNN_PATH (the files of the scores, one a line, in the
order of the models), and of the newest evaluations up to the session RNN_IC_SESSION, RNN_IC,
RNN_RANK_IC and RNN_IC_RANK: `lstm=0.0312 gru=-0.0040`, and `lstm=12/60` for the twelfth-best rank
IC of the newest 60 sessions. A market without evaluations has empty ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import dagster as dg
import pandas as pd

from pipelines.errors import PipelineError
from pipelines.instance.alert_program import run_program
from pipelines.instance.locks import writer_lock
from pipelines.instance.names import asset_key
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Log, Stage, by_model
from pipelines.warehouse.store import PART

SIGNALS = "signals.jsonl"
_KEY = "alerts.on_signal"


@dataclass(frozen=True)
class ScoredSession:
    """The facts of a session whose scores are all published.

    Attributes:
        session: the session.
        models: the models that have scores of it.
        paths: the file of the scores of each.
        ic_session: the newest session with an evaluation; empty without one.
        ic: daily IC of each model's newest evaluation, by model.
        rank_ic: its rank IC.
        ic_rank: its place by rank IC among the newest evaluations, `12/60`, 1 for the best.
    """

    market: str
    run_id: str
    session: str
    models: tuple[str, ...]
    paths: tuple[str, ...]
    ic_session: str
    ic: dict[str, float]
    rank_ic: dict[str, float]
    ic_rank: dict[str, str]

    def environment(self) -> dict[str, str]:
        """The variables that the program is given."""
        return {
            "RNN_MARKET": self.market,
            "RNN_RUN_ID": self.run_id,
            "RNN_SESSION": self.session,
            "RNN_MODELS": " ".join(self.models),
            "RNN_PATH": "\n".join(self.paths),
            "RNN_IC_SESSION": self.ic_session,
            "RNN_IC": _pairs({m: f"{v:.4f}" for m, v in self.ic.items()}),
            "RNN_RANK_IC": _pairs({m: f"{v:.4f}" for m, v in self.rank_ic.items()}),
            "RNN_IC_RANK": _pairs(self.ic_rank),
        }


def _pairs(values: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def tell_signal(market: Market, stages: Sequence[Stage], run: dg.DagsterRun, log: Log) -> None:
    """Tell the program of `alerts.on_signal` that the newest session is scored, if it now is.

    Nothing that goes wrong is raised: it is a warning of the log.

    Args:
        market: the market.
        stages: its stages.
        run: the run that asks.
        log: the log of the run.
    """
    alerts = market.config.alerts
    if not alerts.on_signal:
        return
    try:
        scored = scored_session(market, stages, run)
        if scored is None or not _claim(market, scored):
            return
    except (PipelineError, OSError) as error:
        log.warning(f"{_KEY} was not told: {error}")
        return
    trouble = run_program(_KEY, alerts.on_signal, scored.environment(), alerts.timeout_seconds)
    if trouble is not None:
        log.warning(trouble)


def scored_session(
    market: Market, stages: Sequence[Stage], run: dg.DagsterRun
) -> ScoredSession | None:
    """The facts of the market's newest session; None while scores of it are missing.

    Args:
        market: the market.
        stages: its stages.
        run: a model that has never scored is waited for only if this run makes its first scores.

    Raises:
        PipelineError: a partition is damaged.
    """
    key = market.last_closed()
    predictions = by_model(stages, Kind.PREDICTION)
    store, selected = market.warehouse.store, run.asset_selection
    awaited = [
        model
        for model, stage in predictions.items()
        if store.has_partitions(stage.name)
        or selected is None
        or asset_key(market, stage.name) in selected
    ]
    if not awaited or any(store.absent(predictions[model].name, [key]) for model in awaited):
        return None
    infos = {model: market.warehouse.info(predictions[model].name, key) for model in awaited}
    models = tuple(model for model, info in infos.items() if info is not None and info.rows)
    if not models:
        return None
    paths = (store.url(predictions[model].name, f"date={key}", PART) for model in models)
    recent = _recent(market, stages, models, key)
    newest = {model: rows.iloc[-1] for model, rows in recent.items()}
    return ScoredSession(
        market=market.config.name,
        run_id=run.run_id,
        session=key,
        models=models,
        paths=tuple(paths),
        ic_session=max((f"{row['date']:%Y-%m-%d}" for row in newest.values()), default=""),
        ic={model: float(row["ic"]) for model, row in newest.items()},
        rank_ic={model: float(row["rank_ic"]) for model, row in newest.items()},
        ic_rank={
            model: f"{int((rows['rank_ic'] > rows['rank_ic'].iloc[-1]).sum()) + 1}/{len(rows)}"
            for model, rows in recent.items()
        },
    )


def _recent(
    market: Market, stages: Sequence[Stage], models: Sequence[str], key: str
) -> dict[str, pd.DataFrame]:
    """The newest evaluations up to a session, oldest first, of the models that have some."""
    count = market.config.checks.evaluation.recent_sessions
    recent = {}
    for model, stage in by_model(stages, Kind.EVALUATION).items():
        keys = market.warehouse.store.newest(stage.name, key, count)
        if model in models and keys:
            rows = market.warehouse.read(
                stage.name, keys, needed_by=_KEY, columns=["ic", "rank_ic"]
            ).frame.dropna()
            if len(rows):
                recent[model] = rows
    return recent


def _claim(market: Market, scored: ScoredSession) -> bool:
    """Mark a session as told; False if it is marked already.

    Raises:
        OSError: the mark cannot be written.
        WarehouseError: the lock cannot be made.
    """
    with writer_lock(market, "on_signal"):
        market.reports.forget(SIGNALS)
        told = b""
        with suppress(FileNotFoundError):
            told = market.reports.read(SIGNALS)
        if scored.session in map(_session_in, told.split(b"\n")):
            return False
        market.reports.append_line(json.dumps(asdict(scored), ensure_ascii=False), SIGNALS)
    return True


def _session_in(line: bytes) -> str | None:
    """The session of a line; None of a line that a full disk cut off."""
    try:
        return str(json.loads(line)["session"])
    except (ValueError, KeyError, TypeError):
        return None
