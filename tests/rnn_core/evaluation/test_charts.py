"""The charts of a page, read back from the JSON that the page hands to Bokeh.

The oracle of their values are the tables of the analyses; what a browser makes of them is tested in
`tests/ui/test_report_page.py`.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    PortfolioResult,
    SignalAnalysis,
    charts,
    equal_weight_benchmark,
    html_report,
    report,
    signal_analysis,
    topk_dropout,
)
from rnn_core.evaluation.charts import MOST_CURVES, MOST_POINTS, report_charts
from rnn_core.evaluation.render import model_colors
from tests.rnn_core.evaluation.simulated import Planted, planted

HOSTILE = "</script><img src=x onerror=alert(1)>$$"


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(30, 200, 4, signal=0.1)


@pytest.fixture(scope="module")
def analyses(market: Planted) -> dict[str, SignalAnalysis]:
    names = {"lstm": market.scores, HOSTILE: -market.scores}
    return {n: signal_analysis(s, market.labels, horizons=(1,)) for n, s in names.items()}


@pytest.fixture(scope="module")
def portfolios(market: Planted) -> dict[str, PortfolioResult]:
    config = PortfolioConfig(topk=6, n_drop=2)
    bench = equal_weight_benchmark(market.bars)
    return {"lstm": topk_dropout(market.scores, market.bars, config, benchmark=bench)}


def found(item: Any, kind: str) -> list[dict[str, Any]]:
    """Every object of a kind in a document of Bokeh's."""
    if isinstance(item, dict):
        own = [item["attributes"]] if item.get("name") == kind and "attributes" in item else []
        return own + [one for value in item.values() for one in found(value, kind)]
    if isinstance(item, list):
        return [one for value in item for one in found(value, kind)]
    return []


def columns(text: str) -> dict[str, Any]:
    """The data of a chart by column."""
    (source,) = found(json.loads(text), "ColumnDataSource")

    def decoded(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        raw = base64.b64decode(value["array"]["data"])
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        return np.frombuffer(raw, value["dtype"])

    return {name: decoded(value) for name, value in source["data"]["entries"]}


def values_of(text: str, panel: int, label: str) -> np.ndarray:
    """The values that the hover of a panel shows beside a label."""
    hovers = found(json.loads(text), "HoverTool")
    column = dict(map(tuple, hovers[panel]["tooltips"]))[label].split("{")[0].removeprefix("@")
    return np.asarray(columns(text)[column])


@pytest.fixture(scope="module")
def shown(analyses, portfolios) -> dict[str, str]:
    return report_charts(analyses, portfolios, colors=model_colors(analyses))


def test_a_chart_has_the_values_of_the_tables(analyses, portfolios, shown):
    assert list(shown) == ["ic", "portfolio", "concentration"]
    daily = portfolios["lstm"].daily
    net = (daily["return"] - daily["cost"]) * 100
    for panel, label, expected in (
        (0, "lstm", net.cumsum()),
        (0, "lstm, before costs", (daily["return"] * 100).cumsum()),
        (0, "benchmark (all names at equal weight)", (daily["bench"] * 100).cumsum()),
        (1, "lstm", (net - daily["bench"] * 100).cumsum()),
    ):
        found_values = values_of(shown["portfolio"], panel, label)
        np.testing.assert_allclose(found_values, expected, rtol=1e-5, atol=1e-5)
    excess = (net - daily["bench"] * 100).cumsum()
    fall = values_of(shown["portfolio"], 2, "lstm")
    np.testing.assert_allclose(fall, excess - excess.cummax(), rtol=1e-4, atol=1e-4)
    data = columns(shown["portfolio"])
    assert data["day"] == [f"{day:%Y-%m-%d}" for day in daily.index]
    assert list(data["session"]) == list(range(len(daily)))  # weekends are no gaps
    monthly = values_of(shown["ic"], 2, "lstm")
    by_month = analyses["lstm"].by_month["rank_ic"]
    of_session = analyses["lstm"].sessions.index.strftime("%Y-%m")
    np.testing.assert_allclose(monthly, by_month.reindex(of_session), rtol=1e-5)


def test_portfolios_of_two_benchmarks_have_a_curve_of_each(analyses, portfolios):
    """As in the picture; a benchmark of zeros alone is none, there as here."""
    colors, one = model_colors(analyses), portfolios["lstm"]
    other = replace(one, daily=one.daily.assign(bench=one.daily["bench"] + 0.01), benchmark="X")
    text = report_charts(analyses, {"lstm": one, "gru": other}, colors=colors)["portfolio"]
    for name, result in (("lstm", one), ("gru", other)):
        expected = (result.daily["bench"] * 100).cumsum()
        shown = values_of(text, 0, f"benchmark of {name}")
        np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-5)
    none = replace(one, daily=one.daily.assign(bench=0.0))
    text = report_charts(analyses, {"lstm": none}, colors=colors)["portfolio"]
    assert len(found(json.loads(text), "HoverTool")) == 2
    assert "benchmark" not in text and "xcess" not in text


def test_the_same_tables_give_the_same_bytes(analyses, portfolios, shown):
    """Bokeh numbers its objects as they are made in the process: a chart does not show it."""
    assert report_charts(analyses, portfolios, colors=model_colors(analyses)) == shown


def test_no_name_ends_the_element_that_it_stands_in(analyses, portfolios, shown):
    text = html_report(analyses, portfolios=portfolios, figures=dict.fromkeys(shown, b""))
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 5  # three charts, Bokeh, the page's
    assert text.count('<figure class="chart"') == text.count('<div class="still"><img') == 3
    assert "src=" not in "".join(part.split(">")[0] for part in text.split("<script")[1:])
    (hover, *_) = found(json.loads(report_charts(analyses, colors=model_colors(analyses))["ic"]),
                        "HoverTool")  # fmt: skip
    assert not any("$$" in label for label, _ in hover["tooltips"])  # TeX would be fetched


def test_many_signals_and_sessions_stay_small(market):
    """Twenty years of twelve signals: a chart shows the first eight, and points that fit."""
    days = pd.bdate_range("2000-01-03", periods=5200)
    rng = np.random.default_rng(3)
    one = signal_analysis(market.scores, market.labels)
    series = pd.DataFrame(rng.normal(0, 0.1, (5200, 2)), days, ["ic", "rank_ic"])
    many = {f"m{k}": type(one)(**{**vars(one), "sessions": series}) for k in range(12)}
    text = report_charts(many, colors=model_colors(many))["ic"]
    data = columns(text)
    assert len(data["session"]) <= MOST_POINTS
    assert data["session"][-1] == 5199
    assert len(found(json.loads(text), "HoverTool")[0]["tooltips"]) == MOST_CURVES + 1
    assert len(text) < 600_000


def test_without_the_library_the_page_has_pictures_and_says_so(analyses, monkeypatch):
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    text = html_report(analyses)
    assert "<script" not in text
    assert "the page has pictures only: with Bokeh" in text
    assert report.has_charts() is False
