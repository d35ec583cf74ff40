"""Freshness policy: the time by which the UI expects the scores and evaluations of a session.

The deadline is a cron time on the mornings after trading weekdays, derived from the calendar and
the schedule's own cron, so a weekend is not late. A policy knows weekdays, not dates: on the
morning after a holiday that falls on a weekday the assets show as late until the next session.
The policy only marks assets in the UI; the schedule is exact and alerts.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg

from pipelines.config.cron import next_tick
from pipelines.market.market import Market

_WEEKS_LOOKED_AT = 4


def freshness_policy(market: Market) -> dg.FreshnessPolicy | None:
    """The policy of the assets that end the graph; None if the schedule is off."""
    if not market.config.schedule.enabled:
        return None
    zone = market.sessions.timezone
    deadline = deadline_cron(market)
    days = [int(day) for day in deadline.split()[-1].split(",")]
    apart = min(
        (later - day) % 7 or 7 for day, later in zip(days, days[1:] + days[:1], strict=True)
    )
    return dg.FreshnessPolicy.cron(
        deadline_cron=deadline, lower_bound_delta=dt.timedelta(days=apart), timezone=zone
    )


def deadline_cron(market: Market) -> str:
    """`MINUTE HOUR * * WEEKDAYS`: `late_after_hours` after the schedule first asks for a session.

    The weekdays are those on which the newest known sessions are asked for.
    """
    settings, zone = market.config.schedule, market.sessions.timezone
    delay = dt.timedelta(hours=settings.late_after_hours)
    deadlines: list[dt.datetime] = []
    for key in market.sessions.keys[-5 * _WEEKS_LOOKED_AT :]:
        first = next_tick(settings.cron, market.sessions.midnight_after(key), zone)
        deadlines.append(
            first.replace(tzinfo=None) + delay
        )  # on the wall clock, whatever the season
    weekdays = sorted(
        {(moment.weekday() + 1) % 7 for moment in deadlines}
    )  # cron counts from Sunday
    last = max(moment.time() for moment in deadlines)
    return f"{last.minute} {last.hour} * * {','.join(map(str, weekdays))}"
