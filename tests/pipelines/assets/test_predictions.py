"""The page of a session names its highest and lowest scores."""

from __future__ import annotations

import pandas as pd

from pipelines.assets.predictions import ends


def scores(count: int) -> pd.DataFrame:
    """Scores 0, 1, … of names A00, A01, …"""
    return pd.DataFrame(
        {
            "instrument": [f"A{i:02d}" for i in range(count)],
            "score": [float(i) for i in range(count)],
        }
    )


def test_the_ends_are_named_extreme_first():
    assert ends(scores(12)) == {
        "highest": "A11 +11.0000, A10 +10.0000, A09 +9.0000, A08 +8.0000, A07 +7.0000",
        "lowest": "A00 +0.0000, A01 +1.0000, A02 +2.0000, A03 +3.0000, A04 +4.0000",
    }


def test_few_names_stand_once():
    assert ends(scores(2)) == {"highest": "A01 +1.0000, A00 +0.0000"}
    assert ends(scores(0)) == {}


def test_equal_scores_stand_in_the_order_of_their_names():
    tied = scores(10).assign(score=0.5)
    assert ends(tied.iloc[::-1])["highest"].startswith("A00 +0.5000, A01")
