"""Processors are used as users of qlib use them: without a group, subclassed, as instances.

Oracles: pyqlib's recorded processors (tests/fixtures), the groups by name, and the messages.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha360,
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DataHandlerLP,
    DropnaProcessor,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessInf,
    Processor,
    ProcessorChain,
    RobustZScoreNorm,
    TanhProcess,
    ZScoreNorm,
)
from rnn_core.qlib_hooks import PROCESSOR_HOOKS

SESSIONS = pd.bdate_range("2020-01-01", periods=60)
FIT = ("2020-01-10", "2020-02-14")


EVERY = {
    "DropnaProcessor": lambda group, **kw: DropnaProcessor(group, **kw),
    "Fillna": lambda group, **kw: Fillna(group, 0.5, **kw),
    "ProcessInf": lambda group, **kw: ProcessInf(group, **kw),
    "MinMaxNorm": lambda group, **kw: MinMaxNorm(*FIT, group, **{"semantics": "qlib", **kw}),
    "ZScoreNorm": lambda group, **kw: ZScoreNorm(*FIT, group, **{"semantics": "qlib", **kw}),
    "RobustZScoreNorm": lambda group, **kw: RobustZScoreNorm(
        *FIT, group, **{"semantics": "qlib", **kw}
    ),
    "CSZScoreNorm": lambda group, **kw: CSZScoreNorm(group, **kw),
    "CSRankNorm": lambda group, **kw: CSRankNorm(group, **kw),
    "CSZFillna": lambda group, **kw: CSZFillna(group, **kw),
    "FilterCol": lambda group, **kw: FilterCol(group, ["TIES", "LABEL0"], **kw),
}


@pytest.mark.parametrize("name", EVERY)
def test_no_group_is_every_column_in_qlib_semantics(name, frame):
    """Oracle: both groups by name, which are recorded from pyqlib one by one."""
    with pytest.warns(UserWarning, match=f"{name} has no fields_group and takes every column"):
        every = EVERY[name](None, semantics="qlib")
    both = EVERY[name](["feature", "label"])
    pd.testing.assert_frame_equal(every.fit(frame)(frame), both.fit(frame)(frame))
    chain = ProcessorChain([every])
    chain.fit(frame)
    stored = ProcessorChain.from_json(chain.to_json())  # without a warning: it is written down
    pd.testing.assert_frame_equal(stored.transform(frame), both(frame))
    with pytest.raises(ValueError, match=r"in qlib takes every column.*semantics='qlib'"):
        EVERY[name](None, semantics="strict")


@pytest.mark.parametrize("name", ["ProcessInf", "TanhProcess"])
def test_classes_without_a_group_in_qlib(name, frame, recorded):
    """Oracle: recorded from pyqlib, whose two classes have no argument at all."""
    kind = {"ProcessInf": ProcessInf, "TanhProcess": TanhProcess}[name]
    with pytest.warns(UserWarning, match="takes every column"):
        got = kind(semantics="qlib")(frame)
    np.testing.assert_allclose(got, recorded[f"{name}/values"], rtol=1e-6, atol=1e-6)


def test_the_ranks_of_every_column_are_pyqlibs(frame, recorded):
    with pytest.warns(UserWarning):
        got = CSRankNorm(semantics="qlib")(frame)
    label = frame.columns.get_loc(("label", "LABEL0"))
    want = recorded["CSRankNorm/values"].copy()
    want[:, label] = recorded["CSRankNorm_label/values"][:, label]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_steps_without_a_group_follow_the_semantics_of_their_handler(frame):
    steps = [{"class": "Fillna"}, "CSRankNorm"]
    with pytest.warns(UserWarning) as caught:
        handler = DataHandlerLP(frame, infer_processors=steps, semantics="qlib")
    assert len([w for w in caught if "takes every column" in str(w.message)]) == 2
    want = CSRankNorm(["feature", "label"])(Fillna(["feature", "label"])(frame))
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)
    with pytest.raises(ValueError, match="takes every column"):
        DataHandlerLP(frame, infer_processors=steps)


@pytest.mark.parametrize(("own", "other"), [("strict", "qlib"), ("qlib", "strict")])
def test_an_instance_of_the_other_semantics_is_named(own, other, frame):
    """An instance cannot follow its handler, and a constructor's default is strict."""
    step = ZScoreNorm(*FIT, "feature", semantics=own)
    with pytest.warns(UserWarning, match=f"has semantics='{own}' in a handler of '{other}'"):
        DataHandlerLP(frame, infer_processors=[step], semantics=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = [step, Fillna("feature")]
        DataHandlerLP(frame, infer_processors=steps, semantics=own)


def test_the_stored_form_of_a_named_group_is_as_before():
    """A bundle's hash must not change: the semantics is stored where it decides numbers only."""
    for kwargs in ({}, {"semantics": "qlib"}):
        assert Fillna("feature", **kwargs).kwargs() == {"fields_group": "feature", "fill_value": 0}
        assert CSRankNorm("label", **kwargs).kwargs() == {"fields_group": "label"}
    assert ZScoreNorm(*FIT, "feature").kwargs()["semantics"] == "strict"


def test_alpha360_in_qlib_semantics_standardises_the_label(bars):
    """Q14. Oracle: qlib's three processors, applied to both groups by name."""
    fit = {"fit_start_time": SESSIONS[0], "fit_end_time": SESSIONS[40]}
    with pytest.warns(UserWarning, match="takes every column"):
        handler = Alpha360(bars=bars, semantics="qlib", **fit)
    raw = Alpha360(bars=bars, semantics="qlib", infer_processors=[], learn_processors=[])
    groups = ["feature", "label"]
    chain = ProcessorChain(
        [
            ProcessInf(groups),
            ZScoreNorm(*fit.values(), groups, semantics="qlib"),
            Fillna(groups),
        ]
    )
    want = chain.fit(raw.fetch(col_set="__raw"))
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)
    assert not handler.fetch(col_set="label").isna().any(axis=None)


def test_a_processor_written_for_qlib(frame):
    """`fit` returns nothing, and `__call__` writes to the frame that it is given."""

    class Centre(Processor):
        def __init__(self, fields_group=None):
            self.group = fields_group

        def fit(self, df=None):
            self.mean = df[self.group].mean()

        def __call__(self, df):
            df[self.group] = (df[self.group] - self.mean).to_numpy()
            return df

        def readonly(self):
            return False

    before = frame.copy(deep=True)
    chain = ProcessorChain([Centre("feature")])
    got = chain.fit(frame)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_allclose(
        got["feature"]["NORMAL"], before["feature"]["NORMAL"] - before["feature"]["NORMAL"].mean()
    )
    pd.testing.assert_frame_equal(chain.transform(frame), got)
    with pytest.raises(TypeError, match=r"does not keep its argument 'fields_group'"):
        chain.to_json()
    handler = DataHandlerLP(frame, infer_processors=[Centre("feature")])
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), got)


def test_a_call_of_a_subclass_is_called_among_its_neighbours(frame):
    """Neighbours of one group work on one copy of its cells, but for such a one."""

    class Twice(Fillna):
        def __call__(self, df):
            return super().__call__(df) * 2

    steps = [Fillna("feature", 1.0), Twice("feature"), Fillna("feature", 3.0)]
    want = Fillna("feature", 1.0)(frame) * 2
    pd.testing.assert_frame_equal(ProcessorChain(steps).fit(frame), want)
    handler = DataHandlerLP(frame, infer_processors=steps)
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)


def test_a_fit_that_cannot_be_stored_is_refused():
    """Stored without its fit, the processor would come back untrained."""

    class Learns(Processor):
        def fit(self, df=None):
            self.mean = 1.0

        def __call__(self, df):
            return df

    with pytest.raises(TypeError, match="Learns learns in fit and cannot be stored"):
        ProcessorChain([Learns()]).to_json()


@pytest.mark.parametrize("hook", sorted(PROCESSOR_HOOKS))
def test_hooks_of_processors_that_are_never_called_are_refused(hook, frame):
    mine = type("Mine", (Fillna,), {hook: lambda self, **kwargs: None})
    with pytest.raises(TypeError, match=f"Mine overrides {hook}"):
        DataHandlerLP(frame, infer_processors=[mine("feature")])
