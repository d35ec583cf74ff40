"""Find the exchange's calendar that the days of the data follow, and the time zone of its moments.

A day counts as one of the market's if a good share of the usual number of names has bars: a few
stray rows on a Sunday make no session. The fit of a calendar is the number of days that it shares
with the data, divided by the number of days of either. All calendars are compared, in every dating
of the moments (`infer_timezone.py`). Those with the same sessions over the data and the year that
follows are one answer; where answers differ and the data cannot decide, a person does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.calendar.exchanges import Exchange
from pipelines.calendar.sessions import Sessions
from pipelines.errors import ConfigError, UndecidedError, did_you_mean
from pipelines.onboarding.infer_timezone import Dating

FITS = 0.97
AHEAD = 250  # sessions after the data in which equal calendars agree
USUAL_SHARE = 0.2  # of the median number of names that a day needs to count
_ALIKE = 0.005  # difference of the shares of two datings, both of days of trading, below evidence
_SHOWN = 6  # candidates, and names of equal ones


@dataclass(frozen=True)
class CalendarFit:
    """A calendar beside the days of the data.

    Attributes:
        name: the name in `exchange_calendars`.
        timezone: its time zone.
        share: the share of days in common.
        absent: its sessions between the first and the last day that have no bar at all.
        extra: days of the data that are none of its sessions.
        sessions: the market's sessions if this is its calendar: without `absent`, with `extra`.
    """

    name: str
    timezone: str
    share: float
    absent: tuple[str, ...]
    extra: tuple[str, ...]
    sessions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """True if the calendar may be taken for the market's own."""
        return self.share >= FITS


@dataclass(frozen=True)
class Choice:
    """The dating and the calendar that fit the data.

    Attributes:
        dating: the days of the data.
        zone: the time zone in which moments have these days; None for dates that are days already.
        fit: the calendar; None if no exchange's fits.
        same: the calendars with the same sessions, and other exchanges of one of them.
        parts: the first known day on which one of `same` differs, after the data; None for none.
        others: the next best calendars and their shares of days in common; those that fit, if
            one was named that does not.
    """

    dating: Dating
    zone: str | None
    fit: CalendarFit | None
    same: tuple[str, ...] = ()
    parts: str | None = None
    others: tuple[tuple[str, float], ...] = ()

    @property
    def share(self) -> float:
        """The share of days in common with the calendar, or with the best one where none fits."""
        if self.fit is not None:
            return self.fit.share
        return self.others[0][1] if self.others else 0.0


@dataclass(frozen=True)
class _Shared:
    """The days that an exchange shares with the data."""

    exchange: Exchange
    share: float
    misfits: int


def require_known(name: str) -> None:
    """Refuse a calendar that does not exist.

    Raises:
        ConfigError: the message names the nearest calendars.
    """
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if name not in names:
        raise ConfigError(
            f"--calendar {name}: no such calendar (`data` derives one from the days of the data); "
            f"{did_you_mean(name, names)}"
        )


def market_days(counts: pd.Series[int]) -> list[str]:
    """Find the days on which the market was open, from the number of bars a day."""
    return [str(day) for day in counts[counts >= USUAL_SHARE * counts.median()].index]


def fit_calendar(counts: pd.Series[int], name: str, exchanges: Sequence[Exchange]) -> CalendarFit:
    """Compare a calendar with the days of the data.

    Args:
        counts: the number of bars a day, by session key in order; not empty.
        name: the calendar, or an alias of it.
        exchanges: the exchanges that are known for these years.

    Raises:
        ConfigError: the calendar is not known for these years.
    """
    import exchange_calendars

    plain = exchange_calendars.resolve_alias(name)
    exchange = next((e for e in exchanges if e.name == plain), None)
    days = market_days(counts)
    if exchange is None:
        Sessions.of(name, pd.Timestamp(days[0]).date(), None)  # raises the reason
        raise ConfigError(f"calendar {name} is not known from {days[0]} on")
    first, last = np.datetime64(days[0]), np.datetime64(days[-1])
    keys = np.datetime_as_string(_between(exchange, first, last)).tolist()
    ours, theirs = set(days), set(keys)
    any_bar = set(counts.index)
    absent = tuple(key for key in keys if key not in any_bar)
    extra = tuple(key for key in days if key not in theirs)
    return CalendarFit(
        name=name,
        timezone=exchange.timezone,
        share=len(ours & theirs) / len(ours | theirs),
        absent=absent,
        extra=extra,
        sessions=tuple(sorted((theirs - set(absent)) | set(extra))),
    )


def choose(
    datings: Sequence[Dating],
    exchanges: Sequence[Exchange],
    *,
    calendar: str | None = None,
    stated: str | None = None,
) -> Choice:
    """Choose the dating and the calendar that fit the data best.

    Args:
        datings: the possible days of the data; none of them empty.
        exchanges: the exchanges that are known for these years, the common ones first.
        calendar: a calendar, or `data` for none, that a person named.
        stated: the time zone that the data states beside its moments.

    Raises:
        UndecidedError: several datings or calendars fit equally well.
        ConfigError: the calendar that was named is not known for these years.
    """
    if calendar not in (None, "data"):
        fits = [fit_calendar(d.counts, str(calendar), exchanges) for d in datings]
        dating = _dating(datings, [fit.share for fit in fits], stated)
        fit = fits[datings.index(dating)]
        better = [] if fit.fits else _shared(market_days(dating.counts), exchanges)
        others = ((b.exchange.name, b.share) for b in better if b.share >= FITS)
        return Choice(dating, _zone(dating, fit.timezone, stated), fit, others=tuple(others)[:3])
    shared = [_shared(market_days(d.counts), exchanges) for d in datings]
    dating = _dating(datings, [best[0].share for best in shared], stated)
    ranked = shared[datings.index(dating)]
    names = tuple((r.exchange.name, r.share) for r in ranked)
    if calendar == "data" or ranked[0].share < FITS:
        return Choice(dating, _zone(dating, None, stated), None, others=names[:3])
    equal = _equal(dating, ranked, stated)
    exchange, since = equal[0], str(dating.counts.index[0])
    same = [name for e in equal for name in (e.name, *e.aliases) if name != exchange.name]
    days = [day for e in equal if (day := _parts(exchange, e, since)) is not None]
    return Choice(
        dating,
        _zone(dating, exchange.timezone, stated),
        fit_calendar(dating.counts, exchange.name, exchanges),
        same=tuple(same),
        parts=min(days, default=None),
        others=tuple(n for n in names if n[0] != exchange.name and n[0] not in same)[:2],
    )


def _shared(days: Sequence[str], exchanges: Sequence[Exchange]) -> list[_Shared]:
    """Compare all exchanges with market days, the best first; of equal ones the more common."""
    ours = np.array(days, dtype="datetime64[D]")
    rows = []
    for exchange in exchanges:
        theirs = _between(exchange, ours[0], ours[-1])
        common = len(np.intersect1d(ours, theirs, assume_unique=True))
        either = len(ours) + len(theirs) - common
        rows.append(_Shared(exchange, common / either, either - common))
    return sorted(rows, key=lambda row: row.misfits)


def _between(exchange: Exchange, first: np.datetime64, last: np.datetime64) -> np.ndarray:
    """The sessions of an exchange from one day to another."""
    days = exchange.days
    return days[np.searchsorted(days, first) : np.searchsorted(days, last, side="right")]


# --- which days ------------------------------------------------------------------------------


def _dating(datings: Sequence[Dating], shares: Sequence[float], stated: str | None) -> Dating:
    """The dating whose days fit best; of those that fit alike, the one that has evidence.

    Evidence is that the moments are midnights in a zone of it, then that the data states its zone.

    Raises:
        UndecidedError: several fit equally well.
    """
    rows, best = list(zip(datings, shares, strict=True)), max(shares)
    if best >= FITS:
        rows = [(d, share) for d, share in rows if share >= best - _ALIKE]
    strongest = max((d.has_midnights, stated in d.zones) for d, _ in rows)
    rows = [(d, s) for d, s in rows if (d.has_midnights, stated in d.zones) == strongest]
    best = max(share for _, share in rows)
    least = best if best >= FITS else 0.0  # what fits no calendar tells nothing of days
    equal = [(d, share) for d, share in rows if share >= least]
    if len(equal) == 1:
        return equal[0][0]
    first = equal[0][0]
    lines = [
        f"  {d.zone():<20} first day {d.counts.index[0]}, {share:.1%} of days in common with the "
        f"best calendar{_apart(first, d)}"
        for d, share in equal[:_SHOWN]
    ]
    raise UndecidedError(
        "the dates are moments, and their days differ by the time zone:\n"
        + "\n".join(lines)
        + f"\nnothing was written; say which, --timezone {first.zone()}",
        "timezone",
        tuple(d.zone() for d, _ in equal),
    )


def _apart(first: Dating, other: Dating) -> str:
    days = sorted(set(first.counts.index) ^ set(other.counts.index))
    return f", differs first on {days[0]}" if days else ""


def _zone(dating: Dating, own: str | None, stated: str | None) -> str | None:
    """The time zone to name: where the moments are midnights, the calendar's, or the stated one."""
    return dating.zone(own, stated) if dating.zones else None


# --- which calendar --------------------------------------------------------------------------


def _equal(dating: Dating, ranked: Sequence[_Shared], stated: str | None) -> list[Exchange]:
    """The exchanges of the best answer, which have the same sessions; the one to name first.

    Raises:
        UndecidedError: several answers fit equally well.
    """
    span = dating.counts.index[0], dating.counts.index[-1]
    best = [row.exchange for row in ranked if row.misfits == ranked[0].misfits]
    # A zone that the moments show speaks for the exchanges in it.
    best.sort(key=lambda e: (e.timezone != stated, e.timezone not in dating.midnights))
    answers: list[list[Exchange]] = []
    for exchange in best:
        answer = next((a for a in answers if _agree(a[0], exchange, *span)), None)
        if answer is None:
            answers.append([exchange])
        else:
            answer.append(exchange)
    for zones in ({stated}, set(dating.midnights)):
        local = [a for a in answers if any(e.timezone in zones for e in a)]
        if len(local) == 1:
            return local[0]
    if len(answers) == 1:
        return answers[0]
    first = answers[0][0]
    lines = [
        f"  {a[0].name:<6} {ranked[0].share:.1%} of days in common{_listed(a)}"
        + (f"; differs from {first.name} first on {_parts(first, a[0], span[0])}" if i else "")
        for i, a in enumerate(answers[:_SHOWN])
    ]
    raise UndecidedError(
        f"{len(answers)} calendars fit the days of the data equally well, and differ after them:\n"
        + "\n".join(lines)
        + f"\nnothing was written; say which, --calendar {first.name}",
        "calendar",
        tuple(answer[0].name for answer in answers),
    )


def _listed(answer: Sequence[Exchange]) -> str:
    names = [name for e in answer for name in (e.name, *e.aliases)][1:]
    return f" (the same: {shown_names(names)})" if names else ""


def shown_names(names: Sequence[str]) -> str:
    """Some names of calendars, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _agree(one: Exchange, other: Exchange, first: str, last: str) -> bool:
    """True if two exchanges have the same sessions over the data and the year after it."""
    after = one.days[one.days > np.datetime64(last)]
    end = str(after[min(AHEAD, len(after)) - 1]) if len(after) else last
    day = _parts(one, other, first)
    return day is None or day > end


def _parts(one: Exchange, other: Exchange, since: str) -> str | None:
    """The first day from a day on that only one of two exchanges has, as far as both are known."""
    begin, end = np.datetime64(since), min(one.days[-1], other.days[-1])
    days = np.setxor1d(_between(one, begin, end), _between(other, begin, end))
    return str(days[0]) if len(days) else None
