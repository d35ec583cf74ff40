"""Infer the meaning of a stranger's columns from their names and first values.

Names are compared without case, spaces and punctuation. Ambiguous values (03/04/2020) are not
guessed: the error says which flag decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from zoneinfo import available_timezones

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.config.types import EPOCH
from pipelines.errors import SourceError
from pipelines.onboarding.infer_timezone import zone_as_written
from pipelines.sources.base import NOTHING
from pipelines.sources.numbers import plain_number
from pipelines.sources.session_dates import ZONED, epoch_of

NAMES: Mapping[str, tuple[str, ...]] = {
    "date": ("date", "tradedate", "tradingdate", "day", "datetime", "time", "timestamp", "dt",
             "opentime", "tradingday", "日期", "交易日期"),
    "instrument": ("instrument", "code", "symbol", "ticker", "tscode", "sid", "secid", "security",
                   "stock", "stockcode", "asset", "permno", "ric", "pair", "股票代码", "代码"),
    "open": ("open", "openprice", "pxopen", "o", "开盘", "开盘价"),
    "high": ("high", "highprice", "pxhigh", "h", "max", "最高", "最高价"),
    "low": ("low", "lowprice", "pxlow", "l", "min", "最低", "最低价"),
    "close": ("close", "closeprice", "pxclose", "pxlast", "closelast", "last", "price", "c", "收盘",
              "收盘价"),
    "volume": ("volume", "vol", "v", "shares", "tradedvolume", "totalvolume", "成交量"),
    "amount": ("amount", "turnover", "amt", "money", "value", "tradedvalue", "turnovervalue",
               "dollarvolume", "quotevolume", "quoteassetvolume", "成交额"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "factor": ("factor", "adjfactor", "adjustmentfactor", "cumfactor", "cumulativefactor",
               "adjustfactor", "复权因子"),
    "preclose": ("preclose", "prevclose", "previousclose", "precloseprice", "lastclose", "昨收",
                 "前收盘"),
    "ratio": ("adjratio",),
    "vwap": ("vwap", "vw", "avgprice", "averageprice", "均价", "成交均价"),
    "tradestatus": ("tradestatus", "tradingstatus"),
}  # fmt: skip
"""Columns of a table in our words, and the names that others give them."""

REQUIRED = ("open", "high", "low", "close", "volume")
_DAYS = ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y_%m_%d", "%d.%m.%Y", "%d/%m/%Y",
         "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y",
         "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y年%m月%d日")  # fmt: skip
_FORMS = tuple(day + time for time in ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p") for day in _DAYS)
_DIGITS = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # by the length of the number
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCHS = ((1e8, 1e10, "epoch_s"), (1e11, 1e13, "epoch_ms"), (1e14, 1e16, "epoch_us"),
           (1e17, 1e19, "epoch_ns"))  # fmt: skip
_QLIB_CODE = re.compile(r"^((sh|sz|bj)[.]?\d{6}|\d{6}[.](sh|sz|ss|bj|xshg|xshe))$", re.IGNORECASE)


def guess_columns(columns: Iterable[str]) -> dict[str, str]:
    """Recognise columns: our word -> their name; the first spelling wins."""
    plain = {name: re.sub(r"[\W_]+", "", name.lower()) for name in columns}
    recognised: dict[str, str] = {}
    for ours, spellings in NAMES.items():
        for spelling in spellings:
            column = next((name for name, text in plain.items() if text == spelling), None)
            if column is not None and column not in recognised.values():
                recognised[ours] = column
                break
    return recognised


def missing_columns(recognised: Collection[str], *, files: int) -> list[str]:
    """Find the required columns that a table lacks; names of files may supply one of two."""
    missing_names = [name for name in REQUIRED if name not in recognised]
    missing_keys = [name for name in ("date", "instrument") if name not in recognised]
    if len(missing_keys) == 2 or (missing_keys and files < 2):
        missing_names = [*missing_keys, *missing_names]
    return missing_names


Where: TypeAlias = Callable[[str, str], str]
"""Says the file and the line of a value of a column, as in `b.csv, line 12`."""


def _nowhere(column: str, value: str) -> str:
    return ""


def guess_dates(
    kind: pa.DataType, values: Sequence[Any], column: str, where: Where = _nowhere
) -> dict[str, str]:
    """Infer `date_format` of a date column, and the `timezone` that moments state, or UTC.

    The zone is a first one: `infer_calendar.choose` finds the zone in which moments have their day.

    Args:
        kind: the column's type.
        values: distinct values.
        column: its name, for messages.
        where: the place of a value, for messages.

    Raises:
        SourceError: the values are no dates, or day and month cannot be told apart.
    """
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return {}
    if pa.types.is_timestamp(kind):
        return {"timezone": kind.tz if kind.tz in available_timezones() else "UTC"}
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers([float(v) for v in values], column)
    texts = [str(v).strip() for v in values]
    if texts and all(re.fullmatch(r"\d{9,19}", text) for text in texts):
        return _of_numbers([float(text) for text in texts], column)
    if texts and all(map(_ISO.match, texts)):
        moments = [text for text in texts if ZONED.search(text)]
        return {"timezone": zone_as_written(moments) or "UTC"} if moments else {}
    fitting = [form for form in _FORMS if _parses(texts, form)]
    if not fitting:
        raise SourceError(_unknown_dates(texts, column, where))
    if len(fitting) > 1:
        raise SourceError(
            f"column {column} holds dates such as {texts[0]!r}, which may be "
            f"{' or '.join(fitting)}; say which with --date-format"
        )
    return {"date_format": fitting[0]}


def _unknown_dates(texts: Sequence[str], column: str, where: Where) -> str:
    """Show the values that fail in the form which most values have."""
    if not texts:
        return (
            f"column {column} is taken for the date, and has no value; name the date's column, "
            f"--column date=NAME"
        )
    readable = [_readable(texts, form) for form in _FORMS]
    readable += [
        np.array([pattern.match(text) is not None for text in texts])
        for pattern in (_ISO, re.compile(r"\d{9,19}$"))
    ]
    best = max(readable, key=lambda fits: int(fits.sum()))
    odd = [text for text, fits in zip(texts, best, strict=True) if not fits]
    shown = ", ".join(map(repr, odd[:3]))
    place = _at(where, column, odd)
    if 2 * len(odd) < len(texts):
        return (
            f"{place}column {column} is taken for the date, and holds {shown} among dates such as "
            f"{texts[int(best.argmax())]!r}: lines that are no bars, such as titles and totals, "
            f"are left out by source.skip_lines, --skip-lines REGEX"
        )
    return (
        f"{place}column {column} is taken for the date, and holds {shown}: these are no dates that "
        f"are known; name the date's column, --column date=NAME, or how it is written, "
        f"--date-format '%d/%m/%Y'"
    )


def _at(where: Where, column: str, values: Sequence[str]) -> str:
    place = where(column, values[0]) if values else ""
    return f"{place}: " if place else ""


def _of_numbers(numbers: Sequence[float], column: str) -> dict[str, str]:
    if numbers and all(19000101 <= n <= 21001231 for n in numbers):
        return {"date_format": "%Y%m%d"}
    texts = [f"{n:.0f}" for n in numbers]
    lengths = set(map(len, texts))
    written = _DIGITS.get(lengths.pop()) if len(lengths) == 1 else None
    if written is not None and _parses(texts, written):
        return {"date_format": written}
    for low, high, form in _EPOCHS:
        if numbers and all(low <= n < high for n in numbers):
            return {"date_format": form, "timezone": "UTC"}
    odd = [n for n in numbers if epoch_of(n) is None]
    if numbers and not odd:
        return {"date_format": EPOCH, "timezone": "UTC"}
    raise SourceError(
        f"column {column} is taken for the date, and holds numbers such as "
        f"{odd[0] if numbers else 'none'}: expected 20240131, or moments since 1970; say how "
        f"it is written with --date-format, or name the date's column, --column date=NAME"
    )


def _parses(texts: Sequence[str], form: str) -> bool:
    return bool(_readable(texts[:1], form).any()) and bool(_readable(texts, form).all())


def _readable(texts: Sequence[str], form: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the texts that are dates in a form."""
    parsed = pd.to_datetime(pd.Series(texts, dtype="str"), format=form, errors="coerce", utc=True)
    return parsed.notna().to_numpy()


_NUMBER = re.compile(r"[+-]?\d[\d.,'\u00a0\u202f ]*(?:[eE][+-]?\d+)?")
_GROUPS = ",.'\u00a0\u202f "  # marks between thousands


def guess_numbers(values: Mapping[str, Sequence[str]], where: Where = _nowhere) -> dict[str, str]:
    """Infer `decimal` and `thousands` of a CSV's columns of numbers; nothing for plain numbers.

    Args:
        values: the texts of each column.
        where: the place of a value, for messages.

    Raises:
        SourceError: a text is no number, or 1,234 may be both 1234 and 1.234.
    """
    marked: set[str] = set()
    decimals: set[str] = set()
    groups: set[str] = set()
    examples: dict[str, str] = {}
    for column, texts in values.items():
        for text in texts:
            plain = plain_number(text)
            if plain in NOTHING or _is_plain(plain):
                continue
            if _NUMBER.fullmatch(plain) is None:
                raise SourceError(
                    f"{_at(where, column, [text.strip()])}column {column} holds {text!r}, which "
                    f"is no number: name another column, --column OURS=THEIRS, or leave out lines "
                    f"that are no bars by source.skip_lines, --skip-lines REGEX"
                )
            marks = [c for c in plain if c in _GROUPS]
            marked |= set(marks)
            for mark in set(marks):
                examples.setdefault(mark, f"{text!r} (column {column})")
            # The last of two kinds is the decimal mark; a repeated mark parts thousands.
            last, tail = marks[-1], plain[plain.rindex(marks[-1]) + 1 :]
            if len(set(marks)) > 1:
                decimals.add(last)
                groups |= set(marks) - {last}
            elif len(marks) > 1:
                groups.add(last)
            elif len(tail) != 3 or not tail.isdigit() or plain.lstrip("+-").startswith("0"):
                decimals.add(last)
    if not marked:
        return {}
    decimal = next(iter(decimals)) if len(decimals) == 1 else None
    if not decimals and len(marked) == 1 and (groups or _has_decimal_points(values)):
        decimal = "." if marked != {"."} else ","
    thousands = next(iter(marked - {decimal}), None)
    is_clear = decimal in (".", ",") and len(marked - {decimal}) < 2 and decimal not in groups
    if not is_clear:
        shown = ", ".join(examples.values())
        raise SourceError(
            f"numbers are written as {shown}: which mark is the decimal one is not clear; say "
            f"--decimal MARK and --thousands MARK (source.decimal, source.thousands)"
        )
    if decimal == "," and thousands is None and _has_points(values):
        thousands = "."
    section = {"decimal": decimal} if decimal == "," else {}
    return section | ({"thousands": thousands} if thousands is not None else {})


def is_number(text: str) -> bool:
    """True for a text that is a number in some writing, or stands for a missing one."""
    plain = plain_number(text)
    return bool(plain) and (
        plain in NOTHING or _is_plain(plain) or _NUMBER.fullmatch(plain) is not None
    )


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _has_decimal_points(values: Mapping[str, Sequence[str]]) -> bool:
    """True if a point stands elsewhere than before three digits."""
    return any(
        _is_plain(text) and re.search(r"\.(?!\d{3}$)\d", text.strip()) is not None
        for texts in values.values()
        for text in texts
    )


def _has_points(values: Mapping[str, Sequence[str]]) -> bool:
    return any("." in text for texts in values.values() for text in texts)


def guess_codes(values: Iterable[Any]) -> str:
    """Infer the style of codes: `qlib` for mainland China's exchanges, else `as_is`."""
    names = [str(v) for v in values]
    return "qlib" if names and all(_QLIB_CODE.match(name) for name in names) else "as_is"


def is_status(values: Iterable[Any]) -> bool:
    """True if a column says 1 for rows that traded and 0 for the others."""
    texts = {str(v) for v in values}
    return texts <= {"0", "1", "0.0", "1.0"} and bool(texts & {"1", "1.0"})
