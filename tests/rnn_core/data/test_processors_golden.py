"""The benchmark chain against pyqlib's recorded frames of two real markets (oracle: golden)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    CSRankNorm,
    DropnaLabel,
    Fillna,
    FilterCol,
    ProcessorChain,
    RobustZScoreNorm,
)
from rnn_core.features import ALPHA158_20

LABEL = "Ref($close, -2) / Ref($close, -1) - 1"
FIT = {"us": ("2013-02-08", "2016-06-30"), "cn": ("2020-01-02", "2023-06-30")}


def read(path: Path) -> pd.DataFrame:
    """A recorded frame with two-level columns."""
    df = pd.read_parquet(path).rename(columns={"date": "datetime"})
    df = df.set_index(["datetime", "instrument"]).sort_index()
    groups = ["label" if c == LABEL else "feature" for c in df.columns]
    return df.set_axis(pd.MultiIndex.from_arrays([groups, df.columns]), axis=1)


def chains(market: str, semantics: str) -> tuple[ProcessorChain, ProcessorChain]:
    infer = [
        FilterCol("feature", list(ALPHA158_20)),
        RobustZScoreNorm(*FIT[market], "feature", clip_outlier=True, semantics=semantics),
        Fillna("feature"),
    ]
    return ProcessorChain(infer), ProcessorChain([DropnaLabel(), CSRankNorm("label")])


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_equals_pyqlib(market, golden_dir):
    """The features bit for bit, the ranked label to float32 rounding."""
    infer, learn = chains(market, "qlib")
    got = infer.fit(read(golden_dir / f"{market}_alpha158.parquet"))
    for frame, name in ((got, "infer"), (learn.fit(got), "learn")):
        want = read(golden_dir / f"{market}_{name}.parquet")
        assert frame.columns.tolist() == want.columns.tolist()
        pd.testing.assert_index_equal(frame.index, want.index)
        assert (frame.dtypes == np.float32).all()
        np.testing.assert_array_equal(frame["feature"].to_numpy(), want["feature"].to_numpy())
        np.testing.assert_array_equal(frame.isna().to_numpy(), want.isna().to_numpy())
        np.testing.assert_allclose(frame.to_numpy(), want.to_numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_a_stored_chain_serves_a_single_session_with_the_same_bits(market, golden_dir):
    raw = read(golden_dir / f"{market}_alpha158.parquet")
    infer, _ = chains(market, "strict")
    whole = infer.fit(raw)
    served = ProcessorChain.from_json(infer.to_json())
    for session in raw.index.unique("datetime")[::97]:
        got = served.transform(raw.loc[[session]])
        assert got.to_numpy().tobytes() == whole.loc[[session]].to_numpy().tobytes()
