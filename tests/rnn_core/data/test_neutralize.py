"""`CSNeutralize` against least squares with dummies. Oracle: `numpy.linalg.lstsq`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    CSNeutralize,
    DataHandlerLP,
    Fillna,
    ProcessorChain,
    TSDatasetH,
    make_processor,
)


def frame(sessions=3, names=12, columns=("A", "B"), seed=0, industries=3):
    """Features and exposures of some sessions; sizes span three orders of magnitude."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2020-01-01", periods=sessions, name="datetime")
    codes = pd.Index([f"S{k:02d}" for k in range(names)], name="instrument")
    index = pd.MultiIndex.from_product([days, codes])
    x = pd.DataFrame(rng.normal(size=(len(index), len(columns))), index, list(columns))
    exposures = pd.DataFrame(
        {
            "industry": np.array(["Banks", "Steel", "Oil", "Food"], dtype=object)[
                rng.integers(0, industries, len(index))
            ],
            "mktcap": np.exp(rng.normal(23.0, 2.0, len(index))),
        },
        index,
    )
    return pd.concat({"feature": x, "field": exposures}, axis=1)


def residuals(rows, column, size="mktcap", industry="industry"):
    """The residuals of one session, NaN where a value is missing; dummies as 0 and 1."""
    x = rows[("feature", column)].to_numpy(dtype="float64")
    known = np.isfinite(x)
    parts = []
    if industry is not None:
        groups = rows[("field", industry)]
        known &= groups.notna().to_numpy()
        parts.append(pd.get_dummies(groups).to_numpy(dtype="float64"))
    else:
        parts.append(np.ones((len(rows), 1)))
    if size is not None:
        value = rows[("field", size)].to_numpy(dtype="float64")
        known &= np.isfinite(value) & (value > 0)
        logs = np.log(np.where(known, value, 1.0))
        parts.append((logs - logs[known].mean())[:, None])  # the span is the same, and conditioned
    exposures = np.concatenate(parts, axis=1)[known]
    out = np.full(len(rows), np.nan)
    coefficients, *_ = np.linalg.lstsq(exposures, x[known], rcond=None)
    out[known] = x[known] - exposures @ coefficients
    return out


@pytest.mark.parametrize(
    ("industry", "size"), [("industry", "mktcap"), ("industry", None), (None, "mktcap")]
)
def test_the_residuals_are_those_of_least_squares(industry, size):
    """With NaN and infinities in features, and missing industries and sizes."""
    df = frame(names=40)
    df.iloc[3, 0], df.iloc[50, 1] = np.nan, np.inf
    df.loc[df.index[7], ("field", "industry")] = None
    df.loc[df.index[8], ("field", "mktcap")] = np.nan
    df.loc[df.index[9], ("field", "mktcap")] = 0.0
    before = df.copy(deep=True)
    got = CSNeutralize("feature", industry=industry, size=size)(df)
    pd.testing.assert_frame_equal(df, before)
    pd.testing.assert_frame_equal(got["field"], df["field"])
    for _, rows in df.groupby(level="datetime"):
        for column in ("A", "B"):
            expected = residuals(rows, column, size, industry)
            mine = got.loc[rows.index, ("feature", column)]
            np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_a_planted_factor_of_industry_and_size_is_gone():
    """The noise that was planted beside it is what is left, but for what it has of them itself."""
    df = frame(sessions=1, names=60)
    noise = pd.Series(residuals(df, "A"), df.index)
    effect = df[("field", "industry")].map({"Banks": 2.0, "Steel": -1.0, "Oil": 0.5})
    df[("feature", "A")] = noise + effect + 0.3 * np.log(df[("field", "mktcap")])
    got = CSNeutralize("feature", size="mktcap")(df)[("feature", "A")]
    np.testing.assert_allclose(got, noise, atol=1e-12)
    by_industry = got.groupby(df[("field", "industry")]).mean()
    np.testing.assert_allclose(by_industry, 0.0, atol=1e-13)


def test_one_name_of_an_industry_becomes_zero():
    df = frame(sessions=1)
    df.loc[df.index[5], ("field", "industry")] = "Food"
    got = CSNeutralize("feature", size="mktcap")(df)
    assert (got.loc[df.index[5], "feature"] == 0.0).all()
    np.testing.assert_allclose(got[("feature", "A")], residuals(df, "A"), atol=1e-12)


def test_a_session_with_no_more_names_than_regressors_becomes_zero():
    """Exactly, where least squares leaves the rounding of a fit that is exact."""
    df = frame(sessions=2, names=3, industries=1)
    df.loc[df.index[:3], ("field", "industry")] = ["Banks", "Banks", "Steel"]
    got = CSNeutralize("feature", size="mktcap")(df)
    first = got.index.get_level_values("datetime") == got.index[0][0]
    assert (got.loc[first, "feature"] == 0.0).all(axis=None)
    np.testing.assert_allclose(residuals(df[first], "A"), 0.0, atol=1e-12)
    assert (got.loc[~first, "feature"] != 0.0).all(axis=None)
    np.testing.assert_allclose(
        got.loc[~first, ("feature", "A")], residuals(df[~first], "A"), atol=1e-12
    )


def test_an_empty_column_stays_empty_and_the_others_do_not_notice():
    df = frame()
    plain = CSNeutralize("feature", size="mktcap")(df)
    df[("feature", "A")] = np.nan
    got = CSNeutralize("feature", size="mktcap")(df)
    assert got[("feature", "A")].isna().all()
    pd.testing.assert_series_equal(got[("feature", "B")], plain[("feature", "B")])


def test_equal_sizes_are_left_out():
    """Oracle: least squares without size. Rounding of equal sizes is no size."""
    df = frame(sessions=1)
    df[("field", "mktcap")] = 1e10 / 3.0
    got = CSNeutralize("feature", size="mktcap")(df)
    pd.testing.assert_frame_equal(got, CSNeutralize("feature")(df))


def test_a_session_alone_has_the_bits_of_a_range():
    df = frame(sessions=4, names=30).astype({("feature", "A"): "float32"})
    step = CSNeutralize("feature", size="mktcap")
    whole = step(df)
    for _, rows in df.groupby(level="datetime"):
        pd.testing.assert_frame_equal(step(rows), whole.loc[rows.index], check_exact=True)
    assert whole[("feature", "A")].dtype == np.float32


def test_it_stands_in_a_chain_and_is_stored_by_its_arguments():
    """Neighbours share one copy of the cells; what is stored is what was made."""
    df = frame()
    df.iloc[3, 0] = np.nan
    chain = ProcessorChain([CSNeutralize("feature", size="mktcap"), Fillna("feature")])
    assert chain.fields() == ("industry", "mktcap")
    again = ProcessorChain.from_dict(chain.to_dict())
    assert again.hash == chain.hash
    expected = CSNeutralize("feature", size="mktcap")(df)
    expected["feature"] = expected["feature"].fillna(0.0)
    got = again.fit(df)
    pd.testing.assert_frame_equal(got, expected)
    assert got.iloc[3, 0] == 0.0


def test_errors_say_what_is_missing():
    df = frame()
    with pytest.raises(ValueError, match="neither industry nor size"):
        CSNeutralize("feature", industry=None)
    with pytest.raises(KeyError, match=r"\('field', 'sector'\), the frame has \['industry', "):
        CSNeutralize("feature", industry="sector")(df)
    with pytest.raises(TypeError, match="takes the logarithm of industry, and it is"):
        CSNeutralize("feature", size="industry")(df)
    with pytest.raises(TypeError, match="CSNeutralize has no argument 'sise'"):
        make_processor("CSNeutralize", {"fields_group": "feature", "sise": "mktcap"})


def test_a_handler_hands_it_the_fields_of_its_frame():
    """Features and labels of both views, and windows of them. Oracle: the processor by itself."""
    df = frame(sessions=6, names=20)
    df[("label", "LABEL0")] = np.random.default_rng(1).normal(size=len(df))
    step = {"class": "CSNeutralize", "kwargs": {"size": "mktcap"}}
    steps = [
        {**step, "kwargs": {**step["kwargs"], "fields_group": g}} for g in ("feature", "label")
    ]
    handler = DataHandlerLP(df, infer_processors=steps[:1], learn_processors=steps[1:])
    expected = CSNeutralize(["feature", "label"], size="mktcap")(df)
    pd.testing.assert_frame_equal(handler.fetch(col_set="feature"), expected["feature"])
    learn = handler.fetch(col_set="label", data_key="learn")
    pd.testing.assert_frame_equal(learn, expected["label"])
    days = df.index.get_level_values("datetime")
    dataset = TSDatasetH(handler, {"train": (days[0], days[-1])}, step_len=2)
    windows = dataset.prepare("train", col_set=["feature", "label"], data_key="learn")
    assert windows.batch(np.arange(len(windows))).shape == (len(df), 2, 3)


def test_the_promises_of_every_processor():
    """No rows are none; neither the order of columns nor read-only cells matter."""
    df = frame()
    step = CSNeutralize("feature", size="mktcap")
    assert len(step(df.iloc[:0])) == 0
    whole = step(df)
    pd.testing.assert_frame_equal(step(df.iloc[:, ::-1]), whole.iloc[:, ::-1])
    locked = df["feature"].to_numpy(copy=True)
    locked.setflags(write=False)
    given = pd.DataFrame(locked, df.index, df.columns[:2], copy=False)
    pd.testing.assert_frame_equal(step(pd.concat([given, df[["field"]]], axis=1)), whole)
    pd.testing.assert_series_equal(whole.dtypes, df.dtypes)
