"""The sessions of all exchanges at once. Oracle: each calendar made alone."""

from __future__ import annotations

import exchange_calendars
import numpy as np
import pytest
from pandas.tseries.holiday import AbstractHolidayCalendar

from pipelines.calendar.exchanges import exchanges_since
from pipelines.config.calendar import COMMON

START = "2018-01-01"


@pytest.mark.parametrize(
    "name",
    [
        *("XNYS", "XETR", "XHKG", "XSHG", "XBOM", "24/7"),
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("XKRX", "XMOS")),
    ],
)
def test_sessions_are_those_of_the_calendar_made_alone(name):
    """Also those of a calendar that was made while the range of holidays was short."""
    exchange = next(e for e in exchanges_since(START) if e.name == name)
    alone = exchange_calendars.get_calendar(name, start="2017-11-01")  # not the one made before
    days = alone.sessions.to_numpy().astype("datetime64[D]")
    assert np.array_equal(exchange.days, days[days >= exchange.days[0]])
    assert exchange.days[0] <= np.datetime64("2017-12-20")
    assert exchange.timezone == str(alone.tz)


def test_all_that_can_be_evaluated_are_there_and_the_common_ones_first():
    names = [exchange.name for exchange in exchanges_since(START)]
    assert names[:3] == ["XNYS", "XSHG", "XHKG"]
    assert len(names) == len(set(names)) > 60
    aliases = {exchange.name: exchange.aliases for exchange in exchanges_since(START)}
    assert "XNAS" in aliases["XNYS"]
    assert set(COMMON) <= set(exchange_calendars.get_calendar_names())
    assert AbstractHolidayCalendar.end_date.year == 2200, "the range of holidays is put back"
