"""Frames in, windows out: panel, universe, processors, handlers, datasets, sampler and checks.

`Alpha158` and `Alpha360` load on first use: they need `rnn_core.features`, which needs the panel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnn_core.data.datasets import DatasetH, TSDatasetH
from rnn_core.data.finite import finite_report, require_finite
from rnn_core.data.handler import DK_I, DK_L, DK_R, DataHandlerLP
from rnn_core.data.processors import (
    PROCESSORS,
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DropCol,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessInf,
    Processor,
    ProcessorChain,
    RobustZScoreNorm,
    TanhProcess,
    TimeRangeFlt,
    ZScoreNorm,
    make_processor,
)
from rnn_core.data.sampler import TSDataSampler
from rnn_core.data.simulate import planted_score, simulate_market
from rnn_core.data.universe import Universe
from rnn_core.panel.panel import Panel

if TYPE_CHECKING:
    from rnn_core.data.alpha import Alpha158, Alpha158vwap, Alpha360, Alpha360vwap
    from rnn_core.data.bin_files import ProviderError
    from rnn_core.data.handlers import make_handler
    from rnn_core.data.qlib_bins import QlibProvider

__all__ = [
    "DK_I",
    "DK_L",
    "DK_R",
    "PROCESSORS",
    "Alpha158",
    "Alpha158vwap",
    "Alpha360",
    "Alpha360vwap",
    "CSRankNorm",
    "CSZFillna",
    "CSZScoreNorm",
    "DataHandlerLP",
    "DatasetH",
    "DropCol",
    "DropnaLabel",
    "DropnaProcessor",
    "Fillna",
    "FilterCol",
    "MinMaxNorm",
    "Panel",
    "ProcessInf",
    "Processor",
    "ProcessorChain",
    "ProviderError",
    "QlibProvider",
    "RobustZScoreNorm",
    "TSDataSampler",
    "TSDatasetH",
    "TanhProcess",
    "TimeRangeFlt",
    "Universe",
    "ZScoreNorm",
    "finite_report",
    "make_handler",
    "make_processor",
    "planted_score",
    "require_finite",
    "simulate_market",
]

_LAZY = {
    "Alpha158": "rnn_core.data.alpha",
    "Alpha158vwap": "rnn_core.data.alpha",
    "Alpha360": "rnn_core.data.alpha",
    "Alpha360vwap": "rnn_core.data.alpha",
    "ProviderError": "rnn_core.data.bin_files",
    "QlibProvider": "rnn_core.data.qlib_bins",
    "make_handler": "rnn_core.data.handlers",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
