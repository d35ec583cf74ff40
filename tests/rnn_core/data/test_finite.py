"""finite_report and require_finite. Oracle: counts read off a small frame, and the cells of every
window of a sampler."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import Fillna, ProcessInf, TSDataSampler, finite_report, require_finite


@pytest.fixture
def small() -> pd.DataFrame:
    dates = pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-03", "2024-01-01"])
    index = pd.MultiIndex.from_arrays([dates, list("AABB")], names=["datetime", "instrument"])
    return pd.DataFrame(
        {
            "good": [1.0, 2, 3, 4],
            "holes": [np.nan, 1, np.nan, np.inf],
            "wild": [1, 1, -np.inf, 1],
        },
        index=index,
    )


def dates(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(d) else f"{d:%Y-%m-%d}" for d in column]


def test_counts_and_first_dates(small):
    got = finite_report(small)
    assert got.index.tolist() == ["good", "holes", "wild"]
    assert got["nan"].tolist() == [0, 2, 0]
    assert got["inf"].tolist() == [0, 1, 1]
    assert got["share"].tolist() == [0.0, 0.75, 0.25]
    assert dates(got["first_nan"]) == [None, "2024-01-02", None]
    assert dates(got["first_inf"]) == [None, "2024-01-01", "2024-01-03"]


def test_two_level_columns_and_no_rows(small):
    wrapped = pd.concat({"feature": small}, axis=1)
    assert finite_report(wrapped)["nan"]["feature", "holes"] == 2
    assert finite_report(wrapped.iloc[:0])["share"].tolist() == [0, 0, 0]
    assert finite_report(small.astype({"good": int}))["nan"].tolist() == [0, 2, 0]


def test_one_group(small):
    both = pd.concat({"feature": small[["good", "wild"]], "label": small[["holes"]]}, axis=1)
    assert finite_report(both, group="label").index.tolist() == [("label", "holes")]
    with pytest.raises(ValueError, match=r"1 of 2 columns .*\(feature/wild: "):
        require_finite(both, group="feature")
    with pytest.raises(KeyError, match="did you mean 'feature'"):
        require_finite(both, group="features")


def test_the_worst_columns_are_named_first_with_dates_and_advice(small):
    message = (
        r"2 of 3 columns exceed the limit of 0.00% .* worst first \(feature/holes: 2 NaN from "
        r"2024-01-02 and 1 infinite from 2024-01-01, 75.00% of the rows; feature/wild: 1 infinite "
        r"from 2024-01-03, 25.00% of the rows\): use Fillna .* ProcessInf .* drop the column"
    )
    with pytest.raises(ValueError, match=message):
        require_finite(pd.concat({"feature": small[["wild", "good", "holes"]]}, axis=1))
    with pytest.raises(ValueError, match=r"1 of 3 columns .*\(holes: "):
        require_finite(small, limit=0.25)
    require_finite(small, limit=0.75)
    require_finite(small[["good"]])
    with pytest.raises(ValueError, match="limit is 25, expected a share between 0 and 1"):
        require_finite(small, limit=25)


def test_many_columns_are_counted_not_listed(small):
    many = pd.concat({f"x{k}": small["holes"] for k in range(8)}, axis=1)
    with pytest.raises(ValueError, match=r"8 of 8 columns .*x4: .*; and 3 more\): use"):
        require_finite(many)


def test_the_advice_works(frame):
    with pytest.raises(ValueError, match=r"2 of 7 columns .*feature/HOLES: .*feature/INFINITE: "):
        require_finite(frame, group="feature")
    require_finite(Fillna("feature")(ProcessInf("feature")(frame)), group="feature")


@pytest.mark.parametrize("fill", ["none", "ffill", "ffill+bfill"])
@pytest.mark.parametrize("bounds", [(None, None), ("2020-02-10", "2020-02-21")])
@pytest.mark.parametrize("step", [1, 5])
def test_a_samplers_rows_are_those_its_windows_reach(frame, fill, bounds, step):
    sampler = TSDataSampler(frame, *bounds, step, fillna_type=fill)
    sessions = frame.index.unique("datetime").sort_values()
    reached = set()
    for date, name in sampler.get_index():
        t = sessions.get_loc(date)
        reached |= {(d, name) for d in sessions[max(0, t - step + 1) : t + 1]}
    want = finite_report(frame[frame.index.isin(reached)])
    pd.testing.assert_frame_equal(finite_report(sampler), want)
    features = finite_report(sampler, group="feature")
    pd.testing.assert_frame_equal(features, want.iloc[:7])


@pytest.mark.parametrize("fill", ["none", "ffill", "ffill+bfill"])
def test_a_samplers_windows_must_be_whole(frame, fill):
    """Whatever passes gives finite windows, whatever does not has one that is not."""
    filled = Fillna(["feature", "label"])(ProcessInf("feature")(frame))
    for step in (1, 6):
        sampler = TSDataSampler(filled, "2020-01-13", None, step, fillna_type=fill)
        broken = ~np.isfinite(sampler[:]).all(axis=(1, 2))
        if not broken.any():
            require_finite(sampler)
            continue
        date, name = sampler.get_index()[int(broken.argmax())]
        message = (
            rf"{broken.sum()} of {len(sampler)} windows hold a session without a row, which is a "
            rf"row of NaN under fillna_type '{fill.replace('+', '.')}', e.g. that of {name} on "
            rf"{date:%Y-%m-%d}: call config"
        )
        with pytest.raises(ValueError, match=message):
            require_finite(sampler)
        require_finite(sampler, limit=broken.mean() + 1e-9)
        sampler.config(fillna_type="ffill+bfill")
        require_finite(sampler)


def test_a_sampler_names_its_worst_column(frame):
    sampler = TSDataSampler(frame, None, None, 5, fillna_type="ffill+bfill")
    with pytest.raises(ValueError, match=r"2 of 7 columns .*worst first \(feature/HOLES: "):
        require_finite(sampler, group="feature")
    require_finite(TSDataSampler(frame, "2031-01-01", None, 5))  # no sample, nothing to build
