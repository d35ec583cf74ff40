"""The sessions of all exchanges that `exchange_calendars` knows, for a comparison with data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import exchange_calendar, holidays_since
from pipelines.errors import ConfigError

COMMON = ("XNYS", "XSHG", "XHKG", "XTKS", "XLON", "24/7", "XETR", "XPAR", "XTSE", "XASX", "XKRX",
          "XTAI", "XBOM", "BVMF", "XSWX", "XAMS", "XMIL", "XMAD", "XSTO", "XSES", "XJSE", "CMES",
          "24/5")  # fmt: skip
"""The calendars that come first where several have the same sessions."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """The sessions of one exchange.

    Attributes:
        name: the name in `exchange_calendars`.
        timezone: its time zone.
        days: its sessions, `datetime64[D]` in order, to the last one that its calendar knows.
        aliases: other exchanges of the same calendar, by their market identifier codes.
    """

    name: str
    timezone: str
    days: np.ndarray
    aliases: tuple[str, ...] = ()


@lru_cache(maxsize=4)
def exchanges_since(start: str) -> tuple[Exchange, ...]:
    """The exchanges whose calendars can be evaluated from a day on, the common ones first.

    Args:
        start: the day, `YYYY-MM-DD`.
    """
    import exchange_calendars

    names = exchange_calendars.get_calendar_names(include_aliases=False)
    aliases = exchange_calendars.names_to_aliases()
    exchanges = []
    with holidays_since(pd.Timestamp(start) - pd.Timedelta(days=14)):
        for name in (*COMMON, *sorted(set(names) - set(COMMON))):
            try:
                table = exchange_calendar(name, start)
            except (ConfigError, NotImplementedError):  # not known so far back, or a mere stub
                continue
            days = table.sessions.to_numpy().astype("datetime64[D]")
            codes = (a for a in aliases.get(name, ()) if a.startswith("X") and len(a) == 4)
            exchanges.append(Exchange(name, str(table.tz), days, tuple(sorted(codes))))
    return tuple(exchanges)
