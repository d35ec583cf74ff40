"""Parse numbers that are text: marks of decimals and thousands, currencies, and K, M, B.

A number is read only where its writing leaves no choice; any other text is an error that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import SourceError
from pipelines.sources.base import NOTHING

_CURRENCY = r"(?:US|HK|A|C)?[$]|[€£¥₹]|[A-Z]{3}"
_SIGNED = (
    rf"^(?P<before>{_CURRENCY})? ?(?P<sign>[+-]?)(?P<inner>{_CURRENCY})? ?"
    "(?P<number>[0-9][0-9.,' \u00a0\u202f]*?) ?(?P<unit>[KkMmBbTt]|[Mm]n|[Bb]n)? ?"
    rf"(?P<after>{_CURRENCY})?$"
)
_UNITS = {"": "", "k": "e3", "m": "e6", "mn": "e6", "b": "e9", "bn": "e9", "t": "e12"}
OF_FILES = (
    "say how numbers are written (source.decimal, source.thousands), leave out lines that are no "
    "bars (source.skip_lines), or name another column (source.columns)"
)
"""Advice on a text of a file that is no number."""


def plain_number(text: str) -> str:
    """A number without currency and unit, `1.2` for `$1.2M`; other texts as they are."""
    match = re.match(_SIGNED, text.strip())
    return text.strip() if match is None else match["sign"] + match["number"]


def parse_numbers(
    column: pa.ChunkedArray,
    decimal: str,
    thousands: str | None,
    place: str,
    where: Callable[[int], str],
    advice: str = OF_FILES,
) -> np.ndarray:
    """Parse texts as float64; texts of `NOTHING` and nulls are NaN.

    Args:
        column: the texts.
        decimal: the decimal mark.
        thousands: the mark of thousands; None for none.
        place: the column's name in messages.
        where: says the place of a row in messages, as in `, line 12`.
        advice: ends a message on a text that is no number.

    Raises:
        SourceError: a text is no number, a mark stands in a wrong place, or currencies differ.
    """
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.is_in(text, pa.array(NOTHING, text.type)), None, text)
    shown, exponent = text, None
    if pc.any(pc.match_substring_regex(text, "[$€£¥₹A-Za-df-z]")).as_py():
        text, exponent = _without_signs(text, place, where)
    odd, writing = _misplaced(text, decimal, thousands)
    if odd is not None and pc.any(odd).as_py():
        row = pc.index(odd, True).as_py()
        raise SourceError(
            f"{place}{where(row)}: {shown[row].as_py()!r} is no number where source.{writing}; "
            f"{advice}, and write them the same in all columns"
        )
    if thousands is not None:
        text = pc.replace_substring(text, thousands, "")
    if decimal != ".":
        text = pc.replace_substring(text, decimal, ".")
    if exponent is not None:
        text = pc.binary_join_element_wise(text, exponent, "")
    try:
        values: np.ndarray = text.cast("float64").to_numpy()
    except pa.ArrowInvalid as error:
        row = next(k for k, value in enumerate(text.to_pylist()) if not _is_float(value))
        raise SourceError(
            f"{place}{where(row)}: {shown[row].as_py()!r} is no number; {advice}"
        ) from error
    return values


def _without_signs(
    text: pa.ChunkedArray, place: str, where: Callable[[int], str]
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Take currencies and units off; returns the rest, and the units as exponents."""
    parts = pc.extract_regex(text, _SIGNED)
    has_parts = pc.is_valid(parts)
    names = ("before", "inner", "after")
    currency = pc.binary_join_element_wise(*(pc.struct_field(parts, n) for n in names), "")
    kinds = pc.unique(currency.filter(pc.fill_null(pc.not_equal(currency, ""), False)))
    if len(kinds) > 1:
        row = pc.index(currency, kinds[1]).as_py()
        raise SourceError(
            f"{place}{where(row)}: {text[row].as_py()!r}, and other rows are in "
            f"{kinds[0].as_py()}; prices of a market are in one currency"
        )
    plain = pc.binary_join_element_wise(
        *(pc.struct_field(parts, n) for n in ("sign", "number")), ""
    )
    unit = pc.utf8_lower(pc.struct_field(parts, "unit"))
    exponents = pa.chunked_array([[_UNITS[u] if u else "" for u in unit.to_pylist()]], pa.string())
    return pc.if_else(has_parts, plain, text), exponents


def _misplaced(
    text: pa.ChunkedArray, decimal: str, thousands: str | None
) -> tuple[pa.ChunkedArray | None, str]:
    """The texts with a mark in a wrong place, and the key that says which place is right.

    A mark of thousands stands before three digits; a point is one of the marks.
    """
    if thousands is not None:
        mark, point = re.escape(thousands), re.escape(decimal)
        grouped = rf"^[+-]?\d{{1,3}}({mark}\d{{2,3}})*{mark}\d{{3}}({point}\d*)?$"
        has_mark = pc.match_substring(text, thousands)
        odd = pc.and_(has_mark, pc.invert(pc.match_substring_regex(text, grouped)))
        return odd, f"thousands is {thousands!r}"
    if decimal != ".":
        return pc.match_substring(text, "."), f"decimal is {decimal!r}"
    return None, ""


def _is_float(text: str | None) -> bool:
    """True for what Arrow reads as a number, or for nothing."""
    if text is None:
        return True
    try:
        pa.scalar(text).cast("float64")
    except pa.ArrowInvalid:
        return False
    return True
