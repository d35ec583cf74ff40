"""What is said where there is no terminal."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from rich.console import Console

from pipelines.operations.console import LiveProgress, results_table


def test_without_a_terminal_what_takes_long_says_a_line_a_minute() -> None:
    out, now = io.StringIO(), [0.0]
    display = LiveProgress(Console(file=out, width=120), clock=lambda: now[0])
    display.start("lstm_model", 3)
    for second, text in ((30, "epoch 0"), (61, "epoch 1"), (90, "epoch 2"), (122, "epoch 3")):
        now[0] = second
        display.note("lstm_model", text)
    display.advance("lstm_model", "2020-01-02")
    now[0] = 200
    display.advance("lstm_model", "2020-01-03")
    display.advance("lstm_model", "2020-01-06")
    display.finish("lstm_model")
    assert out.getvalue().splitlines() == [
        "  lstm_model                     0 of 3 epoch 1",
        "  lstm_model                     0 of 3 epoch 3",
        "  lstm_model                     2 of 3 2020-01-03, about 2 min left",
        "  lstm_model                     3 partitions   200.0 s",
    ]


def test_an_asset_that_knows_better_than_the_rate_of_its_partitions_says_so() -> None:
    """A training says how long all of its run takes; the partitions between take no time."""
    out, now = io.StringIO(), [0.0]
    display = LiveProgress(Console(file=out, width=120), clock=lambda: now[0])
    display.start("lstm_model", 500)
    for second, left in ((61, 7200.0), (122, 2000.0), (183, 5.0)):
        now[0] = second
        display.note("lstm_model", "epoch", left)
    now[0] = 250
    display.advance("lstm_model", "2020-01-02")
    assert out.getvalue().splitlines() == [
        "  lstm_model                     0 of 500 epoch, about 2.0 h left",
        "  lstm_model                     0 of 500 epoch, about 33 min left",
        "  lstm_model                     0 of 500 epoch, about 5 s left",
        "  lstm_model                     1 of 500 2020-01-02",
    ]


def test_what_was_cut_off_says_how_far_it_came() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120), clock=lambda: 0.0)
    display.start("ohlcv", 250)
    display.advance("ohlcv", "2020-01-02")
    display.finish("ohlcv")
    assert out.getvalue() == "  ohlcv                          1 of 250 partitions     0.0 s\n"


def test_what_is_short_says_one_line() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120))
    display.start("ohlcv", 1)
    display.note("ohlcv", "2020-01-02")
    display.advance("ohlcv", "2020-01-02")
    display.finish("ohlcv")
    assert len(out.getvalue().splitlines()) == 1


def test_the_final_table_has_no_figure_of_a_year_of_few_sessions() -> None:
    """Portfolio figures of a report with few sessions are missing, and the caption says why."""
    signal = pd.DataFrame(
        {"ic": [np.nan], "icir": np.nan, "rank_ic": np.nan, "rank_icir": np.nan, "days": 0.0},
        index=pd.Index(["lstm"], name="model"),
    )
    portfolio = pd.DataFrame(
        {
            "sessions": [8.0],
            "names": [1.0],
            "annualized_excess_return_with_cost": [np.nan],
            "information_ratio_with_cost": [np.nan],
            "max_drawdown_with_cost": [-0.01],
        },
        index=signal.index,
    )
    out = io.StringIO()
    Console(file=out, width=120).print(results_table(signal, portfolio))
    text = " ".join(out.getvalue().split())
    assert "lstm – – – – 0 – – -1.00%" in text
    assert "need two names with score and label" in text
    assert "it needs 60 sessions or more, and this is 8 sessions of 1 name" in text
    assert "in excess of the members at equal weight" in text


def test_partitions_without_rows_are_counted() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120), clock=lambda: 0.0)
    display.start("lstm_evaluation", 3)
    for key, rows in (("2020-01-02", 0), ("2020-01-03", 0), ("2020-01-06", 1)):
        display.advance("lstm_evaluation", key, rows)
    display.finish("lstm_evaluation")
    line = "  lstm_evaluation                3 partitions     0.0 s, 2 without rows\n"
    assert out.getvalue() == line


def test_warnings_of_a_kind_are_shown_once_and_counted() -> None:
    out = io.StringIO()
    live = LiveProgress(Console(file=out, width=120))
    with live.shown():
        for n in range(10):
            live.warn(f"bars of 2024-01-{n + 10}: [{n}] names")
            live.warn(f"gru as of 2024-01-{n + 10}: worse than {n / 7:.3f}")
    lines = out.getvalue().splitlines()
    assert lines == [
        "warning: bars of 2024-01-10: [0] names",
        "warning: gru as of 2024-01-10: worse than 0.000",
        "18 more warnings like these are in the log of the run, in the UI",
    ]


def test_of_many_kinds_the_first_are_shown() -> None:
    out = io.StringIO()
    live = LiveProgress(Console(file=out, width=120))
    with live.shown():
        for letter in "abcdefghijklmnopqrstuvwxyz":
            live.warn(letter)
    lines = out.getvalue().splitlines()
    assert lines[:20] == [f"warning: {letter}" for letter in "abcdefghijklmnopqrst"]
    assert lines[20:] == ["6 more warnings are in the log of the run, in the UI"]
