"""What a session of `ohlcv` is made from: bars as the source gave them, and the members.

The bars' fingerprint can be compared only by asking the source again (`restated_sessions`), which
is done by command: a vendor's history may be slow or metered. The members' fingerprint follows
from the stored instruments and the configured universe, so a changed universe shows by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pipelines.bars import membership
from pipelines.market import Market
from pipelines.partition_file import fingerprint, sha256
from pipelines.sources.base import RAW_COLUMNS, fetch_sessions

_TABLES = ("ohlcv", "ohlcv_quarantine")  # together they hold every bar of the source
_CHUNK = 250  # sessions asked of the source at once


def in_order(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars by date and so by session, in an order that does not depend on the source's."""
    return bars.sort_values(list(RAW_COLUMNS), kind="stable", ignore_index=True)


def bar_inputs(bars: pd.DataFrame, keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """The inputs of each session.

    Args:
        bars: rows as of `sources.base.fetch_sessions`, in order, with `member` (bool).
        keys: the sessions.
    """
    hashes = bar_hashes(bars, keys)
    instruments = bars["instrument"].to_numpy(dtype=object)
    named = (bars["member"] & bars["instrument"].notna()).to_numpy()
    return {
        key: {
            "bars": hashes[key],
            "members": _members_hash(instruments[rows][named[rows]]),
        }
        for key, rows in rows_of(bars, keys).items()
    }


def bar_hashes(bars: pd.DataFrame, keys: Sequence[str]) -> dict[str, str]:
    """Fingerprint of each session's bars as the source gave them; `bars` in order."""
    hashes = pd.util.hash_pandas_object(bars[list(RAW_COLUMNS)], index=False).to_numpy()
    return {key: sha256(hashes[rows].tobytes()) for key, rows in rows_of(bars, keys).items()}


def _members_hash(instruments: Iterable[str]) -> str:
    return fingerprint(sorted(instruments))


def rows_of(bars: pd.DataFrame, keys: Sequence[str]) -> dict[str, slice]:
    """Where the rows of each session lie in `bars` in order."""
    dates = bars["session"].to_numpy(dtype="datetime64[D]")
    days = np.array(keys, dtype="datetime64[D]")
    starts, ends = (np.searchsorted(dates, days, side=side) for side in ("left", "right"))
    return {key: slice(int(a), int(b)) for key, a, b in zip(keys, starts, ends, strict=True)}


def members_now(market: Market, keys: Sequence[str]) -> dict[str, str]:
    """Fingerprint of the members among each session's stored bars, under the present universe.

    Args:
        market: the market.
        keys: sessions whose bars, and bars set aside, are there.

    Raises:
        MissingSessionsError: a session of one of the two tables is absent.
        WarehouseError: a file is damaged.
    """
    if not keys:
        return {}
    read = market.warehouse.read
    rows = pd.concat(
        read(table, keys, needed_by="the membership", columns=["instrument"]).frame
        for table in _TABLES
    ).dropna()
    rows["date"] = rows["date"].dt.strftime("%Y-%m-%d")
    member = membership(rows, market.universe)
    named: dict[str, list[str]] = {key: [] for key in keys}
    for day, instrument in zip(rows["date"][member], rows["instrument"][member], strict=True):
        named[day].append(instrument)
    return {key: _members_hash(instruments) for key, instruments in named.items()}


def restated_sessions(market: Market, stored: dict[str, str]) -> list[str]:
    """The sessions whose bars the source gives differently today, in order.

    Args:
        market: the market; its source is asked.
        stored: the fingerprint of the bars that each session was made from.

    Raises:
        SourceError: the source no longer has a session, or breaks its contract.
    """
    keys = sorted(stored)
    restated: list[str] = []
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        now = bar_hashes(in_order(fetch_sessions(market.source, market.sessions, part)), part)
        restated += [key for key in part if now[key] != stored[key]]
    return restated
