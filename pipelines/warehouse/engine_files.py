"""DuckDB's way to the files of a store, and to no others.

For the URL of a remote store DuckDB would load an extension, from the network. Instead it is given
a file system of fsspec that asks the store's own client: a pattern costs the one listing of its
table, a file one request.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipelines.warehouse.object_store import ObjectStore
from pipelines.warehouse.store import Store

_WRITES = re.compile("COPY|INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|ALTER|ATTACH|EXECUTE|EXPORT")

# What stands where a table does and opens no file, whatever its arguments.
_FUNCTIONS = re.compile(
    "generate_series|range|unnest|repeat|repeat_row|json_each|json_tree|pg_timezone_names|"
    "pragma_(show|table_info|version)|"
    "duckdb_(columns|databases|functions|keywords|schemas|settings|tables|types|views)"
)
_EXPLAIN = re.compile(r"\s*(--[^\n]*\n\s*)*EXPLAIN\b(\s*\(\s*FORMAT\s+\w+\s*\))?", re.IGNORECASE)


def give_files(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Let a connection read the files of a store; a local one needs nothing."""
    if isinstance(store, ObjectStore):
        from pipelines.warehouse.store_files import StoreFiles

        connection.register_filesystem(StoreFiles(store))


def confine(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Let a connection read the files of a store and nothing else, from now on.

    Other files, the network, extensions, variables of this process and settings are out of its
    reach. It could still write below the store, which `require_question` refuses. DuckDB takes `..`
    out of a path before it checks it, and the system afterwards: so of a local store the folders
    that hold the tables are open, without links, and the store around them is not. `LINK/../NAME`
    is still that of a table where another table is called `NAME`: so `require_reading` lets no
    query name a file.

    Raises:
        PermissionError: somebody else made the link of a table.
    """
    _confine_to(connection, table_folders(store))


def _confine_to(connection: duckdb.DuckDBPyConnection, folders: Sequence[str]) -> None:
    quoted = ", ".join("'{}/'".format(f.rstrip("/").replace("'", "''")) for f in folders)
    for setting in (
        "python_enable_replacements = false",
        f"allowed_directories = [{quoted}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def require_question(query: str) -> None:
    """Refuse SQL that does more than ask: whatever writes, attaches, installs or sets something.

    Raises:
        duckdb.Error: the text is no SQL.
        ValueError: a statement is no question; the message names it.
    """
    for statement in duckdb.extract_statements(query):
        kind, text = statement.type.name, statement.query.strip()
        runs = kind == "EXPLAIN" and re.search("analy[sz]e", text, re.I)  # with what it explains
        if kind not in ("SELECT", "EXPLAIN") or runs:
            raise ValueError(
                f"{text!r:.80} is {'a statement that runs' if runs else kind}, expected a question "
                f"(SELECT, FROM, SHOW, DESCRIBE, EXPLAIN; a PIVOT with its values: ON a IN ('x'))"
            )


def table_folders(store: Store) -> list[str]:
    """The folders that tables lie in, without links; that of a remote store, which has none.

    A link counts if it is that of a whole table that was moved to another disk, and made by this
    user, by root, or by the owner of the warehouse; links further down, of a session or of a file,
    lead nowhere.

    Raises:
        PermissionError: somebody else made the link of a table.
    """
    if not store.is_local:
        return [store.url()]
    root = Path(store.url())
    trusted = {os.geteuid(), 0, root.stat().st_uid} if root.is_dir() else set()
    folders = []
    for table in store.tables():
        path = root / table
        if path.is_symlink() and (owner := path.lstat().st_uid) not in trusted:
            raise PermissionError(
                f"{path} is a link to {path.readlink()} that user {owner} made, and not the owner "
                f"of {root}: make it yourself if the table shall lie there"
            )
        folders.append(str(path.resolve()))
    return folders


def require_reading(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse questions that name files of their own, or whose plan writes.

    The query is planned on tables of the catalog's columns without a row, by a connection that can
    open no file at all: whatever way a text takes to name one, it fails there. A write may stand
    inside of a question, `WITH a AS (COPY …)`. Functions that make tables of their arguments are
    told before that, by the parsed text: `query` takes SQL that a constant may choose, and one
    such as `random()` is another when the query is run.

    Args:
        connection: the catalog, confined already; the query is not run.
        query: what `require_question` has passed.

    Raises:
        duckdb.Error: the text asks for what is not there, or not allowed.
        ValueError: a function or an operator does more than read; the message names it.
    """
    statements = duckdb.extract_statements(query)
    with contextlib.closing(duckdb.connect()) as empty:
        for statement in statements:
            _require_known_functions(empty, statement)
        unbound = _copy_columns(connection, empty, query)
        _confine_to(empty, [])
        for statement in statements:
            explained = statement.type.name == "EXPLAIN"
            text = statement.query if explained else f"EXPLAIN (FORMAT json) {statement.query}"
            try:
                plans = empty.execute(text).fetchall()
            except duckdb.CatalogException as error:
                raise (unbound or error) from error
            for _, plan in plans:
                for name in () if explained else _operators(json.loads(plan)):
                    if _WRITES.search(name):
                        text = statement.query.strip()
                        raise ValueError(f"{text!r:.80} does {name}, not a question")


def _copy_columns(
    connection: duckdb.DuckDBPyConnection, empty: duckdb.DuckDBPyConnection, query: str
) -> duckdb.Error | None:
    """Make a catalog's tables that a text may name, without a row, under the same full names.

    Returns:
        The error of the last view that cannot be read, as one whose files are gone.
    """
    (database,) = connection.execute("SELECT current_database()").fetchone() or ("memory",)
    if database != "memory":
        quoted = database.replace('"', '""')
        empty.execute(f"ATTACH ':memory:' AS \"{quoted}\"")
        empty.execute(f'USE "{quoted}"')
    names = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal "
        "UNION SELECT table_name FROM duckdb_tables()"
    ).fetchall()
    unbound = None
    for (name,) in names:
        if name.lower() in query.lower():  # what it does not name it cannot ask
            quoted = name.replace('"', '""')
            none = f'SELECT * FROM "{quoted}" LIMIT 0'  # noqa: S608 - escaped
            try:
                rows = connection.sql(none).to_arrow_table()
            except duckdb.Error as error:
                unbound = error  # to be said if the text asks it, and does not only name it
            else:
                empty.from_arrow(rows).create(name)
    return unbound


def _require_known_functions(empty: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse functions that make a table of anything but their arguments or the catalog.

    Raises:
        ValueError: the text has such a function, at any depth, or is not understood.
    """
    text = statement.query
    if statement.type.name == "EXPLAIN":
        text = _EXPLAIN.sub("", text)
    ((tree,),) = empty.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(tree)
    if tree.get("error", True):
        why = tree.get("error_message", "unknown")
        raise ValueError(f"{text.strip()!r:.80} cannot be looked through: {why}")
    for name in _table_functions(tree):
        if not _FUNCTIONS.fullmatch(name):
            raise ValueError(f"{text.strip()!r:.80} has the function {name}, which may read files")


def _table_functions(tree: Any) -> Iterator[str]:
    """The names of the functions of a parsed text that stand where a table does."""
    if isinstance(tree, dict):
        if tree.get("type") == "TABLE_FUNCTION":
            yield str(tree["function"].get("function_name")).lower()
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from _table_functions(part)


def _operators(plan: Any) -> Iterator[str]:
    """The names of the operators of a plan."""
    if isinstance(plan, list):
        for part in plan:
            yield from _operators(part)
    elif isinstance(plan, dict):
        yield str(plan.get("name", ""))
        yield from _operators(plan.get("children", []))
