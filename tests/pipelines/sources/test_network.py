"""Pace, retries and downloads, against a local HTTP server that answers as vendors do.

Oracle: the requests that the server saw, and the waits that were asked for.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse
from urllib.request import urlopen

import pandas as pd
import pytest

from pipelines.errors import BarsNotArrivedError, SourceError
from pipelines.sources.downloads import GIVE_UP_AFTER, DownloadedBars, read_symbols
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.network import Asker, Pace, VendorBusyError, may_pass
from pipelines.sources.yahoo import traded_bars
from tests.pipelines.sources.conftest import DAYS, in_order

PACE = Pace(attempts=4, wait_seconds=1.0, max_wait_seconds=3.0, per_minute=60.0)
NEW_YORK = "America/New_York"


class Vendor:
    """A vendor on localhost: Yahoo's chart format, and troubles in a queue."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.charts: dict[str, pd.DataFrame] = {}
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                vendor.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlparse(request.path)
        symbol, first = url.path.rsplit("/", 1)[-1], parse_qs(url.query)["from"][0]
        self.requests.append((symbol, first))
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "drop":
            request.connection.close()
            return
        if symbol not in self.charts:
            trouble = trouble or "404"
        status, _, wait = trouble.partition(" ")
        request.send_response(int(status or 200))
        if wait:
            request.send_header("Retry-After", wait)
        request.end_headers()
        if not trouble:
            rows = self.charts[symbol]
            rows = rows[rows["date"] >= first]
            request.wfile.write(json.dumps(rows.to_dict("list")).encode())

    def get(self, symbol: str, first: str) -> pd.DataFrame:
        """A client: errors are urllib's own."""
        with urlopen(f"{self.url}/chart/{symbol}?from={first}", timeout=5) as answer:  # noqa: S310
            rows = pd.DataFrame(json.load(answer))
        rows.index = pd.DatetimeIndex(pd.to_datetime(rows.pop("date"))).tz_localize(NEW_YORK)
        return traded_bars(symbol, rows, NEW_YORK)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    server = Vendor()
    yield server
    server.close()


class Waits:
    """Stands in for the clock: waits pass at once and are written down."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, []

    def asker(self, pace: Pace = PACE) -> Asker:
        return Asker(pace, sleep=self.sleep, clock=lambda: self.now, chance=lambda: 1.0)

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds


def chart(market: pd.DataFrame, symbol: str, until: str = DAYS[-1]) -> pd.DataFrame:
    """What Yahoo shows of a symbol on a day: its history on the basis after all splits."""
    rows = market[(market["instrument"] == symbol) & (market["date"] <= until)]
    split = (rows["adj_ratio"] >= 2.0) * (rows["adj_ratio"] - 1.0) + 1.0
    later = split[::-1].cumprod()[::-1].shift(-1, fill_value=1.0)
    shown = pd.DataFrame({"date": rows["date"], "Stock Splits": split.where(split != 1.0, 0.0)})
    for name in ("open", "high", "low", "close"):
        shown[name.title()] = rows[name] / later
    shown["Volume"] = rows["volume"] * later
    shown["Adj Close"] = rows["close"] * rows["factor"] / rows["factor"].iloc[-1]
    return shown


@pytest.fixture
def make(vendor: Vendor, tmp_path: Path) -> Callable[..., DownloadedBars]:
    def source(*symbols: str, today: str = "2024-01-12", max_failed: float = 0.0, waits=None):
        return DownloadedBars(
            "yahoo", symbols, vendor.get, tmp_path / "downloads", PACE, max_failed=max_failed,
            today=lambda: dt.date.fromisoformat(today), asker=(waits or Waits()).asker(),
        )  # fmt: skip

    return source


# --- pace and retries --------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["503", "500", "429", "drop"])
def test_what_passes_is_tried_again_after_doubled_waits(trouble, vendor, market):
    vendor.charts["AAA"] = chart(market, "AAA")
    vendor.troubles = [trouble] * 3
    waits = Waits()
    rows = waits.asker()(lambda: vendor.get("AAA", DAYS[0]), "AAA")
    assert len(rows) == 8
    assert len(vendor.requests) == 4
    assert waits.waits == [1.0, 2.0, 3.0]


def test_the_last_attempt_raises(vendor):
    vendor.troubles = ["503"] * 9
    with pytest.raises(OSError, match="503") as error:
        Waits().asker()(lambda: vendor.get("AAA", DAYS[0]), "AAA")
    assert may_pass(error.value)
    assert len(vendor.requests) == PACE.attempts


def test_what_does_not_pass_is_raised_at_once(vendor):
    waits = Waits()
    with pytest.raises(OSError, match="404"):
        waits.asker()(lambda: vendor.get("NONE", DAYS[0]), "NONE")
    assert len(vendor.requests) == 1
    assert waits.waits == []
    with pytest.raises(ZeroDivisionError):
        waits.asker()(lambda: 1 / 0, "a mistake of ours")


def test_the_vendors_own_wait_is_honoured(vendor, market):
    vendor.charts["AAA"] = chart(market, "AAA")
    vendor.troubles = ["429 7", "429 soon"]
    waits = Waits()
    waits.asker()(lambda: vendor.get("AAA", DAYS[0]), "AAA")
    assert waits.waits == [7.0, 2.0]
    assert PACE.wait(1, VendorBusyError("busy", retry_after=60.0), 0.0) == 60.0


def test_waits_are_spread_at_random():
    assert [PACE.wait(2, OSError(), chance) for chance in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]


def test_calls_are_spaced():
    """30 a minute: one every two seconds, however fast the answers."""
    waits = Waits()
    ask = waits.asker(Pace(attempts=1, wait_seconds=1, max_wait_seconds=1, per_minute=30.0))
    for _ in range(3):
        ask(lambda: None, "x")
    assert waits.waits == [2.0, 2.0]
    waits.now += 60.0
    ask(lambda: None, "x")
    assert waits.waits == [2.0, 2.0], "a pause is not made up for, nor waited for twice"


# --- downloads ---------------------------------------------------------------------------------


def test_bars_as_traded_come_back(vendor, make, market):
    """Splits undone, dividends from the adjusted close. Oracle: the events (conftest.traded)."""
    for symbol in ("AAA", "CCC"):
        vendor.charts[symbol] = chart(market, symbol)
    got = in_order(fetch_bars(make("AAA", "CCC"), DAYS))
    wanted = market[market["instrument"] != "BBB"].reset_index(drop=True)
    numbers = ["open", "high", "low", "close", "volume"]
    pd.testing.assert_frame_equal(got[numbers], wanted[numbers], rtol=1e-12)
    pd.testing.assert_series_equal(got["adj_ratio"], wanted["adj_ratio"], rtol=1e-9)


def test_only_what_is_missing_is_asked_for(vendor, make, market, tmp_path):
    """The day before a split, then after it: the vendor has halved its history meanwhile."""
    vendor.charts["AAA"] = chart(market, "AAA", until=DAYS[2])
    before = make("AAA", today=DAYS[3]).fetch(DAYS[:3])
    kept = (tmp_path / "downloads" / "AAA.parquet").read_bytes()
    make("AAA", today=DAYS[3]).fetch(DAYS[1:3])
    assert len(vendor.requests) == 1, "held"
    vendor.charts["AAA"] = chart(market, "AAA")
    after = in_order(make("AAA").fetch(DAYS))
    assert vendor.requests[1:] == [("AAA", DAYS[2])], "the newest row held joins old and new"
    pd.testing.assert_frame_equal(after[:3], in_order(before), check_exact=True)
    pd.testing.assert_series_equal(
        after["adj_ratio"], market["adj_ratio"][:8], rtol=1e-9, check_names=False
    )
    assert kept != (tmp_path / "downloads" / "AAA.parquet").read_bytes()


def test_an_earlier_range_is_asked_for_anew(vendor, make, market):
    vendor.charts["AAA"] = chart(market, "AAA")
    make("AAA").fetch(DAYS[5:])
    make("AAA").fetch(DAYS)
    assert vendor.requests == [("AAA", "2023-12-30"), ("AAA", "2023-12-23")]


def test_where_the_joining_row_is_gone_all_is_asked_for(vendor, make, market):
    vendor.charts["AAA"] = chart(market, "AAA", until=DAYS[2])
    make("AAA", today=DAYS[3]).fetch(DAYS[:3])
    rows = chart(market, "AAA")
    vendor.charts["AAA"] = rows[rows["date"] != DAYS[2]]
    got = make("AAA").fetch(DAYS)
    assert vendor.requests[1:] == [("AAA", DAYS[2]), ("AAA", "2023-12-23")]
    assert set(got["date"]) == set(DAYS) - {DAYS[2]}


def test_a_session_that_is_not_over_is_not_kept(vendor, make, market):
    vendor.charts["AAA"] = chart(market, "AAA")
    with pytest.raises(BarsNotArrivedError, match=rf"{DAYS[5]}: the newest .* is {DAYS[4]}"):
        fetch_bars(make("AAA", today=DAYS[5]), DAYS[4:6])
    assert set(make("AAA", today=DAYS[6]).fetch(DAYS)["date"]) == set(DAYS[:6])


def test_a_suspended_symbol_settles(vendor, make, market):
    """A name without new bars is asked for again for a week, then taken as suspended."""
    vendor.charts["AAA"] = chart(market, "AAA", until=DAYS[2])
    for today, count in ((DAYS[4], 1), (DAYS[5], 2), ("2024-01-15", 3), ("2024-01-16", 3)):
        make("AAA", today=today).fetch(DAYS[:4])
        assert len(vendor.requests) == count, today


def test_failures_are_collected_and_a_second_run_asks_for_the_rest(vendor, make, market):
    for symbol in ("AAA", "CCC"):
        vendor.charts[symbol] = chart(market, symbol)
    vendor.troubles = ["404", "", "404", "500", "500", "500", "500"]
    message = (
        r"yahoo: 3 of 4 symbols failed \(AAA: .*404.*; BBB: .*404.*; DDD: .*500.*\); what was got "
        r"is kept in .*run it again"
    )
    with pytest.raises(SourceError, match=message):
        make("AAA", "CCC", "BBB", "DDD").fetch(DAYS)
    vendor.requests.clear()
    with pytest.raises(SourceError, match="1 of 3 symbols failed"):
        make("AAA", "CCC", "BBB").fetch(DAYS)
    assert [symbol for symbol, _ in vendor.requests] == ["AAA", "BBB"]


def test_a_few_may_fail_with_a_warning(vendor, make, market, caplog):
    vendor.charts["AAA"] = chart(market, "AAA")
    with caplog.at_level(logging.WARNING):
        got = make("AAA", "GONE", max_failed=0.5).fetch(DAYS)
    assert set(got["instrument"]) == {"AAA"}
    assert "1 of 2 symbols failed (GONE: HTTP Error 404" in caplog.text


def test_a_vendor_that_is_down_is_not_asked_for_every_symbol(vendor, make):
    vendor.troubles = ["503"] * 1000
    names = [f"S{i}" for i in range(50)]
    with pytest.raises(
        SourceError, match=rf"the last {GIVE_UP_AFTER} in a row, so the rest was no"
    ):
        make(*names, max_failed=1.0).fetch(DAYS)
    assert len(vendor.requests) == GIVE_UP_AFTER * PACE.attempts


def test_only_errors_of_a_symbol_count_as_its_failure(vendor, make, market, tmp_path, monkeypatch):
    """A mistake of ours is raised as it is, a full disk says so; neither is asked N times for."""
    vendor.charts["AAA"] = chart(market, "AAA")

    def mistaken(symbol, first):
        raise KeyError("adj_ration")

    source = make("AAA", "BBB", max_failed=1.0)
    monkeypatch.setattr(source, "_get", mistaken)
    with pytest.raises(KeyError, match="adj_ration"):
        source.fetch(DAYS)
    (tmp_path / "downloads").write_text("no folder")
    with pytest.raises(SourceError, match=r"yahoo: what was got of AAA cannot be kept in .*writab"):
        make("AAA", "BBB", max_failed=1.0).fetch(DAYS)
    assert len(vendor.requests) == 1


def test_a_damaged_download_is_asked_for_again(vendor, make, market, tmp_path, caplog):
    vendor.charts["AAA"] = chart(market, "AAA")
    make("AAA").fetch(DAYS)
    (tmp_path / "downloads" / "AAA.parquet").write_bytes(b"torn")
    assert len(make("AAA").fetch(DAYS)) == 8
    assert "AAA.parquet is damaged and asked for again" in caplog.text


def test_symbols_of_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("AAA  # Apple\n\nBRK/B\n")
    assert read_symbols(path) == ("AAA", "BRK/B")
    path.write_text("# none\n")
    with pytest.raises(SourceError, match=r"source\.symbols names none"):
        read_symbols(path)
    with pytest.raises(SourceError, match=r"source.symbols: cannot read .*absent"):
        read_symbols(tmp_path / "absent.txt")
