"""The time zone of moments and the calendar of their days. Oracle: the sessions that were stamped.

Bars are stamped as feeds do it: at the midnight of the exchange, at that of UTC, at the close, as
time stamps, as text with an offset and as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from _pytest.mark import ParameterSet

from pipelines.calendar.exchanges import Exchange, exchanges_since
from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.errors import UndecidedError
from pipelines.onboarding.infer_market import choice_of

START = "2022-01-01"  # one start for all: the calendars of all exchanges are made once
STOCKS = ["XETR", "XPAR", "XMIL", "XMAD", "XLON", "XSTO", "XSWX", "XNYS", "XTSE", "XASX", "XBOM",
          "XTKS", "XHKG", "XSHG", "XKRX", "XJSE", "BVMF", "XNZE"]  # fmt: skip


def thorough(instances: Iterable[tuple[object, ...]]) -> list[ParameterSet]:
    """Parameters of more instances of a claim, which the default tests leave out."""
    return [pytest.param(*values, marks=pytest.mark.thorough) for values in instances]


def exchange(name: str) -> Exchange:
    return next(e for e in exchanges_since(START) if e.name == name)


def sessions(name: str, count: int = 330, first: str = "2022-01-03") -> pd.DatetimeIndex:
    days = exchange(name).days
    return pd.DatetimeIndex(days[days >= np.datetime64(first)][:count].astype("datetime64[ns]"))


def stamped(days: pd.DatetimeIndex, zone: str, time: str = "00:00:00") -> pd.Series:
    """Three rows at a time of each day in a zone."""
    moments = (days + pd.Timedelta(time)).tz_localize(zone).tz_convert("UTC")
    keys = pd.Index(moments.strftime("%Y-%m-%dT%H:%M:%SZ"), dtype="str")
    return pd.Series(3, index=keys).sort_index()


def keys_of(days: pd.DatetimeIndex) -> list[str]:
    return list(days.strftime("%Y-%m-%d"))


# --- the choice --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zone", "time"),
    [
        ("XETR", None, "00:00:00"),
        ("XNYS", "UTC", "00:00:00"),
        *((name, None, "16:00:00") for name in ("XNZE",)),
        *thorough((name, None, "00:00:00") for name in STOCKS),
        *thorough((name, "UTC", "00:00:00") for name in ("XETR", "XASX")),
        *thorough((name, None, "16:00:00") for name in ("XNYS", "XLON", "XTKS", "XBOM")),
    ],
)
def test_bars_are_dated_by_the_exchanges_own_day(name, zone, time):
    """Midnights of Frankfurt, Sydney, Mumbai …, midnights of UTC, and closes."""
    days = sessions(name, 500 if name == "XSTO" else 330)
    choice = choice_of(stamped(days, zone or exchange(name).timezone, time))
    assert list(choice.dating.counts.index) == keys_of(days)
    assert name in (choice.fit.name, *choice.same)
    assert choice.fit.share == 1.0
    assert choice.zone in (exchange(choice.fit.name).timezone, zone)


@pytest.mark.parametrize("name", ["XETR", "XNYS", *thorough((n,) for n in STOCKS if n != "XSTO")])
def test_a_near_calendar_is_not_taken_for_the_right_one(name):
    days = sessions(name)
    choice = choice_of(pd.Series(3, index=pd.Index(keys_of(days), dtype="str")))
    assert (choice.zone, choice.fit.share) == (None, 1.0)
    assert name in (choice.fit.name, *choice.same)
    assert all(share < 1.0 for _, share in choice.others)


def test_equal_calendars_are_one_answer():
    """New York and Nasdaq are one calendar; Paris, Amsterdam and Brussels have equal ones."""
    assert "XNAS" in choice_of(stamped(sessions("XNYS"), "UTC")).same
    paris = choice_of(stamped(sessions("XPAR"), "Europe/Paris"), stated="Europe/Paris")
    assert (paris.fit.name, paris.zone) == ("XPAR", "Europe/Paris")
    assert {"XAMS", "XBRU"} <= set(paris.same)
    assert paris.parts == "2024-12-24", "Frankfurt is closed on that day, Paris is not"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["XETR", *thorough([("XPAR",), ("XMAD",)])])
def test_calendars_that_part_within_a_year_are_asked_for(name):
    """Over 2023 and 2024 Frankfurt and Paris are equal until Christmas Eve."""
    days = sessions(name, 480, "2023-01-02")
    with pytest.raises(UndecidedError) as error:
        choice_of(stamped(days, "UTC"))
    assert (error.value.option, error.value.answers) == ("calendar", ("XETR", "XPAR"))
    said = str(error.value)
    assert "XETR   100.0% of days in common (the same: " in said
    assert re.search(r"XPAR .*differs from XETR first on 2024-12-24", said)
    assert choice_of(stamped(days, "UTC"), calendar="XPAR").fit.name == "XPAR"
    stated = choice_of(stamped(days, "Europe/Paris"), stated="Europe/Paris")
    assert stated.fit.name == "XPAR", "the data's own zone decides"


def test_round_the_clock_midnights_decide_and_other_times_are_asked_for():
    days = sessions("24/7")
    for zone in ("UTC", "America/New_York", "Asia/Shanghai"):
        choice = choice_of(stamped(days, zone))
        assert (choice.fit.name, choice.zone) == ("24/7", zone)
        assert list(choice.dating.counts.index) == keys_of(days)
    ends = choice_of(stamped(days, "UTC", "23:59:59"))
    assert (ends.zone, list(ends.dating.counts.index)) == ("UTC", keys_of(days))
    odd = stamped(days, "UTC", "13:37:00")
    with pytest.raises(UndecidedError, match="say which, --timezone UTC") as error:
        choice_of(odd)
    assert error.value.option == "timezone"
    assert choice_of(odd, timezone="Asia/Tokyo").zone == "Asia/Tokyo"


@pytest.mark.thorough
def test_a_zone_without_an_exchange():
    """Cairo trades from Sunday to Thursday, and no calendar is known of it."""
    days = pd.date_range("2022-01-02", "2023-06-29")
    days = days[days.day_of_week.isin([6, 0, 1, 2, 3]) & (days.day != 17)]
    choice = choice_of(stamped(days, "Africa/Cairo"))
    assert choice.fit is None
    assert list(choice.dating.counts.index) == keys_of(days)
    assert choice.zone == "Africa/Cairo"
    with pytest.raises(UndecidedError):
        choice_of(stamped(days, "Africa/Cairo", "14:30:00"))


@pytest.mark.thorough
def test_days_stamped_at_the_next_midnight_and_a_last_bar_of_now():
    days = sessions("XNYS")
    late = choice_of(stamped(days + pd.Timedelta("1D"), "UTC"))
    assert list(late.dating.counts.index) == keys_of(days)
    live = stamped(days, "Asia/Tokyo")
    live.index = pd.Index([*live.index[:-1], f"{live.index[-1][:11]}15:02:11Z"], dtype="str")
    assert choice_of(stamped(sessions("XTKS"), "Asia/Tokyo")).zone == "Asia/Tokyo"
    assert choice_of(live, calendar="XNYS").zone == "Asia/Tokyo"


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return tmp_path


def bars(name: str, count: int = 330, first: str = "2022-01-03") -> pd.DataFrame:
    """Three names of random walks on the sessions of an exchange."""
    days, draw = sessions(name, count, first), np.random.default_rng(0)
    frames = []
    for k, symbol in enumerate(("AAA", "BBB", "CCC")):
        close = 50 * (k + 1) * np.exp(np.cumsum(draw.normal(0, 0.015, len(days))))
        frames.append(pd.DataFrame({
            "date": days, "symbol": symbol, "open": close, "high": close * 1.01,
            "low": close * 0.99, "close": close, "volume": 1000.0,
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def init(*flags: str) -> int:
    return main(["init", "--path", *flags, "--name", "m", "--out", "m.yaml"])


FORMS = ["text with an offset", "time stamps", "seconds", "milliseconds as text"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["XETR", *thorough([("XASX",), ("XBOM",)])])
def test_init_writes_zone_and_calendar_that_read_the_days(here, capsys, name, form):
    frame = bars(name)
    days = keys_of(sessions(name))
    moments = frame["date"].dt.tz_localize(exchange(name).timezone)
    seconds = moments.dt.tz_convert("UTC").dt.tz_localize(None) - pd.Timestamp("1970-01-01")
    seconds = seconds // pd.Timedelta("1s")
    path = "bars.parquet" if form == "time stamps" else "bars.csv"
    if form == "time stamps":
        frame.assign(date=moments.dt.tz_convert("UTC")).to_parquet(path)
    else:
        dates = {"text with an offset": moments, "seconds": seconds}.get(form, seconds * 1000)
        frame.assign(date=dates).to_csv(path, index=False)
    assert init(path) == 0
    said = capsys.readouterr().out
    assert f"time zone  {exchange(name).timezone}: moments are midnights there" in said
    assert "100.0% of days in common" in said
    text = (here / "m.yaml").read_text()
    assert f"timezone: {exchange(name).timezone}" in text
    assert "in which a moment's day is read: moments are midnights there" in text
    market = load_config("m.yaml").market
    assert market.calendar == name
    assert (str(market.start), str(market.end)) == (days[0], days[-1])
    assert main(["validate", "m.yaml"]) == 0


def test_what_the_data_does_not_decide_is_asked_for(here, capsys, monkeypatch):
    bars("XPAR", 480, "2023-01-02").to_csv("bars.csv", index=False)
    assert init("bars.csv") == 2
    said = capsys.readouterr().err
    assert "2 calendars fit the days of the data equally well" in said
    assert "nothing was written; say which, --calendar XETR" in said
    assert not list(here.glob("*.yaml"))
    assert init("bars.csv", "--calendar", "XPAR") == 0
    assert load_config("m.yaml").market.calendar == "XPAR"
    assert "partitions are its sessions: as given" in (here / "m.yaml").read_text()
    (here / "m.yaml").unlink()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter(["", "", "XPAR"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert init("bars.csv") == 0, "a terminal is asked: the kind, the calendar, then which one"
    assert load_config("m.yaml").market.calendar == "XPAR"


def test_a_zone_by_hand(here, capsys):
    frame = bars("24/7")
    frame["date"] = (frame["date"] + pd.Timedelta("13:37:00")).dt.tz_localize("UTC")
    frame.to_parquet("bars.parquet")
    assert init("bars.parquet") == 2
    assert "their days differ by the time zone" in capsys.readouterr().err
    assert init("bars.parquet", "--timezone", "Asia/Tokio") == 1
    assert "unknown time zone; did you mean 'Asia/Tokyo'" in capsys.readouterr().err
    assert init("bars.parquet", "--timezone", "Asia/Tokyo") == 0
    market = load_config("m.yaml").market
    assert (market.source.timezone, market.calendar) == ("Asia/Tokyo", "24/7")


# --- validate ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zone", "calendar"),
    [
        ("XETR", "UTC", "XETR"), *thorough([("XASX", "UTC", "XASX")]),
        ("XNYS", "Asia/Tokyo", "XNYS"), ("XLON", "UTC", "XLON"),
        ("XETR", "UTC", {"from": "data", "timezone": "UTC"}),
    ],
)  # fmt: skip
def test_validate_names_a_wrong_zone(here, capsys, name, zone, calendar):
    """Sundays have bars and Fridays none; in London's summer only."""
    frame = bars(name)
    stamp = "16:00:00" if name == "XNYS" else "00:00:00"
    frame["date"] = (frame["date"] + pd.Timedelta(stamp)).dt.tz_localize(exchange(name).timezone)
    frame.to_parquet("bars.parquet")
    assert init("bars.parquet", "--calendar", name) == 0
    raw = yaml.safe_load((here / "m.yaml").read_text())
    raw["market"]["source"]["timezone"] = zone
    raw["market"]["calendar"] = calendar
    (here / "m.yaml").write_text(yaml.safe_dump(raw))
    capsys.readouterr()
    assert main(["validate", "m.yaml"]) == 1
    said = capsys.readouterr().out
    problem = re.search(r"problem: market.source.timezone: (.*)", said)
    assert problem, said
    assert problem[1].startswith(f"{zone} is given, and ")
    assert f"set market.source.timezone to {exchange(name).timezone}" in problem[1]
    if isinstance(calendar, dict):
        assert "are those of no exchange" in problem[1]
        assert problem[1].endswith(f"and market.calendar to {name}")
    if name == "XETR":
        assert re.search(r"\d+ of them Sundays", problem[1])


@pytest.mark.parametrize(("days", "word"), [(-1, "before"), (1, "after")])
def test_validate_names_days_that_were_moved(here, capsys, days, word):
    frame = bars("XNYS")
    frame.to_parquet("bars.parquet")
    assert init("bars.parquet") == 0
    frame["date"] += pd.Timedelta(days=days)
    frame.to_parquet("bars.parquet")
    capsys.readouterr()
    assert main(["validate", "m.yaml"]) == 1
    said = capsys.readouterr().out
    assert f"market.source: the bars are dated a day {word} the sessions of XNYS" in said
    assert re.search("of them Sundays" if days < 0 else "of them Saturdays", said)
