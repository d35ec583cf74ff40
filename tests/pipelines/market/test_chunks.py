"""Chunks of sessions. Oracle: counts by hand, and what stages read of a market at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.errors import WarehouseError
from pipelines.market import chunks as module
from pipelines.market.chunks import chunks, chunks_of_rows
from pipelines.warehouse.warehouse import Warehouse
from tests.pipelines.conftest import market_of, own_record
from tests.pipelines.moving_markets import ROLLING, run_all

KEYS = [f"{k:03d}" for k in range(300)]


class Stored:
    """A warehouse whose sessions have growing numbers of rows; it counts what it is asked."""

    def __init__(self, rows):
        self._rows, self.asked = rows, []

    def info(self, table, key):
        self.asked.append((table, key))
        count = self._rows(int(key))
        return None if count is None else SimpleNamespace(rows=count)


@pytest.mark.parametrize(
    ("rows", "at_once", "length"),
    [
        (lambda key: 500, 600_000, 120),  # never more sessions than that, however few the names
        (lambda key: 5_000, 600_000, 120),
        (lambda key: 5_000, 150_000, 30),
        (lambda key: 50_000, 150_000, 3),
        (lambda key: 1 + 20 * key, 59_810, 10),  # a market that grows
        (lambda key: 6_000 - 20 * key, 60_000, 10),  # one that shrinks
        (lambda key: 900_000, 600_000, 1),
        (lambda key: None, 600_000, 120),
    ],
)
def test_a_chunk_has_so_many_rows(rows, at_once, length):
    parts = chunks_of_rows(Stored(rows), "ohlcv", KEYS, at_once)
    assert [key for part in parts for key in part] == KEYS
    assert {len(part) for part in parts[:-1]} <= {length}
    assert len(parts[0]) == length


def test_few_sessions_are_one_chunk_that_nobody_counts():
    stored = Stored(lambda key: 10**9)
    assert chunks_of_rows(stored, "ohlcv", KEYS[:10]) == [tuple(KEYS[:10])]
    assert chunks_of_rows(stored, "ohlcv", []) == []
    assert stored.asked == []
    assert chunks(KEYS[:5], 2) == [("000", "001"), ("002", "003"), ("004",)]


@pytest.mark.thorough
def test_what_a_stage_reads_at_once_does_not_grow_with_the_range(tmp_path, monkeypatch):
    """Every stage of a market with all its kinds, in chunks of at most nine sessions.

    The longest look-back is that of features, 60 sessions; windows of training and fits are read in
    chunks as well. Without chunks a stage would read the 94 sessions of the market at once.
    """
    monkeypatch.setattr(module, "SESSIONS_AT_ONCE", 9)
    at_once: dict[str, int] = {}
    read = Warehouse.read

    def counted(self, name, keys, *, needed_by, columns=None):
        at_once[needed_by] = max(at_once.get(needed_by, 0), len(keys))
        return read(self, name, keys, needed_by=needed_by, columns=columns)

    monkeypatch.setattr(Warehouse, "read", counted)
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    assert len(market.sessions) > 90
    with own_record() as record:
        run_all(market, record)
    look_back = {"alpha158": 60, "label": 2, "gru_prediction": 4, "gru_portfolio": 1}
    checked = {"alpha158 (its check)", "gru_evaluation (its check)"}  # of a fixed length
    too_long = {
        reader: length
        for reader, length in at_once.items()
        if reader not in checked and length > 9 + look_back.get(reader, 0)
    }
    assert too_long == {}
    assert {"processors", "gru_model", "dataset_infer", "dataset_learn"} <= set(at_once)


def test_a_damaged_end_is_left_to_who_reads_it():
    class Damaged(Stored):
        def info(self, table, key):
            if key == KEYS[-1]:
                raise WarehouseError("damaged")
            return super().info(table, key)

    assert len(chunks_of_rows(Damaged(lambda key: 5_000), "ohlcv", KEYS, 150_000)[0]) == 30
