"""Frames in, windows out: panel, processors, sampler, checks and a simulated market."""

from __future__ import annotations

from rnn_core.data.finite import finite_report, require_finite
from rnn_core.data.panel import Panel
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
    ZScoreNorm,
    make_processor,
)
from rnn_core.data.sampler import TSDataSampler
from rnn_core.data.simulate import planted_score, simulate_market

__all__ = [
    "PROCESSORS",
    "CSRankNorm",
    "CSZFillna",
    "CSZScoreNorm",
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
    "RobustZScoreNorm",
    "TSDataSampler",
    "ZScoreNorm",
    "finite_report",
    "make_processor",
    "planted_score",
    "require_finite",
    "simulate_market",
]
