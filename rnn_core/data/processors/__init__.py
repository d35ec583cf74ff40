"""Processors under qlib's names: from raw features and labels to what a network reads.

One module a kind: `columns` (choose, drop, fill), `fitted` (statistics of a fit window),
`cross_section` (within a session), `chain` (an ordered, storable list).
"""

from __future__ import annotations

from rnn_core.data.processors.base import Processor
from rnn_core.data.processors.chain import PROCESSORS, ProcessorChain, make_processor
from rnn_core.data.processors.columns import (
    DropCol,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    FilterCol,
)
from rnn_core.data.processors.cross_section import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    ProcessInf,
)
from rnn_core.data.processors.fitted import MinMaxNorm, RobustZScoreNorm, ZScoreNorm

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
    "ProcessInf",
    "Processor",
    "ProcessorChain",
    "RobustZScoreNorm",
    "ZScoreNorm",
    "make_processor",
]
