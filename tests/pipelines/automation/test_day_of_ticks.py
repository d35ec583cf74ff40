"""24 hours of ticks over four sessions: their bars come twice, late, wrong, and as they should.

Each tick is evaluated at its moment, and each session that it asks for is run by `daily` there and
then; the record is given the tick's time, as if the run had ended a minute later. Oracle: the same
market with good bars, made in one go.
"""

from __future__ import annotations

import datetime as dt
import gc
import tracemalloc
from collections import Counter

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as db
from dagster._core.storage.runs.schema import RunsTable

from pipelines.build import build_definitions
from pipelines.operations.sync import sync_record
from tests.pipelines.conftest import ChangedBars, key_of, open_record
from tests.pipelines.late_bars import cut_before, with_source
from tests.pipelines.ticks import NEW_YORK, evaluate

pytestmark = pytest.mark.thorough

TWICE, LATE, WRONG, GOOD = "2020-05-12", "2020-05-13", "2020-05-14", "2020-05-15"
MIDNIGHT = dt.datetime(2020, 5, 16, tzinfo=NEW_YORK)
EVERY = dt.timedelta(minutes=5)
TICKS = 288
FLAT = 500_000  # bytes that 188 ticks may leave; they left 123,000


class Vendor(ChangedBars):
    """Bars that come late, wrong or twice, by the moment of `now`."""

    def __init__(self, source) -> None:
        super().__init__(source, self._as_of_now)
        self.now = MIDNIGHT

    def _as_of_now(self, bars: pd.DataFrame) -> pd.DataFrame:
        hours = (self.now - MIDNIGHT) / dt.timedelta(hours=1)
        if hours < 2:
            bars = bars[bars["date"] < LATE]
        if hours < 6:
            bars = bars.assign(volume=bars["volume"].where(bars["date"] != WRONG, 0.0))
        return pd.concat([bars, bars[bars["date"] == TWICE]], ignore_index=True)

    def days(self, first: str | None = None) -> pd.Series:
        """The number of bars a day."""
        keys = (
            [TWICE, LATE, WRONG, GOOD] if self.now > MIDNIGHT + dt.timedelta(hours=2) else [TWICE]
        )
        return pd.Series(6, index=pd.Index(keys, dtype="str"))


def run(market, definitions, instance, request, now) -> bool:
    """Run `daily` of a session, and date its end; True if it ended well."""
    result = definitions.resolve_job_def("tiny_daily").execute_in_process(
        partition_key=request.partition_key,
        instance=instance,
        tags=dict(request.tags),
        raise_on_error=False,
    )
    ended = (now + dt.timedelta(minutes=1)).timestamp()
    times = {"start_time": now.timestamp(), "end_time": ended}
    with instance.run_storage.connect() as connection:
        row = RunsTable.c.run_id == result.run_id
        connection.execute(db.update(RunsTable).where(row).values(times))
    return result.success


def grown(work, times: int) -> int:
    """The bytes that are left after some calls of a function, first call apart."""
    work(0)
    gc.collect()
    tracemalloc.start()
    try:
        for i in range(1, times):
            work(i)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_every_session_is_made_once_and_memory_stays_flat(finished, tmp_path):
    market = cut_before(finished, tmp_path / "tiny", TWICE)
    vendor = Vendor(market.source)
    changes = {"schedule": {"every_minutes": 5, "retry_minutes": 30, "max_attempts": 6}}
    market = with_source(market, vendor, changes)
    definitions = build_definitions(market)
    schedule = definitions.resolve_schedule_def("tiny_daily_retraining")
    asked: list[tuple[str, bool]] = []
    with open_record(tmp_path / "record") as instance:
        from pipelines.assets.stages import stages

        sync_record(market, stages(market), instance)

        def tick(number: int) -> None:
            vendor.now = MIDNIGHT + number * EVERY
            answer = evaluate(schedule, instance, vendor.now)
            for request in [] if isinstance(answer, dg.SkipReason) else answer:
                made = run(market, definitions, instance, request, vendor.now)
                asked.append((request.partition_key, made))

        for number in range(100):
            tick(number)
        by_then = list(asked)
        left = grown(lambda i: tick(100 + i), TICKS - 100)
        assert asked == by_then, "asked for again"

        made = Counter(
            (name, record.partition_key)
            for name in ("ohlcv", "lstm_prediction", "lstm_evaluation", "lstm_portfolio")
            for record in instance.fetch_materializations(key_of(name), limit=1000).records
            if record.partition_key >= TWICE
        )
    keys = [key for key, _ in asked]
    assert keys == sorted(keys), "a session overtook another"
    assert list(dict.fromkeys(keys)) == [TWICE, LATE, WRONG, GOOD]
    assert Counter(key for key, good in asked if key in (TWICE, GOOD) and good) == {
        TWICE: 1,
        GOOD: 1,
    }
    assert keys.count(LATE) > 1 and keys.count(WRONG) > 1, "neither was late nor wrong"
    assert set(made.values()) == {1} and len(made) == 16
    for table in ("ohlcv", "lstm_prediction", "lstm_evaluation", "lstm_book"):
        last = finished.warehouse.sessions(table, first=TWICE)
        rows, expected = (
            one.warehouse.read(table, last, needed_by="a test").frame for one in (market, finished)
        )
        other = [name for name in rows if name == "fingerprint"]
        pd.testing.assert_frame_equal(rows.drop(columns=other), expected.drop(columns=other))
    assert left < FLAT
    kept: list[bytes] = []
    assert grown(lambda i: kept.append(bytes(FLAT // 188)), 200) > FLAT, "a leak would not show"


def test_the_bars_were_not_good_from_the_start(finished, tmp_path):
    """The vendor of the test above does what it says."""
    vendor = Vendor(finished.source)
    night = {key: len(vendor.fetch([key])) for key in (TWICE, LATE, WRONG, GOOD)}
    assert night[TWICE] > len(finished.source.fetch([TWICE]))
    assert night[LATE] == night[WRONG] == night[GOOD] == 0
    vendor.now = MIDNIGHT + dt.timedelta(hours=3)
    assert (vendor.fetch([WRONG])["volume"] == 0).all()
    assert len(vendor.fetch([LATE])) == len(finished.source.fetch([LATE]))
    vendor.now = MIDNIGHT + dt.timedelta(hours=7)
    pd.testing.assert_frame_equal(
        vendor.fetch([GOOD]).reset_index(drop=True),
        finished.source.fetch([GOOD]).reset_index(drop=True),
    )
