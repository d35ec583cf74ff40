"""The sessions of all exchanges that `exchange_calendars` knows, for a comparison with data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import holidays_since
from pipelines.config.calendar import COMMON


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
    lead = pd.Timestamp(start) - pd.Timedelta(days=14)  # a calendar needs a session before
    with holidays_since(lead):
        for name in (*COMMON, *sorted(set(names) - set(COMMON))):
            try:
                table = _maker(name)(start=lead)
            except (ValueError, NotImplementedError):  # it begins later, or the library has none
                continue
            days = table.sessions.to_numpy().astype("datetime64[D]")
            codes = (a for a in aliases.get(name, ()) if a.startswith("X") and len(a) == 4)
            exchanges.append(Exchange(name, str(table.tz), days, tuple(sorted(codes))))
    return tuple(exchanges)


def _maker(name: str) -> Callable[..., Any]:
    """Makes the calendar of an exchange, as a rule without the times of its short sessions.

    To find these takes as long as to find its sessions. Where weekdays have changed they stay: they
    may contradict the sessions, and then `exchange_calendars` refuses to make the calendar.
    """
    import exchange_calendars
    from exchange_calendars import calendar_utils

    plain = getattr(calendar_utils, "_default_calendar_factories", {}).get(name)
    if plain is None or hasattr(plain, "special_weekmasks"):
        return partial(exchange_calendars.get_calendar, name)
    none = ("special_opens", "special_opens_adhoc", "special_closes", "special_closes_adhoc")
    return type(plain.__name__, (plain,), {key: [] for key in none})
