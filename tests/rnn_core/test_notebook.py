"""Results at a prompt and in a notebook. Oracle: the shapes and spans of what is shown."""

from __future__ import annotations

import pytest

from rnn_core.data import DataHandlerLP, DatasetH, TSDataSampler
from rnn_core.evaluation import compare_signals, plot_ic, signal_analysis, topk_dropout
from tests.rnn_core.evaluation.simulated import Planted, planted


@pytest.fixture(scope="module")
def market() -> Planted:
    return planted(8, 60, 1, signal=0.2)


def test_results_are_a_line_of_facts_and_a_short_table(market: Planted) -> None:
    scores, labels = market.scores, market.labels
    days = scores.index.get_level_values("datetime")
    span = f"{days.min():%Y-%m-%d} to "
    for result, words in (
        (signal_analysis(scores, labels), ("rank IC", "t ", "a session")),
        (compare_signals({"a": scores, "b": -scores}, labels), ("signals a, b, ensemble",)),
        (topk_dropout(scores, market.bars), ("held", "account", "benchmark none")),
    ):
        text, page = repr(result), result._repr_html_()
        assert text.startswith(f"{type(result).__name__}(") and "\n" not in text
        assert len(text) < 200
        assert all(word in text for word in (span, *words))
        assert page.count("<table") == 2 and len(page) < 6000


def test_handlers_datasets_and_samplers_show_shapes_spans_and_names(market: Planted) -> None:
    frame = market.bars[["close", "volume"]]
    handler = DataHandlerLP.from_df(frame.set_axis([("feature", c) for c in frame], axis=1).pipe(
        lambda f: f.set_axis(f.columns.map(tuple), axis=1)
    ))  # fmt: skip
    names = frame.index.get_level_values("instrument").nunique()
    for shown in (
        handler, DatasetH(handler, {"train": ("2020-01-01", None)}),
        TSDataSampler(frame, None, None, 4),
    ):  # fmt: skip
        page = shown._repr_html_()
        assert type(shown).__name__ in page
        assert f"<th style='text-align:left'>names</th><td style='text-align:left'>{names}<" in page
    assert "2020-01-01 to …" in DatasetH(handler, {"train": ("2020-01-01", None)})._repr_html_()


def test_a_figure_shows_itself(market: Planted) -> None:
    analysis = signal_analysis(market.scores, market.labels)
    assert plot_ic({"a": analysis.sessions})._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
