"""Rows off the market's calendar, from each source that knows its days. Oracle: the days dumped."""

from __future__ import annotations

import pandas as pd
import pytest

from pipelines.calendar.sessions import Sessions
from pipelines.sources.base import SpanSource
from pipelines.sources.fetch import fetch_sessions
from pipelines.sources.simulated import SimulatedBars
from tests.pipelines.sources import test_database, test_qlib_bin
from tests.pipelines.sources.conftest import DAYS, in_order
from tests.pipelines.sources.test_database import duck, sqlite  # noqa: F401 - fixtures

OFF = DAYS[3]  # no session here; the source has bars of it all the same
SESSIONS = Sessions("mine", "UTC", tuple(day for day in DAYS if day != OFF))


@pytest.fixture(params=["files", "sqlite", "duck", "qlib_bin"])
def source(request, market, files, tmp_path):
    if request.param == "files":
        market.to_parquet(tmp_path / "bars.parquet", index=False)
        return files(basis={"preclose": "preclose"})
    if request.param == "qlib_bin":
        return test_qlib_bin.source(test_qlib_bin.dump(tmp_path / "q", market, test_qlib_bin.ALL))
    return test_database.make(request.getfixturevalue(request.param))


def test_a_day_that_is_no_session_lies_with_the_next(source, market):
    """With its own date and ratio, however the range is cut, and nothing else is among the rows."""
    assert isinstance(source, SpanSource)
    rows = fetch_sessions(source, SESSIONS, SESSIONS.keys)
    assert len(rows) == len(market)
    off = rows["date"] == OFF
    assert set(rows.loc[off, "session"]) == {DAYS[4]}
    assert (rows["session"] == rows["date"])[~off].all()
    alone = fetch_sessions(source, SESSIONS, (DAYS[4],))
    assert sorted(set(alone["date"])) == [OFF, DAYS[4]]
    wanted = rows[rows["session"] == DAYS[4]]
    pd.testing.assert_frame_equal(in_order(alone), in_order(wanted), check_exact=True)
    holes = fetch_sessions(source, SESSIONS, (DAYS[1], DAYS[5]))
    assert set(holes["session"]) == {DAYS[1], DAYS[5]}, "a session not asked for is left out"


def test_sources_of_sessions_have_none():
    assert not isinstance(SimulatedBars, SpanSource)
