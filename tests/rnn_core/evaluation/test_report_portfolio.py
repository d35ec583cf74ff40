"""The newest holdings on a report page. Oracle: two closes of a small book, written by hand."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from rnn_core.evaluation import PortfolioConfig, PortfolioResult, concentration
from rnn_core.evaluation.report_portfolio import holdings_table

DAYS = pd.to_datetime(["2024-01-02", "2024-01-03"])


def book(before: dict[str, float], now: dict[str, float]) -> PortfolioResult:
    """Amounts by name at two closes, all at a price of 1, of an account of 100."""
    rows = [
        (day, name, amount, 1.0, amount / 100, False)
        for day, amounts in zip(DAYS, (before, now), strict=True)
        for name, amount in amounts.items()
    ]
    columns = ["datetime", "instrument", "amount", "price", "weight", "suspended"]
    daily = pd.DataFrame({"account": 100.0, "cash": 100.0 - sum(now.values())}, index=DAYS)
    return PortfolioResult(PortfolioConfig(), daily, pd.DataFrame(rows, columns=columns))


def words(result: PortfolioResult) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", holdings_table(result)))


def test_a_trade_has_the_name_of_its_side():
    before = {"A": 10, "B": -10, "C": 10, "D": -10, "E": 5, "F": 5, "G": -5}
    now = {"A": 10, "B": -20, "C": -10, "D": 10, "N": 20, "S": -30, "G": -5}
    said = words(book(before, now))
    for row in ("A 10.0% ", "B −20.0% changed", "C −10.0% sold, sold short", "G −5.0% ",
                "D 10.0% covered, bought", "N 20.0% bought", "S −30.0% sold short"):  # fmt: skip
        assert row in said, said
    assert "sold on the session: E, F" in said
    assert said.index(" N ") < said.index(" G ") < said.index(" S "), "by weight, short ones last"
    assert "covered on" not in said
    assert "covered on the session: B" in words(book({"B": -1, "A": 1}, {"A": 1}))


def test_exposure_is_said_of_a_book_with_short_positions():
    said = words(book({"A": 50, "B": -30}, {"A": 60, "B": -40}))
    assert "long 60.0%, short 40.0%, gross 100.0%, net +20.0%; on average of all" in said
    assert "gross 90.0%, net +20.0%" in said
    assert "gross" not in words(book({"A": 50}, {"A": 50}))


def test_the_largest_positions_are_shown_short_ones_too():
    """Of 60 long names and one large short one the ten smallest and one more are left out."""
    many = {f"L{i:02}": 1.0 + i / 100 for i in range(60)} | {"SHORT": -30.0}
    said = words(book(many, many))
    assert "SHORT −30.0%" in said
    assert "11 smaller positions are left out" in said
    assert " L10 " not in said
    assert " L11 " in said


def test_short_positions_count_in_the_concentration_as_long_ones_do():
    """Two long and two short positions of a quarter each are four names, and a gross of 1."""
    quarter = {"A": 25, "B": 25, "C": -25, "D": -25}
    figures = concentration(book(quarter, {"A": 20, "B": -60})).round(12)
    assert figures["effective"].tolist() == [4.0, pytest.approx(1 / (1 / 16 + 9 / 16))]
    assert figures["invested"].tolist() == [1.0, 0.8]
    assert figures["top_weight"].tolist() == [0.25, 0.6]
