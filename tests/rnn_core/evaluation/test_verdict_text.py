"""The sentences that a report opens with say what the tests of its own tables say."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    Comparison,
    PortfolioConfig,
    compare_signals,
    equal_weight_benchmark,
    forward_returns,
    html_report,
    signal_analysis,
    topk_dropout,
    verdict,
)
from tests.rnn_core.evaluation.simulated import Planted, planted


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(40, 200, 4, signal=0.1)


def noise(market: Planted, seed: int) -> pd.Series:
    """Scores that know nothing."""
    values = np.random.default_rng(seed).normal(size=len(market.scores))
    return pd.Series(values, market.scores.index)


def compared(market: Planted, **signals: pd.Series) -> Comparison:
    return compare_signals(
        signals, market.labels, baselines={"guess": noise(market, 9)}, ensemble=False
    )


def test_a_planted_signal_is_called_more_than_luck(market):
    comparison = compared(market, good=market.scores, blind=noise(market, 1))
    (sentence,) = verdict(comparison)
    mean = comparison.summary.loc["good", "rank_ic"]
    assert sentence.startswith("Of 2 signals good orders the names best, with a mean daily rank IC")
    assert f"+{mean:.4f} over {int(comparison.summary.loc['good', 'days'])} sessions" in sentence
    assert "above zero by more than luck" in sentence
    assert "guess, the strongest baseline" in sentence
    assert "less by more than luck" in sentence


def test_overlapping_labels_of_luck_are_called_luck():
    """A slow score that knows nothing and labels of 20 sessions, in 40 markets.

    Oracle: the level of the test, 5% or 2 of 40; twice as many are let pass, for errors of few
    windows stay a little small. A reader who does not tell the horizon gets more.
    """
    claims = unaware = 0
    days = pd.bdate_range("2010-01-04", periods=600)
    index = pd.MultiIndex.from_product([days, range(30)], names=["datetime", "instrument"])
    for seed in range(40):
        rng = np.random.default_rng(seed)
        close = pd.Series(np.exp(rng.normal(0, 0.02, (600, 30)).cumsum(0)).ravel(), index)
        score = rng.normal(size=(600, 30))
        for t in range(1, 600):
            score[t] = 0.97 * score[t - 1] + np.sqrt(1 - 0.97**2) * score[t]
        labels = forward_returns(close.to_frame("close"), horizon=20)
        signals = {"slow": pd.Series(score.ravel(), index)}
        told = verdict(compare_signals(signals, labels, horizon=20))
        claims += "more than luck" in told[0]
        unaware += "more than luck" in verdict(compare_signals(signals, labels))[0]
    assert claims <= 4 < unaware


@pytest.mark.thorough
def test_the_best_of_many_guesses_is_not():
    """Over 40 markets a test at 5% of the best of eight guesses errs in about 5% of them."""
    claims = 0
    for seed in range(40):
        market = planted(12, 60, seed, signal=0.0)
        guesses = {f"g{k}": noise(market, 100 * seed + k) for k in range(8)}
        (sentence,) = verdict(compare_signals(guesses, market.labels, ensemble=False))
        claims += "by more than luck" in sentence
    assert claims <= 6  # of 40 at 5%: 7 or more have a chance of 0.4%


def test_costs_that_take_everything_are_said(market):
    weak = market.scores + 12 * noise(market, 3)
    benchmark = equal_weight_benchmark(market.bars)
    free, dear = (
        topk_dropout(
            weak,
            market.bars,
            PortfolioConfig(topk=10, n_drop=5, open_cost=cost, close_cost=cost, min_cost=0),
            benchmark=benchmark,
        )
        for cost in (0.0, 0.05)
    )
    comparison = compared(market, weak=weak)
    before = float((free.daily["return"] - free.daily["bench"]).mean())
    assert before > 0  # so that there is something that costs can take
    _, sentence = verdict(comparison, {"weak": dear}, periods_per_year=252)
    assert "over all names at equal weight after costs" in sentence
    assert sentence.endswith("sessions: costs take all of it.")
    _, sentence = verdict(comparison, {"weak": free}, periods_per_year=252)
    assert f"{100 * before * 252:.1f}%" in sentence


def test_a_young_portfolio_has_no_figure_of_a_year(market):
    signal = market.scores[market.scores.index.get_level_values(0) <= market.scores.index[0][0]]
    result = topk_dropout(signal, market.bars, PortfolioConfig(topk=5, n_drop=1))
    _, sentence = verdict(compared(market, good=market.scores), {"good": result})
    assert sentence == (
        "Its portfolio is 2 sessions old, too young for a figure of a year (60 sessions or more)."
    )


def test_without_an_ic_nothing_is_said_of_any(market):
    flat = pd.Series(1.0, market.scores.index)
    comparison = compare_signals({"flat": flat}, market.labels, ensemble=False)
    assert verdict(comparison) == ("No signal has a rank IC yet, so nothing can be said of any.",)


def test_the_page_opens_with_it_and_has_the_tables_of_the_account(market):
    result = topk_dropout(
        market.scores,
        market.bars,
        PortfolioConfig(topk=10, n_drop=2),
        benchmark=equal_weight_benchmark(market.bars),
    )
    comparison = compared(market, good=market.scores)
    page = html_report(
        {"good": signal_analysis(market.scores, market.labels)},
        comparison=comparison,
        portfolios={"good": result},
    )
    said = escape(" ".join(verdict(comparison, {"good": result})))
    assert f'<p class="verdict">{said}' in page
    for words in ("Sharpe", "Deepest drawdowns", "By month", "Positions at the close of"):
        assert words in page
    assert f"{result.daily.index[-1]:%Y-%m-%d}" in page
