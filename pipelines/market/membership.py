"""Read the point-in-time membership of a universe from the files in which people keep it.

    spans       text, `instrument start end` a line (qlib's instruments files), or a table with
                these columns; a missing end is still a member
    lists       a table with the columns date and instrument: who was a member on some days, such
                as the constituents at each month's end; a list holds until the next one

Both become spans (instrument, start, end), both days included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipelines.config.calendar import UniverseOfProvider, UniverseSpans
from pipelines.config.market_file import MarketConfig
from pipelines.config.sources import QlibBinSource
from pipelines.config.text_files import read_text
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.table_file import TABLE_ENDINGS, column_names, read_table
from rnn_core.data.bin_files import ProviderError
from rnn_core.data.qlib_bins import QlibProvider
from rnn_core.text_encoding import hidden_character

FOREVER = "9999-12-31"
_WHAT = "market.universe.spans"


def read_universe(market: MarketConfig) -> Any:
    """Read the configured universe: `all`, or spans.

    Raises:
        ConfigError: a file is absent, or wrong.
    """
    spans = _members(market)
    names = [] if isinstance(spans, str) else spans["instrument"].unique()
    for name in names:
        hidden = hidden_character(name)
        if hidden is not None:
            raise ConfigError(
                f"market.universe: the instrument {name!r} holds {hidden}; write it without"
            )
    return spans


def _members(market: MarketConfig) -> Any:
    universe = market.universe
    if isinstance(universe, UniverseOfProvider):
        assert isinstance(market.source, QlibBinSource)  # noqa: S101 - check_universe says so
        return provider_spans(Path(market.source.path), universe.market)
    if isinstance(universe, UniverseSpans):
        path = universe.spans
        return table_spans(path) if path.suffix.lower() in TABLE_ENDINGS else read_spans(path)
    return universe


def read_spans(path: Path) -> pd.DataFrame:
    """Read membership spans from a file in qlib's instruments format.

    Raises:
        ConfigError: the file is absent, or a line is not `instrument start end`.
    """
    lines = read_text(path, "market.universe.spans").splitlines()
    rows: list[Sequence[str]] = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            name, start, end = parts[0], *(str(pd.Timestamp(p).date()) for p in parts[1:3])
            if len(parts) != 3 or end < start:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"{path}, line {number}: expected `instrument start end`, got {line!r}"
            ) from None
        rows.append((name, start, end))
    return pd.DataFrame(rows, columns=["instrument", "start", "end"])


def provider_spans(root: Path, market: str) -> pd.DataFrame:
    """Read `instruments/MARKET.txt` of a qlib provider folder as spans, codes in upper case.

    Raises:
        ConfigError: no such folder or file, or a line of it is wrong.
    """
    try:
        spans = QlibProvider(root).instruments(market).spans
    except (ProviderError, ValueError, OSError) as error:
        raise ConfigError(f"market.universe: {error}") from error
    return pd.DataFrame(
        {
            "instrument": spans["instrument"].str.upper(),
            "start": spans["start"].dt.strftime("%Y-%m-%d"),
            "end": spans["end"].dt.strftime("%Y-%m-%d"),
        }
    )


def table_spans(path: Path) -> pd.DataFrame:
    """Read spans from a CSV or Parquet file of spans, or of lists by date.

    Raises:
        ConfigError: the file cannot be read, has other columns, or a span ends before it starts.
    """
    try:
        names = column_names(path, _WHAT)
        if {"instrument", "start"} <= set(names):
            return _spans(path, names)
        if {"instrument", "date"} <= set(names):
            return spans_of_lists(read_table(path, ("date", "instrument"), _WHAT))
    except SourceError as error:
        raise ConfigError(str(error)) from error
    raise ConfigError(
        f"{_WHAT}: {path} has the columns {', '.join(names)}; expected instrument, start and end, "
        f"or date and instrument"
    )


def _spans(path: Path, names: list[str]) -> pd.DataFrame:
    columns = [name for name in ("instrument", "start", "end") if name in names]
    spans = read_table(path, columns, _WHAT, optional=("end",))
    if "end" not in spans:
        spans["end"] = FOREVER
    spans["end"] = spans["end"].fillna(FOREVER)
    turned = spans[spans["end"] < spans["start"]]
    if len(turned):
        row = turned.iloc[0]
        raise ConfigError(
            f"{_WHAT}: {path}: {row['instrument']} ends on {row['end']}, before it starts on "
            f"{row['start']}"
        )
    return spans


def spans_of_lists(lists: pd.DataFrame) -> pd.DataFrame:
    """Turn lists into spans: a list's members hold until the day before the next list.

    Args:
        lists: rows of date and instrument.

    Returns:
        instrument, start, end; lists in a row make one span, the last list holds on.
    """
    lists = lists.dropna().drop_duplicates()
    days, at = np.unique(lists["date"].to_numpy(dtype=object), return_inverse=True)
    before = (pd.DatetimeIndex(days[1:]) - pd.Timedelta(days=1)).strftime("%Y-%m-%d")
    until = np.array([*before, FOREVER], dtype=object)
    rows = lists.assign(at=at).sort_values(["instrument", "at"], ignore_index=True)
    first = (rows["instrument"] != rows["instrument"].shift()) | (
        rows["at"] != rows["at"].shift() + 1
    )
    last = first.shift(-1, fill_value=True).astype(bool)
    return pd.DataFrame(
        {
            "instrument": rows.loc[first, "instrument"].to_numpy(),
            "start": days[rows.loc[first, "at"]],
            "end": until[rows.loc[last, "at"]],
        }
    )


def membership(
    bars: pd.DataFrame, universe: Literal["all"] | pd.DataFrame
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell for each bar whether its instrument is a member on its session.

    Args:
        bars: rows with date and instrument.
        universe: `all`, or spans with columns instrument, start, end (keys, both included).
    """
    if isinstance(universe, str):
        return np.ones(len(bars), dtype=bool)
    spans = universe.groupby("instrument")
    member = np.zeros(len(bars), dtype=bool)
    dates = bars["date"].to_numpy()
    for name, rows in bars.groupby("instrument").indices.items():
        if name not in spans.groups:
            continue
        for start, end in spans.get_group(name)[["start", "end"]].itertuples(index=False):
            member[rows] |= (dates[rows] >= start) & (dates[rows] <= end)
    return member
