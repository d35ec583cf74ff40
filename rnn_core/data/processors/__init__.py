"""Processors under qlib's names: from raw features and labels to the input of a network.

Here is one module a kind (qlib's `qlib.data.dataset.processor`): `column_processors` choose,
drop, fill and squash; `fitted` takes statistics of a fit window; `cross_sectional` works within a
session; `survivors` keeps instruments that last, a look into the future; `chain` is an ordered,
storable list. The views that processors make belong to `rnn_core.data.handler`.
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
