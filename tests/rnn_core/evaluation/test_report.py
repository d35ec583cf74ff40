"""The report page and its pictures; what they hold is read back from the page and the artists."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    Comparison,
    PortfolioConfig,
    PortfolioResult,
    SignalAnalysis,
    compare_signals,
    concentration,
    equal_weight_benchmark,
    html_report,
    plot_comparison,
    plot_concentration,
    plot_decay,
    plot_groups,
    plot_ic_heatmap,
    plot_loss_curves,
    plot_portfolio,
    plot_quantile_curves,
    plot_turnover,
    png_bytes,
    portfolio_summary,
    report_figures,
    reversal,
    signal_analysis,
    topk_dropout,
)
from rnn_core.evaluation.render import MODEL_COLORS, PALETTE, model_colors
from rnn_core.evaluation.report_html import bullets, facts, fixed, folded, page, table
from tests.rnn_core.evaluation.simulated import Planted, planted

EVERY = {
    "ic", "ic_heatmap", "groups", "quantile_returns", "quantile_curves", "decay", "turnover",
    "portfolio", "concentration", "loss_curves", "comparison",
}  # fmt: skip


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(40, 300, 4, signal=0.1)


@pytest.fixture(scope="module")
def signals(market: Planted) -> dict[str, pd.Series]:
    rng = np.random.default_rng(1)
    noise = {n: pd.Series(rng.normal(size=len(market.scores)), market.scores.index) for n in "ab"}
    return {"gru": market.scores + noise["a"], "mine": 0.3 * market.scores + noise["b"]}


@pytest.fixture(scope="module")
def analyses(market: Planted, signals: dict[str, pd.Series]) -> dict[str, SignalAnalysis]:
    groups = {f"S{k:04d}": "even" if k % 2 == 0 else "odd <&>" for k in range(1, 41)}
    return {
        name: signal_analysis(
            scores, market.labels, bars=market.bars, groups=groups, horizons=(1, 2, 5)
        )
        for name, scores in signals.items()
    }


@pytest.fixture(scope="module")
def portfolios(market: Planted, signals: dict[str, pd.Series]) -> dict[str, PortfolioResult]:
    bench = equal_weight_benchmark(market.bars)
    config = PortfolioConfig(topk=8, n_drop=2)
    return {n: topk_dropout(s, market.bars, config, benchmark=bench) for n, s in signals.items()}


@pytest.fixture(scope="module")
def comparison(market: Planted, signals: dict[str, pd.Series]) -> Comparison:
    runs = {"gru": [signals["gru"], market.scores], "mine": signals["mine"]}
    baselines = {"reversal": reversal(market.bars)}
    return compare_signals(runs, market.labels, baselines=baselines, draws=200)


@pytest.fixture(scope="module")
def histories() -> dict[str, pd.DataFrame]:
    epoch = np.arange(1, 6)
    frame = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "valid_score": -1 / epoch})
    return {"gru 2020-01-02": frame, "mine 2020-01-02": frame}


@pytest.fixture(scope="module")
def figures(
    analyses: dict[str, SignalAnalysis],
    portfolios: dict[str, PortfolioResult],
    comparison: Comparison,
    histories: dict[str, pd.DataFrame],
) -> dict[str, bytes]:
    return report_figures(
        analyses, portfolios=portfolios, comparison=comparison, histories=histories
    )


def test_every_picture_is_a_small_png(figures: dict[str, bytes]) -> None:
    assert set(figures) == EVERY
    for name, png in figures.items():
        assert png.startswith(b"\x89PNG"), name
        assert len(png) < 400_000, name
        assert int.from_bytes(png[16:20]) == 900, name  # pixels


class _Page(HTMLParser):
    """Tags, attributes that point somewhere, and the text of every table row."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.targets += [v or "" for k, v in attrs if k in ("src", "href")]
        self.rows += [[]] if tag == "tr" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well-formed

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1].append(data)


def _parse(text: str) -> _Page:
    parsed = _Page()
    parsed.feed(text)
    assert parsed.open == []
    return parsed


def test_the_page_is_self_contained_and_complete(
    analyses: dict[str, SignalAnalysis],
    portfolios: dict[str, PortfolioResult],
    comparison: Comparison,
    histories: dict[str, pd.DataFrame],
    figures: dict[str, bytes],
) -> None:
    text = html_report(
        analyses, title="A <market> & more", portfolios=portfolios, comparison=comparison,
        histories=histories, provenance={"config hash": "abc123", "rows": 12_000},
        notes=["written by hand <b>"], figures=figures, interactive=False,
    )  # fmt: skip
    parsed = _parse(text)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert all(t.startswith(("data:image/png;base64,", "#")) for t in parsed.targets)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert parsed.tags.count("img") == len(EVERY)
    assert "A &lt;market&gt; &amp; more" in text
    for heading in ("Headline", "Comparison", "Portfolio", "Training", "Notes", "Provenance"):
        assert f"<h2>{heading}</h2>" in text
    mean = analyses["gru"].summary.loc["rank_ic", "mean"]
    row = next(row for row in parsed.rows if row[:1] == ["gru"])
    assert f"{mean:+.4f}" in row
    assert ["config hash", "abc123"] in parsed.rows
    assert "written by hand &lt;b&gt;" in text
    assert any(row[:1] == ["gru \u2212 reversal"] for row in parsed.rows)
    assert "gru, mine: 2 sessions (first" in text  # one note for both
    # The same figures in, the same bytes out.
    again = html_report(
        analyses, title="A <market> & more", portfolios=portfolios, comparison=comparison,
        histories=histories, provenance={"config hash": "abc123", "rows": 12_000},
        notes=["written by hand <b>"], interactive=False,
    )  # fmt: skip
    assert again == text


def test_a_report_of_one_signal_alone(market: Planted) -> None:
    one = {"m": signal_analysis(market.scores, market.labels)}
    text = html_report(one, interactive=False)
    parsed = _parse(text)
    assert parsed.tags.count("img") == 5
    assert "<h2>Portfolio</h2>" not in text
    assert "<h2>Provenance</h2>" not in text
    with pytest.raises(ValueError, match="analyses is empty, expected the signal_analysis"):
        html_report({})


@pytest.mark.thorough
def test_a_report_of_nothing_defined_has_dashes_and_says_so(
    recwarn: pytest.WarningsRecorder,
) -> None:
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=3), ["A", "B"]], names=["datetime", "instrument"]
    )
    scores = pd.Series(np.arange(6.0), index)
    bars = pd.DataFrame({"close": 10.0}, index)
    none = scores.iloc[:0]
    analyses = {"m": signal_analysis(scores, none, bars=bars, groups={"A": 1, "B": 2})}
    text = html_report(
        analyses,
        portfolios={"m": topk_dropout(scores, bars)},
        comparison=compare_signals({"m": scores, "n": -scores}, none),
        histories={},
    )
    row = next(row for row in _parse(text).rows if row[:1] == ["m"])
    assert row[1:4] == ["0", "–", "–"]
    assert "no benchmark" in text
    assert "no session has an IC" in text
    assert not any("nan" in cell for row in _parse(text).rows for cell in row)
    assert [str(w.message) for w in recwarn] == []


def _market_of(names: list[str], sessions: int) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Bars, scores and labels; the first name rises by 1 % a session."""
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=sessions), names], names=["datetime", "instrument"]
    )
    step = 1 + 0.01 * (np.arange(len(names)) == 0)
    close = np.cumprod(np.tile(step, (sessions, 1)), axis=0).ravel()
    scores = pd.Series(np.tile(np.arange(float(len(names))), sessions), index)
    return pd.DataFrame({"close": close}, index), scores, scores * 0.01


@pytest.mark.parametrize(("sessions", "yearly"), [(8, False), (59, False), (60, True)])
def test_few_sessions_give_no_figure_of_a_year(sessions: int, yearly: bool) -> None:
    """A mean of 1 % of 8 sessions is no 252 % a year; the page says so beside the dashes."""
    bars, scores, labels = _market_of(["A"], sessions + 1)
    scores, labels = scores.iloc[:-1], labels.iloc[:-1]
    bench = pd.Series(0.0, bars.index.levels[0], name="cash & co")
    days = bars.index.levels[0][:sessions]
    result = topk_dropout(
        scores, bars, PortfolioConfig(topk=1, n_drop=0), benchmark=bench, sessions=days
    )
    analyses = {"m": signal_analysis(scores, labels)}
    text = html_report(
        analyses, portfolios={"m": result}, periods_per_year="us", interactive=False,
        figures={"ic": b"", "quantile_returns": b"", "turnover": b""},
    )  # fmt: skip
    rows = [row for row in _parse(text).rows if row[:1] == ["m"] and len(row) > 6]
    signal, portfolio = rows[:2]  # a year's sessions have a row of the account besides
    assert len(rows) == 2 + yearly
    assert portfolio[1:3] == [str(sessions), "1"]
    assert [cell == "–" for cell in portfolio[3:8]] == [not yearly] * 5
    reason = f"needs 60 sessions or more, and this is {sessions} sessions of 1 name"
    assert (reason in text) is not yearly
    assert "over the benchmark, cash &amp; co" in text
    assert f"{sessions} sessions, 1 name a session" in text
    # The IC is a dash, and its reason stands before the next table.
    assert signal[2] == "–"
    assert text.index("fewer than 2 names with score and label") < text.index("Portfolios after")
    short = portfolio_summary(result, periods_per_year="us", least_sessions=60)
    assert math.isnan(short["annualized_return"]) is not yearly
    assert portfolio_summary(result, periods_per_year="us")["annualized_return"] > 1


def test_a_table_on_other_rows_says_so_beside_it(market: Planted) -> None:
    """The comparison leaves out rows, so its figures are not those of the headline."""
    days = market.scores.index.get_level_values(0)
    late = market.scores[days > days.unique()[100]]
    comparison = compare_signals({"m": market.scores, "late": -late}, market.labels, draws=9)
    analyses = {"m": signal_analysis(market.scores, market.labels)}
    text = html_report(analyses, comparison=comparison, figures={"ic": b""})
    assert "each over all of its rows" in text
    section = text.split("<h2>Comparison</h2>")[1].split("<h2>")[0]
    assert "these are not the figures of the table above" in section
    assert f"of {len(market.scores)} of m" in section
    alone = market.scores.xs("S0001", level=1, drop_level=False)
    notes = compare_signals({"m": alone, "n": -alone}, market.labels, draws=9).notes
    assert notes[-1].startswith("no session has an IC: none has two names with score and label")
    assert "of m" not in text.split("<h2>Notes</h2>")[1].split("<script>")[0]


def test_pictures_name_sessions_and_benchmark(
    portfolios: dict[str, PortfolioResult], comparison: Comparison
) -> None:
    figure = plot_portfolio(portfolios)
    count = len(portfolios["gru"].daily)
    assert figure.get_suptitle() == f"Portfolio after costs, {count} sessions"
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any(text.startswith("benchmark (all names at equal weight) ") for text in legend)
    days = int(comparison.summary["days"].max())
    assert (
        plot_comparison(comparison).get_suptitle().endswith(f"mean daily rank IC, {days} sessions")
    )


def test_one_colour_a_model_in_every_picture(
    analyses: dict[str, SignalAnalysis],
    portfolios: dict[str, PortfolioResult],
    comparison: Comparison,
) -> None:
    colors = model_colors(["gru", "mine", "ensemble", "reversal"])
    assert colors["gru"] == MODEL_COLORS["gru"]
    assert len(set(colors.values())) == 4
    decay = plot_decay({n: a.decay for n, a in analyses.items()}, colors=colors)
    turnover = plot_turnover({n: a.sessions for n, a in analyses.items()}, colors=colors)
    held = plot_concentration(portfolios, colors=colors)
    for fig in (decay, turnover, held):
        for ax in fig.axes:
            lines = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
            for text, line in lines.items():
                assert line.get_color() == colors[text.split()[0]]
    left = plot_comparison(comparison, colors=colors).axes[0]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [dot.get_color() for dot in dots] == [colors[n] for n in comparison.summary.index]


def test_labels_of_trainings_take_the_colour_of_their_model() -> None:
    assert model_colors(["gru 2020-01-02", "lstm 2020-01-02", "gru 2021-01-04"]) == {
        "gru 2020-01-02": PALETTE[1], "lstm 2020-01-02": PALETTE[0], "gru 2021-01-04": PALETTE[2],
    }  # fmt: skip


def test_heat_map_shows_the_months(analyses: dict[str, SignalAnalysis]) -> None:
    fig = plot_ic_heatmap({"gru": analyses["gru"].by_month})
    image = fig.axes[0].images[0].get_array()
    monthly = analyses["gru"].by_month["rank_ic"]
    assert image.shape == (2, 13)  # two years, twelve months and the year
    assert image[0, 4] == monthly["2018-05"]
    assert np.ma.getmaskarray(image)[1, 3:12].all()


def test_the_years_of_the_heat_map_are_those_of_the_table(
    analyses: dict[str, SignalAnalysis],
) -> None:
    """A month of two sessions weighs as much as two sessions, and colours nothing."""
    one = analyses["gru"]
    months = one.by_month.index
    assert one.by_month["sessions"].min() < one.by_month["sessions"].max(), "any mean would do"
    short = one.by_month.assign(rank_ic_days=one.by_month["rank_ic_days"].where(
        months != months[1], 2.0), rank_ic=one.by_month["rank_ic"].where(months != months[1], -0.9)
    )  # fmt: skip
    whole = plot_ic_heatmap({"gru": one.by_month}).axes[0].images[0].get_array()
    for row, year in enumerate(one.by_year.index):
        assert whole[row, 12] == pytest.approx(one.by_year.loc[year, "rank_ic"])
    ax = plot_ic_heatmap({"gru": short}).axes[0]
    image = ax.images[0]
    at = int(months[1][-2:]) - 1
    assert np.ma.getmaskarray(image.get_array())[0, at]
    assert "-90.0" in [text.get_text().replace("−", "-") for text in ax.texts]
    assert image.get_clim()[1] < 0.5


def test_quantile_curves_fan_out_around_the_mean(analyses: dict[str, SignalAnalysis]) -> None:
    fig = plot_quantile_curves({"gru": analyses["gru"].sessions})
    sessions = analyses["gru"].sessions
    curve = next(line for line in fig.axes[0].lines if line.get_label() == "q5")
    above = (sessions["q5"] - sessions["mean_label"]).fillna(0).cumsum() * 100
    np.testing.assert_allclose(curve.get_ydata(), above)


def test_concentration_picture_has_a_panel_for_idle_holdings_where_there_are_any(
    portfolios: dict[str, PortfolioResult],
) -> None:
    idle = {n: concentration(r)["suspended"].sum() for n, r in portfolios.items()}
    assert sum(idle.values()) > 0
    assert len(plot_concentration(portfolios).axes) == 4
    busy = portfolios["gru"]
    calm = PortfolioResult(busy.config, busy.daily, busy.positions[~busy.positions["suspended"]])
    assert len(plot_concentration({"gru": calm}).axes) == 3


def test_groups_picture_and_errors(
    analyses: dict[str, SignalAnalysis], comparison: Comparison
) -> None:
    ax = plot_groups({"gru": analyses["gru"].by_group}).axes[0]
    assert [t.get_text().split(" (")[0] for t in ax.get_yticklabels()] == ["even", "odd <&>"]
    np.testing.assert_allclose(
        np.asarray(ax.lines[0].get_xdata(), dtype=float), analyses["gru"].by_group["rank_ic"]
    )
    with pytest.raises(ValueError, match="statistic='t': expected 'ic' or 'rank_ic'"):
        plot_comparison(comparison, statistic="t")
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_decay({})
    with pytest.raises(ValueError, match=r"the frame of 'm' lacks \['mean_label'\]"):
        plot_quantile_curves({"m": analyses["gru"].sessions[["q1", "q2"]]})
    assert png_bytes(plot_comparison(comparison, statistic="ic")).startswith(b"\x89PNG")


def test_many_trainings_of_one_report_are_shaded(histories: dict[str, pd.DataFrame]) -> None:
    many = {f"gru {k}": histories["gru 2020-01-02"] for k in range(9)}
    colors = {line.get_color() for line in plot_loss_curves(many).axes[0].lines}
    assert len(colors) == 9


def test_html_pieces_escape_and_vanish() -> None:
    assert "&lt;i&gt;" in table(["<i>"], [["<i>", "1"]], caption="<i>", colors={"<i>": "red"})
    assert facts({}) == bullets([]) == folded("t", "") == ""
    assert "<h2>b</h2>" not in page("t", "l", [("a", "x"), ("b", "")])
    assert fixed(1)(float("nan")) == "–"
    assert fixed(1, scale=100, unit="%")(0.123) == "+12.3%"
    assert fixed(0, sign=False)(-1234.0) == "\u22121,234"
