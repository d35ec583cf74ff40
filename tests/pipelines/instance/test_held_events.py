"""Events that wait to be stored. Oracle: lists of what was stored together."""

from __future__ import annotations

import logging
import os
import threading
import time
from unittest.mock import create_autospec

import pytest
from dagster import DagsterEventType, EventLogEntry
from sqlalchemy.exc import OperationalError

from pipelines.instance import held_events
from pipelines.instance.held_events import HeldEvents

STARTED, DONE = DagsterEventType.STEP_START, DagsterEventType.ASSET_MATERIALIZATION


def event(name, kind=None, level=logging.INFO):
    """An entry with what decides whether it waits; Dagster's own asks for the data of its kind."""
    entry = create_autospec(EventLogEntry, instance=True, spec_set=True)
    entry.configure_mock(
        user_message=name, level=level, is_dagster_event=kind is not None, dagster_event_type=kind
    )
    return entry


class Database:
    """Stores events in transactions; refuses those of some names, or all while it is away."""

    def __init__(self):
        self.transactions, self.refused, self.is_away = [], set(), False
        self.held = HeldEvents(self.store)

    def store(self, events):
        names = [event.user_message for event in events]
        if self.is_away:
            raise OperationalError("", {}, ConnectionError("it is away"))
        if self.refused & set(names):
            raise ValueError(f"refused: {names}")
        self.transactions.append(names)


@pytest.fixture
def database():
    made = Database()
    yield made
    made.refused, made.is_away = set(), False
    made.held.store()  # its thread ends


def test_what_tells_progress_is_stored_with_the_next_result(database):
    database.held.add([event("start", STARTED)])
    database.held.add([event("half of it is done")])
    assert database.transactions == []
    database.held.add([event("made", DONE), event("made too", DONE)])
    assert database.transactions == [["start", "half of it is done", "made", "made too"]]


@pytest.mark.parametrize(
    "result",
    [
        event("warning", level=logging.WARNING),
        event("failure", DagsterEventType.ENGINE_EVENT, logging.ERROR),
        event("check", DagsterEventType.ASSET_CHECK_EVALUATION),
        event("plan", DagsterEventType.ASSET_MATERIALIZATION_PLANNED),
        event("end", DagsterEventType.RUN_SUCCESS),
        event("unknown to us", DagsterEventType.FRESHNESS_STATE_CHANGE),
    ],
    ids=lambda e: e.user_message,
)
def test_a_result_waits_for_nothing(database, result):
    database.held.add([event("start", STARTED)])
    database.held.add([result])
    assert database.transactions == [["start", result.user_message]]


def test_progress_is_seen_without_a_result(database, monkeypatch):
    """In silence a thread stores it, in an unbroken flow of events the next one does."""
    monkeypatch.setattr(held_events, "HOLD_SECONDS", 0.05)
    database.held.add([event("start", STARTED)])
    wait_until(lambda: database.transactions == [["start"]])
    monkeypatch.setattr(database.held, "_wake_up", lambda: None)
    for name in ("a", "b"):
        database.held.add([event(name)])
        time.sleep(0.06)
    assert database.transactions[1:] == [["a", "b"]]


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


def test_one_that_is_refused_keeps_back_none_of_the_others(database):
    """Whoever adds the next result is told once."""
    database.refused = {"bad"}
    for name in ("a", "bad", "b"):
        database.held.add([event(name)])
    with pytest.raises(ValueError, match="bad"):
        database.held.add([event("made", DONE)])
    database.held.add([event("made", DONE)])
    assert database.transactions == [["a"], ["b", "made"]]


def test_a_batch_that_is_refused_is_not_kept(database):
    """Dagster stores its events one by one then; what was held before is stored."""
    database.refused = {"bad"}
    database.held.add([event("a")])
    with pytest.raises(ValueError, match="bad"):
        database.held.add([event("made", DONE), event("bad", DONE)])
    database.held.add([event("made", DONE)])
    assert database.transactions == [["a"], ["made"]]


def test_a_database_that_is_away_loses_nothing_of_what_is_held(database, monkeypatch):
    """Whoever reads or adds a result meanwhile is told, and what is held goes on waiting."""
    monkeypatch.setattr(held_events, "HOLD_SECONDS", 0.2)
    for name in ("a", "b"):
        database.held.add([event(name)])
    database.is_away = True
    for ask in (database.held.store, lambda: database.held.add([event("made", DONE)])):
        with pytest.raises(OperationalError, match="it is away"):
            ask()
    database.is_away = False
    wait_until(lambda: database.transactions == [["a", "b"]])


def test_a_database_that_is_away_in_silence_is_asked_again(database, monkeypatch):
    monkeypatch.setattr(held_events, "HOLD_SECONDS", 0.02)
    database.is_away = True
    database.held.add([event("a")])
    time.sleep(0.1)
    assert database.transactions == []
    database.is_away = False
    wait_until(lambda: database.transactions == [["a"]])


def test_what_cannot_be_stored_at_the_end_is_said(database, monkeypatch, caplog):
    """A process that ends waits for its events, but not for ever."""
    monkeypatch.setattr(held_events, "HOLD_SECONDS", 0.02)
    monkeypatch.setattr(threading.main_thread(), "is_alive", lambda: False)
    database.is_away = True
    database.held.add([event("a")])
    assert not database.held._timer.daemon
    wait_until(lambda: "1 events of a run are lost" in caplog.text)
    assert database.held._timer is None


def test_a_forked_child_stores_nothing_of_its_parents(database):
    database.held.add([event("of the parent")])
    child = os.fork()
    if child == 0:
        database.held.add([event("of the child", DONE)])
        os._exit(database.transactions != [["of the child"]])
    assert os.waitpid(child, 0)[1] == 0
    database.held.store()
    assert database.transactions == [["of the parent"]]


def test_threads_keep_every_event_once_and_in_order(database, monkeypatch):
    monkeypatch.setattr(held_events, "HOLD_SECONDS", 0.001)

    # Made beforehand: mocks may not be made by several threads at once.
    events = {
        name: [event(f"{name}{n:03}", DONE if n % 7 == 0 else None) for n in range(200)]
        for name in "abc"
    }

    def work(name):
        for one in events[name]:
            database.held.add([one])

    threads = [threading.Thread(target=work, args=[name]) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.held.store()
    stored = [name for names in database.transactions for name in names]
    assert len(stored) == 600
    for name in "abc":
        mine = [each for each in stored if each[0] == name]
        assert mine == [f"{name}{number:03}" for number in range(200)]
