"""Store the events of a range run in batches, in any of Dagster's event logs in SQL.

A range run writes two events for every asset and session. Dagster stores them one by one, each in
transactions of its own; the log, not the work, then bounds a backfill. Here the events that Dagster
hands over together (all sessions of an asset) are stored in one transaction, and a check is planned
once a run. `event_log.py` does so in SQLite, `postgres_record.py` in Postgres. Figures are in
`benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from sqlalchemy.engine import Connection

from pipelines.instance.progress import progress

_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"  # Dagster's variable; unset, it hands over one by one
_BATCH_EVENTS = 1000  # bounds what waits in memory, a few kB an event
_BATCHED = {
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_MATERIALIZATION,
}
Row = dict[str, Any]


class BatchedEvents(SqlEventLogStorage):
    """The part of an event log that stores batches; a base class beside one of Dagster's logs."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events as `store_event` does, neighbours of one kind in one transaction.

        The plan of a run is one batch: the partitions of each asset, then its checks, which are
        stored one by one.

        Args:
            events: in order.
        """
        for (_, batched), some in groupby(events, lambda e: (e.run_id, kind_of(e) in _BATCHED)):
            if batched:
                self._store_together(list(some))
            else:
                for event in some:
                    self.store_event(event)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; a warning of a step is shown to whoever watches the run, too.

        Args:
            event: the event.
        """
        super().store_event(event)
        show_warning(event)

    def _store_together(self, events: Sequence[EventLogEntry]) -> list[int]:
        """Store events of one run in one transaction, and return their numbers."""
        rows: list[Row] = [self._event_to_row(event) for event in events]
        # The context entered last is left, and commits, first.
        with self.index_transaction() as index, self._run_log(rows):
            ids = self._insert(index, rows)
            of_assets = [
                at
                for at, event in enumerate(events)
                if kind_of(event) in ASSET_EVENTS and rows[at]["asset_key"] is not None
            ]
            self._store_asset_event_tags(
                index, [events[at] for at in of_assets], [ids[at] for at in of_assets]
            )
            # The row of an asset says what happened to it last: earlier events would be replaced.
            newest = {
                (rows[at]["asset_key"], rows[at]["dagster_event_type"]): at for at in of_assets
            }
            for at in newest.values():
                self._store_asset_event(index, events[at], ids[at])
        return ids

    def _run_log(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        """A transaction that stores rows in the log of their run, if it is a database apart."""
        return nullcontext()

    def _insert(self, index: Connection, rows: Sequence[Row]) -> list[int]:
        """Insert rows, and return the numbers that the database gives them, in their order."""
        insert = SqlEventLogStorageTable.insert()
        keys = [index.execute(insert, row).inserted_primary_key for row in rows]
        return [int(key[0]) for key in keys if key is not None]

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """One row a planned check, where Dagster writes one a session and never completes them.

        A check of a range run is evaluated once, without a partition; the rows that Dagster plans
        for every session of the range would stay planned for good, at 5 ms each.
        """
        planned = event.get_dagster_event()
        data = planned.event_specific_data
        if isinstance(data, AssetCheckEvaluationPlanned) and data.partitions_subset is not None:
            of_run = AssetCheckEvaluationPlanned(
                asset_key=data.asset_key, check_name=data.check_name
            )
            whole = planned._replace(event_specific_data=of_run)
            event = event._replace(dagster_event=whole)
        super()._store_asset_check_evaluation_planned(event, event_id)


def ask_for_batches() -> None:
    """Have Dagster hand events over in batches in this process, unless its owner said otherwise."""
    os.environ.setdefault(_BATCH_SIZE, str(_BATCH_EVENTS))


def show_warning(event: EventLogEntry) -> None:
    """Show a warning of a step to whoever watches the run; any other event is passed over."""
    if event.level == logging.WARNING and not event.is_dagster_event:
        progress().warn(event.user_message)


def kind_of(event: EventLogEntry) -> DagsterEventType | None:
    """The type of an event of Dagster's own; None for a message."""
    return event.dagster_event_type if event.is_dagster_event else None
