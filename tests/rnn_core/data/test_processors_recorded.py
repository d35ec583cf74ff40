"""Processors against pyqlib's own on a small hostile frame (oracle: fixtures/make_dataset.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
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
    RobustZScoreNorm,
    ZScoreNorm,
)
from rnn_core.data.processors import TanhProcess, TimeRangeFlt

FIT = ("2020-01-10", "2020-02-14")
MAKE: dict[str, Callable[[], Processor]] = {
    "FilterCol": lambda: FilterCol("feature", ["TINY", "TIES", "NORMAL"]),
    "DropCol": lambda: DropCol(["HOLES", "MAD0"]),
    "DropnaProcessor": lambda: DropnaProcessor("feature"),
    "DropnaLabel": DropnaLabel,
    "Fillna": lambda: Fillna("feature", 0.5),
    "ProcessInf": lambda: ProcessInf(["feature", "label"]),
    "MinMaxNorm": lambda: MinMaxNorm(*FIT, "feature", semantics="qlib"),
    "ZScoreNorm": lambda: ZScoreNorm(*FIT, "feature", semantics="qlib"),
    "RobustZScoreNorm": lambda: RobustZScoreNorm(*FIT, "feature", semantics="qlib"),
    "RobustZScoreNorm_unclipped": lambda: RobustZScoreNorm(
        *FIT, "feature", clip_outlier=False, semantics="qlib"
    ),
    "CSZScoreNorm": lambda: CSZScoreNorm("feature"),
    "CSZScoreNorm_robust": lambda: CSZScoreNorm("feature", "robust"),
    "CSRankNorm": lambda: CSRankNorm("feature"),
    "CSRankNorm_label": lambda: CSRankNorm("label"),
    "CSZFillna": lambda: CSZFillna("feature"),
    "TanhProcess": lambda: TanhProcess("feature"),
    "TimeRangeFlt": lambda: TimeRangeFlt("2020-01-04", "2020-03-21", looks_ahead=True),
}


def test_every_recorded_processor_is_compared(recorded):
    names = {k.split("/")[0] for k in recorded if "/" in k} - {"windows"}
    assert names == set(MAKE)


@pytest.mark.filterwarnings("ignore:TimeRangeFlt looks into the future")
@pytest.mark.parametrize("name", sorted(MAKE))
def test_equals_pyqlib(name, frame, recorded):
    got = MAKE[name]().fit(frame)(frame)
    assert got.columns.get_level_values(1).tolist() == recorded[f"{name}/name"].tolist()
    pd.testing.assert_index_equal(got.index, frame.index[recorded[f"{name}/row"]])
    assert (got.dtypes == np.float32).all()
    want = recorded[f"{name}/values"].copy()
    if name == "CSZScoreNorm":  # equal values: pyqlib leaves the round-off of its float32 mean
        constant = got.columns.get_loc(("feature", "CONSTANT"))
        assert got.iloc[:, constant].isna().all()
        assert not np.isnan(want[:, constant]).all()
        want[:, constant] = np.nan
    np.testing.assert_array_equal(np.isnan(got.to_numpy()), np.isnan(want))
    np.testing.assert_allclose(got.to_numpy(), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["RobustZScoreNorm", "RobustZScoreNorm_unclipped"])
def test_robust_score_has_pyqlibs_bits(name, frame, recorded):
    got = MAKE[name]().fit(frame)(frame)
    np.testing.assert_array_equal(got.to_numpy(), recorded[f"{name}/values"])
