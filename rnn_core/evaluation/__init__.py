"""Evaluation of signals: daily metrics, risk figures, the TopkDropout portfolio and plots.

Agrees with qlib's `calc_ic`, `calc_long_short_return`, `risk_analysis` and `TopkDropoutStrategy`;
where a rule was repaired the module that holds it says so. Importing this package imports numpy
and pandas only; the plot functions import matplotlib when they are called.

Shape letters: `T` sessions, `N` instruments, `S` aligned rows, `Q` quantiles.
"""

from rnn_core.evaluation.config import PortfolioConfig
from rnn_core.evaluation.plots import (
    plot_ic,
    plot_loss_curves,
    plot_portfolio,
    plot_quantile_returns,
)
from rnn_core.evaluation.portfolio import (
    PortfolioResult,
    equal_weight_benchmark,
    portfolio_summary,
    topk_dropout,
)
from rnn_core.evaluation.render import png_bytes, to_png
from rnn_core.evaluation.risk import PERIODS_PER_YEAR, risk_analysis
from rnn_core.evaluation.signal import (
    calc_ic,
    calc_long_short_return,
    evaluate_session,
    summarize_ic,
)

__all__ = [
    "PERIODS_PER_YEAR",
    "PortfolioConfig",
    "PortfolioResult",
    "calc_ic",
    "calc_long_short_return",
    "equal_weight_benchmark",
    "evaluate_session",
    "plot_ic",
    "plot_loss_curves",
    "plot_portfolio",
    "plot_quantile_returns",
    "png_bytes",
    "portfolio_summary",
    "risk_analysis",
    "summarize_ic",
    "to_png",
    "topk_dropout",
]
