"""The bytes that Dagster's record takes, in files or in Postgres."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pipelines.instance.record_reads import Record, RecordAtRest


def record_bytes(home: Path, record: Record) -> int:
    """Sum up the files of a home; of a record in Postgres its database, too.

    Args:
        home: DAGSTER_HOME.
        record: the record of the home.

    Raises:
        PipelineError: the event log is not in SQL.
    """
    total = sum(file_bytes(path) for path in home.rglob("*"))
    if isinstance(record, RecordAtRest):
        return total
    from pipelines.instance.materializations import sql_storage

    with sql_storage(record).index_connection() as connection:
        if connection.dialect.name == "postgresql":
            size = connection.exec_driver_sql("SELECT pg_database_size(current_database())")
            total += int(size.scalar_one())
    return total


def file_bytes(path: Path) -> int:
    """The bytes of a file; none of a folder or of what has gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size if path.is_file() else 0
    return 0
