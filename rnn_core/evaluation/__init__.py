"""Evaluation: statistics, comparisons and risk of signals, the TopkDropout portfolio, reports.

Here are qlib's `calc_ic`, `calc_long_short_return`, `risk_analysis` and `TopkDropoutStrategy`; a
module that repairs one of their rules says so, and docs/evaluation.md defines every figure. Scores
come from `rnn_core.training`; nothing here knows a model. Names load on first use;
the plot functions import matplotlib when they are called.

Shape letters: `T` sessions, `N` instruments, `S` aligned rows, `R` rows and `W` columns of a table
of cross-sections, `Q` quantiles, `H` horizons, `G` groups, `F` features.

The examples of its names go on from here:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from rnn_core.data import planted_score, simulate_market
    >>> from rnn_core.evaluation import *
    >>> sessions = pd.bdate_range("2024-01-01", periods=60)
    >>> still = dict(split_rate=0, suspension_rate=0, late_listing_share=0)
    >>> bars = simulate_market(30, sessions, seed=0, signal=0.5, **still)
    >>> scores, labels = planted_score(bars), forward_returns(bars)
    >>> past = reversal(bars)
    >>> analysis = signal_analysis(scores, labels, bars=bars, horizons=[1, 5])
    >>> comparison = compare_signals({"planted": scores, "reversal": past}, labels, draws=50)
    >>> config = PortfolioConfig(topk=5, n_drop=1, account=1e6)
    >>> result = topk_dropout(scores, bars, config, benchmark=equal_weight_benchmark(bars))
    >>> at = Situation(  # four names, none of them held
    ...     instruments=["A", "B", "C", "D"], score=np.array([4.0, 3.0, 2.0, 1.0]),
    ...     scored=np.ones(4, bool), held=np.zeros(4, bool), age=np.zeros(4, int),
    ...     weight=np.zeros(4), close=np.ones(4),
    ... )
    >>> from rnn_core.evaluation.account import SessionPrices
    >>> price, yes = np.full(4, 10.0), np.ones(4, bool)
    >>> places = {"A": 0, "B": 1, "C": 2, "D": 3}
    >>> prices = SessionPrices(list(places), places, price, price, yes, yes, None, ~yes)
    >>> empty = BookState(cash=1e6, account=1e6)
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
