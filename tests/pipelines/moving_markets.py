"""Markets whose processors have a fit window that moves."""

from __future__ import annotations

from pipelines.training.processors import states_in_force
from tests.pipelines.conftest import (
    materialize,
    model_assets,
)

DATA = ("ohlcv", "alpha158", "label")
FITTED = ("processors", "dataset_infer", "dataset_learn")
NO_BOUNDS = {"fit_start": None, "fit_end": None}


def fitting(fit, **changes):
    """Changes that give the tiny market a moving fit window; `fit` as the YAML has it."""
    return {"dataset": {"fit": fit, **NO_BOUNDS}, **changes}


ROLLING = fitting({"rolling": {"window_sessions": 30}})


def run_all(market, instance, last=None):
    """Every partitioned stage up to a session."""
    end = last or market.sessions.keys[-1]
    materialize(market, DATA, market.sessions.first, end, instance)
    materialize(market, FITTED, market.plan.first_trained, end, instance)
    materialize(market, model_assets(market), market.plan.first_trained, end, instance)


def state_of(market, key):
    """The processor state in force at a session."""
    return states_in_force(market, market.datasets[0], (key,), "the test").by_session[key]


def norm_of(state):
    """The fitted processor of the tiny market's features."""
    return state.infer.processors[1]
