"""The end of what a calendar knows, and the sessions after it.

New York's calendar is cut at 8 April 2020 here; the oracle for the days after it is the real one:
the 9th was a session, Good Friday, the 10th, was none.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import exchange_calendars
import pandas as pd
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.automation.next_session import look
from pipelines.calendar import sessions as sessions_module
from pipelines.calendar import trading_times
from pipelines.calendar.sessions import Sessions
from pipelines.calendar.trading_times import next_open, served_until
from pipelines.cli.status import status_lines
from pipelines.config.loader import parse_config
from pipelines.config.market_file import MarketConfig
from pipelines.errors import BarsNotArrivedError, ConfigError, SourceError
from pipelines.market.calendar_end import SOON_SESSIONS, calendar_end
from pipelines.market.calendars import market_sessions
from pipelines.market.market import Market
from pipelines.onboarding.yaml_validation import problems_of
from pipelines.operations.backfill import run_backfill
from pipelines.sources.fetch import fetch_bars, fetch_sessions
from pipelines.staleness.status_report import status_report
from pipelines.staleness.survey import pending
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import StateFile
from tests.pipelines.conftest import TINY, make_market, materialize, merged, open_record
from tests.pipelines.ticks import mark_done, tick

END = "2020-04-08"
REAL = tuple(Sessions.of("XNYS", dt.date(2020, 1, 2), dt.date(2020, 6, 30)).keys)
BEYOND = {"exchange": "XNYS"}


@pytest.fixture
def ends(monkeypatch):
    """Let New York's calendar know no day after a given one."""

    def cut(day: str = END) -> None:
        def calendar(name: str, start: Any) -> Any:
            lead = pd.Timestamp(start) - pd.Timedelta(days=14)
            return exchange_calendars.get_calendar(name, start=lead, end=day)

        monkeypatch.setattr(sessions_module, "exchange_calendar", calendar)
        monkeypatch.setattr(trading_times, "exchange_calendar", calendar)
        trading_times._exchange_times.cache_clear()

    cut()
    yield cut
    trading_times._exchange_times.cache_clear()


class Dated:
    """A source that has bars on some days, or is away."""

    def __init__(self, days: Any) -> None:
        self.given = days

    def fetch(self, keys):
        days = [key for key in keys if key in self.given]
        columns = ["date", "instrument", "open", "high", "low", "close", "volume", "amount",
                   "adj_ratio"]  # fmt: skip
        return pd.DataFrame([[d, "A", *[1.0] * 7] for d in days], columns=columns)

    def days(self, first=None):
        if isinstance(self.given, SourceError):
            raise self.given
        days = sorted(d for d in self.given if first is None or d >= first)
        return pd.Series(1, index=pd.Index(days, dtype="str"))


def config(calendar: Any, **changes: Any) -> MarketConfig:
    market = {**TINY["market"], "end": None, "calendar": calendar, **changes}
    return MarketConfig.model_validate(market)


def kept_in(ledger: Path) -> StateFile:
    return LocalStore(ledger.parent).file(ledger.name)


def derive(ledger: Path, today: str, days=REAL, begun=True, calendar=None, **changes: Any):
    return market_sessions(
        config({**BEYOND, **(calendar or {})}, **changes), kept_in(ledger), lambda: Dated(days),
        lambda: begun, dt.date.fromisoformat(today),
    )  # fmt: skip


def after(sessions: Sessions, day: str = END, last: str = "2020-04-17") -> list[str]:
    return [key for key in sessions.keys if day < key <= last]


WEEKDAYS = ["2020-04-09", "2020-04-10", "2020-04-13", "2020-04-14", "2020-04-15", "2020-04-16",
            "2020-04-17"]  # fmt: skip
TRADED = [day for day in WEEKDAYS if day != "2020-04-10"]

# --- the sessions after the end ------------------------------------------------------------------


def test_without_a_word_the_sessions_end(ends, tmp_path):
    ledger = kept_in(tmp_path / "x")
    sessions = market_sessions(config("XNYS"), ledger, lambda: pytest.fail("not asked"))
    assert (sessions.keys[-1], sessions.known_to, sessions.provisional) == (END, END, None)


def test_weekdays_follow_and_are_provisional(ends, tmp_path):
    sessions = derive(tmp_path / "x", "2020-03-20")
    assert after(sessions) == WEEKDAYS
    assert (sessions.provisional, sessions.known_to) == ("2020-04-09", None)
    assert sessions.keys[-1] == "2021-03-19", "a year from the present day"
    assert sessions.keys[: sessions.position(END) + 1] == REAL[: REAL.index(END) + 1]
    assert (sessions.calendar, sessions.timezone) == ("XNYS", "America/New_York")
    assert not (tmp_path / "x").exists(), "nothing of the past to keep"


def test_closures_by_hand(ends, tmp_path):
    by_hand = {"closures": ["2020-04-10"], "closures_to": "2020-04-14"}
    sessions = derive(tmp_path / "x", "2020-03-20", calendar=by_hand)
    assert after(sessions) == TRADED
    assert sessions.provisional == "2020-04-15"
    late = derive(tmp_path / "x", "2020-04-16", days=[], calendar=by_hand)
    assert after(late) == TRADED, "what was said by hand needs no bars"
    with pytest.raises(ConfigError, match=r"closures names 2020-04-20.*complete up to 2020-04-14"):
        parse_config(merged(TINY, {"market": {"calendar": {
            **BEYOND, "closures": ["2020-04-20"], "closures_to": "2020-04-14"}}}))  # fmt: skip
    with pytest.raises(ConfigError, match="unknown key; did you mean 'closures'"):
        parse_config(merged(TINY, {"market": {"calendar": {**BEYOND, "closure": []}}}))


def test_a_weekday_without_bars_is_a_holiday_once_a_later_day_has_bars(ends, tmp_path):
    ledger = tmp_path / "ledger"
    days = [key for key in REAL if key <= "2020-04-09"]
    waiting = derive(ledger, "2020-04-13", days=days)
    assert after(waiting) == WEEKDAYS, "the bars of the 10th may be late"
    assert waiting.provisional == "2020-04-10"
    passed = derive(ledger, "2020-04-14", days=[*days, "2020-04-13"])
    assert after(passed) == TRADED
    assert json.loads(ledger.read_text())["sessions"] == ["2020-04-09", "2020-04-13"]


def test_what_was_known_stays(ends, tmp_path):
    """Restated data, absent data and a calendar that knows more shift no session of the past."""
    ledger = tmp_path / "ledger"
    known = derive(ledger, "2020-04-15")
    assert after(known) == TRADED
    restated = [d for d in REAL if d not in ("2020-04-09", "2020-04-13")] + ["2020-04-10"]
    away = SourceError("no file of bars")
    for days in (restated, away):
        assert derive(ledger, "2020-04-15", days=days).keys == known.keys
    ends("2020-05-29")
    newer = derive(ledger, "2020-04-15", days=restated)
    assert after(newer) == TRADED
    assert newer.provisional == "2020-06-01"
    fresh = derive(tmp_path / "other", "2020-04-15", days=restated)
    assert after(fresh) == TRADED, "the newer calendar's own"
    afresh = derive(ledger, "2020-04-15", days=restated, begun=False)
    assert afresh.keys == fresh.keys, "a ledger binds only once something was made"


def test_the_markets_own_end_and_exceptions_hold(ends, tmp_path):
    sessions = derive(tmp_path / "x", "2020-03-20", end="2020-04-14", closed=["2020-04-10"])
    assert after(sessions) == ["2020-04-09", "2020-04-13", "2020-04-14"]
    special = derive(tmp_path / "x", "2020-03-20", extra_sessions=["2020-04-11"])
    assert "2020-04-11" in special


def test_a_source_that_tells_no_days_has_every_weekday(ends, tmp_path):
    market = make_market(tmp_path / "tiny", {"market": {"calendar": BEYOND, "end": "2020-04-17"}})
    assert after(market.sessions) == WEEKDAYS
    assert set(market.source.fetch(["2020-04-10"])["date"]) == {"2020-04-10"}


def test_a_calendar_without_an_end_is_what_it_was(tmp_path):
    plain = make_market(tmp_path / "a")
    named = make_market(tmp_path / "b", {"market": {"calendar": BEYOND}})
    assert named.sessions.keys == plain.sessions.keys
    assert named.sessions.provisional is None
    assert named._identity() == plain._identity(), "it is no other market"


def test_going_beyond_the_end_makes_nothing_stale(ends, tmp_path):
    """Partitions of before keep their bytes, and the new sessions are the only work."""
    plain = make_market(tmp_path / "m", {"market": {"end": None}})
    assert plain.sessions.keys[-1] == END
    with open_record(tmp_path / "record") as record:
        materialize(plain, ("ohlcv",), plain.sessions.first, END, record)
        calendar = {**BEYOND, "closures": ["2020-04-10"], "closures_to": "2020-12-31"}
        beyond = make_market(tmp_path / "m", {"market": {"calendar": calendar, "end": None}})
        keys = [key for key in beyond.sessions.keys if key <= "2020-04-14"]
        work = pending(beyond, stages(beyond), record, {"ohlcv": keys}, keys)
    assert (work.first, work.last) == ("2020-04-09", "2020-04-14")


# --- bars and times after the end ----------------------------------------------------------------


def test_bars_of_a_holiday_are_waited_for_and_named(ends, tmp_path):
    sessions = derive(tmp_path / "x", "2020-03-20")
    keys = ["2020-04-09", "2020-04-10", "2020-04-13"]
    message = "no bar at all for 2020-04-10, weekdays beyond what the calendar knows, and reaches"
    with pytest.raises(BarsNotArrivedError, match=message):
        fetch_sessions(Dated(TRADED), sessions, keys)
    with pytest.raises(BarsNotArrivedError, match="has not arrived yet"):
        fetch_sessions(Dated(keys[:1]), sessions, [*keys[:1], "2020-04-14"])
    with pytest.raises(SourceError, match="though it reaches 2020-04-14") as error:
        fetch_bars(Dated(["2020-04-14"]), keys[:1])
    assert not isinstance(error.value, BarsNotArrivedError), "a session that the calendar knows"


def test_sessions_after_the_end_open_as_the_last_known_one(ends, tmp_path):
    sessions = derive(tmp_path / "x", "2020-03-20")
    assert next_open(sessions, END) == pd.Timestamp("2020-04-09 13:30", tz="UTC")
    assert next_open(sessions, "2020-11-06") == pd.Timestamp("2020-11-09 14:30", tz="UTC")
    assert served_until(sessions, "2020-04-13") == pd.Timestamp("2020-04-14 13:30", tz="UTC")


def test_the_schedule_passes_over_a_holiday(ends, tmp_path, monkeypatch):
    real, today = market_sessions, {"is": dt.date(2020, 4, 13)}
    monkeypatch.setattr(
        "pipelines.market.market.market_sessions",
        lambda *args, **kwargs: real(*args, **kwargs, today=today["is"]),
    )
    monkeypatch.setattr("pipelines.warehouse.store.Store.has_partitions", lambda *_: True)
    source = Dated([key for key in REAL if key <= "2020-04-09"])
    changes = {"market": {"calendar": BEYOND, "end": None}}
    market = make_market(tmp_path / "tiny", changes, source=source)
    with open_record(tmp_path / "record") as record:
        mark_done(record, [key for key in REAL if "2020-04-01" <= key <= "2020-04-09"])
        noon = dt.datetime(2020, 4, 13, 16, tzinfo=dt.UTC)
        assert look(market, stages(market), record, "tiny_daily", noon).ask_for == "2020-04-10"
        source.given, today["is"] = [*source.given, "2020-04-13"], dt.date(2020, 4, 14)
        seen = look(market, stages(market), record, "tiny_daily", noon + dt.timedelta(days=1))
    assert seen.missing == ("2020-04-13",)
    assert "from 2020-04-10 on are weekdays, provisional" in seen.calendar


# --- what people are told ------------------------------------------------------------------------


def test_the_end_is_said_sixty_sessions_ahead(ends, tmp_path):
    market = config("XNYS")
    sessions = market_sessions(market, kept_in(tmp_path / "x"), lambda: pytest.fail("not asked"))
    keys = sessions.keys
    soon, early = keys[-1 - SOON_SESSIONS], keys[-2 - SOON_SESSIONS]
    assert SOON_SESSIONS == 60
    assert calendar_end(market, sessions, early) is None
    said = calendar_end(market, sessions, soon)
    assert said.startswith(f"calendar XNYS is known to {END} only, 60 sessions from now: ")
    assert "`calendar: {exchange: XNYS, closures: [DAYS], closures_to: DAY}`" in said
    assert f"is known to {END} only, and it is 2020-05-04" in calendar_end(
        market, sessions, "2020-05-04"
    )
    ended = config("XNYS", end="2020-04-07")
    assert calendar_end(ended, sessions, soon) is None, "the market ends before it"
    beyond = derive(tmp_path / "x", soon)
    assert "weekdays, provisional" in calendar_end(config(BEYOND), beyond, soon)
    assert calendar_end(config(BEYOND), beyond, early) is None


def test_real_calendars_of_today():
    """Shanghai's ends with a year; New York's is always known for another one."""
    for name, bounded in (("XSHG", True), ("XNYS", False)):
        sessions = Sessions.of(name, dt.date(2024, 1, 2), None)
        day_before = str(dt.date.fromisoformat(str(sessions.known_to)) - dt.timedelta(days=1))
        market = config(name)
        said = calendar_end(market, sessions, day_before if bounded else str(dt.date.today()))
        assert (said is not None) == bounded


@pytest.fixture
def file_market(tmp_path) -> Market:
    """A market of a file's calendar, which ended years ago, with bars that went on."""
    (tmp_path / "days.txt").write_text("\n".join(k for k in REAL if k <= "2020-05-15"))
    rows = [f"{day},{name},1,1,1,1,5,5" for day in REAL for name in "ABCDEF"]
    header = "date,instrument,open,high,low,close,volume,amount"
    (tmp_path / "bars.csv").write_text("\n".join([header, *rows]))
    raw = merged(TINY, {"market": {"end": None}})
    raw["market"] |= {
        "calendar": {"file": str(tmp_path / "days.txt"), "timezone": "America/New_York"},
        "source": {"kind": "files", "path": str(tmp_path / "bars.csv"), "basis": "adjusted"},
    }
    return Market(parse_config(raw), root=tmp_path / "own")


def test_validate_counts_what_lies_beyond(file_market):
    remarks = "\n".join(problems_of(file_market).remarks)
    assert "days.txt is known to 2020-05-15 only, and it is" in remarks
    assert "add the sessions that follow to" in remarks
    late = [key for key in REAL if key > "2020-05-15"]
    assert f"{6 * len(late)} rows on {late[0]}, " in remarks
    assert f"({len(late)} days) are not read" in remarks


def test_backfill_status_and_schedule_say_it(file_market, tmp_path):
    console = Console(record=True, width=400)
    run_backfill(file_market, console, start="2020-01-02", end="2020-06-30", select="ohlcv")
    said = console.export_text()
    assert "the range ends at 2020-05-15: calendar " in said
    assert "days.txt is known to 2020-05-15 only" in said
    with open_record(tmp_path / "record") as record:
        report = status_report(file_market, stages(file_market), record)
        assert "is known to 2020-05-15 only" in report.to_dict()["calendar"]
        assert report.calendar in status_lines(file_market, report)
        mark_done(record, [key for key in REAL if "2020-04-01" <= key <= "2020-04-06"])
        answer = tick(file_market, record, dt.datetime(2020, 4, 7, 4, 30, tzinfo=dt.UTC))
    assert "every closed session is done, the newest is 2020-04-06; calendar " in (
        answer.skip_message
    )
    assert "is known to 2020-05-15 only, 27 sessions from now" in answer.skip_message
