"""The five benchmark files, and how the tests make them small enough to run.

Only dates, universe, sizes and epochs are overridden; everything else is as the files have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

FILES = Path(__file__).resolve().parents[2] / "fixtures" / "workflow"
BENCHMARKS = (
    "lstm_alpha158", "gru_alpha158", "lstm_alpha360", "gru_alpha360", "krnn_alpha360",
)  # fmt: skip

SESSIONS = pd.bdate_range("2020-01-01", periods=220)


def _day(k: int) -> str:
    return f"{SESSIONS[k]:%Y-%m-%d}"


SPANS = {0: (_day(120), "2099-12-31"), 1: (_day(0), _day(160))}
"""Members that come, or go, in between, by place among the sorted codes."""

SMALL = (
    f"data_handler_config.start_time={_day(80)}",
    f"data_handler_config.end_time={_day(215)}",
    f"data_handler_config.fit_start_time={_day(80)}",
    f"data_handler_config.fit_end_time={_day(150)}",
    f"task.dataset.kwargs.segments.train=[{_day(80)}, {_day(150)}]",
    f"task.dataset.kwargs.segments.valid=[{_day(151)}, {_day(180)}]",
    f"task.dataset.kwargs.segments.test=[{_day(181)}, {_day(215)}]",
    f"port_analysis_config.backtest.start_time={_day(181)}",
    f"port_analysis_config.backtest.end_time={_day(215)}",
    "port_analysis_config.strategy.kwargs.topk=5",
    "port_analysis_config.strategy.kwargs.n_drop=1",
    "task.model.kwargs.n_epochs=1",
    "task.model.kwargs.batch_size=200",
    "task.model.kwargs.GPU=-1",
    "task.model.kwargs.seed=3",
    "task.model.kwargs.threads=1",
)


def small(**model: Any) -> list[str]:
    """The overrides, with arguments of the model in their place or besides."""
    values = dict(text.split("=", 1) for text in SMALL)
    values |= {f"task.model.kwargs.{name}": value for name, value in model.items()}
    return [f"{key}={value}" for key, value in values.items()]
