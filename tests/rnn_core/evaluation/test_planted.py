"""The planted signal is found: 95% intervals of its mean rank IC cover the planted value.

Oracle: the simulated market's own parameter. Of 40 intervals 38 are expected to cover it; a
binomial count is 35 to 40 for 99 of 100 sets of seeds. The seeds are fixed: the test is repeatable.
"""

from __future__ import annotations

import numpy as np

from rnn_core.evaluation import calc_ic, mean_test
from tests.rnn_core.evaluation.simulated import planted

SIGNAL, SEEDS = 0.05, 40


def test_intervals_cover_the_planted_ic_at_their_rate() -> None:
    tests = []
    for seed in range(SEEDS):
        market = planted(60, 180, seed, signal=SIGNAL)
        tests.append(mean_test(calc_ic(market.scores, market.labels)[1]))
    low, high, mean, error = (
        np.array([test[name] for test in tests]) for name in ("ci_low", "ci_high", "mean", "se_nw")
    )
    covered = (low <= SIGNAL) & (high >= SIGNAL)
    assert 35 <= covered.sum() <= SEEDS
    # Intervals are no wider than they must be: the errors are those of the means over seeds,
    assert 0.8 < np.sqrt((error**2).mean()) / mean.std(ddof=1) < 1.25
    # and nearly all of them tell the signal from none.
    assert (low > 0).sum() >= 38
    assert abs(mean.mean() - SIGNAL) < 3 * mean.std(ddof=1) / np.sqrt(SEEDS)
