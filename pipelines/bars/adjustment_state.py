"""What a session's bars build on: each instrument's last adjustment factor and last close.

A session keeps a fingerprint of what entered it among its inputs, so that sessions that were made
again in front of it with other factors, by a run that was cut off before it reached it, are seen.

Both come from the instrument's newest row before the session, a bar or one that was set aside, so
one look back serves both. It goes over stretches of growing length until every instrument is found
or the market's start is reached: the run of one day mostly reads one partition. Within a range that
is made in stretches, what leaves one enters the next without being read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from pipelines.market.market import Market

CARRIED = ("adj_factor", "last_close")
STATES = tuple(f"entering_{name}" for name in CARRIED)
_OF_TABLE = {
    "ohlcv_quarantine": ("instrument", "bar_date", *CARRIED),
    "ohlcv": ("instrument", "close", "adj_factor"),
}


class Carry:
    """What enters a session, by instrument.

    Args:
        market: the market.
        earlier: all sessions before the first one that is made, in order.
        intact: whether the files of a session can be read; one where they cannot is passed over.
            Without it such a session is an error.
    """

    def __init__(
        self,
        market: Market,
        earlier: Sequence[str],
        intact: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self._market, self._earlier, self._intact = market, earlier, intact
        self._known = pd.DataFrame(columns=list(CARRIED), dtype="float64")
        self._looked_for: set[str] = set()

    def into(self, wanted: set[str]) -> pd.DataFrame:
        """What enters the next sessions.

        Args:
            wanted: instruments of these sessions.

        Returns:
            `adj_factor` and `last_close` (NaN where no bar was ever fit to be compared with) by
            instrument; one never seen before is absent.
        """
        left = wanted - self._looked_for
        self._looked_for |= left
        left -= set(self._known.index)
        end, length = len(self._earlier), 1
        while end > 0 and left:
            keys = [key for key in self._earlier[max(0, end - length) : end] if self._intact(key)]
            if keys:
                found = last_rows(self._market, keys)
                self._take(found[found.index.isin(left)])
                left -= set(found.index)
            end, length = end - length, length * 4
        return self._known

    def leave(self, bars: pd.DataFrame) -> None:
        """Take what leaves sessions that are made.

        Args:
            bars: their rows in order, with instrument, adj_factor and last_close.
        """
        named = bars.dropna(subset="instrument").drop_duplicates("instrument", keep="last")
        self._take(named.set_index("instrument")[list(CARRIED)])

    def _take(self, rows: pd.DataFrame) -> None:
        kept = self._known[~self._known.index.isin(rows.index)]
        self._known = pd.concat([kept, rows]) if len(kept) else rows


def with_entering(rows: pd.DataFrame, prior: pd.DataFrame) -> pd.DataFrame:
    """Rows with what entered their session of their instrument, in columns `STATES`.

    Args:
        rows: of consecutive sessions, those of an instrument and session oldest first: session,
            instrument, adj_factor, last_close.
        prior: what enters the first session, by instrument, as of `Carry.into`.

    Returns:
        The rows; NaN where an instrument was never seen before.
    """
    keys = ["instrument", "session"]
    newest = rows.dropna(subset="instrument").drop_duplicates(keys, keep="last")
    newest = newest.sort_values(keys, kind="stable")
    before = newest.groupby("instrument")[list(CARRIED)].shift()
    first = ~newest["instrument"].duplicated()
    entered = prior.reindex(newest.loc[first, "instrument"])
    before.loc[first] = entered[list(CARRIED)].to_numpy(dtype="float64")
    before.columns = pd.Index(STATES)
    found = pd.concat([newest[keys], before], axis=1)
    return rows.merge(found, on=keys, how="left").set_axis(rows.index)


def last_rows(market: Market, keys: Sequence[str]) -> pd.DataFrame:
    """The newest row of each instrument in some sessions: `adj_factor`, `last_close`."""
    rows = stored_rows(market, keys).dropna(subset=["instrument", "adj_factor"])
    return rows.drop_duplicates("instrument", keep="last").set_index("instrument")[list(CARRIED)]


def stored_rows(market: Market, keys: Sequence[str]) -> pd.DataFrame:
    """All rows of some sessions, bars and those set aside, oldest first.

    Returns:
        session (datetime64), instrument, bar_date, adj_factor, last_close.

    Raises:
        MissingSessionsError: a session of one of the two tables is absent.
        WarehouseError: a file is damaged.
    """
    parts = []
    for table, columns in _OF_TABLE.items():
        rows = market.warehouse.read(table, keys, needed_by="ohlcv", columns=columns).frame
        if table == "ohlcv":
            rows = rows.assign(bar_date=rows["date"], last_close=rows["close"] * rows["adj_factor"])
        parts.append(rows[["date", "instrument", "bar_date", *CARRIED]])
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows.sort_values(["date", "bar_date"], kind="stable", ignore_index=True)
    return rows.rename(columns={"date": "session"})
