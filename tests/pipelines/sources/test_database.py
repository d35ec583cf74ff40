"""Bars from a query. Oracle: the frame that was put into the database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from pipelines.config.loader import parse_config
from pipelines.config.sources import SqlSource
from pipelines.errors import BarsNotArrivedError, ConfigError, SourceError
from pipelines.sources.database import SqlBars
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.transient import is_transient
from tests.pipelines.conftest import TINY, merged
from tests.pipelines.sources.conftest import DAYS
from tests.pipelines.sources.test_files import check

QUERY = """
SELECT day AS date, code, open, high, low, close, preclose, volume, amount
FROM bars WHERE day BETWEEN :start AND :end ORDER BY code;
"""
THEIRS = {"columns": {"instrument": "code"}, "basis": {"preclose": "preclose"}}


def make(url: str, query: str = QUERY, **keys) -> SqlBars:
    given = {"kind": "sql", "url": url, "query": query, **THEIRS, **keys}
    return SqlBars(SqlSource.model_validate(given))


@pytest.fixture
def sqlite(market: pd.DataFrame, tmp_path: Path) -> str:
    path = tmp_path / "bars.sqlite"
    rows = market.rename(columns={"date": "day", "instrument": "code"})
    with sqlite3.connect(path) as connection:
        rows.to_sql("bars", connection, index=False)
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture
def duck(market: pd.DataFrame, tmp_path: Path) -> str:
    path = tmp_path / "bars.duckdb"
    rows = market.rename(columns={"date": "day", "instrument": "code"})
    with duckdb.connect(path) as connection:
        connection.register("given", rows)
        connection.execute(
            "CREATE TABLE bars AS SELECT * REPLACE (day::DATE AS day, close::DECIMAL(18, 6) AS "
            "close), strftime(day::DATE, '%Y%m%d')::INTEGER AS number FROM given"
        )
    return f"duckdb:///{path}"


@pytest.mark.parametrize("database", ["sqlite", "duck"])
def test_a_query_gives_bars(database, market, request):
    """Ranges, a session alone with its previous rows, and the days that there are."""
    source = make(request.getfixturevalue(database))
    check(source, market, ratio=True)
    check(source, market, DAYS[4:5], ratio=True)
    assert source.days().to_dict() == market["date"].value_counts().to_dict()
    assert list(source.days(DAYS[6]).index) == list(DAYS[6:])


def test_days_that_are_numbers(duck, market):
    query = QUERY.replace("day AS date", "number AS date").replace("WHERE day", "WHERE number")
    check(make(duck, query, date_format="%Y%m%d"), market, DAYS[2:5], ratio=True)


def test_a_password_comes_from_the_environment(sqlite, market, monkeypatch):
    monkeypatch.setenv("BARS_FILE", sqlite.removeprefix("sqlite:///"))
    check(make("sqlite:///${BARS_FILE}"), market, ratio=True)
    identity = SqlSource.model_validate(
        {"kind": "sql", "url": "postgresql://me:secret@db/x", "query": QUERY, **THEIRS}
    ).model_dump(mode="json")
    assert "url" not in identity


def test_late_sessions(sqlite):
    with pytest.raises(BarsNotArrivedError, match=r"2024-01-12: the newest .* 2024-01-11"):
        fetch_bars(make(sqlite), ["2024-01-12"])


@pytest.mark.parametrize(
    ("database", "query", "message"),
    [
        ("sqlite", QUERY.replace("bars", "bras"), r"source.query failed: .*no such table: bras"),
        ("duck", QUERY.replace("bars", "bras"), r"source.query failed: .*bras"),
        ("duck", QUERY.replace(" close,", ""), r"the query's result has no column 'close' for clo"),
        (
            "sqlite",
            QUERY.replace(" preclose,", ""),
            r"no column 'preclose' that source.basis names",
        ),
    ],
)
def test_a_wrong_query_is_named(database, query, message, request):
    with pytest.raises(SourceError, match=message):
        make(request.getfixturevalue(database), query).fetch(DAYS)


def test_texts_among_numbers(sqlite, market):
    """SQLite keeps any value in any column. N/A is no number, as in a CSV."""
    path, where = sqlite.removeprefix("sqlite:///"), f"day = '{DAYS[3]}' AND code = 'AAA'"
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE bars SET amount = 'N/A' WHERE {where}")  # noqa: S608
    got = make(sqlite).fetch(DAYS)
    spoiled = (got["date"] == DAYS[3]) & (got["instrument"] == "AAA")
    assert got.loc[spoiled, "amount"].isna().all()
    assert spoiled.sum() == 1
    wanted = market.set_index(["date", "instrument"])["amount"]
    left = got[~spoiled].set_index(["date", "instrument"])["amount"]
    assert (left == wanted.reindex(left.index)).all()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE bars SET close = 'ten' WHERE {where}")  # noqa: S608
    with pytest.raises(
        SourceError, match=r"query's result, column close: 'ten' is no number; name"
    ):
        make(sqlite).fetch(DAYS)


def test_a_bind_too_many_is_named(sqlite):
    query = QUERY.replace("WHERE", "WHERE code <> :other AND")
    with pytest.raises(SourceError, match=r"cannot be asked: .*'other'.*only :start and :end are"):
        make(sqlite, query).fetch(DAYS)


def test_a_database_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"no DuckDB file .*absent\.duckdb: source.url is duckdb"):
        make(f"duckdb:///{tmp_path}/absent.duckdb").fetch(DAYS)
    with pytest.raises(
        SourceError, match=r"source.url cannot be used: .*expected one such as post"
    ):
        make("no url").fetch(DAYS)
    with pytest.raises(SourceError, match=r"source.url cannot be reached: .*unable to open") as e:
        make(f"sqlite:////{tmp_path}/absent/bars.sqlite").fetch(DAYS)
    assert is_transient(e.value), "a database that is down may be up at the next try"


def test_a_query_without_bounds_is_refused():
    source = {
        "kind": "sql",
        "url": "sqlite://",
        "query": "SELECT 1 -- a::start",
        "basis": "adjusted",
    }
    with pytest.raises(ConfigError, match=r"source.query: has no :start and no :end: .*BETWEEN"):
        parse_config(merged({**TINY, "market": {**TINY["market"], "source": source}}, {}))
