"""Build the DuckDB catalog that people open: `duckdb data/sample/warehouse.duckdb`.

The catalog holds only views over the Parquet files: one a table (`ohlcv` with the columns of
`ohlcv_extra`); `latest_signal`, `evaluations`, `latest_orders`, `positions` and `daily_returns` of
all models; `provenance` (every partition's
inputs, from its footer) and `TABLE_revisions` for a table with revisions (`revisions.py`). No step
of the pipeline needs the catalog. Whenever a table appears, it is rebuilt under a temporary name
and swapped into place, so an open shell blocks nothing. Of a remote store, and where the file is
lost or damaged, `sql` makes the views in memory. They verify no digest: SQL that people type reads
the files as they are.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import duckdb

from pipelines.warehouse import revisions
from pipelines.warehouse.engine_files import give_files
from pipelines.warehouse.schemas import EXTRA
from pipelines.warehouse.store import PART, Store
from rnn_core.atomic import temporary_path

BARS = "ohlcv"


def latest_signal_sql(predictions: Mapping[str, str]) -> str:
    """SQL of the newest scored session of every model, with the rank of each score (1 = best).

    Args:
        predictions: model name -> its prediction table.
    """
    newest = " UNION ALL ".join(
        f"SELECT '{model}' AS model, date, instrument, score, as_of, fingerprint FROM {table} "  # noqa: S608 - names come from validated configuration
        f"WHERE date = (SELECT max(date) FROM {table})"
        for model, table in sorted(predictions.items())
    )
    return (
        f"SELECT date, model, instrument, score, "  # noqa: S608 - as above
        f"rank() OVER (PARTITION BY model ORDER BY score DESC) AS rank, as_of, fingerprint "
        f"FROM ({newest}) ORDER BY model, rank"
    )


def evaluations_sql(tables: Mapping[str, str]) -> str:
    """SQL of every evaluated session of every model.

    Args:
        tables: model name -> its evaluation table.
    """
    return " UNION ALL BY NAME ".join(
        f"SELECT '{model}' AS model, * FROM {table}"  # noqa: S608 - names come from validated configuration
        for model, table in sorted(tables.items())
    )


def latest_orders_sql(models: Sequence[str]) -> str:
    """SQL of the order list of the newest session of every book; it may be empty.

    Args:
        models: the models that have a book.
    """
    lists = " UNION ALL ".join(
        f"SELECT '{model}' AS model, * FROM {model}_orders "  # noqa: S608 - as above
        f"WHERE date = (SELECT max(date) FROM {model}_book)"
        for model in sorted(models)
    )
    return f"{lists} ORDER BY model, sequence"


def of_all_sql(models: Sequence[str], kind: str, columns: str = "*") -> str:
    """SQL of one table of every model, with the model's name.

    Args:
        models: the models.
        kind: the end of the table's name, as `portfolio`.
        columns: the columns, as SQL.
    """
    return " UNION ALL ".join(
        f"SELECT '{model}' AS model, {columns} FROM {model}_{kind}"  # noqa: S608 - as above
        for model in sorted(models)
    )


def provenance_sql(patterns: Mapping[str, str]) -> str:
    """SQL of every partition's provenance: asset, date, versions, status, inputs, digest.

    `inputs` is a JSON object: a prediction's holds the fingerprints of the model's pointer and of
    the features, a model's that of its bundle.

    Args:
        patterns: table -> glob of its files, quoted.
    """
    footers = " UNION ALL ".join(
        f"SELECT '{table}' AS asset, file_name, decode(key) AS key, decode(value) AS value "  # noqa: S608 - escaped
        f"FROM parquet_kv_metadata('{pattern}')"
        for table, pattern in patterns.items()
    )
    return (
        "SELECT asset, regexp_extract(file_name, 'date=([0-9-]+)', 1)::DATE AS date, "  # noqa: S608 - as above
        "made->>'status' AS status, made->>'code_version' AS code_version, "
        "made->>'config' AS config_hash, made->'inputs' AS inputs, digest FROM ("
        "SELECT asset, file_name, "
        "max(CASE WHEN key = 'rnn.provenance' THEN value END)::JSON AS made, "
        f"max(CASE WHEN key = 'rnn.digest' THEN value END) AS digest FROM ({footers}) "
        "GROUP BY asset, file_name) ORDER BY asset, date"
    )


def refresh_catalog(
    path: Path,
    store: Store,
    predictions: Mapping[str, str],
    evaluations: Mapping[str, str],
    books: Sequence[str] = (),
) -> bool:
    """Rebuild the catalog if the warehouse has tables that it does not show.

    Args:
        path: the catalog file.
        store: the warehouse's files.
        predictions: model name -> its prediction table.
        evaluations: model name -> its evaluation table.
        books: the models that have the tables of a portfolio.

    Returns:
        True if the catalog was rebuilt.
    """
    views = _all_views(store, predictions, evaluations, books)
    if path.is_file() and _recorded(path, _stamp(path)) == views:
        return False
    folder = temporary_path(path)  # of DuckDB's file and of its log, swept if this is killed
    folder.mkdir(parents=True)
    temporary = folder / path.name
    try:
        with contextlib.closing(duckdb.connect(str(temporary))) as connection:
            _create(connection, views)
            connection.execute("CREATE TABLE _views (name VARCHAR, sql VARCHAR)")
            connection.executemany("INSERT INTO _views VALUES (?, ?)", list(views.items()))
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True


def is_usable(path: Path) -> bool:
    """True if a catalog is there and can be opened; it may lack tables that are new."""
    if not path.is_file():
        return False
    return _recorded(path, _stamp(path)) is not None or _is_open_elsewhere(path)


def _is_open_elsewhere(path: Path) -> bool:
    """True if another process has a catalog open for writing, as a shell of DuckDB does."""
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.IOException as error:
        return "lock" in str(error)
    except duckdb.Error:
        return False
    return True


def reads_files_of(path: Path, store: Store) -> bool:
    """True if a catalog can be opened and names the files of a store: a market may be moved."""
    views = _recorded(path, _stamp(path)) if path.is_file() else None
    return views is not None and any(f"'{_literal(store)}/" in sql for sql in views.values())


def memory_catalog(
    store: Store,
    predictions: Mapping[str, str],
    evaluations: Mapping[str, str],
    books: Sequence[str] = (),
) -> duckdb.DuckDBPyConnection:
    """A catalog in memory, where no file of this machine is one.

    The arguments are those of `refresh_catalog`; the caller closes the connection.
    """
    connection = duckdb.connect()
    give_files(connection, store)
    _create(connection, _all_views(store, predictions, evaluations, books))
    return connection


def _create(connection: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> None:
    for name, sql in views.items():
        connection.execute(f'CREATE VIEW "{name}" AS {sql}')


def _all_views(
    store: Store,
    predictions: Mapping[str, str],
    evaluations: Mapping[str, str],
    books: Sequence[str],
) -> dict[str, str]:
    """The SQL of every view over the tables that are there, by name."""
    tables = [t for t in store.tables() if t.isidentifier() and store.has_partitions(t)]
    views = _views(store, tables, predictions, evaluations)
    return views | _book_views(views, books)


def _views(
    store: Store,
    tables: Sequence[str],
    predictions: Mapping[str, str],
    evaluations: Mapping[str, str],
) -> dict[str, str]:
    """The SQL of every view, by name."""
    views = {
        table: (
            f"SELECT * FROM read_parquet('{_pattern(store, table)}', "  # noqa: S608 - escaped
            "hive_partitioning=true, hive_types={'date': DATE}"
            f"{', union_by_name=true' if table == EXTRA else ''})"
        )
        for table in tables
    }
    if EXTRA in views and BARS in views:  # beside the bars, wherever they were stored
        views[BARS] = (
            f"WITH bars AS ({views[BARS]}), beside AS ({views[EXTRA]}) "  # noqa: S608 - as above
            "SELECT * FROM bars LEFT JOIN beside USING (date, instrument)"
        )
    for table in (t for t in revisions.tables(store) if t.isidentifier()):
        views[f"{table}_revisions"] = (
            "SELECT * EXCLUDE (filename), "  # noqa: S608 - escaped
            "regexp_extract(filename, 'rev-([0-9]+)', 1)::INTEGER AS revision "
            f"FROM read_parquet('{_literal(store, revisions.FOLDER, table)}/date=*/rev-*.parquet', "
            "hive_partitioning=true, hive_types={'date': DATE}, filename=true, union_by_name=true)"
        )
    written = {model: table for model, table in predictions.items() if table in views}
    if written:
        views["latest_signal"] = latest_signal_sql(written)
    evaluated = {model: table for model, table in evaluations.items() if table in views}
    if evaluated:
        views["evaluations"] = evaluations_sql(evaluated)
    if tables:
        views["provenance"] = provenance_sql({t: _pattern(store, t) for t in tables})
    return views


def _book_views(tables: Collection[str], books: Sequence[str]) -> dict[str, str]:
    """The SQL of the views over all books, by name."""
    kinds = ("portfolio", "book", "orders")
    models = [m for m in books if all(f"{m}_{kind}" in tables for kind in kinds)]
    if not models:
        return {}
    returns = 'date, account, "return", return_with_cost, bench, turnover, cost, "names"'
    return {
        "latest_orders": latest_orders_sql(models),
        "positions": of_all_sql(models, "portfolio"),
        "daily_returns": of_all_sql(models, "book", returns) + " ORDER BY model, date",
    }


def _pattern(store: Store, table: str) -> str:
    """A quoted glob of every partition of a table."""
    return f"{_literal(store, table)}/date=*/{PART}"


def _literal(store: Store, *parts: str) -> str:
    """A folder in a quoted glob, so that its quotes, stars and brackets stand for themselves."""
    return re.sub(r"([*?\[])", r"[\1]", store.url(*parts)).replace("'", "''")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Two files of one stamp are one: a catalog that was swapped in has another inode or time."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=16)
def _recorded(path: Path, stamp: tuple[int, int, int]) -> dict[str, str] | None:
    """The views of a catalog; opening one costs more than a small step, so it is done once."""
    try:
        with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
            return dict(connection.execute("SELECT name, sql FROM _views").fetchall())
    except duckdb.Error:
        return None  # open elsewhere, or of another layout: swap in a new one
