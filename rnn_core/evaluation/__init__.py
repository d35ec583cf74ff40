"""Evaluation: statistics, comparisons and risk of signals, the TopkDropout portfolio, reports.

Here are qlib's `calc_ic`, `calc_long_short_return`, `risk_analysis` and `TopkDropoutStrategy`; a
module that repairs one of their rules says so, and docs/evaluation.md defines every figure. Scores
come from `rnn_core.training`; nothing here knows a model. Names load on first use;
the plot functions import matplotlib when they are called.

Shape letters: `T` sessions, `N` instruments, `S` aligned rows, `R` rows and `W` columns of a table
of cross-sections, `Q` quantiles, `H` horizons, `G` groups, `F` features.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
