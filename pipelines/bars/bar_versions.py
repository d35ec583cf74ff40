"""Fingerprint the inputs of a session of `ohlcv`: its bars, its members and the state before it.

The bars' fingerprint can be compared only by asking the source again (`restated_sessions`), which
happens by command: a vendor's history may be slow or metered. The members' fingerprint follows from
the stored instruments and the configured universe, so a changed universe shows by itself. So does
the state that entered the session (`adjustment_state.py`), if sessions before it have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from pipelines.bars.adjustment_state import STATES, Carry, stored_rows, with_entering
from pipelines.errors import MissingSessionsError, WarehouseError
from pipelines.market.chunks import chunks
from pipelines.market.extra_table import extra_table
from pipelines.market.input_versions import ENTERING, MEMBERS, SOURCE_BARS
from pipelines.market.market import Market
from pipelines.market.membership import membership
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.fetch import fetch_sessions
from pipelines.warehouse.partition_file import fingerprint, sha256
from pipelines.warehouse.schemas import Column
from pipelines.warehouse.warehouse import Warehouse

_TABLES = ("ohlcv", "ohlcv_quarantine")  # together they hold every bar of the source
_CHUNK = 250  # sessions asked of the source at once


def in_order(bars: pd.DataFrame) -> pd.DataFrame:
    """Sort bars by date and so by session, in an order that does not depend on the source's."""
    day, _ = pd.factorize(bars["date"], sort=True)
    code, names = pd.factorize(bars["instrument"], sort=True)
    code[code < 0] = len(names)  # rows without a name come last
    order = np.lexsort((code, day))
    is_repeated = (np.diff(day[order]) == 0) & (np.diff(code[order]) == 0)
    if not is_repeated.any():
        return bars.take(order).reset_index(drop=True)
    # Only rows of one name and day are told apart by their values.
    beside = [name for name in bars.columns if name not in (*RAW_COLUMNS, "session")]
    return bars.sort_values([*RAW_COLUMNS, *beside], kind="stable", ignore_index=True)


def bar_inputs(
    market: Market, bars: pd.DataFrame, keys: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The versions that each session is made from, by input and session (`ohlcv_inputs`).

    Args:
        market: the market.
        bars: rows as of `fetch_sessions`, in order, with `member` (bool) and the columns that
            `with_entering` adds.
        keys: the sessions.
    """
    hashes, entering = bar_hashes(bars, keys), _entering_hashes(market, bars, keys)
    instruments = bars["instrument"].to_numpy(dtype=object)
    named = (bars["member"] & bars["instrument"].notna()).to_numpy()
    members = {
        key: _members_hash(instruments[rows][named[rows]])
        for key, rows in rows_of(bars, keys).items()
    }
    return {SOURCE_BARS: hashes, MEMBERS: members, ENTERING: entering}


def bar_hashes(bars: pd.DataFrame, keys: Sequence[str]) -> dict[str, str]:
    """The fingerprint of each session's bars as the source gave them; `bars` in order."""
    hashes = pd.util.hash_pandas_object(bars[list(RAW_COLUMNS)], index=False).to_numpy()
    return {key: sha256(hashes[rows].tobytes()) for key, rows in rows_of(bars, keys).items()}


def column_versions(bars: pd.DataFrame, column: Column, keys: Sequence[str]) -> dict[str, str]:
    """The version of a column beside the bars, by session: how it is read, and what was given.

    Args:
        bars: rows as of `fetch_sessions`, in order.
        column: the column of the table.
        keys: the sessions.
    """
    given = bars[["date", "instrument", column.name]]
    hashes = pd.util.hash_pandas_object(given, index=False).to_numpy()
    return {
        key: f"{column.origin}{sha256(hashes[rows].tobytes())}"
        for key, rows in rows_of(bars, keys).items()
    }


def _members_hash(instruments: Iterable[str]) -> str:
    return fingerprint(sorted(instruments))


def rows_of(bars: pd.DataFrame, keys: Sequence[str]) -> dict[str, slice]:
    """The slice of each session's rows in `bars`, which are in order."""
    dates = bars["session"].to_numpy(dtype="datetime64[D]")
    days = np.array(keys, dtype="datetime64[D]")
    starts, ends = (np.searchsorted(dates, days, side=side) for side in ("left", "right"))
    return {key: slice(int(a), int(b)) for key, a, b in zip(keys, starts, ends, strict=True)}


def _entering_hashes(market: Market, rows: pd.DataFrame, keys: Sequence[str]) -> dict[str, str]:
    """The fingerprint of the state that entered each session; `rows` as of `with_entering`.

    Closes decide only where a jump sets a bar aside. Values are taken to the seven digits of a
    float32: a source may give factors whose last digits differ from one day to the next.
    """
    states = STATES if "jump" in market.config.market.quarantine.set_aside else STATES[:1]
    distinct = rows.dropna(subset="instrument").drop_duplicates(["session", "instrument"])
    distinct = distinct.sort_values(["session", "instrument"], kind="stable", ignore_index=True)
    names = distinct["instrument"].to_numpy(dtype=object)
    values = distinct[list(states)].to_numpy(dtype="float32")
    return {
        key: sha256("\n".join(names[at]).encode() + values[at].tobytes())
        for key, at in rows_of(distinct, keys).items()
    }


def inputs_now(
    market: Market, warehouse: Warehouse, keys: Sequence[str], intact: Callable[[str], bool]
) -> dict[str, dict[str, str]]:
    """The inputs that sessions would have now, as far as the warehouse knows.

    A session in between that is absent or damaged is passed over: it is made again itself.

    Args:
        market: the market.
        warehouse: its warehouse, as the caller reads it.
        keys: sessions whose bars, and bars set aside, are intact, in order.
        intact: tells whether both files of a session can be read.

    Returns:
        By session `members` among its stored bars, under the present universe, and `entering`.
    """
    if not keys:
        return {}
    stored = set(warehouse.sessions(_TABLES[1]))
    stored &= set(warehouse.sessions(_TABLES[0]))
    sessions = [key for key in market.sessions.keys if key in stored and key <= keys[-1]]
    earlier = [key for key in sessions if key < keys[0]]
    between = [key for key in sessions if key >= keys[0] and intact(key)]
    rows = stored_rows(warehouse, between)
    names = set(rows["instrument"].dropna().unique())
    rows = with_entering(rows, Carry(warehouse, earlier, intact).into(names))
    entering = _entering_hashes(market, rows, keys)
    bars = rows[["session", "instrument"]].dropna()
    bars["date"] = bars.pop("session").dt.strftime("%Y-%m-%d")
    member = membership(bars, market.universe)
    members: dict[str, list[str]] = {key: [] for key in between}
    for day, instrument in zip(bars["date"][member], bars["instrument"][member], strict=True):
        members[day].append(instrument)
    return {
        key: {"members": _members_hash(members[key]), "entering": entering[key]} for key in keys
    }


def first_unchained(market: Market, keys: Sequence[str], carry: Carry) -> str | None:
    """The first stored session that another state entered than would enter it now.

    Args:
        market: the market.
        keys: stored sessions, in order; those from the first damaged one on are not compared, since
            the state that they build on is unknown.
        carry: the state that leaves the sessions before them; it is used up.
    """
    for chunk in chunks(keys, _CHUNK):
        whole = _are_readable(market, chunk)
        readable = chunk if whole else list(takewhile(lambda k: _are_readable(market, [k]), chunk))
        if not readable:
            return None
        rows = stored_rows(market.warehouse, readable)
        rows = with_entering(rows, carry.into(set(rows["instrument"].dropna().unique())))
        entering = _entering_hashes(market, rows, readable)
        for key in readable:
            info = market.warehouse.info("ohlcv", key)
            if info is None or info.provenance.inputs.get("entering") != entering[key]:
                return key
        if not whole:
            return None
        carry.leave(rows)
    return None


def _are_readable(market: Market, keys: Sequence[str]) -> bool:
    """True if both files of every session are intact."""
    try:
        for table in _TABLES:
            market.warehouse.digests(table, keys, needed_by="ohlcv")
    except (MissingSessionsError, WarehouseError):
        return False
    return True


def restated_sessions(market: Market, stored: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The sessions whose bars, or columns beside them, are other ones today, in order.

    Args:
        market: the market; its source is asked.
        stored: the fingerprints that each session was made from: `bars`, and the columns by name.

    Raises:
        SourceError: the source no longer has a session, or breaks its contract.
    """
    restated: list[str] = []
    for part in chunks(sorted(stored), _CHUNK):
        bars = in_order(
            fetch_sessions(market.source, market.sessions, part, market.config.market.extra)
        )
        now = {"bars": bar_hashes(bars, part)}
        for column in extra_table(market.config.market.extra).columns[1:]:
            now[column.name] = column_versions(bars, column, part)
        restated += [
            key
            for key in part
            if any(now[name][key] != made for name, made in stored[key].items() if name in now)
        ]
    return restated
