"""Processors under qlib's names: from raw features and labels to what a network reads.

One module a kind: `columns` (choose, drop, fill, squash), `fitted` (statistics of a fit window),
`cross_section` (within a session), `survivors` (instruments that last, a look into the future),
`chain` (an ordered, storable list).
"""

from __future__ import annotations

from rnn_core.data.processors.chain import PROCESSORS, ProcessorChain, make_processor
from rnn_core.data.processors.column_processors import (
    DropCol,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    FilterCol,
    TanhProcess,
)
from rnn_core.data.processors.cross_sectional import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    ProcessInf,
)
from rnn_core.data.processors.fitted import MinMaxNorm, RobustZScoreNorm, ZScoreNorm
from rnn_core.data.processors.processor import CellProcessor, Processor
from rnn_core.data.processors.survivors import TimeRangeFlt

__all__ = [
    "PROCESSORS",
    "CSRankNorm",
    "CSZFillna",
    "CSZScoreNorm",
    "CellProcessor",
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
    "TanhProcess",
    "TimeRangeFlt",
    "ZScoreNorm",
    "make_processor",
]
