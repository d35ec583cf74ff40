"""finite_report and require_finite. Oracle: counts read off a small frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import finite_report, require_finite


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


def test_counts_and_first_dates(small):
    got = finite_report(small)
    assert got.index.tolist() == ["good", "holes", "wild"]
    assert got["nan"].tolist() == [0, 2, 0]
    assert got["inf"].tolist() == [0, 1, 1]
    assert got["share"].tolist() == [0.0, 0.75, 0.25]
    assert pd.isna(got["first_date"].iloc[0])
    assert got["first_date"].tolist()[1:] == [
        pd.Timestamp("2024-01-01"),
        pd.Timestamp("2024-01-03"),
    ]


def test_two_level_columns_and_no_rows(small):
    wrapped = pd.concat({"feature": small}, axis=1)
    assert finite_report(wrapped)["nan"]["feature", "holes"] == 2
    assert finite_report(wrapped.iloc[:0])["share"].tolist() == [0, 0, 0]


def test_the_worst_columns_are_named(small):
    message = (
        r"2 of 3 columns exceed a share of 0.0 .*\(feature/holes: 2 NaN and 1 infinite of 4 rows "
        r"from 2024-01-01; feature/wild: 0 NaN and 1 infinite of 4 rows from 2024-01-03\): fill"
    )
    with pytest.raises(ValueError, match=message):
        require_finite(pd.concat({"feature": small}, axis=1))
    with pytest.raises(ValueError, match=r"1 of 3 columns .*\(holes: "):
        require_finite(small, max_share=0.25)
    require_finite(small, max_share=0.75)
    require_finite(small[["good"]])
