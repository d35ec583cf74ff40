"""What processors promise on their own: new frames, same bits alone and together, strict rules,
errors that say what to do. Oracle: the formulas, written out in the tests."""

from __future__ import annotations

import logging

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
from rnn_core.data.processors import PROCESSORS, TanhProcess, TimeRangeFlt

pytestmark = pytest.mark.filterwarnings("ignore:TimeRangeFlt looks into the future")

FIT = ("2020-01-10", "2020-02-14")
EVERY: list[Processor] = [
    FilterCol("feature", ["TINY", "TIES", "NORMAL"]),
    DropCol(["HOLES"]),
    DropnaProcessor("feature"),
    DropnaLabel(),
    Fillna("feature"),
    ProcessInf("feature"),
    MinMaxNorm(*FIT, "feature"),
    ZScoreNorm(*FIT, "feature"),
    RobustZScoreNorm(*FIT, "feature"),
    RobustZScoreNorm(*FIT, "feature", semantics="qlib"),
    CSZScoreNorm("feature"),
    CSZScoreNorm(["feature", "label"], "robust"),
    CSRankNorm("label"),
    CSZFillna("feature"),
    TanhProcess("feature"),
    TimeRangeFlt("2020-01-10", "2020-03-20", looks_ahead=True),
]
each = pytest.mark.parametrize("processor", EVERY, ids=lambda p: type(p).__name__)


@each
def test_the_callers_frame_is_untouched(processor, frame):
    before = frame.copy(deep=True)
    got = processor.fit(frame)(frame)
    pd.testing.assert_frame_equal(frame, before)
    got.iloc[:, :] = 7.0  # the result is the caller's to write to
    pd.testing.assert_frame_equal(frame, before)


def test_every_class_is_held_to_these_promises():
    """`CSNeutralize` reads fields beside the features: `test_neutralize.py` holds it to them."""
    assert {type(p).__name__ for p in EVERY} == set(PROCESSORS) - {"CSNeutralize"}


@each
def test_read_only_cells_will_do(processor, frame):
    """pandas 3 hands out read-only arrays, into which qlib's older processors wrote (Q31)."""
    locked = frame.to_numpy(copy=True)
    locked.setflags(write=False)
    given = pd.DataFrame(locked, index=frame.index, columns=frame.columns, copy=False)
    pd.testing.assert_frame_equal(processor.fit(given)(given), processor.fit(frame)(frame))


@each
def test_one_session_has_the_bits_it_has_in_the_range(processor, frame):
    whole = processor.fit(frame)(frame)
    for session in frame.index.unique("datetime"):
        alone = processor(frame.loc[[session]])
        together = whole[whole.index.get_level_values("datetime") == session]
        pd.testing.assert_index_equal(alone.index, together.index)
        assert alone.to_numpy().tobytes() == together.to_numpy().tobytes()


@each
def test_types_stay(processor, frame):
    mixed = frame.astype({("label", "LABEL0"): "float64", ("feature", "TIES"): "float64"})
    got = processor.fit(mixed)(mixed)
    pd.testing.assert_series_equal(got.dtypes, mixed.dtypes[got.columns])


@each
def test_columns_keep_their_order(processor, frame):
    shuffled = frame.iloc[:, [7, 3, 0, 6, 1, 5, 2, 4]]
    got = processor.fit(shuffled)(shuffled)
    kept = [c for c in shuffled.columns if c in set(got.columns)]
    assert got.columns.tolist() == kept
    plain = processor.fit(frame)(frame)
    pd.testing.assert_frame_equal(got, plain[kept])


@each
def test_an_empty_session_range_gives_an_empty_frame(processor, frame):
    got = processor.fit(frame)(frame.iloc[:0])
    assert len(got) == 0


@pytest.mark.parametrize(
    "processor",
    [p for p in EVERY if not isinstance(p, (DropCol, TimeRangeFlt))],  # which need no group
    ids=lambda p: type(p).__name__,
)
def test_a_flat_frame_is_an_error(processor, frame):
    flat = frame.droplevel(0, axis=1)
    with pytest.raises(ValueError, match=r"two-level columns .* was given flat .* pd\.concat"):
        processor(flat) if processor.state() else processor.fit(flat)(flat)


@pytest.mark.parametrize(
    "make",
    [
        Fillna,
        ProcessInf,
        DropnaProcessor,
        CSRankNorm,
        CSZScoreNorm,
        CSZFillna,
        TanhProcess,
        lambda: MinMaxNorm(*FIT),
        lambda: ZScoreNorm(*FIT),
        lambda: RobustZScoreNorm(*FIT),
    ],
)
def test_the_group_must_be_named(make):
    with pytest.raises(ValueError, match=r"the label included: say fields_group='feature'"):
        make()


def test_an_unknown_group_is_an_error(frame):
    with pytest.raises(KeyError, match=r"group 'features'.*did you mean 'feature'"):
        Fillna("features")(frame)


def test_only_the_group_is_touched(frame):
    got = Fillna("feature")(frame)
    pd.testing.assert_frame_equal(got[["label"]], frame[["label"]])
    assert not got["feature"].isna().any(axis=None)
    assert got["label"].isna().any(axis=None)


def test_fillna_fills_every_cell():
    """pyqlib up to 0.9.6 wrote into a copy, so that nothing was filled."""
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2020-01-01", periods=2), ["A", "B"]], names=["datetime", "instrument"]
    )
    frame = pd.DataFrame(np.nan, index=index, columns=pd.MultiIndex.from_tuples([("feature", "X")]))
    assert (Fillna("feature", 2.5)(frame) == 2.5).all(axis=None)


def test_filter_keeps_the_frames_order_and_its_own_list(frame):
    processor = FilterCol("feature", ["TINY", "NORMAL"])
    got = processor(frame)
    assert got.columns.tolist() == [("feature", "NORMAL"), ("feature", "TINY"), ("label", "LABEL0")]
    assert processor.col_list == ("TINY", "NORMAL")


def test_unknown_columns_are_errors_with_the_nearest_names(frame):
    with pytest.raises(KeyError, match=r"'NORMALS'; did you mean 'NORMAL'"):
        FilterCol("feature", ["NORMALS", "TIES"])(frame)
    with pytest.raises(KeyError, match=r"'LABEL0'"):  # it is there, but in another group
        FilterCol("feature", ["LABEL0"])(frame)
    with pytest.raises(KeyError, match=r"'HOLE'; did you mean 'HOLES'"):
        DropCol(["HOLE"])(frame)


@pytest.mark.parametrize("names", [[], "TIES"])
def test_a_list_of_columns_is_a_list(names):
    with pytest.raises(ValueError, match="expected a list of one column name or more"):
        FilterCol("feature", names)


def test_labels_are_not_for_inference():
    assert not DropnaLabel().is_for_infer()
    assert DropnaProcessor("feature").is_for_infer()


def test_the_fit_reads_its_window_only(frame):
    outside = frame.copy()
    date = outside.index.get_level_values("datetime")
    outside.loc[(date < FIT[0]) | (date > FIT[1])] = 1e6
    for cls in (MinMaxNorm, ZScoreNorm, RobustZScoreNorm):
        assert cls(*FIT, "feature").fit(frame).state() == cls(*FIT, "feature").fit(outside).state()


def test_both_ends_of_the_window_count(frame):
    for end in FIT:
        changed = frame.copy()
        changed.loc[end, ("feature", "NORMAL")] = 1e6
        one, two = (MinMaxNorm(*FIT, "feature").fit(f).state() for f in (frame, changed))
        assert one != two


def test_strict_robust_score_by_hand(frame, caplog):
    with caplog.at_level(logging.WARNING):
        got = RobustZScoreNorm(*FIT, "feature").fit(frame)(frame)["feature"]
    assert "these columns become 0: CONSTANT, MAD0" in caplog.text
    date = frame.index.get_level_values("datetime")
    inside = (date >= FIT[0]) & (date <= FIT[1])
    for name in ("NORMAL", "TIES", "HOLES", "INFINITE", "TINY"):
        x = frame["feature"][name].to_numpy()
        finite = x[inside & np.isfinite(x)]
        centre = np.median(finite)
        scale = np.median(np.abs(finite - centre)) * 1.4826
        want = np.clip((x - centre) / scale, -3, 3)
        np.testing.assert_allclose(got[name], want, rtol=1e-6, atol=1e-6)
    for name in ("CONSTANT", "MAD0"):
        assert (got[name] == 0).all()


def test_strict_keeps_missing_cells_of_a_column_without_spread(frame):
    frame.iloc[3, 2] = np.nan
    got = RobustZScoreNorm(*FIT, "feature").fit(frame)(frame)["feature"]["CONSTANT"]
    assert np.isnan(got.iloc[3])
    assert (got.drop(got.index[3]) == 0).all()


@pytest.mark.parametrize("cls", [MinMaxNorm, ZScoreNorm, RobustZScoreNorm])
def test_strict_fits_take_infinite_values_as_missing(cls, frame):
    missing = frame.replace([np.inf, -np.inf], np.nan)
    strict = cls(*FIT, "feature")
    assert strict.fit(frame).state() == strict.fit(missing).state()
    finite = np.isfinite(frame["feature"]["INFINITE"])
    assert np.isfinite(strict(frame)["feature"]["INFINITE"][finite]).all()


@pytest.mark.parametrize("cls", [MinMaxNorm, ZScoreNorm])
def test_strict_turns_a_constant_column_to_zero_and_qlib_leaves_it(cls, frame):
    assert (cls(*FIT, "feature").fit(frame)(frame)["feature"]["CONSTANT"] == 0).all()
    kept = cls(*FIT, "feature", semantics="qlib").fit(frame)(frame)["feature"]["CONSTANT"]
    if cls is MinMaxNorm:  # the float32 deviation of 0.1s is a residue of rounding, not 0
        pd.testing.assert_series_equal(kept, frame["feature"]["CONSTANT"])


@pytest.mark.parametrize("cls", [MinMaxNorm, ZScoreNorm, RobustZScoreNorm])
def test_a_column_without_a_finite_value_is_an_error(cls, frame):
    date = frame.index.get_level_values("datetime")
    frame.loc[(date >= FIT[0]) & (date <= FIT[1]), ("feature", "TIES")] = np.inf
    message = r"no finite value of column \('feature', 'TIES'\).*\[2020-01-10, 2020-02-14\]"
    with pytest.raises(ValueError, match=message):
        cls(*FIT, "feature").fit(frame)


def test_fit_errors(frame):
    with pytest.raises(ValueError, match=r"no row in its fit window \[2031-01-01, 2031-02-01\]"):
        ZScoreNorm("2031-01-01", "2031-02-01", "feature").fit(frame)
    with pytest.raises(ValueError, match="after fit_end_time"):
        ZScoreNorm("2020-02-01", "2020-01-01", "feature")
    with pytest.raises(ValueError, match="would read the future"):
        ZScoreNorm("2020-02-01", None, "feature")
    with pytest.raises(ValueError, match="time zone"):
        ZScoreNorm(None, pd.Timestamp("2020-01-01", tz="UTC"), "feature")
    with pytest.raises(ValueError, match="expected 'strict' or 'qlib'"):
        ZScoreNorm(*FIT, "feature", semantics="other")
    with pytest.raises(RuntimeError, match=r"not fitted: call fit\(df\) or load_state"):
        ZScoreNorm(*FIT, "feature")(frame)
    with pytest.raises(ValueError, match="expected 'zscore' or 'robust'"):
        CSZScoreNorm("feature", method="rank")


def test_other_columns_than_the_fits_are_an_error(frame):
    processor = RobustZScoreNorm(*FIT, "feature").fit(frame)
    renamed = frame.rename(columns={"TINY": "TINYS"}, level=1)
    with pytest.raises(KeyError, match=r"lacks .*'TINY'.* adds .*'TINYS'.*did you mean 'TINY'"):
        processor(renamed)
    with pytest.raises(KeyError, match=r"fitted on 7 columns"):
        processor(DropCol(["TINY"])(frame))


def test_index_errors(frame):
    with pytest.raises(ValueError, match=r"levels 'datetime' and 'instrument'.*set_index"):
        CSRankNorm("label")(frame.reset_index(drop=True))
    words = frame.set_index(frame.index.set_levels(["x" * (i + 1) for i in range(60)], level=0))
    with pytest.raises(ValueError, match=r"holds the text 'x', expected days"):
        CSRankNorm("label")(words)


def test_rank_of_one_instrument_and_of_ties():
    index = pd.MultiIndex.from_tuples(
        [("2020-01-01", "A"), *[("2020-01-02", i) for i in "ABCD"]],
        names=["datetime", "instrument"],
    )
    index = index.set_levels(pd.to_datetime(index.levels[0]), level=0)
    columns = pd.MultiIndex.from_tuples([("label", "LABEL0")])
    frame = pd.DataFrame([5.0, 1.0, 1.0, np.nan, 3.0], index=index, columns=columns)
    got = CSRankNorm("label")(frame).iloc[:, 0].to_numpy()
    want = (np.array([1.0, 0.5, 0.5, np.nan, 1.0]) - 0.5) * 3.46
    np.testing.assert_array_equal(got, want)
    assert np.isnan(CSZScoreNorm("label")(frame).iloc[0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_z_score_of_equal_values_is_nan_in_either_type(dtype, frame):
    equal = frame.astype(dtype)
    equal[("feature", "NORMAL")] = equal[("feature", "NORMAL")] * 0 + np.array(0.1, dtype)
    assert CSZScoreNorm("feature")(equal)["feature"]["NORMAL"].isna().all()
