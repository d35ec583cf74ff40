"""The adapters of yfinance and baostock, on answers of the clients' own shape."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import BaostockSource, YahooSource
from pipelines.errors import SourceError
from pipelines.sources import baostock, yahoo
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.network import VendorBusyError
from tests.pipelines.sources.conftest import DAYS, in_order

NEW_YORK = Sessions("XNYS", "America/New_York", DAYS)
SHANGHAI = Sessions("XSHG", "Asia/Shanghai", DAYS)


class Answer:
    """baostock's result: pages of text."""

    def __init__(self, rows: pd.DataFrame | None = None, code: str = "0") -> None:
        self.error_code, self.error_msg = code, "" if code == "0" else "trouble"
        self.fields = [] if rows is None else list(rows.columns)
        self._rows = [] if rows is None else rows.to_numpy().tolist()

    def next(self) -> bool:
        return bool(self._rows)

    def get_row_data(self) -> list[str]:
        return self._rows.pop(0)


@pytest.fixture
def client(monkeypatch, market):
    """A module `baostock` that holds the market; suspended sessions are rows, as there."""
    asked: list[tuple[str, str]] = []
    codes = {"sh.600000": "AAA", "sz.000001": "BBB"}

    def query(code, fields, start_date, frequency, adjustflag):
        asked.append((code, start_date))
        assert (frequency, adjustflag) == ("d", "3")
        if module.answer != "0":
            return Answer(code=module.answer)
        rows = market[market["instrument"] == codes[code]].assign(code=code, tradestatus="1")
        if code == "sz.000001":
            last = rows[rows["date"] < DAYS[2]].iloc[-1]
            for day in DAYS[2:4]:
                still = {**last, "date": day, "volume": "", "amount": "", "tradestatus": "0"}
                rows = pd.concat([rows, pd.DataFrame([still])])
        rows = rows[rows["date"] >= start_date].sort_values("date")
        return Answer(rows[fields.split(",")].astype(str))

    module = types.ModuleType("baostock")
    module.login = lambda: Answer()
    module.query_history_k_data_plus = query
    module.answer, module.asked = "0", asked
    monkeypatch.setitem(sys.modules, "baostock", module)
    return module


def a_shares(folder: Path, **keys):
    keys = {"symbols": ["SH600000", "000001.SZ"], "per_minute": 1e6, "wait_seconds": 1e-3} | keys
    settings = BaostockSource.model_validate({"kind": "baostock", **keys})
    return baostock.baostock_bars(settings, SHANGHAI, folder)


def test_a_shares_as_traded(client, market, tmp_path):
    """The event during the suspension is in the preclose of the next bar. Oracle: the events."""
    got = in_order(fetch_bars(a_shares(tmp_path), DAYS))
    wanted = market[market["instrument"] != "CCC"]
    assert set(got["instrument"]) == {"SH600000", "SZ000001"}
    numbers = ["open", "high", "low", "close", "volume", "amount"]
    np.testing.assert_allclose(got[numbers], wanted[numbers], rtol=1e-12)
    np.testing.assert_allclose(got["adj_ratio"], wanted["adj_ratio"], rtol=1e-11)
    assert client.asked == [("sh.600000", "2023-12-23"), ("sz.000001", "2023-12-23")]


@pytest.mark.parametrize(("code", "times"), [("10002007", 5), ("10001001", 5), ("10004011", 1)])
def test_errors_of_baostock(code, times, client, tmp_path):
    """A lost connection or session is tried again, a code that does not exist is not."""
    client.answer = code
    with pytest.raises(SourceError, match=rf"sh.600000: error {code}: trouble"):
        a_shares(tmp_path, symbols=["sh.600000"]).fetch(DAYS)
    assert len(client.asked) == times


def test_a_client_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "baostock", None)
    monkeypatch.setitem(sys.modules, "yfinance", None)
    began = time.monotonic()
    with pytest.raises(
        SourceError, match=r"kind: baostock needs .*pip install .*-factory\[baostock"
    ):
        a_shares(tmp_path, per_minute=1).fetch(DAYS)
    settings = YahooSource.model_validate(
        {"kind": "yahoo", "symbols": ["A", "B", "C"], "per_minute": 1, "max_failed": 1.0}
    )
    with pytest.raises(SourceError, match=r"^kind: yahoo needs .*pip install .*-factory\[yahoo\]"):
        yahoo.yahoo_bars(settings, NEW_YORK, tmp_path).fetch(DAYS)
    assert time.monotonic() - began < 30, "no second symbol was asked for, a minute later"


def test_a_symbol_that_yahoo_does_not_know_is_that_symbols_failure(monkeypatch, tmp_path, caplog):
    """yfinance raises its own errors: those of one symbol are told apart from a busy vendor."""
    module, errors = types.ModuleType("yfinance"), types.ModuleType("yfinance.exceptions")
    names = ("YFRateLimitError", "YFPricesMissingError", "YFDataException", "YFTzMissingError")
    errors.YFException = type("YFException", (Exception,), {})
    for name in names:
        setattr(errors, name, type(name, (errors.YFException,), {}))

    def ticker(symbol):
        raise errors.YFTzMissingError("no timezone found")

    module.Ticker, module.exceptions = ticker, errors
    module.config = types.SimpleNamespace(debug=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "yfinance", module)
    monkeypatch.setitem(sys.modules, "yfinance.exceptions", errors)
    settings = YahooSource.model_validate({"kind": "yahoo", "symbols": ["GONE"], "max_failed": 1.0})
    assert yahoo.yahoo_bars(settings, NEW_YORK, tmp_path).fetch(DAYS).empty
    assert "1 of 1 symbols failed (GONE: YFTzMissingError: no timezone found)" in caplog.text


def test_yahoo_asks_through_its_adapter(monkeypatch, tmp_path):
    """One symbol, one call from before the first session, the instrument is the symbol."""
    asked = []

    def history(symbol, first):
        asked.append((symbol, first))
        index = pd.DatetimeIndex(pd.to_datetime(list(DAYS))).tz_localize("America/New_York")
        columns = dict.fromkeys(("Open", "High", "Low", "Close", "Adj Close", "Volume"), 1.0)
        return pd.DataFrame(columns, index=index)

    monkeypatch.setattr(yahoo, "yfinance_history", history)
    settings = YahooSource.model_validate({"kind": "yahoo", "symbols": ["^GSPC"]})
    got = fetch_bars(yahoo.yahoo_bars(settings, NEW_YORK, tmp_path), DAYS[1:])
    assert asked == [("^GSPC", "2023-12-24")]
    assert got["date"].tolist() == list(DAYS[1:])
    assert set(got["instrument"]) == {"^GSPC"}
    assert [path.name for path in tmp_path.iterdir()] == ["%5EGSPC.parquet"]


def test_another_version_of_yfinance_is_named():
    with pytest.raises(SourceError, match="yfinance gave no column Adj Close for A, only Open"):
        yahoo.traded_bars("A", pd.DataFrame({"Open": [1.0], "High": 1.0, "Low": 1.0, "Close": 1.0,
                                             "Volume": 1.0}), "UTC")  # fmt: skip


CHART = {
    "meta": {"currency": "USD", "symbol": "AAA", "exchangeTimezoneName": "America/New_York",
             "instrumentType": "EQUITY", "gmtoffset": -18000, "timezone": "EST",
             "dataGranularity": "1d", "validRanges": ["1d"], "priceHint": 2},
    "timestamp": [1704205800, 1704292200, 1704378600],
    "events": {"dividends": {"1704292200": {"amount": 0.5, "date": 1704292200}},
               "splits": {"1704378600": {"date": 1704378600, "numerator": 2, "denominator": 1,
                                         "splitRatio": "2:1"}}},
    "indicators": {"quote": [{"open": [10, 10.5, 11], "high": [11, 11, 12], "low": [9, 10, 10],
                              "close": [10, 10.25, 11.5], "volume": [100, 200, 300]}],
                   "adjclose": [{"adjclose": [9.5, 10.25, 11.5]}]},
}  # fmt: skip
"""Yahoo's answer, shortened: a dividend of 0.5 after a close of 10, then a split 2:1."""


@pytest.mark.parametrize("trouble", ["", "429", "500", "404", "drop"])
def test_the_real_client_against_a_recorded_answer(trouble, monkeypatch):
    """Where yfinance is installed: what it makes of the answers, over HTTP on localhost."""
    history_module = pytest.importorskip("yfinance.scrapers.history")
    import yfinance.data

    with Server({"chart": {"result": [CHART], "error": None}}, trouble) as url:
        monkeypatch.setattr(history_module, "_BASE_URL_", url)
        monkeypatch.setattr(
            yfinance.data.YfData, "_get_cookie_and_crumb", lambda *a, **k: ("crumb", "basic")
        )
        monkeypatch.setattr(yfinance.Ticker, "_get_ticker_tz", lambda *a, **k: "America/New_York",
                            raising=False)  # fmt: skip
        if trouble == "404":
            assert yahoo.yfinance_history("AAA", "2024-01-01").empty
            return
        if trouble:
            with pytest.raises(VendorBusyError) as error:
                yahoo.yfinance_history("AAA", "2024-01-01")
            assert (error.value.retry_after is not None) == (trouble == "429")
            return
        bars = yahoo.traded_bars(
            "AAA", yahoo.yfinance_history("AAA", "2024-01-01"), "America/New_York"
        )
    assert bars["date"].tolist() == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert bars["close"].tolist() == [20.0, 20.5, 11.5]
    assert bars["volume"].tolist() == [50.0, 100.0, 300.0]
    np.testing.assert_allclose(bars["adj_ratio"], [1.0, 10 / 9.5, 2.0], rtol=1e-6)


class Server:
    """Answers every request alike."""

    def __init__(self, answer: dict, trouble: str) -> None:
        import json
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                if trouble == "drop":
                    self.connection.close()
                    return
                self.send_response(int(trouble or 200))
                self.end_headers()
                missing = {"chart": {"result": None, "error": {"code": "Not Found",
                           "description": "No data found, symbol may be delisted"}}}  # fmt: skip
                body = "oops" if trouble in ("429", "500") else json.dumps(
                    missing if trouble == "404" else answer)  # fmt: skip
                self.wfile.write(body.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        import threading

        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *args) -> None:
        self._server.shutdown()
        self._server.server_close()
