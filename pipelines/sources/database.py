"""Read bars from a database by a query with the bound parameters :start and :end.

Any database of SQLAlchemy works, and DuckDB by its own package, without a further driver. The
query is the user's; its days are bound, never pasted in: as dates (for SQLite, which has none, as
ISO text), or as `date_format` writes them. The query also runs for the weeks before a range if the
price basis needs previous rows. `$NAME` and `${NAME}` in the URL come from the environment, so that
no password has to stand in a YAML.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pyarrow as pa

from pipelines.config.secrets_in_text import scrubbed
from pipelines.config.sources import SqlSource
from pipelines.config.types import EPOCHS
from pipelines.errors import MissingPackageError, SourceError
from pipelines.sources.columns import Columns
from pipelines.sources.session_dates import session_keys
from pipelines.sources.table_file import read_events
from pipelines.sources.tabular import TableBars

BEGINNING, END = "1900-01-01", "2999-12-31"
_PARAMETER = re.compile(r"(?<!:):(start|end)\b")
_DUCKDB = "duckdb:///"


class SqlBars(TableBars):
    """Bars of a market that lies in a database.

    Args:
        settings: the section of the YAML.
        needs_amount: refuse a table without an amount (`vwap: amount`).
    """

    def __init__(self, settings: SqlSource, *, needs_amount: bool = False) -> None:
        super().__init__(settings.basis, partial(read_events, settings.basis), settings.extra)
        self._settings = settings
        self._columns = Columns(settings, needs_amount=needs_amount)

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the number of bars a day, by session key in order."""
        name = self._quoted(self._columns.date)
        counting = (
            f"SELECT {name} AS day, COUNT(*) AS bars FROM ({self._settings.query}) AS found "  # noqa: S608 - the user's own query
            f"GROUP BY {name}"
        )
        table = self._table(counting, first or BEGINNING, END)
        keys = session_keys(
            table["day"], self._settings.date_format, self._settings.timezone,
            f"the query, column {self._columns.date}",
        )  # fmt: skip
        counts = pd.Series(table["bars"].to_pandas().to_numpy(), index=keys.to_pandas())
        return counts.groupby(level=0).sum().sort_index().astype("int64")

    def _rows(
        self, first: str | None, last: str | None, only: Iterable[str] | None = None
    ) -> pd.DataFrame:
        table = self._table(self._settings.query, first or BEGINNING, last or END)
        names = self._columns.wanted(table.column_names, "the query's result", only)
        return self._columns.bars(table.select(names), "the query's result")

    def _table(self, query: str, first: str, last: str) -> pa.Table:
        url = os.path.expandvars(self._settings.url)
        bound = {"start": self._bound(first, url), "end": self._bound(last, url, closing=True)}
        if url.startswith(_DUCKDB):
            return _ask_duckdb(Path(url.removeprefix(_DUCKDB)).expanduser(), query, bound)
        return _ask_sqlalchemy(url, query, bound)

    def _bound(self, key: str, url: str, *, closing: bool = False) -> Any:
        """A day in the form of the query's columns; an epoch's first or last moment of that day."""
        day, form = dt.date.fromisoformat(key), self._settings.date_format
        if form in EPOCHS:
            zone = ZoneInfo(self._settings.timezone or "UTC")
            start = dt.datetime.combine(day + dt.timedelta(days=closing), dt.time(), zone)
            return int(start.timestamp()) * EPOCHS[form].per_second - closing
        if form is not None:
            text = day.strftime(form)
            return int(text) if text.isdigit() else text
        return key if url.startswith("sqlite") else day

    def _quoted(self, name: str) -> str:
        if os.path.expandvars(self._settings.url).startswith(("mysql", "mariadb")):
            return "`" + name.replace("`", "``") + "`"
        return '"' + name.replace('"', '""') + '"'


def _ask_duckdb(path: Path, query: str, bound: dict[str, Any]) -> pa.Table:
    if not path.is_file():
        raise SourceError(
            f"no DuckDB file {path}: source.url is duckdb:/// and the path, four slashes before "
            f"an absolute one"
        )
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return connection.sql(_PARAMETER.sub(r"$\1", query), params=bound).to_arrow_table()
    except duckdb.Error as error:
        raise SourceError(f"source.query failed: {error}") from error


def _ask_sqlalchemy(url: str, query: str, bound: dict[str, Any]) -> pa.Table:
    try:
        import sqlalchemy
    except ImportError as error:
        package = "the package SQLAlchemy (and the database's driver, as psycopg for Postgres)"
        raise MissingPackageError("sql", package, "sql", error) from error
    try:
        engine = sqlalchemy.create_engine(url)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise SourceError(
            f"source.url cannot be used: {scrubbed(str(error))}; expected one such as "
            f"postgresql+psycopg://user:$PASSWORD@host/database, with its driver installed"
        ) from error
    try:
        connection = engine.connect()
    except sqlalchemy.exc.SQLAlchemyError as error:
        message = f"the database of source.url cannot be reached: {_first_line(error)}"
        raise SourceError(message) from ConnectionError(message)
    try:
        with connection:
            result = connection.execute(sqlalchemy.text(query), bound)
            names, rows = list(result.keys()), result.fetchall()
    except sqlalchemy.exc.DBAPIError as error:
        lost = ConnectionError(_first_line(error)) if error.connection_invalidated else error
        raise SourceError(f"source.query failed: {_first_line(error)}") from lost
    except sqlalchemy.exc.StatementError as error:  # before the database saw it: a bind too many
        raise SourceError(
            f"source.query cannot be asked: {_first_line(error)}; only :start and :end are bound, "
            f"any other colon before a word is written \\:"
        ) from error
    finally:
        engine.dispose()
    return pa.table({name: _column([row[k] for row in rows]) for k, name in enumerate(names)})


def _column(values: list[Any]) -> pa.Array:
    """Values of a result as Arrow; exact decimals become doubles, mixed numbers too.

    Numbers mixed with texts (SQLite takes any value in any column) become texts: `Columns` knows
    the texts that stand for no number, and names the column that holds another.
    """
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if any(isinstance(v, str) for v in values):
            return pa.array([None if v is None else str(v) for v in values], pa.string())
        numbers = [None if v is None else float(v) for v in values]
        return pa.array(numbers, pa.float64())
    return array.cast("float64") if pa.types.is_decimal(array.type) else array


def _first_line(error: Exception) -> str:
    return scrubbed(str(error).splitlines()[0])
