"""Trivial scores; oracle: pandas' shifts."""

from __future__ import annotations

import pandas as pd
import pytest

from rnn_core.evaluation import momentum, reversal
from tests.rnn_core.evaluation.simulated import Planted, planted


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(30, 120, 1)


def test_reversal_and_momentum_are_past_returns(market: Planted) -> None:
    close = market.bars["close"].unstack("instrument")  # noqa: PD010
    for got, wide in (
        (reversal(market.bars), -(close / close.shift(5) - 1)),
        (reversal(market.bars, sessions=1), -(close / close.shift(1) - 1)),
        (momentum(market.bars), close.shift(5) / close.shift(60) - 1),
        (momentum(market.bars, sessions=20, skip=0), close / close.shift(20) - 1),
    ):
        expected = wide.where(close.notna()).stack(future_stack=True).dropna()  # noqa: PD013
        pd.testing.assert_series_equal(got, expected, check_names=False)
        assert len(got) > 1000


def test_baselines_know_nothing_of_the_future(market: Planted) -> None:
    cut = market.bars.index.levels[0][80]
    past = market.bars[market.bars.index.get_level_values(0) <= cut]
    for score in (reversal, momentum):
        whole = score(market.bars)
        known = whole[whole.index.get_level_values(0) <= cut]
        pd.testing.assert_series_equal(score(past), known, check_exact=True)


def test_short_bars_have_no_baseline(market: Planted) -> None:
    short = market.bars[market.bars.index.get_level_values(0) <= market.bars.index.levels[0][4]]
    assert reversal(short).empty
    assert momentum(short).empty
    with pytest.raises(ValueError, match="sessions=0: expected a look-back"):
        reversal(short, sessions=0)
    with pytest.raises(ValueError, match="sessions=5, skip=5: expected 0 <= skip < sessions"):
        momentum(short, sessions=5, skip=5)
