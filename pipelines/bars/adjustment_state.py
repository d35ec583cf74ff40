"""Carry each instrument's last adjustment factor and last close from session to session.

This state enters a session, which keeps a fingerprint of it among its inputs. So a session shows as
outdated if those before it were made again with other factors by a run that was cut off.

Factor and close come from the instrument's newest row before the session, a bar or one that was set
aside, so one look back serves both. The look back goes over stretches of growing length until every
instrument is found or the market's start is reached: the run of one day mostly reads one partition.
In a range that is made in stretches, the state passes from one stretch to the next in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from pipelines.warehouse.warehouse import Warehouse

CARRIED = ("adj_factor", "last_close")
STATES = tuple(f"entering_{name}" for name in CARRIED)
_OF_TABLE = {
    "ohlcv_quarantine": ("instrument", "bar_date", *CARRIED),
    "ohlcv": ("instrument", "close", "adj_factor"),
}


class Carry:
    """The state that enters a session, by instrument.

    Args:
        warehouse: the market's warehouse.
        earlier: all sessions before the first one that is made, in order.
        intact: tells whether the files of a session can be read; other sessions are passed over.
            By default a session that cannot be read is an error.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        earlier: Sequence[str],
        intact: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self._warehouse, self._earlier, self._intact = warehouse, earlier, intact
        self._known = pd.DataFrame(columns=list(CARRIED), dtype="float64")
        self._looked_for: set[str] = set()

    def into(self, instruments: set[str]) -> pd.DataFrame:
        """Return the state that enters the next sessions.

        Args:
            instruments: the instruments of these sessions.

        Returns:
            `adj_factor` and `last_close` (NaN if no bar was ever fit for comparison) by instrument;
            an instrument that was never seen before is absent.
        """
        unknown = instruments - self._looked_for
        self._looked_for |= unknown
        unknown -= set(self._known.index)
        end, length = len(self._earlier), 1
        while end > 0 and unknown:
            keys = [key for key in self._earlier[max(0, end - length) : end] if self._intact(key)]
            if keys:
                newest = last_rows(self._warehouse, keys)
                self._take(newest[newest.index.isin(unknown)])
                unknown -= set(newest.index)
            end, length = end - length, length * 4
        return self._known

    def leave(self, bars: pd.DataFrame) -> None:
        """Take over the state that leaves sessions which were made.

        Args:
            bars: their rows in order, with instrument, adj_factor and last_close.
        """
        state = bars[["instrument", *CARRIED]].dropna(subset="instrument")
        newest = state.drop_duplicates("instrument", keep="last")
        self._take(newest.set_index("instrument")[list(CARRIED)])

    def _take(self, rows: pd.DataFrame) -> None:
        others = self._known[~self._known.index.isin(rows.index)]
        self._known = pd.concat([others, rows]) if len(others) else rows


def with_entering(rows: pd.DataFrame, prior: pd.DataFrame) -> pd.DataFrame:
    """Add the state that entered each row's session, in the columns `STATES`.

    Args:
        rows: rows of consecutive sessions, those of an instrument and session oldest first:
            session, instrument, adj_factor, last_close.
        prior: the state that enters the first session, by instrument, as of `Carry.into`.

    Returns:
        The rows; NaN for an instrument that was never seen before.
    """
    code, names = pd.factorize(rows["instrument"])  # -1 for none
    session, _ = pd.factorize(rows["session"], sort=True)
    order = np.lexsort((session, code))  # stable: the newest row of a session is its last
    c, s = code[order], session[order]
    is_new = np.append(True, c[1:] != c[:-1])[: len(c)]  # the first row of an instrument
    is_group = is_new | np.append(True, s[1:] != s[:-1])[: len(c)]  # and of a session
    start = np.flatnonzero(is_group)
    state = prior.reindex(names)[list(CARRIED)].to_numpy(dtype="float64")
    state = np.append(state, np.full((1, len(CARRIED)), np.nan), axis=0)  # of rows without a name
    # A session is entered by the newest row before it, an instrument's first by the prior state.
    entering = rows[list(CARRIED)].to_numpy(dtype="float64")[order[start - 1]]  # [groups, states]
    entering = np.where(is_new[start, None] | (c[start, None] < 0), state[c[start]], entering)
    entered = np.empty((len(c), len(CARRIED)))
    entered[order] = entering[np.cumsum(is_group) - 1]
    return rows.assign(**dict(zip(STATES, entered.T, strict=True)))


def last_rows(warehouse: Warehouse, keys: Sequence[str]) -> pd.DataFrame:
    """The state of each instrument's newest row in some sessions: `adj_factor`, `last_close`."""
    rows = stored_rows(warehouse, keys).dropna(subset=["instrument", "adj_factor"])
    return rows.drop_duplicates("instrument", keep="last").set_index("instrument")[list(CARRIED)]


def stored_rows(warehouse: Warehouse, keys: Sequence[str]) -> pd.DataFrame:
    """Read all rows of some sessions, bars and those set aside, oldest first.

    Returns:
        session (datetime64), instrument, bar_date, adj_factor, last_close.

    Raises:
        MissingSessionsError: a session of one of the two tables is absent.
        WarehouseError: a file is damaged.
    """
    parts = []
    for table, columns in _OF_TABLE.items():
        rows = warehouse.read(table, keys, needed_by="ohlcv", columns=columns).frame
        if table == "ohlcv":
            rows = rows.assign(bar_date=rows["date"], last_close=rows["close"] * rows["adj_factor"])
        parts.append(rows[["date", "instrument", "bar_date", *CARRIED]])
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows.sort_values(["date", "bar_date"], kind="stable", ignore_index=True)
    return rows.rename(columns={"date": "session"})
