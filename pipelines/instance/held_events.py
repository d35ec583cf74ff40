"""Events that only tell progress wait a moment, to be stored with those that follow.

A step of a run logs a dozen events in a row. Stored one by one each is a transaction, which a
database on another host answers after a way through the network and to its disk. What a step did
and found (materializations, checks, failures, the end of a run) is stored when Dagster hands it
over, with the messages and starts of steps that came before it. Those wait for it or for a second,
whichever is first; a process that is killed takes at most that second of them along.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from dagster import DagsterEventType, EventLogEntry
from sqlalchemy.exc import InterfaceError, OperationalError

HOLD_SECONDS = 1.0
_MANY = 1000  # bounds what waits in memory, a few kB an event
_WAITING = {
    DagsterEventType.ENGINE_EVENT,
    DagsterEventType.HANDLED_OUTPUT,
    DagsterEventType.LOADED_INPUT,
    DagsterEventType.LOGS_CAPTURED,
    DagsterEventType.RESOURCE_INIT_STARTED,
    DagsterEventType.RESOURCE_INIT_SUCCESS,
    DagsterEventType.RUN_START,  # Dagster stores the status of the run apart, at once
    DagsterEventType.STEP_INPUT,
    DagsterEventType.STEP_OUTPUT,
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_SUCCESS,
}


def may_wait(event: EventLogEntry) -> bool:
    """True if an event only tells how far a run is: no result, no warning and no failure."""
    told = int(event.level) < logging.WARNING  # Dagster declares that it may be a text
    return told and (not event.is_dagster_event or event.dagster_event_type in _WAITING)


class HeldEvents:
    """The events of this process that wait to be stored; they keep their order.

    Args:
        store: stores events in one transaction, all or none.
    """

    def __init__(self, store: Callable[[Sequence[EventLogEntry]], object]) -> None:
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._events: list[EventLogEntry] = []
        self._since = 0.0
        self._timer: threading.Timer | None = None

    def add(self, events: Sequence[EventLogEntry]) -> None:
        """Take events: all may wait, or they are stored now, after what is held.

        Args:
            events: in order.
        """
        self._leave_those_of_a_parent()
        with self._lock:
            due = self._events and time.monotonic() - self._since >= HOLD_SECONDS
            if due or len(self._events) >= _MANY or not all(map(may_wait, events)):
                self._store_now(events)
                return
            self._events += events
            if self._timer is None:
                self._since = time.monotonic()
                self._wake_up()

    def store(self) -> None:
        """Store what is held; who reads the events of a run asks for it first."""
        self._leave_those_of_a_parent()
        with self._lock:
            if self._events:
                self._store_now(())

    def _leave_those_of_a_parent(self) -> None:
        """Forget what a process held that was forked: it stores that itself."""
        if self._pid != os.getpid():
            self._begin()

    def _store_now(self, more: Sequence[EventLogEntry]) -> None:
        self._sleep()
        try:
            self._store([*self._events, *more])
            self._events.clear()
        except (InterfaceError, OperationalError):  # the database is away: all of them wait on
            if self._events:
                self._wake_up()
            raise
        except Exception:
            # One that the database refuses must not keep the others from it for good.
            while self._events:
                self._store([self._events.pop(0)])
            if more:
                self._store(more)

    def _wake_up(self) -> None:
        # The thread is not a daemon: a process that ends waits for it.
        self._timer = threading.Timer(HOLD_SECONDS, self._store_in_silence)
        self._timer.name = "held-events"
        self._timer.start()

    def _sleep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _store_in_silence(self) -> None:
        """Store what is held though nothing followed it."""
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # the next event was faster
            self._timer = None
            try:
                self._store(self._events)
                self._events.clear()
            except Exception as error:  # whoever adds the next event is told
                if threading.main_thread().is_alive():
                    self._wake_up()
                else:
                    text = "%d events of a run are lost, the record does not take them: %s"
                    logging.getLogger(__name__).error(text, len(self._events), error)
