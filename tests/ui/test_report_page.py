"""A report page in Chromium, at the desk and on a phone; without a server, as it is mailed.

Oracle: the tables that the page was made from, and the window's own measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    compare_signals,
    equal_weight_benchmark,
    html_report,
    reversal,
    signal_analysis,
    topk_dropout,
)
from tests.rnn_core.evaluation.simulated import planted
from tests.ui.browser import Browser, chromium, missing

NEEDED = missing()
pytestmark = pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))
HOSTILE = "<img src=x onerror='window.hostile=1'>"
# The text of a page with what Bokeh keeps in shadow trees.
TEXT = """
const of = (node) => [node.shadowRoot ?? node].flatMap((root) => [...root.childNodes].map(
  (child) => child.nodeType == 3 ? child.textContent
    : ["STYLE", "SCRIPT"].includes(child.nodeName) ? "" : of(child))).join("");
return of(document.body);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The page of two signals, and the daily figures of the first one's portfolio."""
    market = planted(30, 200, 4, signal=0.1)
    rng = np.random.default_rng(1)
    noise = pd.Series(rng.normal(size=len(market.scores)), market.scores.index)
    scores = {"lstm": market.scores, HOSTILE: market.scores + noise}
    bench, config = equal_weight_benchmark(market.bars), PortfolioConfig(topk=6, n_drop=2)
    results = {n: topk_dropout(s, market.bars, config, benchmark=bench) for n, s in scores.items()}
    text = html_report(
        {n: signal_analysis(s, market.labels, bars=market.bars) for n, s in scores.items()},
        portfolios=results,
        comparison=compare_signals(
            scores, market.labels, baselines={"reversal": reversal(market.bars)}, draws=50
        ),
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path, results["lstm"].daily


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(page[0].parent.as_uri(), tmp_path_factory.mktemp("profile")) as window:
        yield window


def opened(browser: Browser, width: int) -> None:
    """Open the page in a window of this width, and wait for its charts."""
    browser.resize(width, 900)
    browser.open("/report.html", "Headline")
    browser.until(
        lambda: browser.script(
            "return window.Bokeh && Bokeh.documents.length == 3 && Bokeh.documents.every("
            "d => d.is_idle)"
        ),
        lambda: "the charts are not drawn",
    )


def test_charts_take_the_place_of_pictures(browser, page):
    """Hover says the value of a session; a drag across zooms; nothing is fetched or run."""
    from selenium.webdriver import ActionChains

    opened(browser, 1280)
    hidden = "return [...document.querySelectorAll('.still')].map(e => e.offsetHeight)"
    assert browser.script(hidden) == [0, 0, 0]
    assert browser.script("return window.hostile") is None
    fetched = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in browser.script(fetched) if not name.startswith("data:")] == []
    chart = browser.element("#portfolio-chart")
    browser.script("document.getElementById('portfolio-chart').scrollIntoView()")
    ActionChains(browser.driver).move_to_element_with_offset(chart, 100, -200).perform()
    _, daily = page
    net = ((daily["return"] - daily["cost"]) * 100).cumsum()

    def session() -> pd.Timestamp | None:
        day = pd.Series(str(browser.script(TEXT))).str.extract(r"session: ?(\d{4}-\d\d-\d\d)")
        return None if day.isna().all(axis=None) else pd.Timestamp(day.iloc[0, 0])

    day = browser.until(session, lambda: "no value is shown")
    text = str(browser.script(TEXT)).replace("\u2212", "-")
    assert f"lstm: {net[day]:.1f}" in text.replace(":  ", ": ").replace(":\u00a0", ": ")
    assert HOSTILE in text
    width = "const r = Bokeh.documents[1].roots()[0].children[0][0].x_range; return r.end - r.start"
    before = browser.script(width)
    ActionChains(browser.driver).click_and_hold().move_by_offset(150, 0).release().perform()
    browser.until(lambda: browser.script(width) < 0.5 * before, lambda: "a drag does not zoom")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(browser, width):
    opened(browser, width)
    wide = "return document.documentElement.scrollWidth"
    assert browser.script(wide) <= width


def test_without_scripts_the_pictures_stand_there(browser):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(browser.driver.current_url)
        from selenium.webdriver.common.by import By

        pictures = browser.driver.find_elements(By.CSS_SELECTOR, "figure.chart img")
        assert [image.is_displayed() for image in pictures] == [True] * 3
        assert "drag across" not in browser.driver.find_element(By.TAG_NAME, "body").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
