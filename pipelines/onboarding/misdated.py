"""Find bars whose days are not those of the market's sessions, by a wrong time zone or a shift.

Moments that are read in a wrong zone have the day before or after: then Sundays have bars and
Fridays have none. A calendar that is derived from such data takes the Sundays for sessions, so its
days are compared with those of every exchange.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import pandas as pd

from pipelines.config.calendar import exchange_of
from pipelines.config.sources import FilesSource, SqlSource
from pipelines.errors import ConfigError, UndecidedError
from pipelines.market.market import Market
from pipelines.onboarding.infer_calendar import FITS, USUAL_SHARE, Choice, market_days
from pipelines.onboarding.infer_market import choice_of, moment_counts
from pipelines.onboarding.profile import Profile

_GAIN = 0.02  # by which the other days have to fit better
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def misdated(market: Market, profile: Profile) -> Iterator[str]:
    """Say that in another time zone, or moved by a day, the bars' days are those of sessions."""
    if profile.kept.empty:
        return
    section = market.config.market
    source, exchange = section.source, exchange_of(section.calendar)
    usual = USUAL_SHARE * float(profile.kept.median())
    days = set(profile.sessions) - set(profile.absent)
    days |= {day for day, rows in profile.strays.items() if rows >= usual}
    share = _share(days, profile.sessions)
    if exchange is not None and share >= FITS:
        return
    if isinstance(source, FilesSource | SqlSource) and source.timezone is not None:
        yield from _other_zone(source, exchange)
    elif exchange is not None:
        yield from _moved(exchange, days, profile.sessions, share)


def _share(days: Collection[str], sessions: Collection[str]) -> float:
    """The days in common, as a share of the days of either."""
    return len(set(days) & set(sessions)) / len(set(days) | set(sessions))


def _other_zone(source: FilesSource | SqlSource, exchange: str | None) -> Iterator[str]:
    """Say in which zone the moments have the days of an exchange's sessions."""
    moments = moment_counts(source)
    now = _decided(moments, timezone=source.timezone, calendar=exchange)
    best = _decided(moments, calendar=exchange)
    if now is None or best is None or best.fit is None or best.share < now.share + _GAIN:
        return
    name, odd = best.fit.name, _unusual(market_days(now.dating.counts), best.fit.sessions)
    now_fits = f"{now.share:.1%} of the days that bars have in it are sessions of {name}"
    calendar = ""
    if exchange is None:
        now_fits = "the days that bars have in it are those of no exchange"
        calendar = f", and market.calendar to {name}"
    yield (
        f"market.source.timezone: {source.timezone} is given, and {now_fits}{odd}; in {best.zone} "
        f"{best.share:.1%} are sessions of {name}: set market.source.timezone to "
        f"{best.zone}{calendar}"
    )


def _decided(moments: pd.Series[int], **known: str | None) -> Choice | None:
    """The choice for moments; of calendars that fit equally well the first one."""
    try:
        return choice_of(moments, **known)
    except UndecidedError as error:
        if error.option == "timezone":
            return None
        return choice_of(moments, **{**known, error.option: error.answers[0]})
    except ConfigError:
        return None


def _moved(
    exchange: str, days: Collection[str], sessions: Collection[str], share: float
) -> Iterator[str]:
    """Say that the days of the bars are those of sessions once they are moved by a day."""
    for count, word in ((1, "before"), (-1, "after")):
        moved = (pd.DatetimeIndex(sorted(days)) + pd.Timedelta(days=count)).strftime("%Y-%m-%d")
        now = _share(list(moved), sessions)
        if now >= max(FITS, share + _GAIN):
            yield (
                f"market.source: the bars are dated a day {word} the sessions of {exchange}"
                f"{_unusual(days, sessions)}: {share:.1%} of the days are sessions, and {now:.1%} "
                f"once they are moved by a day; correct the dates"
            )


def _unusual(days: Collection[str], sessions: Collection[str]) -> str:
    """`, 66 of them Sundays`: the days of the week that are never one of a session."""
    usual = set(pd.DatetimeIndex(list(sessions)).day_of_week)
    counts = Counter(int(day) for day in pd.DatetimeIndex(list(days)).day_of_week)
    odd = [f"{n} of them {_WEEKDAYS[day]}" for day, n in counts.items() if day not in usual]
    return f", {' and '.join(odd)}" if odd else ""
