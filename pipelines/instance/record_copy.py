"""Copy the record of a market from a home of its own into the home of all markets.

The rows of Dagster's tables are copied as they are, but for names: an asset key `ohlcv` becomes
`MARKET/ohlcv`, the job `daily` becomes `MARKET_daily`, the code location `pipelines` becomes the
market's. So times, figures, pictures, logs and the results of checks are what they were. Where both
homes use one database, as one in Postgres, the rows are changed in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import dagster as dg
import sqlalchemy as db
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
)
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import (
    BackfillTagsTable,
    BulkActionsTable,
    RunsTable,
    RunTagsTable,
    SnapshotsTable,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from sqlalchemy.engine import Connection

from pipelines.errors import PipelineError
from pipelines.instance.materializations import sql_storage
from pipelines.instance.names import DAILY, REFIT, REPORTS, is_backfill_of, is_run_of, own_name
from pipelines.market.market import Market

_LOCATION = "pipelines"  # the one code location of earlier releases
_REPOSITORY = "__repository__"  # Dagster's name for the definitions of a location
_PAGE = 1000  # rows read at once
Row = dict[str, Any]


class Renaming:
    """The names of a market's parts, as they are in the home of all markets.

    Args:
        market: the market.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        name, jobs = market.config.name, "|".join((DAILY, REPORTS, REFIT))
        self._rules = [
            (re.compile(r'("__class__": "AssetKey", "path": \[)("[^"]+"\])'), rf'\1"{name}", \2'),
            (re.compile(rf'("(?:pipeline|job)_name": ")({jobs})"'), rf'\1{name}_\2"'),
            (re.compile(rf'("partition_set_name": ")({jobs})_'), rf"\1{name}_\2_"),
            (re.compile(rf'("location_name": "){_LOCATION}"'), rf'\1{name}"'),
        ]

    def row(self, row: Mapping[str, Any]) -> Row:
        """A row with the names of the market, without the number that its database gave it."""
        renamed = {name: value for name, value in row.items() if name != "id"}
        for name, value in renamed.items():
            if not isinstance(value, str):
                continue
            if name == "asset_key":
                renamed[name] = re.sub(
                    r'^\[("[^"]+"\])$', rf'["{self._market.config.name}", \1', value
                )
            elif name in ("pipeline_name", "job_name") and value in (DAILY, REPORTS, REFIT):
                renamed[name] = own_name(self._market, value)
            elif value.startswith("{"):
                for pattern, replacement in self._rules:
                    renamed[name] = pattern.sub(replacement, renamed[name])
        return renamed


def copy_record(
    market: Market,
    old: dg.DagsterInstance,
    new: dg.DagsterInstance,
    begin: Callable[[dg.DagsterInstance], None],
) -> int:
    """Copy runs, events, checks and backfills of a market.

    Args:
        market: the market.
        old: the record of its own home.
        new: the record of all markets; what it holds of this market is taken for a copy that was
            cut off, and is replaced.
        begin: puts on record what comes before all that is copied.

    Returns:
        The number of runs.

    Raises:
        PipelineError: a record is not in SQL, or the two are in databases of different kinds.
    """
    rename = Renaming(market).row
    runs = [run.run_id for run in old.get_runs()]
    if old.get_ref().run_storage_data == new.get_ref().run_storage_data:
        _rename_in_place(old, runs, rename)
        return len(runs)
    if not (_is_sharded(old) and _is_sharded(new)):
        raise PipelineError(
            f"the record of {market.paths.earlier_dagster} and that of {market.paths.dagster} are "
            f"in databases of different kinds; rename the former folder, and `sync` puts on record "
            f"what is in the warehouse"
        )
    forget_market(market, new)
    begin(new)
    with _runs_of(old).connect() as source, _runs_of(new).connect() as target:
        known = {row[0] for row in target.execute(db.select(SnapshotsTable.c.snapshot_id))}
        for row in _rows(source, SnapshotsTable):
            if row["snapshot_id"] not in known:
                target.execute(db.insert(SnapshotsTable), [rename(row)])
        for table in (RunsTable, RunTagsTable, BulkActionsTable, BackfillTagsTable):
            for row in _rows(source, table):
                target.execute(db.insert(table), [rename(row)])
    # The log of a run is in a database of its own, but for what is asked of assets.
    for run_id in runs:
        with (
            sql_storage(old).run_connection(run_id) as source,
            sql_storage(new).run_connection(run_id) as target,
        ):
            rows = [
                rename(r) for r in _rows(source, SqlEventLogStorageTable) if r["run_id"] == run_id
            ]
            if rows:
                target.execute(db.insert(SqlEventLogStorageTable), rows)
    _copy_index(old, new, rename)
    return len(runs)


def _copy_index(
    old: dg.DagsterInstance, new: dg.DagsterInstance, rename: Callable[[Row], Row]
) -> None:
    """Copy what is asked of assets, with the numbers that the new database gives the events."""
    with (
        sql_storage(old).index_connection() as source,
        sql_storage(new).index_connection() as target,
    ):
        numbers: dict[int, int] = {}
        for row in _rows(source, SqlEventLogStorageTable):
            key = target.execute(
                db.insert(SqlEventLogStorageTable), rename(row)
            ).inserted_primary_key
            numbers[row["id"]] = int(cast(Any, key)[0])
        for row in _rows(source, AssetEventTagsTable):
            if row["event_id"] in numbers:
                values = {**rename(row), "event_id": numbers[row["event_id"]]}
                target.execute(db.insert(AssetEventTagsTable), [values])
        for row in _rows(source, AssetCheckExecutionsTable):
            made = row["materialization_event_storage_id"]
            values = {**rename(row), "materialization_event_storage_id": numbers.get(made)}
            target.execute(db.insert(AssetCheckExecutionsTable), [values])
        for row in _rows(source, AssetKeyTable):
            # Dagster counts the partitions anew.
            values = {**rename(row), "cached_status_data": None}
            known = AssetKeyTable.c.asset_key == values["asset_key"]
            target.execute(db.delete(AssetKeyTable).where(known))
            target.execute(db.insert(AssetKeyTable), [values])


def _rename_in_place(
    record: dg.DagsterInstance, runs: list[str], rename: Callable[[Row], Row]
) -> None:
    """Give the rows of a record that both homes use the names of the market."""

    def change(connection: Connection, *tables: db.Table) -> None:
        for table in tables:
            for row in list(_rows(connection, table)):
                renamed = rename(row)
                if renamed != {name: value for name, value in row.items() if name != "id"}:
                    change_row = db.update(table).where(table.c.id == row["id"])
                    connection.execute(change_row.values(**renamed))

    with _runs_of(record).connect() as connection:
        change(connection, RunsTable, BulkActionsTable)
    storage = sql_storage(record)
    for run_id in runs if _is_sharded(record) else ():
        with storage.run_connection(run_id) as connection:
            change(connection, SqlEventLogStorageTable)
    with storage.index_connection() as connection:
        change(
            connection,
            SqlEventLogStorageTable,
            AssetEventTagsTable,
            AssetCheckExecutionsTable,
            AssetKeyTable,
        )


def copy_switches(market: Market, old: dg.DagsterInstance, new: dg.DagsterInstance) -> list[str]:
    """Turn the schedule and the sensors of a market on or off as a person had them in the UI.

    Returns:
        The names, with `on` or `off`, that no longer follow the YAML.
    """
    name = market.config.name
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="pipelines.code_locations", attribute=name), name
    )
    switches = []
    for state in old.all_instigator_state():
        if state.origin.repository_origin.code_location_origin.location_name != _LOCATION:
            continue
        repository = RemoteRepositoryOrigin(location, _REPOSITORY)
        origin = state.origin._replace(
            repository_origin=repository, instigator_name=own_name(market, state.name)
        )
        renamed = state._replace(origin=origin)
        known = new.get_instigator_state(origin.get_id(), renamed.selector_id)
        (new.update_instigator_state if known else new.add_instigator_state)(renamed)
        if state.status.value in ("RUNNING", "STOPPED"):
            switches.append(f"{renamed.name} {'on' if state.is_running else 'off'}")
    return switches


def forget_market(market: Market, record: dg.DagsterInstance) -> None:
    """Take everything of a market off a record: its runs with their logs, backfills and assets.

    Raises:
        PipelineError: the record is not in SQL.
    """
    runs = [run.run_id for run in record.get_runs() if is_run_of(market, run)]
    for run_id in runs:
        record.delete_run(run_id)
    backfills = [
        each.backfill_id for each in record.get_backfills() if is_backfill_of(market, each)
    ]
    with _runs_of(record).connect() as connection:
        for column in (BackfillTagsTable.c.backfill_id, BulkActionsTable.c.key):
            connection.execute(db.delete(column.table).where(column.in_(backfills)))
    prefix = f'["{market.config.name}", '  # LIKE takes the `_` of a name for any character
    with sql_storage(record).index_connection() as connection:
        for table in (
            AssetEventTagsTable,
            AssetCheckExecutionsTable,
            SqlEventLogStorageTable,
            AssetKeyTable,
        ):
            is_own = table.c.asset_key.startswith(prefix, autoescape=True)
            connection.execute(db.delete(table).where(is_own))


def _is_sharded(record: dg.DagsterInstance) -> bool:
    """True if the log of each run has a database of its own."""
    return isinstance(record.event_log_storage, SqliteEventLogStorage)


def _runs_of(record: dg.DagsterInstance) -> SqlRunStorage:
    storage = record.run_storage
    if not isinstance(storage, SqlRunStorage):
        raise PipelineError(
            f"Dagster's runs are in a {type(storage).__name__}, which is not in SQL"
        )
    return storage


def _rows(connection: Connection, table: db.Table) -> Iterator[Row]:
    """The rows of a table in the order of their numbers; none where the table is not there."""
    if not db.inspect(connection).has_table(table.name):
        return
    last = -1
    while True:
        query = db.select(table).where(table.c.id > last).order_by(table.c.id).limit(_PAGE)
        page = [dict(row) for row in connection.execute(query).mappings()]
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1]["id"]
