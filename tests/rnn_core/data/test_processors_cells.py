"""Cells changed in place on one copy: TanhProcess, and chains that share the copy. Oracles: the
formula; the same processors one after the other; bytes counted by tracemalloc."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    CSRankNorm,
    CSZScoreNorm,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    MinMaxNorm,
    ProcessInf,
    ProcessorChain,
    RobustZScoreNorm,
    ZScoreNorm,
)
from rnn_core.data.processors import TanhProcess

FIT = ("2020-01-10", "2020-02-14")


def steps():
    return [
        ProcessInf("feature"),
        ZScoreNorm(*FIT, "feature"),
        TanhProcess("feature"),
        CSRankNorm("label"),
        MinMaxNorm(*FIT, ["feature"]),
        RobustZScoreNorm(*FIT, ["feature"]),
        DropnaLabel(),
        Fillna("feature"),
        CSZScoreNorm("feature", "robust"),
    ]


def test_tanh_by_hand(frame):
    got = TanhProcess("feature")(frame)
    x = frame["feature"].to_numpy(dtype=np.float64)
    np.testing.assert_allclose(got["feature"], np.tanh(x - 1), rtol=1e-6, atol=1e-7)
    assert (got.dtypes == np.float32).all()


def test_tanh_leaves_a_label_that_is_named_by_its_expression(frame):
    """qlib goes by LABEL in the name and would squash it (Q23)."""
    named = frame.rename(columns={"LABEL0": "Ref($close, -2)/Ref($close, -1) - 1"}, level=1)
    got = TanhProcess("feature")(named)
    pd.testing.assert_frame_equal(got[["label"]], named[["label"]])
    both = frame.rename(columns={"NORMAL": "LABELLED"}, level=1)
    got = TanhProcess("feature")(both)  # and a feature is squashed whatever it is called
    assert np.abs(got["feature"]["LABELLED"]).max() <= 1


@pytest.mark.parametrize("types", ["float32", "float64", "mixed", "integers"])
@pytest.mark.parametrize("order", [list(range(8)), [7, *range(7)], [3, 7, 0, 1, 2, 6, 5, 4]])
def test_a_chain_has_the_bits_of_its_steps_in_turn(types, order, frame):
    given = frame.iloc[:, order]
    if types == "mixed":
        given = given.astype({("feature", "TIES"): "float64", ("label", "LABEL0"): "float64"})
    elif types == "integers":
        given = given.astype({("feature", "TIES"): "int64"})
    else:
        given = given.astype(types)
    before = given.copy(deep=True)
    want = given
    for step in steps():
        want = step.fit(want)(want)
    chain = ProcessorChain(steps())
    for got in (chain.fit(given), chain.transform(given)):
        pd.testing.assert_frame_equal(got, want, check_exact=True)
    assert [p.state() for p in chain] == [p.fit(f).state() for p, f in in_turn(given)]
    pd.testing.assert_frame_equal(given, before)


def in_turn(df):
    """Each processor with the frame it is given."""
    pairs = []
    for step in steps():
        pairs.append((step, df))
        df = step.fit(df)(df)
    return pairs


@pytest.fixture(scope="module")
def wide() -> pd.DataFrame:
    """159 features and a label, float32, 24 MB; a twentieth of the labels missing."""
    sessions, names = pd.bdate_range("2020-01-01", periods=250), [f"S{i:03d}" for i in range(150)]
    index = pd.MultiIndex.from_product([sessions, names], names=["datetime", "instrument"])
    values = np.random.default_rng(0).standard_normal((160, len(index)), dtype=np.float32)
    values[159, ::20] = np.nan
    columns = [("feature", f"F{i}") for i in range(159)] + [("label", "LABEL0")]
    return pd.DataFrame(
        values.T, index=index, columns=pd.MultiIndex.from_tuples(columns), copy=False
    )


def growth(action, frame) -> float:
    """Most memory held at a time beside the frame, result included, in frames."""
    tracemalloc.start()
    try:
        kept = action(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    return peak / (frame.size * 4)


def test_memory_of_a_chain(wide):
    """One frame for the features, however many processors; one more to drop rows."""
    infer = [ProcessInf("feature"), RobustZScoreNorm(*FIT, "feature"), Fillna("feature")]
    learn = [DropnaLabel(), CSRankNorm("label")]
    whole, label = ProcessorChain([*infer, *learn]), ProcessorChain([CSRankNorm("label")])
    for act in (whole.fit, whole.transform):
        assert growth(act, wide) < 2.2
    for act in (ProcessorChain(infer).fit, ProcessorChain(infer).transform):
        assert growth(act, wide) < 1.2
    assert growth(ProcessorChain(learn).fit, wide) < 1.2
    assert growth(label.fit, wide) < 0.3  # the features are shared, not copied


def test_nothing_to_drop_costs_nothing(wide):
    same = DropnaProcessor("feature")
    assert growth(same, wide) < 0.1
    got = same(wide)
    pd.testing.assert_frame_equal(got, wide)
