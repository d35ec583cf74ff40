"""Figures: what they hold is read back from the artists; what they become is a stable PNG."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    PortfolioResult,
    equal_weight_benchmark,
    evaluate_session,
    plot_ic,
    plot_importance,
    plot_loss_curves,
    plot_portfolio,
    plot_quantile_returns,
    png_bytes,
    to_png,
    topk_dropout,
)
from rnn_core.evaluation.render import (
    MODEL_COLORS,
    PALETTE,
    model_colors,
    new_figure,
    signed,
    style,
    time_axis,
)

MODELS = ("lstm", "gru", "krnn")


def _evaluations(sessions: int, names: int, *, empty: bool = False) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(5)
    days = pd.bdate_range("2020-01-01", periods=sessions)
    index = [f"S{k}" for k in range(names)]
    out = {}
    for model in MODELS:
        rows = []
        for _ in days:
            score = pd.Series(rng.normal(size=names), index)
            label = 0.02 * pd.Series(rng.normal(size=names), index) + 0.002 * score
            rows.append(evaluate_session(score, label * np.nan if empty else label))
        out[model] = pd.DataFrame(rows, index=days)
    return out


def _history(epochs: int, best: int) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame({
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "valid_score": -np.abs(epoch - best) / 10.0,
    })  # fmt: skip


@pytest.fixture(scope="module")
def results(bars: pd.DataFrame, signals: pd.DataFrame) -> dict[str, PortfolioResult]:
    bench = equal_weight_benchmark(bars)
    config = PortfolioConfig(topk=6, n_drop=2)
    return {
        model: topk_dropout(signals[column], bars, config, benchmark=bench)
        for model, column in zip(MODELS, ("smooth", "noisy", "holes"), strict=True)
    }


def test_plot_ic_draws_the_daily_and_the_summed_ic() -> None:
    evaluations = _evaluations(60, 12)
    fig = plot_ic(evaluations)
    assert len(fig.axes) == 4
    for ax, line, model in zip(fig.axes, fig.axes[-1].lines, MODELS, strict=False):
        ic = evaluations[model]["ic"]
        assert f"{model}: mean IC {signed(ic.mean(), 4)}" in ax.get_title(loc="left")
        rolling = ax.lines[1]
        np.testing.assert_allclose(rolling.get_ydata()[-1], ic.iloc[-20:].mean())
        assert rolling.get_color() == MODEL_COLORS[model]
        np.testing.assert_allclose(line.get_ydata(), ic.cumsum())
        assert line.get_color() == MODEL_COLORS[model]


def test_plot_quantile_returns_draws_means_in_basis_points() -> None:
    evaluations = _evaluations(60, 12)
    left, right = plot_quantile_returns(evaluations).axes
    heights = [bar.get_height() for bar in left.patches]
    expected = [evaluations[m][f"q{k}"].mean() * 1e4 for m in MODELS for k in range(1, 6)]
    np.testing.assert_allclose(heights, expected)
    total = evaluations["gru"]["long_short"].sum() * 100
    np.testing.assert_allclose(right.lines[1].get_ydata()[-1], total)
    assert f"gru {signed(total, 1, '%')}" in [t.get_text() for t in right.get_legend().texts]


def test_plot_loss_curves_marks_the_best_epoch() -> None:
    fig = plot_loss_curves({"lstm": _history(12, 7), "gru": _history(9, 3)})
    loss, score = fig.axes
    texts = [text.get_text() for text in loss.get_legend().texts]
    assert texts == ["lstm, best epoch 7", "gru, best epoch 3"]
    circles = [line for line in score.lines if line.get_marker() == "o"]
    assert [(c.get_xdata()[0], c.get_ydata()[0]) for c in circles] == [(7, 0), (3, 0)]


def test_plot_loss_curves_of_many_trainings_names_first_and_last() -> None:
    fig = plot_loss_curves({f"lstm {year}": _history(9, 4) for year in range(2000, 2012)})
    texts = [text.get_text() for text in fig.axes[0].get_legend().texts]
    assert texts == ["lstm 2000, best epoch 4", "lstm 2011, best epoch 4"]


def test_plot_importance_draws_a_bar_a_feature_the_first_on_top() -> None:
    table = pd.DataFrame({"gain": [3.0, 1.0], "splits": [1, 9]}, index=["KLEN", "ROC5"])
    (ax,) = plot_importance(table).axes
    assert [bar.get_width() for bar in ax.patches] == [3.0, 1.0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["KLEN", "ROC5"]
    assert ax.yaxis_inverted() and ax.get_xlabel() == "gain"
    (ax,) = plot_importance(table * 0).axes
    assert [text.get_text() for text in ax.texts] == ["no feature counts: the model is constant"]
    with pytest.raises(ValueError, match="has no column"):
        plot_importance(table[[]])


def test_plot_portfolio_shows_return_excess_and_drawdown(
    results: dict[str, PortfolioResult],
) -> None:
    fig = plot_portfolio(results)
    top, excess, drawdown = fig.axes
    daily = results["lstm"].daily
    net = (daily["return"] - daily["cost"]) * 100
    labels = top.get_legend_handles_labels()[1]
    assert (
        labels[0]
        == f"benchmark (all names at equal weight) {signed(daily['bench'].sum() * 100, 1, '%')}"
    )
    assert labels[1] == f"lstm {signed(net.sum(), 1, '%')}"
    over = (net - daily["bench"] * 100).cumsum()
    np.testing.assert_allclose(excess.lines[0].get_ydata(), over)
    np.testing.assert_allclose(drawdown.lines[0].get_ydata(), over - over.cummax())


def test_plot_portfolio_without_and_with_different_benchmarks(
    results: dict[str, PortfolioResult],
) -> None:
    alone = PortfolioResult(
        results["lstm"].config, results["lstm"].daily.assign(bench=0.0), results["lstm"].positions
    )
    assert len(plot_portfolio({"lstm": alone}).axes) == 2
    labels = plot_portfolio(results | {"krnn": alone}).axes[0].get_legend_handles_labels()[1]
    assert [text.split()[0:3] for text in labels[:3]] == [["benchmark", "of", m] for m in MODELS]


@pytest.mark.parametrize(
    ("sessions", "names", "empty"), [(1, 5, False), (40, 3, False), (30, 5, True), (0, 5, False)]
)
def test_little_data_renders_without_a_warning(
    sessions: int, names: int, empty: bool, recwarn: pytest.WarningsRecorder
) -> None:
    evaluations = _evaluations(max(sessions, 1), names, empty=empty)
    evaluations = {model: frame.iloc[:sessions] for model, frame in evaluations.items()}
    for plot in (plot_ic, plot_quantile_returns):
        png = png_bytes(plot(evaluations))
        assert png.startswith(b"\x89PNG")
        assert len(png) < 200_000
    if empty:
        said = [text.get_text() for text in plot_ic(evaluations).axes[0].texts]
        assert said == ["no session with a defined IC"]
    assert [str(warning.message) for warning in recwarn] == []


def test_one_epoch_without_a_score_renders() -> None:
    history = _history(1, 1).assign(valid_score=np.nan)
    fig = plot_loss_curves({"lstm": history})
    assert [text.get_text() for text in fig.axes[1].texts] == ["no valid score"]
    assert png_bytes(fig).startswith(b"\x89PNG")


def test_png_is_small_deterministic_and_without_metadata(
    results: dict[str, PortfolioResult], tmp_path: Path
) -> None:
    import matplotlib as mpl

    first = png_bytes(plot_portfolio(results))
    # A person's settings change nothing.
    with mpl.rc_context({"lines.linewidth": 9, "savefig.dpi": 30, "font.size": 20}):
        second = png_bytes(plot_portfolio(results))
    assert first == second
    assert len(first) < 200_000
    assert b"tEXt" not in first
    assert int.from_bytes(first[16:20]) == 900  # pixels
    path = to_png(plot_portfolio(results), tmp_path / "new" / "portfolio.png")
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["portfolio.png"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    class Broken(Figure):
        def draw(self, *args: object, **kwargs: object) -> None:
            raise RuntimeError("disk full")

    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="disk full"):
        to_png(Broken(), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_model_keeps_its_colour() -> None:
    assert model_colors(["krnn", "mine", "lstm", "other"]) == {
        "krnn": PALETTE[2], "mine": PALETTE[1], "lstm": PALETTE[0], "other": PALETTE[3],
    }  # fmt: skip
    assert model_colors(["GRU"]) == {"GRU": PALETTE[1]}
    assert len(set(model_colors([f"m{k}" for k in range(20)]).values())) == len(PALETTE)


def test_signed() -> None:
    assert [signed(x, 1, "%") for x in (1.25, -1.25, 0.0, -0.01, float("nan"))] == [
        "+1.2%", "\u22121.2%", "0.0%", "0.0%", "–",
    ]  # fmt: skip


def test_style_is_undone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["axes.grid"] is True
    assert dict(mpl.rcParams) == before


def test_errors() -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_ic({})
    with pytest.raises(ValueError, match=r"the frame of 'lstm' lacks \['rank_ic'\]"):
        plot_ic({"lstm": pd.DataFrame({"ic": [0.1]})})
    with pytest.raises(ValueError, match=r"indexed by int64, expected sessions: use set_index"):
        plot_ic({"lstm": pd.DataFrame({"ic": [0.1], "rank_ic": [0.1]})})


def test_import_and_plots_leave_pyplot_alone() -> None:
    code = (
        "import sys, pandas as pd, rnn_core.evaluation as e\n"
        "assert 'matplotlib' not in sys.modules\n"
        "i = pd.bdate_range('2024-01-01', periods=2)\n"
        "e.png_bytes(e.plot_ic({'m': pd.DataFrame({'ic': [.1, .2], 'rank_ic': [.1, .2]}, i)}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert not {'torch', 'dagster', 'duckdb', 'pydantic'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("first", "sessions", "years"),
    [
        ("2012-07-02", 160, ["2012", "2013"]),
        ("2020-03-02", 30, ["2020"]),
        ("2015-01-02", 900, None),
    ],
)
def test_an_axis_says_which_year_it_is(first, sessions, years):
    """The first label in sight has its year, also where nothing else would name it."""
    days = pd.bdate_range(first, periods=sessions)
    fig = new_figure(3.0, "years")
    ax = fig.subplots()
    ax.plot(days, np.arange(sessions))
    time_axis(ax, [days])
    fig.canvas.draw()
    low = ax.get_xlim()[0]
    shown = [t.get_text() for t in ax.get_xticklabels() if t.get_position()[0] >= low]
    assert str(days[0].year) in shown[0]
    found = [year for text in shown for year in re.findall(r"\d{4}", text)]
    assert years is None or found == years
