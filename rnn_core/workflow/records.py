"""The analyses of a workflow's records, as tables and plain numbers.

`rnn_core.evaluation` computes them; this module puts them together as qlib's records do: IC and
rank IC by session, and the risk of the portfolio's excess return with and without costs.

Rule matched: qlib workflow/record_temp.py `SigAnaRecord`, `PortAnaRecord`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from rnn_core.evaluation import (
    PortfolioResult,
    calc_ic,
    calc_long_short_return,
    evaluate_session,
    mean_test,
    plot_ic,
    plot_loss_curves,
    plot_portfolio,
    plot_quantile_returns,
    portfolio_summary,
    risk_analysis,
    summarize_ic,
    topk_dropout,
)
from rnn_core.evaluation.plots import per_session
from rnn_core.panel.frames import Semantics
from rnn_core.workflow.build_data import Material
from rnn_core.workflow.spec import SignalSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SignalAnalysis:
    """Statistics of the scores as a signal.

    Attributes:
        daily: index datetime: ic, rank_ic, and if requested long_short and long_average.
        quantiles: index datetime: n, q1 ... q5, long_short and so on of `evaluate_session`.
        summary: mean, ratio, standard error and Newey-West t of IC and rank IC; annualised returns.
        horizon: sessions of the label.
    """

    daily: pd.DataFrame
    quantiles: pd.DataFrame
    summary: Numbers
    horizon: int = 1


@dataclass(frozen=True, eq=False)
class PortfolioAnalysis:
    """The earnings of the scores in a backtest.

    Attributes:
        result: daily report and positions.
        risk: by series: mean, std, annualized_return, information_ratio, max_drawdown.
        summary: of `portfolio_summary`.
    """

    result: PortfolioResult
    risk: dict[str, Numbers]
    summary: Numbers


def analyse_signal(
    scores: pd.Series[Any],
    label: pd.Series[Any],
    spec: SignalSpec,
    horizon: int = 1,
    semantics: Semantics = "qlib",
) -> SignalAnalysis:
    """Compute IC, rank IC, quantile and long-short returns.

    Args:
        scores: index (datetime, instrument).
        label: simple returns, not processed.
        spec: the requested statistics.
        horizon: sessions of the label.
        semantics: "qlib" annualises returns as if labels held one session, as qlib does.

    Returns:
        The analysis.
    """
    ic, rank_ic = calc_ic(scores, label)
    daily = pd.DataFrame({"ic": ic, "rank_ic": rank_ic}).rename_axis("datetime")
    summary: Numbers = dict(summarize_ic(daily))
    for name in ("ic", "rank_ic"):
        summary[f"{name}_t_nw"] = mean_test(daily[name], horizon=horizon)["t_nw"]
    if spec.long_short:
        long_short, average = calc_long_short_return(scores, label)
        daily["long_short"], daily["long_average"] = long_short, average
        year = spec.sessions_per_year / (horizon if semantics == "strict" else 1)
        for name in ("long_short", "long_average"):
            mean, std = float(daily[name].mean()), float(daily[name].std())
            summary[f"{name}_annualized_return"] = mean * year
            summary[f"{name}_annualized_sharpe"] = mean / std * math.sqrt(year) if std else math.nan
    pairs = pd.DataFrame({"score": scores, "label": label}).dropna()
    rows = {
        day: evaluate_session(part["score"].droplevel(0), part["label"].droplevel(0))
        for day, part in pairs.groupby(level="datetime")
    }
    quantiles = pd.DataFrame.from_dict(rows, orient="index").rename_axis("datetime")
    return SignalAnalysis(daily, quantiles, summary, horizon)


def analyse_portfolio(scores: pd.Series[Any], material: Material) -> PortfolioAnalysis:
    """Backtest the scores.

    Args:
        scores: index (datetime, instrument).
        material: with bars, sessions, benchmark and settings of the backtest.

    Returns:
        The analysis, without a benchmark of the return itself and not of an excess.

    Raises:
        ValueError: the material has no bars; and as `topk_dropout`.
    """
    if material.bars is None:
        raise ValueError("the material was loaded without a backtest")
    result = topk_dropout(
        scores,
        material.bars,
        material.portfolio,
        benchmark=material.benchmark,
        sessions=material.sessions,
    )
    daily = result.daily
    gross, cost = daily["return"], daily["cost"]
    series: dict[str, pd.Series[Any]] = {
        "return_without_cost": gross,
        "return_with_cost": gross - cost,
    }
    if material.benchmark is not None:
        excess = gross - daily["bench"]
        series = {
            "benchmark_return": daily["bench"],
            "excess_return_without_cost": excess,
            "excess_return_with_cost": excess - cost,
        }
    risk: dict[str, Numbers] = {}
    for name, values in series.items():
        risk[name] = {str(key): value for key, value in risk_analysis(values).items()}
    return PortfolioAnalysis(result, risk, dict(portfolio_summary(result)))


def figures(
    name: str,
    history: pd.DataFrame,
    signal: SignalAnalysis | None,
    portfolio: PortfolioAnalysis | None,
) -> dict[str, Figure]:
    """Plot the figures of a run.

    Args:
        name: of the model.
        history: of the estimator.
        signal: None without.
        portfolio: None without.

    Returns:
        Name of the file, without its suffix, to figure.
    """
    seeds = list(dict.fromkeys(history["seed"]))
    curves = {
        f"{name}, seed {seed}" if len(seeds) > 1 else name: history[history["seed"] == seed]
        for seed in seeds
    }
    plots: dict[str, Figure] = {"loss": plot_loss_curves(curves)}
    if signal is not None:
        plots["ic"] = plot_ic({name: signal.daily}, horizon=signal.horizon)
        if len(signal.quantiles):
            plots["quantile_returns"] = plot_quantile_returns(
                {name: per_session(signal.quantiles, signal.horizon)}
            )
    if portfolio is not None:
        plots["portfolio"] = plot_portfolio({name: portfolio.result})
    return plots
