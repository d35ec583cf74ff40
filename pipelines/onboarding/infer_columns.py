"""Infer the meaning of a stranger's columns from their names and first values.

Names are compared without case, spaces and punctuation. Ambiguous values (03/04/2020) are not
guessed: the error says which flag decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines.errors import SourceError

NAMES: Mapping[str, tuple[str, ...]] = {
    "date": ("date", "tradedate", "tradingdate", "day", "datetime", "time", "timestamp", "dt",
             "opentime", "tradingday", "日期", "交易日期"),
    "instrument": ("instrument", "code", "symbol", "ticker", "tscode", "sid", "secid", "security",
                   "stock", "stockcode", "asset", "permno", "ric", "pair", "股票代码", "代码"),
    "open": ("open", "openprice", "pxopen", "o", "开盘", "开盘价"),
    "high": ("high", "highprice", "pxhigh", "h", "max", "最高", "最高价"),
    "low": ("low", "lowprice", "pxlow", "l", "min", "最低", "最低价"),
    "close": ("close", "closeprice", "pxclose", "pxlast", "last", "price", "c", "收盘", "收盘价"),
    "volume": ("volume", "vol", "v", "shares", "tradedvolume", "totalvolume", "成交量"),
    "amount": ("amount", "turnover", "amt", "money", "value", "tradedvalue", "turnovervalue",
               "dollarvolume", "quotevolume", "quoteassetvolume", "成交额"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "factor": ("factor", "adjfactor", "adjustmentfactor", "cumfactor", "cumulativefactor",
               "adjustfactor", "复权因子"),
    "preclose": ("preclose", "prevclose", "previousclose", "precloseprice", "lastclose", "昨收",
                 "前收盘"),
    "ratio": ("adjratio",),
    "tradestatus": ("tradestatus", "tradingstatus"),
}  # fmt: skip
"""Columns of a table in our words, and the names that others give them."""

REQUIRED = ("open", "high", "low", "close", "volume")
_ZONES = ("UTC", "America/New_York", "Europe/London", "Asia/Shanghai", "Asia/Tokyo")
_FORMS = ("%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
          "%d-%b-%Y", "%b %d, %Y")  # fmt: skip
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


def missing_columns(recognised: Mapping[str, str], *, files: int) -> list[str]:
    """Find the required columns that a table lacks; names of files may supply one of two."""
    missing_names = [name for name in REQUIRED if name not in recognised]
    missing_keys = [name for name in ("date", "instrument") if name not in recognised]
    if len(missing_keys) == 2 or (missing_keys and files < 2):
        missing_names = [*missing_keys, *missing_names]
    return missing_names


def guess_dates(kind: pa.DataType, values: Sequence[Any], column: str) -> dict[str, str]:
    """Infer `date_format` and `timezone` of a date column, as far as it needs them.

    Args:
        kind: the column's type.
        values: distinct values.
        column: its name, for messages.

    Raises:
        SourceError: the values are no dates, or day and month cannot be told apart.
    """
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return {}
    if pa.types.is_timestamp(kind):
        return {"timezone": _zone(pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)))}
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers([float(v) for v in values], column)
    texts = [str(v).strip() for v in values]
    if texts and all(re.fullmatch(r"\d{9,19}", text) for text in texts):
        return _of_numbers([float(text) for text in texts], column)
    if texts and all(re.match(r"\d{4}-\d{2}-\d{2}", text) for text in texts):
        moments = pd.to_datetime(pd.Series(texts), format="ISO8601", errors="coerce", utc=True)
        zoned = any(re.search(r"\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})$", text) for text in texts)
        return {"timezone": _zone(pd.DatetimeIndex(moments.dropna()))} if zoned else {}
    fitting = [form for form in _FORMS if _parses(texts, form)]
    if not fitting:
        raise SourceError(
            f"column {column} is taken for the date, and holds {', '.join(map(repr, texts[:3]))}: "
            f"these are no dates that are known; name the date's column, --column date=NAME, or "
            f"how it is written, --date-format '%d/%m/%Y'"
        )
    if len(fitting) > 1:
        raise SourceError(
            f"column {column} holds dates such as {texts[0]!r}, which may be "
            f"{' or '.join(fitting)}; say which with --date-format"
        )
    return {"date_format": fitting[0]}


def _of_numbers(numbers: Sequence[float], column: str) -> dict[str, str]:
    if numbers and all(19000101 <= n <= 21001231 for n in numbers):
        return {"date_format": "%Y%m%d"}
    for low, high, form in _EPOCHS:
        if numbers and all(low <= n < high for n in numbers):
            return {"date_format": form, "timezone": "UTC"}
    raise SourceError(
        f"column {column} is taken for the date, and holds numbers such as "
        f"{numbers[0] if numbers else 'none'}: expected 20240131, or moments since 1970; say how "
        f"it is written with --date-format, or name the date's column, --column date=NAME"
    )


def _zone(moments: pd.DatetimeIndex) -> str:
    """Find the first time zone in which every moment is a midnight, else UTC."""
    for zone in _ZONES:
        local = moments.tz_convert(zone)
        if len(local) and bool((local == local.normalize()).all()):
            return zone
    return "UTC"


def _parses(texts: Sequence[str], form: str) -> bool:
    parsed = pd.to_datetime(pd.Series(texts, dtype="str"), format=form, errors="coerce")
    return len(texts) > 0 and bool(parsed.notna().all())


def guess_codes(values: Iterable[Any]) -> str:
    """Infer the style of codes: `qlib` for mainland China's exchanges, else `as_is`."""
    names = [str(v) for v in values]
    return "qlib" if names and all(_QLIB_CODE.match(name) for name in names) else "as_is"


def is_status(values: Iterable[Any]) -> bool:
    """True if a column says 1 for rows that traded and 0 for the others."""
    texts = {str(v) for v in values}
    return texts <= {"0", "1", "0.0", "1.0"} and bool(texts & {"1", "1.0"})
