"""Warnings of the library point at the line that called it, however deep they arise.

Oracle: the line of the call, marked in this file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha360,
    DataHandlerLP,
    DatasetH,
    DropnaLabel,
    Fillna,
    TimeRangeFlt,
    simulate_market,
)
from rnn_core.models import GRU, KRNN

S = pd.bdate_range("2020-01-01", periods=12)
INDEX = pd.MultiIndex.from_product([S, ["A", "B"]], names=["datetime", "instrument"])
FRAME = pd.DataFrame({("feature", "X"): np.arange(24.0), ("label", "L"): 0.0}, INDEX)


def alpha360() -> None:
    bars = simulate_market(2, S, 0).assign(vwap=1.0)
    Alpha360(bars=bars, fit_end_time=S[5], semantics="qlib")  # here


def mapping() -> None:
    DataHandlerLP(FRAME, infer_processors=[{"class": "Fillna"}], semantics="qlib")  # here


def instance() -> None:
    Fillna(semantics="qlib")  # here


def subclass() -> None:
    DropnaLabel(None, "qlib")  # here


def other_semantics() -> None:
    class Own(Fillna):
        semantics = "strict"

    DataHandlerLP(FRAME, infer_processors=[Own("feature")], semantics="qlib")  # here


def survivors() -> None:
    step = TimeRangeFlt(S[0], S[9], looks_ahead=True)
    DataHandlerLP(FRAME, infer_processors=[step])  # here


def unknown_argument() -> None:
    GRU(hiden=3)  # here


def layout() -> None:
    dataset = DatasetH(DataHandlerLP(FRAME, semantics="qlib"), {"train": (None, None)})
    model = KRNN(1, 2, 1, 2, 1, 1, n_epochs=1, GPU=-1, threads=1)
    model.fit(dataset)  # here


CALLS = [
    alpha360,
    mapping,
    instance,
    subclass,
    other_semantics,
    survivors,
    unknown_argument,
    layout,
]


@pytest.mark.parametrize("call", CALLS)
def test_a_warning_is_of_the_line_of_the_call(call: Callable[[], Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        call()
    assert caught
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    first = call.__code__.co_firstlineno - 1
    here = next(k + 1 for k in range(first, len(lines)) if lines[k].endswith("# here"))
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, here)}
