"""What is said where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from pipelines.operations.console import LiveProgress


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
        "  lstm_model             0 of 3 epoch 1",
        "  lstm_model             0 of 3 epoch 3",
        "  lstm_model             2 of 3 2020-01-03",
        "  lstm_model             3 partitions   200.0 s",
    ]


def test_what_was_cut_off_says_how_far_it_came() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120), clock=lambda: 0.0)
    display.start("ohlcv", 250)
    display.advance("ohlcv", "2020-01-02")
    display.finish("ohlcv")
    assert out.getvalue() == "  ohlcv                  1 of 250 partitions     0.0 s\n"


def test_what_is_short_says_one_line() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120))
    display.start("ohlcv", 1)
    display.note("ohlcv", "2020-01-02")
    display.advance("ohlcv", "2020-01-02")
    display.finish("ohlcv")
    assert len(out.getvalue().splitlines()) == 1


def test_partitions_without_rows_are_counted() -> None:
    out = io.StringIO()
    display = LiveProgress(Console(file=out, width=120), clock=lambda: 0.0)
    display.start("lstm_evaluation", 3)
    for key, rows in (("2020-01-02", 0), ("2020-01-03", 0), ("2020-01-06", 1)):
        display.advance("lstm_evaluation", key, rows)
    display.finish("lstm_evaluation")
    assert out.getvalue() == "  lstm_evaluation        3 partitions     0.0 s, 2 without rows\n"
