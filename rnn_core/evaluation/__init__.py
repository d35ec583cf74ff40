"""Evaluation: statistics, comparisons and risk of signals, the TopkDropout portfolio, reports.

Here are qlib's `calc_ic`, `calc_long_short_return`, `risk_analysis` and `TopkDropoutStrategy`; a
module that repairs one of their rules says so, and docs/evaluation.md defines every figure. Scores
come from `rnn_core.training`; nothing here knows a model. The package imports numpy and pandas
only; the plot functions import matplotlib when they are called.

Shape letters: `T` sessions, `N` instruments, `S` aligned rows, `R` rows and `W` columns of a table
of cross-sections, `Q` quantiles, `H` horizons, `G` groups, `F` features.
"""

from rnn_core.evaluation.account_figures import (
    net_returns,
    performance,
    returns_by_period,
    worst_drawdowns,
)
from rnn_core.evaluation.analysis import SignalAnalysis, signal_analysis
from rnn_core.evaluation.baselines import momentum, reversal, ridge_scores
from rnn_core.evaluation.capacity import capacity_curve, edge_gone_at
from rnn_core.evaluation.comparison import (
    Comparison,
    against,
    compare_signals,
    rank_average,
    trailing_weights,
)
from rnn_core.evaluation.decay import forward_returns, ic_decay
from rnn_core.evaluation.execution import BookState, Order, execute, expected
from rnn_core.evaluation.impact import Impact
from rnn_core.evaluation.inference import bootstrap_interval, holm, mean_test, newey_west_error
from rnn_core.evaluation.mean_variance import MeanVariance
from rnn_core.evaluation.plots import plot_ic, plot_quantile_returns
from rnn_core.evaluation.plots_capacity import plot_capacity
from rnn_core.evaluation.plots_compare import plot_comparison
from rnn_core.evaluation.plots_coverage import plot_coverage
from rnn_core.evaluation.plots_portfolio import plot_concentration, plot_portfolio
from rnn_core.evaluation.plots_signal import (
    plot_decay,
    plot_groups,
    plot_ic_heatmap,
    plot_quantile_curves,
    plot_turnover,
)
from rnn_core.evaluation.plots_training import plot_importance, plot_loss_curves
from rnn_core.evaluation.portfolio import PortfolioResult, backtest, topk_dropout
from rnn_core.evaluation.portfolio_config import TRADE_UNITS, PortfolioConfig
from rnn_core.evaluation.portfolio_figures import (
    concentration,
    equal_weight_benchmark,
    portfolio_summary,
)
from rnn_core.evaluation.render import png_bytes, to_png
from rnn_core.evaluation.report import html_report, report_figures
from rnn_core.evaluation.risk import PERIODS_PER_YEAR, risk_analysis
from rnn_core.evaluation.signal_metrics import (
    calc_ic,
    calc_long_short_return,
    evaluate_session,
    summarize_ic,
)
from rnn_core.evaluation.strategies import Known, Situation, Strategy, TopkDropout, decide
from rnn_core.evaluation.strategy_names import make_strategy
from rnn_core.evaluation.target_weights import orders_towards
from rnn_core.evaluation.verdict_text import verdict
from rnn_core.evaluation.weight_strategies import LongShort, ScoreWeighted

__all__ = [
    "PERIODS_PER_YEAR",
    "TRADE_UNITS",
    "BookState",
    "Comparison",
    "Impact",
    "Known",
    "LongShort",
    "MeanVariance",
    "Order",
    "PortfolioConfig",
    "PortfolioResult",
    "ScoreWeighted",
    "SignalAnalysis",
    "Situation",
    "Strategy",
    "TopkDropout",
    "against",
    "backtest",
    "bootstrap_interval",
    "calc_ic",
    "calc_long_short_return",
    "capacity_curve",
    "compare_signals",
    "concentration",
    "decide",
    "edge_gone_at",
    "equal_weight_benchmark",
    "evaluate_session",
    "execute",
    "expected",
    "forward_returns",
    "holm",
    "html_report",
    "ic_decay",
    "make_strategy",
    "mean_test",
    "momentum",
    "net_returns",
    "newey_west_error",
    "orders_towards",
    "performance",
    "plot_capacity",
    "plot_comparison",
    "plot_concentration",
    "plot_coverage",
    "plot_decay",
    "plot_groups",
    "plot_ic",
    "plot_ic_heatmap",
    "plot_importance",
    "plot_loss_curves",
    "plot_portfolio",
    "plot_quantile_curves",
    "plot_quantile_returns",
    "plot_turnover",
    "png_bytes",
    "portfolio_summary",
    "rank_average",
    "report_figures",
    "returns_by_period",
    "reversal",
    "ridge_scores",
    "risk_analysis",
    "signal_analysis",
    "summarize_ic",
    "to_png",
    "topk_dropout",
    "trailing_weights",
    "verdict",
    "worst_drawdowns",
]
