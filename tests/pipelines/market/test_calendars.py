"""Sessions of files and of data, and declared exceptions. Oracle: days written down."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.assets.partitions import partitions_definition
from pipelines.assets.stages import stages
from pipelines.automation.next_session import CalendarChangedError, look
from pipelines.config.loader import parse_config
from pipelines.config.market_file import MarketConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.market.calendars import ahead, market_sessions, usual_weekdays
from pipelines.market.market import Market
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import StateFile
from tests.pipelines.conftest import TINY, make_market, merged, open_record
from tests.pipelines.ticks import mark_done

TODAY = dt.date(2024, 3, 20)
FROM_DATA = {"from": "data", "timezone": "Asia/Shanghai"}


def config(**changes: Any) -> MarketConfig:
    market = {**TINY["market"], "start": "2024-01-01", "end": None, **changes}
    return MarketConfig.model_validate(market)


class Dated:
    """A source that has bars on some days, three names each, or fails."""

    def __init__(self, days: list[str] | SourceError, names: int = 3) -> None:
        self.given, self.names, self.looks = days, names, 0

    def fetch(self, keys):
        raise AssertionError("only the days are asked for")

    def days(self, first=None):
        self.looks += 1
        if isinstance(self.given, SourceError):
            raise self.given
        days = [day for day in self.given if first is None or day >= first]
        return pd.Series(self.names, index=pd.Index(sorted(days), dtype="str"))


class Marked(Dated):
    def fingerprint(self):
        if isinstance(self.given, SourceError):
            raise self.given
        return str(self.given)


def weekdays(first: str, last: str, *without: str) -> list[str]:
    return [d for d in pd.bdate_range(first, last).strftime("%Y-%m-%d") if d not in without]


def kept_in(ledger: Path) -> StateFile:
    return LocalStore(ledger.parent).file(ledger.name)


def derive(source: Dated, ledger: Path, today=TODAY, begun=True, **changes: Any):
    market = config(calendar=FROM_DATA, **changes)
    return market_sessions(market, kept_in(ledger), lambda: source, lambda: begun, today)


# --- exceptions and files ----------------------------------------------------------------------


def test_declared_exceptions_of_an_exchange(tmp_path):
    """A hurricane closes the exchange; a special session is held on a Saturday."""
    market = config(calendar="XNYS", closed=["2024-01-03"], extra_sessions=["2024-01-06"],
                    end="2024-01-09")  # fmt: skip
    sessions = market_sessions(market, kept_in(tmp_path / "x"), lambda: pytest.fail("not asked"))
    wanted = ("2024-01-02", "2024-01-04", "2024-01-05", "2024-01-06", "2024-01-08", "2024-01-09")
    assert sessions.keys == wanted
    assert tuple(partitions_definition(sessions, closed=True).get_partition_keys()) == wanted
    with pytest.raises(ValueError, match="2024-01-03 in both closed and extra_sessions"):
        config(calendar="XNYS", closed=["2024-01-03"], extra_sessions=["2024-01-03"])


@pytest.mark.parametrize("form", ["text", "csv", "parquet"])
def test_sessions_of_a_file(form, tmp_path):
    days = ["2024-01-05", "2024-01-02", "2023-12-29", "2024-01-03"]
    path = tmp_path / f"days.{'txt' if form == 'text' else form}"
    given: dict[str, Any] = {"file": str(path), "timezone": "Asia/Shanghai"}
    if form == "text":
        path.write_text("# sessions\n" + "\n".join(days) + "  # a Friday\n\n")
    elif form == "csv":
        pd.DataFrame({"name": "x", "session": days}).to_csv(path, index=False)
        given["column"] = "session"
    else:
        pd.DataFrame({"date": pd.to_datetime(days)}).to_parquet(path)
    ledger = kept_in(tmp_path / "x")
    sessions = market_sessions(config(calendar=given), ledger, lambda: pytest.fail("no"))
    assert sessions.keys == ("2024-01-02", "2024-01-03", "2024-01-05")
    assert sessions.timezone == "Asia/Shanghai"
    assert sessions.opens == "09:30"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"market.calendar.file: cannot read .*days\.txt"),
        ("2024-01-02\nsoon\n", r"days\.txt, line 2: 'soon' is no date such as 2024-01-31"),
        ("# nothing\n", r"lists no session"),
        ("2020-01-02\n", r"has no session between 2024-01-01 and None"),
    ],
)
def test_a_wrong_file_is_named(content, message, tmp_path):
    path = tmp_path / "days.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        market_sessions(config(calendar={"file": str(path)}), kept_in(tmp_path / "x"), lambda: None)


@pytest.mark.parametrize(
    ("calendar", "message"),
    [
        ({"file": "x.txt", "colunm": "a"}, r"calendar.colunm: unknown key; did you mean 'column'"),
        ({"from": "data"}, r"market.calendar.timezone: required"),
        ({"from": "data", "timezone": "Asia/Shanghi"}, r"did you mean 'Asia/Shanghai'"),
        ({"from": "dta", "timezone": "UTC"}, r"market.calendar.from: .*'data'"),
        ({"file": "x.txt", "opens": "9 am"}, r"market.calendar.opens"),
    ],
)
def test_a_wrong_section_is_named(calendar, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged({**TINY, "market": {**TINY["market"], "calendar": calendar}}, {}))


# --- derived from data -------------------------------------------------------------------------


def test_sessions_are_the_days_with_bars_and_weekdays_after_them(tmp_path):
    """A Saturday on which there was a session is one, other Saturdays are not."""
    days = [*weekdays("2024-01-02", "2024-03-15", "2024-02-12", "2024-02-13"), "2024-02-17"]
    sessions = derive(Dated(days), tmp_path / "ledger")
    seen = [key for key in sessions.keys if key <= "2024-03-15"]
    assert seen == sorted(days)
    assert sessions.keys[len(seen) :] == tuple(weekdays("2024-03-16", "2025-03-21"))
    keys = partitions_definition(sessions, closed=False).get_partition_keys(
        current_time=dt.datetime(2024, 3, 30, tzinfo=dt.UTC)
    )
    assert keys == [key for key in sessions.keys if key <= "2024-03-29"]


def test_a_market_that_never_closes(tmp_path):
    days = list(pd.date_range("2024-01-01", "2024-03-01").strftime("%Y-%m-%d"))
    sessions = derive(Dated(days), tmp_path / "ledger")
    assert usual_weekdays(days) == list(range(7))
    assert sessions.keys[: len(days) + 2][-3:] == ("2024-03-01", "2024-03-02", "2024-03-03")
    assert ahead(days, dt.date(2024, 3, 2), TODAY) == ["2024-03-02"]


def test_the_running_day_and_the_future_are_not_known_sessions(tmp_path):
    days = [*weekdays("2024-01-02", "2024-03-20"), "2024-12-28"]
    derive(Dated(days), tmp_path / "ledger")
    kept = json.loads((tmp_path / "ledger").read_text())["sessions"]
    assert kept[-1] == "2024-03-19"


def test_a_stray_row_is_no_session_where_more_are_asked_for(tmp_path):
    market = config(calendar={**FROM_DATA, "min_instruments": 4})
    with pytest.raises(ConfigError, match=r"no day with 4 instruments from 2024-01-01 on"):
        market_sessions(market, kept_in(tmp_path / "l"), lambda: Dated(["2024-01-02"]), today=TODAY)


def test_what_was_seen_stays(tmp_path):
    """Later days are added, a holiday guessed wrong goes, days that lost their bars stay."""
    ledger = tmp_path / "ledger"
    days = weekdays("2024-01-02", "2024-03-15")
    guessed = derive(Dated(days), ledger)
    assert "2024-03-18" in guessed
    later = [*days[10:], "2024-03-19"]
    sessions = derive(Dated(later), ledger)
    assert [key for key in sessions.keys if key <= "2024-03-19"] == [*days, "2024-03-19"]
    assert sessions.position(days[20]) == guessed.position(days[20])


def test_a_session_inserted_into_the_past_is_an_error_that_names_it(tmp_path):
    ledger = tmp_path / "ledger"
    days = weekdays("2024-01-02", "2024-03-15", "2024-02-12")
    derive(Dated(days), ledger)
    inserted = Dated([*days, "2024-02-12"])
    with pytest.raises(SourceError, match=r"bars of 2024-02-12, which was no session when later"):
        derive(inserted, ledger)
    assert "2024-02-12" not in derive(inserted, ledger, closed=["2024-02-12"])
    assert "2024-02-12" in derive(inserted, ledger, extra_sessions=["2024-02-12"])
    assert "2024-02-12" in derive(inserted, ledger, begun=False), "nothing was made of it yet"


def test_data_that_is_away(tmp_path):
    """Never seen: an error that says so. Seen: the calendar goes on as it was."""
    away = Dated(SourceError("no file of bars at /data"))
    with pytest.raises(ConfigError, match=r"derived from the data, which has to be there: no file"):
        derive(away, tmp_path / "ledger")
    days = weekdays("2024-01-02", "2024-03-15")
    there = derive(Dated(days), tmp_path / "ledger")
    assert derive(away, tmp_path / "ledger").keys == there.keys


def test_unchanged_data_is_not_looked_at_again(tmp_path):
    source = Marked(weekdays("2024-01-02", "2024-03-15"))
    first = derive(source, tmp_path / "ledger")
    assert derive(source, tmp_path / "ledger").keys == first.keys
    assert source.looks == 1
    derive(source, tmp_path / "ledger", today=TODAY + dt.timedelta(days=1))
    assert source.looks == 2


def test_a_damaged_ledger_is_named(tmp_path):
    (tmp_path / "ledger").write_text('{"sessions": ["2024-01-03", "2024-01-02"]')
    with pytest.raises(ConfigError, match=r"ledger, the calendar seen so far, cannot be read"):
        derive(Dated(["2024-01-02"]), tmp_path / "ledger")


def test_a_source_without_days(tmp_path):
    with pytest.raises(ConfigError, match="simulated does not tell the days that it has"):
        make_market(tmp_path, {"market": {"calendar": FROM_DATA}})


def test_a_market_derives_its_calendar_and_remembers_it(tmp_path):
    """Through Market, from files: the state lies beside the warehouse."""
    frame = pd.DataFrame({"date": weekdays("2020-01-02", "2020-05-15", "2020-04-10")})
    frame = frame.assign(instrument="A", open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    frame.to_csv(tmp_path / "bars.csv", index=False)
    raw = merged(TINY, {"market": {"vwap": "typical"}})
    raw["market"] |= {
        "source": {"kind": "files", "path": str(tmp_path / "bars.csv"), "basis": "adjusted"},
        "calendar": {**FROM_DATA, "timezone": "America/New_York"},
    }
    market = Market(parse_config(raw), root=tmp_path / "state")
    assert list(market.sessions.keys) == frame["date"].tolist()
    assert (tmp_path / "state" / "calendar.json").is_file()
    (tmp_path / "bars.csv").unlink()
    again = Market(parse_config(raw), root=tmp_path / "state")
    assert again.sessions == market.sessions


# --- while a code server lives -----------------------------------------------------------------

DERIVED = {"calendar": {"from": "data", "timezone": "America/New_York"}, "end": None}
DAYS = weekdays("2020-01-02", "2020-04-08")
NOON = dt.datetime(2020, 4, 10, 16, 0, tzinfo=dt.UTC)


@pytest.fixture
def living(tmp_path, monkeypatch):
    """A market of the data's calendar on 2020-04-09, its sessions up to the 8th done."""
    real = market_sessions
    today = {"is": dt.date(2020, 4, 9)}
    monkeypatch.setattr(
        "pipelines.market.market.market_sessions",
        lambda *args, **kwargs: real(*args, **kwargs, today=today["is"]),
    )
    monkeypatch.setattr("pipelines.warehouse.store.Store.has_partitions", lambda *_: True)
    source = Dated(DAYS, names=6)
    market = make_market(tmp_path / "tiny", {"market": DERIVED}, source=source)
    with open_record(tmp_path / "record") as record:
        mark_done(record, [key for key in DAYS if key >= "2020-04-01"])
        yield market, source, today, record


def test_a_guessed_session_that_was_a_holiday_is_not_asked_for(living):
    """2020-04-09 had no bars in the end, the 10th has: a run would not know the 9th."""
    market, source, today, record = living
    assert look(market, stages(market), record, "tiny_daily", NOON).ask_for == "2020-04-09"
    source.given, today["is"] = [*DAYS, "2020-04-10"], dt.date(2020, 4, 11)
    later = NOON + dt.timedelta(days=1)
    seen = look(market, stages(market), record, "tiny_daily", later)
    assert (seen.ask_for, seen.missing) == ("2020-04-10", ("2020-04-10",))
    mark_done(record, ["2020-04-10"])
    assert look(market, stages(market), record, "tiny_daily", later).missing == ()


def test_a_session_that_nobody_guessed_asks_for_a_reload(living):
    """Bars of a Saturday: this process has no partition for it, and must not overtake it."""
    market, source, today, record = living
    source.given = [*DAYS, "2020-04-09", "2020-04-10", "2020-04-11"]
    today["is"] = dt.date(2020, 4, 14)
    message = "2020-04-11 became a session of the data's calendar .* reload the code location"
    with pytest.raises(CalendarChangedError, match=message):
        look(
            market,
            stages(market),
            record,
            "tiny_daily",
            dt.datetime(2020, 4, 14, 12, tzinfo=dt.UTC),
        )


def test_an_exchange_is_not_asked_again(tmp_path, monkeypatch):
    market = make_market(tmp_path / "tiny")
    monkeypatch.setattr(
        "pipelines.market.market.market_sessions", lambda *_, **__: pytest.fail("asked")
    )
    assert market.sessions_now() is market.sessions
