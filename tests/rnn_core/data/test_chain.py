"""The chain: order of fits, storage to the bit, identity. Oracle: the same steps by hand."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnn_core.data import (
    CSRankNorm,
    DropnaLabel,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessorChain,
    RobustZScoreNorm,
    ZScoreNorm,
    make_processor,
)
from rnn_core.data.processors.processor import decode_array, encode_array

FIT = ("2020-01-10", "2020-02-14")


def chain() -> ProcessorChain:
    return ProcessorChain(
        [
            FilterCol("feature", ["NORMAL", "INFINITE", "HOLES", "TINY"]),
            RobustZScoreNorm(*FIT, "feature"),
            Fillna("feature"),
            ZScoreNorm(*FIT, "feature"),
            DropnaLabel(),
            CSRankNorm("label"),
        ]
    )


def test_each_is_fitted_on_the_output_of_the_one_before(frame):
    got = chain()
    whole = got.fit(frame)
    want = frame
    for processor in chain():
        want = processor.fit(want)(want)
    pd.testing.assert_frame_equal(whole, want)
    pd.testing.assert_frame_equal(got.transform(frame), want)
    state = list(got)[3].state()
    before = (
        ProcessorChain(list(got)[:3]).transform(frame)["feature"]["NORMAL"].loc[FIT[0] : FIT[1]]
    )
    mean = before.to_numpy(dtype=np.float64).mean()
    assert state["centre"]["values"][0] == np.float32(mean)
    assert len(want) < len(frame)  # rows without a label are gone


@pytest.mark.parametrize(
    "steps",
    [
        [RobustZScoreNorm(*FIT, "feature"), Fillna("feature")],
        [FilterCol("feature", ["NORMAL", "HOLES"]), ZScoreNorm(*FIT, "feature")],
        [
            Fillna("feature"),
            MinMaxNorm(*FIT, "feature"),
            ZScoreNorm(*FIT, "feature"),
            Fillna("label"),
        ],
        [Fillna("feature"), CSRankNorm("label")],
        [],
    ],
)
def test_learning_fits_alike_without_the_output(steps, frame):
    stored = ProcessorChain(steps).to_dict()["processors"]
    one, two = (
        ProcessorChain(make_processor(step["class"], step["kwargs"]) for step in stored)
        for _ in range(2)
    )
    before = frame.copy()
    one.fit(frame)
    two.learn(frame)
    assert two.to_json() == one.to_json()
    pd.testing.assert_frame_equal(frame, before)


def test_learning_a_norm_copies_a_column_at_a_time():
    days, names = pd.bdate_range("2020-01-10", periods=25), [f"n{k:03d}" for k in range(400)]
    index = pd.MultiIndex.from_product([days, names], names=["datetime", "instrument"])
    cells = np.random.default_rng(0).standard_normal((len(index), 80)).astype(np.float32)
    columns = pd.MultiIndex.from_product([["feature"], [f"c{k}" for k in range(80)]])
    frame = pd.DataFrame(cells, index, columns, copy=False)
    norm = ProcessorChain([RobustZScoreNorm(*FIT, "feature"), Fillna("feature")])
    tracemalloc.start()
    try:
        norm.learn(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.3 * cells.nbytes


def test_json_round_trip_processes_to_the_same_bits(frame):
    fitted = chain()
    want = fitted.fit(frame)
    text = fitted.to_json()
    back = ProcessorChain.from_json(text)
    assert back.to_json() == text
    assert back.hash == fitted.hash
    assert len(back.hash) == 64
    got = back.transform(frame)
    assert got.to_numpy().tobytes() == want.to_numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_survives_in_both_types(dtype, frame):
    typed = frame.astype(dtype)
    fitted = MinMaxNorm(*FIT, "feature").fit(typed)
    back = MinMaxNorm(*FIT, "feature").load_state(json.loads(json.dumps(fitted.state())))
    assert back(typed).to_numpy().tobytes() == fitted(typed).to_numpy().tobytes()


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda d: hnp.arrays(d, st.integers(0, 8), elements=hnp.from_dtype(np.dtype(d)))
    )
)
def test_any_number_survives_json(values):
    back = decode_array(json.loads(json.dumps(encode_array(values), allow_nan=False)))
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    held = ~np.isnan(values)
    assert back[held].tobytes() == values[held].tobytes()


def test_the_hash_tells_chains_apart(frame):
    plain, fitted = chain(), chain()
    fitted.fit(frame)
    other = chain()
    other.fit(frame * np.float32(1.5))
    again = chain()
    again.fit(frame)
    assert fitted.hash == again.hash
    assert len({plain.hash, fitted.hash, other.hash}) == 3


def test_is_for_infer():
    assert not chain().is_for_infer()
    assert ProcessorChain([Fillna("feature")]).is_for_infer()


def test_make_processor():
    got = make_processor(
        "RobustZScoreNorm",
        {"fit_start_time": "2020-01-01", "fit_end_time": "2020-02-01", "fields_group": "feature"},
    )
    assert repr(got) == (
        "RobustZScoreNorm(fit_start_time='2020-01-01', fit_end_time='2020-02-01', "
        "fields_group='feature', clip_outlier=True, semantics='strict')"
    )


def test_errors(frame):
    with pytest.raises(KeyError, match=r"'RobustZscoreNorm' .*did you mean 'RobustZScoreNorm'"):
        make_processor("RobustZscoreNorm")
    with pytest.raises(TypeError, match=r"no argument 'field_group'.*did you mean 'fields_group'"):
        make_processor("Fillna", {"field_group": "feature"})
    with pytest.raises(TypeError, match=r"ZScoreNorm also needs fit_start_time, fit_end_time"):
        make_processor("ZScoreNorm", {"fields_group": "feature"})
    with pytest.raises(TypeError, match="expected processors, was given 'Fillna'"):
        ProcessorChain(["Fillna"])
    with pytest.raises(ValueError, match=r"format 9, expected 1"):
        ProcessorChain.from_json('{"format": 9, "processors": []}')
    step = {"class": "os.system", "kwargs": {}, "state": {}}
    with pytest.raises(KeyError, match=r"no processor is called 'os\.system'"):
        ProcessorChain.from_dict({"format": 1, "processors": [step]})
    fitted = RobustZScoreNorm(*FIT, "feature").fit(frame)
    with pytest.raises(ValueError, match=r"load it into the class that wrote it"):
        Fillna("feature").load_state(fitted.state())
    with pytest.raises(ValueError, match=r"a state with \['centre'\], expected"):
        fitted.load_state({"centre": {}})
    short = {**fitted.state(), "columns": [["feature", "NORMAL"]]}
    with pytest.raises(ValueError, match="differ in length"):
        fitted.load_state(short)
    with pytest.raises(ValueError, match="expected float32 or float64"):
        decode_array({"dtype": "object", "values": []})
