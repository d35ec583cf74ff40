"""Numbers that are text. Oracle: the numbers in the cases, by hand."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import SourceError
from pipelines.sources.numbers import parse_numbers, plain_number


def parsed(texts, decimal=".", thousands=None) -> list[float]:
    column = pa.chunked_array([texts], pa.string())
    values = parse_numbers(column, decimal, thousands, "f", lambda row: f", line {row + 2}")
    return values.tolist()


@pytest.mark.parametrize(
    ("texts", "marks", "numbers"),
    [
        (["1.2M", "300K", "2.5B", "1.1mn", "3bn", "1t", "5"], {},
         [1.2e6, 3e5, 2.5e9, 1.1e6, 3e9, 1e12, 5.0]),
        (["$49.79", "-$1.5", "$-2", "7"], {}, [49.79, -1.5, -2.0, 7.0]),
        (["49,79 EUR", "1.234,5 EUR"], {"decimal": ",", "thousands": "."}, [49.79, 1234.5]),
        (["1,2K", "0,5"], {"decimal": ","}, [1200.0, 0.5]),
        (["1 234", "12 345 678.5"], {"thousands": " "}, [1234.0, 12345678.5]),
        (["1e5", " 2 ", "inf"], {}, [1e5, 2.0, math.inf]),
    ],
)  # fmt: skip
def test_each_writing(texts, marks, numbers):
    assert parsed(texts, **marks) == numbers


@pytest.mark.parametrize("text", ["", "-", "NaN", "n/a".upper(), None])
def test_texts_that_stand_for_nothing(text):
    values = parsed([text, "1.5K"])
    assert math.isnan(values[0])
    assert values[1] == 1500.0


@pytest.mark.parametrize("text", ["12%", "(5)", "1.2X", "Close", "1.2MM", "5 EURO", "$", "K"])
def test_any_other_text_is_shown_with_its_place(text):
    with pytest.raises(SourceError, match=r"^f, line 3: .* is no number; say how") as error:
        parsed(["1", text])
    assert repr(text) in str(error.value)
    assert plain_number(text) == text


def test_currencies_never_mix():
    with pytest.raises(SourceError, match=r"line 4: '€2', and other rows are in \$; prices of a"):
        parsed(["$1", "3", "€2"])


@given(st.floats(0, 1e9, allow_nan=False).map(lambda x: round(x, 2)))
def test_a_unit_is_exact(number):
    """1.1M has the bits of 1.1e6, and not those of 1.1 times a million."""
    assert parsed([f"{number}M"] if "e" not in f"{number}" else ["0"]) == (
        [float(f"{number}e6")] if "e" not in f"{number}" else [0.0]
    )
