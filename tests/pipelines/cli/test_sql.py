"""`rnn-pipelines sql` asks, and reads the market alone.

Oracle: a text outside the market that nobody sees, and the files of the machine before and after.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import duckdb
import fsspec
import pytest

from pipelines.cli.main import main
from pipelines.warehouse.catalog import memory_catalog, reads_files_of
from pipelines.warehouse.engine_files import confine
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from pipelines.warehouse.stores import open_store
from tests.pipelines.conftest import partition_bytes
from tests.pipelines.finished_markets import copy_of

HUSH = "f3a9c1 is for nobody"


@pytest.fixture(scope="module")
def untouched(finished):
    """The market, every byte of which is as it was once all have asked."""
    before = partition_bytes(finished), finished.paths.catalog.read_bytes()
    yield finished
    assert (partition_bytes(finished), finished.paths.catalog.read_bytes()) == before


@pytest.fixture
def outside(untouched, tmp_path, monkeypatch) -> Path:
    """A folder with a text, a table and a database, beside the market that is asked."""
    monkeypatch.setattr("pipelines.cli.sql.state_of", lambda *_, **__: untouched)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hush.txt").write_text(HUSH)
    (tmp_path / "hush.csv").write_text(f"a\n{HUSH}\n")
    duckdb.sql(f"COPY (SELECT '{HUSH}' AS a) TO '{tmp_path}/hush.parquet'")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute(f"CREATE TABLE hush AS SELECT '{HUSH}' AS a")
    return tmp_path


READS = (
    *("FROM read_text('{here}/hush.txt')", "FROM read_blob('{here}/hush.txt')"),
    *("FROM read_csv('{here}/hush.csv')", "FROM '{here}/hush.csv'", "FROM 'hush.csv'"),
    *("FROM '{here}/hush.parquet'", "FROM parquet_metadata('{here}/hush.parquet')"),
    *("FROM read_json('{here}/hush.txt')", "FROM sniff_csv('{here}/hush.csv')"),
    *(
        "FROM read_text('{inside}/../../../../../../../../{here}/hush.txt')",
        "FROM glob('{here}/*')",
    ),
    *(
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/proc/self/environ')",
        "FROM glob('/etc/*')",
    ),
    *("FROM read_text('{inside}_beside/x')", "FROM query('FROM read_text(''{here}/hush.txt'')')"),
    *("SELECT * FROM ohlcv, read_text('{here}/hush.txt')", "FROM 'https://example.com/x.csv'"),
    *(
        "EXPLAIN FROM read_csv('{here}/hush.csv')",
        "FROM duckdb_secrets()",
        "FROM args",
        "FROM market",
    ),
)
WRITES = (
    *("COPY (SELECT 1) TO '{here}/new.csv'", "COPY ohlcv TO '{inside}/new.parquet'"),
    *("EXPORT DATABASE '{here}/new'", "IMPORT DATABASE '{here}'", "CREATE TABLE new AS SELECT 1"),
    *(
        "ATTACH '{here}/other.duckdb'",
        "ATTACH '{here}/new.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ),
    *("SET enable_external_access = true", "RESET lock_configuration", "SET threads = 1"),
    *("PRAGMA enable_profiling", "PRAGMA profiling_output='{here}/new'", "CALL force_checkpoint()"),
    *("EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}/new.csv'", "DROP VIEW ohlcv", "CHECKPOINT"),
    *("explain analyse COPY (SELECT 1) TO '{inside}/new.csv'", "VACUUM", "USE memory"),
    *("SELECT 1; COPY (SELECT 1) TO '{here}/new.csv'", "CREATE SECRET s (TYPE s3)"),
    *(
        "PREPARE p AS COPY (SELECT 1) TO '{here}/new.csv'",
        "/* */ COPY (SELECT 1) TO '{here}/new.csv'",
    ),
    *(
        "WITH a AS (COPY (SELECT 1 AS z) TO '{inside}/new.parquet') FROM a",
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM ohlcv'))",
        "WITH a AS (COPY (FROM label) TO '{inside}/label' "
        "(FORMAT parquet, PARTITION_BY (date), OVERWRITE true)) FROM a",
    ),
    *("INSERT INTO _views VALUES ('a', 'b')", "DELETE FROM _views", "ALTER VIEW ohlcv RENAME TO o"),
)


@pytest.mark.parametrize("query", [*READS, *WRITES])
def test_a_query_neither_writes_nor_reads_outside_the_market(query, finished, outside, capsys):
    folders = (outside, finished.paths.root, finished.paths.warehouse)
    before = [sorted(folder.iterdir()) for folder in folders]
    given = query.format(here=outside, inside=finished.paths.warehouse)
    assert main(["sql", given, "--csv"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert HUSH not in said.err
    assert "root:" not in said.err
    if query in WRITES:
        assert "--unsafe" in said.err
    assert [sorted(folder.iterdir()) for folder in folders] == before


@pytest.mark.parametrize(
    "query",
    [
        "FROM latest_signal", "SHOW TABLES", "DESCRIBE ohlcv", "SUMMARIZE label", "FROM provenance",
        "WITH a AS (FROM ohlcv) SELECT count(*) AS n FROM a", "EXPLAIN FROM ohlcv", "VALUES (1)",
        "SELECT * FROM range(3), generate_series(1, 2), unnest([1])", "FROM duckdb_tables()",
        "EXPLAIN (FORMAT json) FROM label", "-- a\nexplain SELECT 1", "PIVOT label ON instrument "
        "IN ('A', 'B') USING avg(label)",
        "FROM (PIVOT label ON instrument IN ('A', 'B') USING avg(label))", "-- text\nFROM label",
        "SELECT model, max(ic) FROM evaluations GROUP BY ALL; ", "FROM latest_orders",
    ],
)  # fmt: skip
def test_questions_are_answered(query, outside, capsys):
    assert main(["sql", query, "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_a_market_that_was_moved_is_asked_where_it_lies(finished, tmp_path, monkeypatch, capsys):
    """Its catalog names the files of the place that it was made in."""
    moved = copy_of(finished, tmp_path / "elsewhere")
    assert reads_files_of(finished.paths.catalog, finished.tables)
    assert not reads_files_of(moved.paths.catalog, moved.tables)
    monkeypatch.setattr("pipelines.cli.sql.state_of", lambda *_, **__: moved)
    assert main(["sql", "SELECT count(DISTINCT date) AS n FROM label", "--csv"]) == 0
    assert int(capsys.readouterr().out.split()[1]) > 80


@pytest.fixture
def linked(finished, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A market whose labels were moved to another disk, and that disk, with a text beside them."""
    # Files are moved and removed here, and none is written to.
    market, disk = copy_of(finished, tmp_path / "market", linked=True), tmp_path / "disk"
    disk.mkdir()
    table = market.paths.warehouse / "label"
    table.rename(disk / "moved")
    table.symlink_to(disk / "moved")
    (disk / "hush.csv").write_text(f"a\n{HUSH}\n")
    monkeypatch.setattr("pipelines.cli.sql.state_of", lambda *_, **__: market)
    return market.paths.warehouse, disk


def test_a_table_that_its_owner_moved_by_a_link_is_asked(linked, capsys):
    assert main(["sql", "SELECT count(DISTINCT date) AS n FROM label", "--csv"]) == 0
    assert int(capsys.readouterr().out.split()[1]) > 80
    assert main(["sql", "SELECT max(date) FROM label JOIN ohlcv USING (date)", "--csv"]) == 0


@pytest.mark.parametrize(
    "query",
    [
        # DuckDB makes `label/../x` into `x`, inside of the warehouse; the system goes by the link.
        "FROM read_csv('{inside}/label/../hush.csv')",
        "FROM read_csv('{inside}/label/.' || './hush.csv')",
        "FROM query('FROM read_csv(''{inside}/label/.'' || ''./hush.csv'')')",
        "FROM read_csv('{disk}/hush.csv')",
        "FROM glob('{disk}/*')",
        "SELECT * FROM label, read_csv('{inside}/label/../hush.csv')",
        "EXPLAIN FROM read_csv('{inside}/label/../hush.csv')",
    ],
)
def test_a_link_of_a_table_opens_no_way_beside_it(query, linked, capsys):
    inside, disk = linked
    assert main(["sql", query.format(inside=inside, disk=disk), "--csv"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert HUSH not in said.err
    assert "--unsafe" in said.err


# Constants that are another where the text is checked than where it is run.
CHOSEN = (
    "current_database() = 'memory'",
    "current_setting('allowed_directories')::VARCHAR = '[]'",
    "random() < 0.5",
)


@pytest.mark.parametrize("chosen", CHOSEN)
@pytest.mark.parametrize(
    "query",
    [
        "FROM query(CASE WHEN {chosen} THEN 'SELECT 1' ELSE '{read}' END)",
        "WITH a AS (SELECT (SELECT max(a) FROM Query(CASE WHEN {chosen} THEN 'SELECT 1 AS a' "
        "ELSE '{read}' END)) AS b) FROM a",
        "EXPLAIN (FORMAT json) FROM query(CASE WHEN {chosen} THEN 'SELECT 1' ELSE '{read}' END)",
        "-- a\nEXPLAIN FROM query(CASE WHEN {chosen} THEN 'SELECT 1' ELSE '{read}' END)",
        "FROM query_table(CASE WHEN {chosen} THEN 'label' ELSE '{inside}/label/../hush.csv' END)",
        "FROM json_execute_serialized_sql(CASE WHEN {chosen} THEN json_serialize_sql('FROM label') "
        "ELSE json_serialize_sql('{read}') END)",
    ],
)
def test_sql_that_a_constant_chooses_opens_no_way_either(query, chosen, linked, capsys):
    inside, _ = linked
    read = f"FROM read_csv(''{inside}/label/../hush.csv'')"
    given = query.format(chosen=chosen, read=read, inside=inside)
    for _ in range(3 if "random" in chosen else 1):  # one may be true by chance
        assert main(["sql", given, "--csv"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "--unsafe" in said.err


def test_that_way_does_lead_to_the_file(linked, capsys):
    """So that the refusals above are of something: given `--unsafe` it is printed."""
    inside, _ = linked
    read = f"FROM read_csv(''{inside}/label/../hush.csv'')"
    query = f"FROM query(CASE WHEN current_database() = 'x' THEN 'SELECT 1' ELSE '{read}' END)"
    assert main(["sql", query, "--csv", "--unsafe"]) == 0
    assert HUSH in capsys.readouterr().out


def test_a_confined_catalog_opens_nothing_beside_a_table(linked):
    """Without any look at the text: the folders that are open have no link with a `..` behind."""
    inside, disk = linked
    with contextlib.closing(duckdb.connect()) as connection:
        store = LocalStore(inside)
        confine(connection, store)
        part = f"{inside}/label/date=2020-04-15/{PART}"
        assert connection.sql(f"FROM read_parquet('{part}')").fetchall()
        for path in (f"{inside}/label/../hush.csv", f"{disk}/hush.csv", f"{inside}/market.json"):
            with pytest.raises(duckdb.PermissionException):
                connection.sql(f"FROM read_csv('{path}')").fetchall()


def test_tables_are_asked_by_their_full_name(outside, capsys):
    """As `SHOW ALL TABLES` prints them."""
    assert main(["sql", "SHOW ALL TABLES", "--csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    names = [row.split(",")[:3] for row in rows if ",label," in row]
    assert names
    full = '"{}"."{}"."{}"'.format(*names[0])
    query = f"SELECT count(*) AS n FROM {full}"  # noqa: S608
    assert main(["sql", query, "--csv"]) == 0
    assert int(capsys.readouterr().out.split()[1]) > 80


def test_a_view_without_files_is_in_nobodys_way_that_only_names_it(linked, capsys):
    inside, _ = linked
    (inside / "ohlcv").rename(inside / "ohlcv_gone")
    (inside / "ohlcv").mkdir()
    assert main(["sql", "SELECT 'ohlcv' AS name, count(*) FROM label", "--csv"]) == 0
    assert "ohlcv" in capsys.readouterr().out
    assert main(["sql", "FROM ohlcv", "--csv"]) == 1
    assert "Table with name ohlcv does not exist" in capsys.readouterr().err


def test_a_link_further_down_leads_nowhere(linked, capsys):
    """Nobody moves a session or a file by a link, and each could name any file."""
    _, disk = linked
    (session,) = (disk / "moved").glob("date=2020-04-15")
    session.rename(disk / "session")
    session.symlink_to(disk / "session")
    assert main(["sql", "SELECT count(*) FROM label", "--csv"]) == 1
    assert "--unsafe" in capsys.readouterr().err
    session.unlink()
    session.mkdir()
    (session / PART).symlink_to(disk / "session" / PART)
    assert main(["sql", "SELECT count(*) FROM label", "--csv"]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_link_that_somebody_else_made_is_refused(linked, capsys):
    inside, _ = linked
    os.chown(inside / "label", 65534, -1, follow_symlinks=False)
    assert main(["sql", "SELECT count(*) FROM ohlcv", "--csv"]) == 1
    assert f"{inside / 'label'} is a link" in capsys.readouterr().err


def test_a_remote_market_is_confined_too(finished, tmp_path):
    """Its views ask the store, and a path beside the store is no part of it."""
    store = open_store(f"memory://{tmp_path.name}/warehouse", {})
    for key in (keys := finished.warehouse.sessions("label")[-3:]):
        data = finished.warehouse.store.read("label", f"date={key}", PART)
        store.write(data, "label", f"date={key}", PART)
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/hush.txt", HUSH.encode())
    with contextlib.closing(memory_catalog(store, {}, {})) as catalog:
        confine(catalog, store)
        days = catalog.sql("SELECT DISTINCT date::VARCHAR FROM label ORDER BY 1").fetchall()
        assert days == [(key,) for key in keys]
        for query in (
            f"FROM read_text('memory://{tmp_path.name}/hush.txt')",
            f"FROM read_text('memory://{tmp_path.name}/warehouse/../hush.txt')",
            "FROM read_csv('/etc/passwd')",
            f"COPY (SELECT 1) TO 'memory://{tmp_path.name}/new.csv'",
            f"COPY (SELECT 1) TO 'memory://{tmp_path.name}/warehouse/new.csv'",
        ):
            with pytest.raises((duckdb.Error, OSError)):
                catalog.sql(query).fetchall()
    assert fsspec.filesystem("memory").ls(f"/{tmp_path.name}", detail=False) == [
        f"/{tmp_path.name}/hush.txt",
        f"/{tmp_path.name}/warehouse",
    ]


def test_unsafe_takes_what_duckdb_takes(outside, capsys):
    assert main(["sql", f"FROM read_text('{outside}/hush.txt')", "--csv", "--unsafe"]) == 0
    assert HUSH in capsys.readouterr().out
    assert main(["sql", f"COPY (SELECT 1) TO '{outside}/new.csv'", "--unsafe"]) == 0
    assert (outside / "new.csv").read_text() == "1\n1\n"
    assert main(["sql", "DROP VIEW ohlcv", "--unsafe"]) == 1, "the catalog stays read-only"
