"""Find the exchange's calendar that the days of the data follow.

A day counts as one of the market's if a good share of the usual number of names has bars: a few
stray rows on a Sunday make no session. The fit of a calendar is the number of days that it shares
with the data, divided by the number of days of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.errors import ConfigError, did_you_mean

CANDIDATES = ("XNYS", "XSHG", "XHKG", "XTKS", "XLON", "24/7")
OTHERS = ("XPAR", "XETR", "XTSE", "XASX", "XKRX", "XTAI", "XBOM", "BVMF", "XSWX", "XAMS", "XMIL",
          "XMAD", "XSTO", "XSES", "XJSE", "CMES", "24/5")  # fmt: skip
"""Calendars that are tried only if no candidate fits."""

FITS = 0.97
_USUAL_SHARE = 0.2  # of the median number of names that a day needs to count


@dataclass(frozen=True)
class CalendarFit:
    """A calendar beside the days of the data.

    Attributes:
        name: the name in `exchange_calendars`.
        share: the share of days in common.
        absent: its sessions between the first and the last day that have no bar at all.
        extra: days of the data that are none of its sessions.
        sessions: the market's sessions if this is its calendar: without `absent`, with `extra`.
    """

    name: str
    share: float
    absent: tuple[str, ...]
    extra: tuple[str, ...]
    sessions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """True if the calendar may be taken for the market's own."""
        return self.share >= FITS


def require_known(name: str) -> None:
    """Refuse a calendar that does not exist.

    Raises:
        ConfigError: the message names the nearest calendars.
    """
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if name not in names:
        raise ConfigError(
            f"--calendar {name}: no such calendar; {did_you_mean(name, names)}. `data` derives one "
            f"from the days of the data"
        )


def market_days(counts: pd.Series[int]) -> list[str]:
    """Find the days on which the market was open, from the number of bars a day."""
    return [str(day) for day in counts[counts >= _USUAL_SHARE * counts.median()].index]


def fit_calendar(counts: pd.Series[int], name: str) -> CalendarFit:
    """Compare a calendar with the days of the data.

    Args:
        counts: the number of bars a day, by session key in order; not empty.
        name: the calendar.

    Raises:
        ConfigError: the calendar is not known for these years.
    """
    days = market_days(counts)
    first, last = (pd.Timestamp(day).date() for day in (days[0], days[-1]))
    sessions = Sessions.of(name, first, last)
    ours, theirs = set(days), set(sessions.keys)
    any_bar = set(counts.index)
    absent = tuple(key for key in sessions.keys if key not in any_bar)
    extra = tuple(key for key in days if key not in theirs)
    return CalendarFit(
        name=name,
        share=len(ours & theirs) / len(ours | theirs),
        absent=absent,
        extra=extra,
        sessions=tuple(sorted((theirs - set(absent)) | set(extra))),
    )


def best_calendars(counts: pd.Series[int]) -> list[CalendarFit]:
    """Order calendars by their fit, best first; of equal ones the more common comes first."""
    fits = _fits(counts, CANDIDATES)
    if not fits or not fits[0].fits:
        fits = _ordered([*fits, *_fits(counts, OTHERS)])
    return fits


def _fits(counts: pd.Series[int], names: Sequence[str]) -> list[CalendarFit]:
    fits = []
    for name in names:
        try:
            fits.append(fit_calendar(counts, name))
        except ConfigError:  # not known so far back: it is none of this market
            continue
    return _ordered(fits)


def _ordered(fits: list[CalendarFit]) -> list[CalendarFit]:
    return sorted(fits, key=lambda fit: -round(fit.share, 6))
