"""Guesses about a stranger's table. Oracles: the tables in the cases, written as vendors do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.errors import ConfigError, SourceError
from pipelines.onboarding.infer_adjustment import amount_scale, factor_kind, split_like
from pipelines.onboarding.infer_calendar import market_days
from pipelines.onboarding.infer_columns import (
    guess_codes,
    guess_columns,
    guess_dates,
    is_status,
    missing_columns,
)
from pipelines.onboarding.infer_market import choice_of
from pipelines.onboarding.training_windows import NEEDED, plan_windows
from tests.pipelines.onboarding.conftest import SESSIONS


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"],  # Yahoo's CSV
         {"date": "Date", "close": "Close", "adj_close": "Adj Close", "volume": "Volume"}),
        (["ts_code", "trade_date", "open", "high", "low", "close", "pre_close", "vol", "amount"],
         {"instrument": "ts_code", "date": "trade_date", "preclose": "pre_close", "volume": "vol"}),
        (["open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"],
         {"date": "open_time", "amount": "quote_volume"}),
        (["日期", "股票代码", "开盘", "最高", "最低", "收盘", "成交量", "成交额"],
         {"date": "日期", "instrument": "股票代码", "amount": "成交额"}),
        (["TICKER", "PX_OPEN", "PX_HIGH", "PX_LOW", "PX_LAST", "VOLUME", "DATE"],
         {"instrument": "TICKER", "close": "PX_LAST", "low": "PX_LOW"}),
    ],
)  # fmt: skip
def test_columns_are_recognised_by_name(there, found):
    got = guess_columns(there)
    assert {ours: got[ours] for ours in found} == found
    assert set(got.values()) <= set(there)
    assert len(set(got.values())) == len(got), "no column stands for two"
    assert missing_columns(got, files=2) == []


def test_what_is_missing_is_named():
    found = guess_columns(["date", "symbol", "open", "high", "low", "close"])
    assert missing_columns(found, files=1) == ["volume"]
    nameless = guess_columns(["date", "open", "high", "low", "close", "volume"])
    assert missing_columns(nameless, files=1) == ["instrument"]
    assert missing_columns(nameless, files=9) == [], "the files' names say it"


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.date32(), [], {}),
        (pa.timestamp("us"), [], {}),
        (pa.string(), ["2024-01-31", "2024-02-01"], {}),
        (pa.string(), ["2024-01-31 00:00:00"], {}),
        (pa.string(), ["2024-01-31T05:00:00Z"], {"timezone": "UTC"}),
        (pa.string(), ["2024-01-31T00:00:00-05:00"], {"timezone": "America/New_York"}),
        (pa.string(), ["2024-01-31 16:00+01:00", "2024-07-31 16:00+02:00"],
         {"timezone": "Europe/Berlin"}),
        (pa.string(), ["2024-01-31 00:00:00+01", "2024-07-31 00:00:00+02"],
         {"timezone": "Europe/Berlin"}),
        (pa.string(), ["20240131"], {"date_format": "%Y%m%d"}),
        (pa.int64(), [20240131, 20240201], {"date_format": "%Y%m%d"}),
        (pa.int64(), [1546300800000], {"date_format": "epoch_ms", "timezone": "UTC"}),
        (pa.int64(), [1546300800], {"date_format": "epoch_s", "timezone": "UTC"}),
        (pa.string(), ["1546300800000"], {"date_format": "epoch_ms", "timezone": "UTC"}),
        (pa.string(), ["31/01/2024", "01/02/2024"], {"date_format": "%d/%m/%Y"}),
        (pa.string(), ["01/31/2024"], {"date_format": "%m/%d/%Y"}),
        (pa.string(), ["Jan 31, 2024"], {"date_format": "%b %d, %Y"}),
        (pa.string(), ["2024.01.31"], {"date_format": "%Y.%m.%d"}),
        (pa.string(), ["2024-1-31", "2024-12-1"], {"date_format": "%Y-%m-%d"}),
        (pa.string(), ["31-Jan-24"], {"date_format": "%d-%b-%y"}),
        (pa.string(), ["31 January 2024"], {"date_format": "%d %B %Y"}),
        (pa.string(), ["1/31/2024 16:00:00"], {"date_format": "%m/%d/%Y %H:%M:%S"}),
        (pa.string(), ["1/31/2024 12:00:00 AM"], {"date_format": "%m/%d/%Y %I:%M:%S %p"}),
        (pa.int64(), [20240131150000], {"date_format": "%Y%m%d%H%M%S"}),
        (pa.string(), ["202401311500", "202402010930"], {"date_format": "%Y%m%d%H%M"}),
        (pa.timestamp("ns", "Europe/Paris"), [pd.Timestamp("2024-01-30", tz="Europe/Paris")],
         {"timezone": "Europe/Paris"}),
        (pa.timestamp("ns", "+01:00"), [pd.Timestamp("2024-01-30", tz="+01:00")],
         {"timezone": "UTC"}),
        (pa.timestamp("ns", "UTC"), [pd.Timestamp("2024-01-30 21:30", tz="UTC")],
         {"timezone": "UTC"}),
    ],
)  # fmt: skip
def test_dates_are_recognised(kind, values, expected):
    assert guess_dates(kind, values, "when") == expected


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (pa.string(), ["03/04/2024"], r"may be %d/%m/%Y or %m/%d/%Y; say which with --date-format"),
        (pa.string(), ["soon"], r"holds .soon.: these are no dates .*--column date="),
        (pa.string(), [], r"column when is taken for the date, and has no value"),
        (pa.string(), ["2024.01.31", "31.01.24", "02.02.24"], r"holds '2024.01.31' among dates"),
        (pa.int64(), [7], r"numbers such as 7.*: expected 20240131"),
    ],
)  # fmt: skip
def test_dates_that_cannot_be_told_are_asked_for(kind, values, message):
    with pytest.raises(SourceError, match=message):
        guess_dates(kind, values, "when")


def test_codes_and_status():
    assert guess_codes(["sh.600000", "sz.000001"]) == "qlib"
    assert guess_codes(["600000.SH", "SZ000001"]) == "qlib"
    assert guess_codes(["AAPL", "sh.600000"]) == guess_codes([]) == "as_is"
    assert is_status([1, 0])
    assert is_status(["1"])
    assert not is_status([0])
    assert not is_status([1, 2])


@pytest.mark.parametrize(
    ("volume", "amount", "expected"),
    [
        (1.0, 1.0, {}),
        (1.0, 1e-3, {"amount": 1000.0}),
        (1e-2, 1.0, {"volume": 100.0}),
        (1e-2, 1e-3, {"volume": 100.0, "amount": 1000.0}),  # lots and thousands
        (1.0, 1e-4, {"amount": 10000.0}),
        (1.0, 0.3, None),  # a turnover rate is none
    ],
)
def test_units_of_turnover(bars, volume, amount, expected):
    given = bars.assign(volume=bars["volume"] * volume, amount=bars["amount"] * amount)
    assert amount_scale(given) == expected


def test_no_turnover_at_all(bars):
    assert amount_scale(bars.assign(amount=np.nan)) is None


def test_what_a_factor_does_to_prices(bars):
    """Told by what is left of the price's step once the event is taken out."""
    assert factor_kind(bars) == {}
    multiplied = bars.assign(close=bars["close"] * bars["factor"])
    assert factor_kind(multiplied) == {"prices": "adjusted"}
    turned = bars.assign(adj_ratio=1.0 / bars["adj_ratio"])
    assert factor_kind(turned) == {"inverse": True}
    assert factor_kind(bars.assign(adj_ratio=1.0)) == {}


def test_splits_that_nothing_states_are_found(bars):
    events = bars[bars["adj_ratio"] >= 1.99]
    found = split_like(bars.assign(adj_ratio=1.0))
    named = {(s.instrument, s.date) for s in found}
    assert named >= set(zip(events["instrument"], events["date"], strict=True))
    assert split_like(bars) == []


# --- calendar --------------------------------------------------------------------------------


def counts_of(keys, n=100) -> pd.Series:
    return pd.Series(n, index=pd.Index(list(keys), dtype="str")).sort_index()


def test_the_calendar_that_fits_is_found_and_where_it_does_not():
    keys = [key for key in SESSIONS.keys if key != "2018-06-01"]
    counts = counts_of([*keys, "2018-06-09"])
    counts["2018-06-16"] = 2  # strays on a Saturday are no session
    best = choice_of(counts.sort_index()).fit
    assert (best.name, best.fits) == ("XNYS", True)
    assert best.absent == ("2018-06-01",)
    assert best.extra == ("2018-06-09",)
    assert list(best.sessions) == sorted([*keys, "2018-06-09"])
    assert len(market_days(counts)) == len(keys) + 1


def test_round_the_clock_and_none_at_all():
    every = pd.date_range("2018-01-02", "2018-12-31").strftime("%Y-%m-%d")
    assert choice_of(counts_of(every)).fit.name == "24/7"
    mondays = every[pd.DatetimeIndex(every).day_of_week == 0]
    assert choice_of(counts_of(["2018-01-02", *mondays])).fit is None
    assert choice_of(counts_of(SESSIONS.keys), calendar="XSHG").fit.share < 0.95


# --- windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [NEEDED, 419, 900, 1259, 3000])
def test_windows_fit_the_history(total):
    keys = [f"{i:05d}" for i in range(total)]
    plan = plan_windows(keys)
    first = int(plan.first_trained)
    assert total - first >= 126
    assert first - plan.window_sessions >= 60, "what it learns from has its full history"
    assert 20 <= plan.valid_sessions < plan.window_sessions / 2


def test_too_short_a_history_says_how_much_is_needed():
    with pytest.raises(ConfigError, match=f"has 305 sessions, and at least {NEEDED} are needed"):
        plan_windows([str(i) for i in range(NEEDED - 1)])
