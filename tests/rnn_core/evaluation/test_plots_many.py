"""Pictures and pages of more models than colours; read back from the artists and the page."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    Comparison,
    PortfolioConfig,
    PortfolioResult,
    SignalAnalysis,
    compare_signals,
    equal_weight_benchmark,
    html_report,
    plot_concentration,
    plot_decay,
    plot_groups,
    plot_ic,
    plot_ic_heatmap,
    plot_portfolio,
    plot_quantile_curves,
    plot_quantile_returns,
    plot_turnover,
    reversal,
    signal_analysis,
    topk_dropout,
)
from rnn_core.evaluation.plots_many import plot_matrix, plot_multiples
from tests.rnn_core.evaluation.simulated import Planted, planted

MODELS = 24
NAMES = [f"model_with_a_long_name_{k:02d}" for k in range(MODELS)]


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(20, 80, 4, signal=0.1)


@pytest.fixture(scope="module")
def scores(market: Planted) -> dict[str, pd.Series]:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(MODELS, len(market.scores)))
    return {
        name: market.scores * share + pd.Series(noise[k], market.scores.index)
        for k, (name, share) in enumerate(zip(NAMES, rng.permutation(MODELS) / 12, strict=True))
    }


@pytest.fixture(scope="module")
def analyses(market: Planted, scores: dict[str, pd.Series]) -> dict[str, SignalAnalysis]:
    groups = {f"S{k:04d}": "even" if k % 2 == 0 else "odd" for k in range(1, 21)}
    return {
        name: signal_analysis(s, market.labels, bars=market.bars, groups=groups, horizons=(1, 3))
        for name, s in scores.items()
    }


@pytest.fixture(scope="module")
def portfolios(market: Planted, scores: dict[str, pd.Series]) -> dict[str, PortfolioResult]:
    config, bench = PortfolioConfig(topk=5, n_drop=1), equal_weight_benchmark(market.bars)
    return {n: topk_dropout(s, market.bars, config, benchmark=bench) for n, s in scores.items()}


@pytest.fixture(scope="module")
def comparison(market: Planted, scores: dict[str, pd.Series]) -> Comparison:
    baselines = {"reversal": reversal(market.bars)}
    return compare_signals(scores, market.labels, baselines=baselines, draws=9)


def test_a_panel_shows_its_model_before_all_others():
    days = pd.bdate_range("2020-01-01", periods=30)
    curves = {f"m{k}": pd.Series(np.arange(30.0) * k, days) for k in range(9)}
    figure = plot_multiples(curves, "title", "unit", texts={"m3": "three"})
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title("left").split("\n")[0] for ax in panels] == list(curves)
    assert panels[3].get_title("left") == "m3\nthree"
    for k, ax in enumerate(panels):
        crowd, own = ax.lines[:9], ax.lines[9]
        assert {line.get_color() for line in crowd} == {"#D9D9D9"}
        np.testing.assert_array_equal(own.get_ydata(), np.arange(30.0) * k)
    assert panels[0].get_ylim() == panels[8].get_ylim()


def test_a_matrix_has_a_row_for_each_model_and_blanks_what_is_missing():
    table = pd.DataFrame({"a": [0.01, np.nan], "b": [-0.02, 0.03]}, index=["one", "two"])
    (ax, _) = plot_matrix(table, "Mean").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert sorted(text.get_text() for text in ax.texts) == ["+1.0", "+3.0", "\u22122.0"]


@pytest.mark.thorough
def test_every_picture_of_many_has_a_place_for_each(analyses, portfolios):
    """No picture needs a colour a model: a panel or a row each, in a size that a page shows."""
    sessions = {name: analysis.sessions for name, analysis in analyses.items()}
    pictures = [
        plot_ic(sessions),
        plot_quantile_returns(sessions),
        plot_quantile_curves(sessions),
        plot_turnover(sessions),
        plot_decay({n: a.decay for n, a in analyses.items()}),
        plot_portfolio(portfolios),
        plot_concentration(portfolios),
    ]
    for figure in pictures:
        panels = [ax for ax in figure.axes if ax.get_visible()]
        assert len(panels) == MODELS, figure.get_suptitle()
        assert figure.get_size_inches()[1] < 14
    for figure in (
        plot_ic_heatmap({n: a.by_month for n, a in analyses.items()}),
        plot_groups({n: a.by_group for n, a in analyses.items()}),
    ):
        assert len(figure.axes[0].get_yticklabels()) == MODELS


@pytest.mark.thorough
def test_a_page_of_many_opens_with_a_ranking(analyses, portfolios, comparison):
    text = html_report(analyses, portfolios=portfolios, comparison=comparison)
    body = text.split('<script type="application/gzip"')[0]
    ranking = body.split("<h2>Ranking</h2>")[1].split("</table>")[0]
    means = {n: a.summary["mean"]["rank_ic"] for n, a in analyses.items()}
    order = sorted(means, key=lambda name: -means[name])
    ranks = re.findall(r"<th>(\d+)\. ([^<]+)</th>", ranking)
    assert ranks == [(str(k), name) for k, name in enumerate(order, start=1)]
    assert "swatch" not in body.split("</style>")[1]
    tests = body.split("Tests of ")[1].split("</details>")[0]
    assert tests.count("<tr>") - 1 == 2 * (len(comparison.summary) - 1)  # the best's pairs only
    assert "The chart has the first 8, the picture all." in body
    assert len(text) < 3_000_000
    for name in NAMES:
        assert f"<summary>{name}: newest holdings" in body
