"""The catalog that people open: views over the files, swapped in while others read."""

from __future__ import annotations

import json
import shutil

import duckdb
import pandas as pd
import pytest

from pipelines.warehouse import catalog, revisions
from pipelines.warehouse.catalog import latest_orders_sql, refresh_catalog
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import remove_leftovers
from tests.pipelines.processes import Forked

TABLES = {model: f"{model}_prediction" for model in ("lstm", "gru", "krnn")}


def test_views_show_every_table(finished):
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        sql = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        views = {row[0] for row in connection.execute(sql).fetchall()}
        tables = set(finished.warehouse.store.tables())
        of_all = {"latest_signal", "evaluations", "latest_orders", "positions", "daily_returns"}
        assert views == tables | of_all | {"provenance"}
        assert {"ohlcv", "lstm_model", "krnn_evaluation", "ohlcv_quarantine"} <= views
        days = connection.execute("SELECT count(DISTINCT date) FROM ohlcv").fetchone()[0]
    assert days == len(finished.sessions)


def test_latest_signal_ranks_the_newest_scores_of_each_model(finished):
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        rows = connection.execute("SELECT * FROM latest_signal").df()
    assert set(rows["model"]) == {"lstm", "gru", "krnn"}
    assert (rows["date"].dt.strftime("%Y-%m-%d") == finished.sessions.keys[-1]).all()
    for _, of_model in rows.groupby("model"):
        assert of_model["score"].is_monotonic_decreasing
        assert of_model["rank"].tolist() == list(range(1, len(of_model) + 1))
    newest = finished.warehouse.read(
        "gru_prediction", [finished.sessions.keys[-1]], needed_by="test"
    ).frame.set_index("instrument")["score"]
    of_gru = rows[rows["model"] == "gru"].set_index("instrument")["score"]
    assert of_gru.to_dict() == newest.to_dict()


def test_the_views_over_all_books_are_their_tables_one_below_the_other(finished):
    """Oracle: the partitions of one model, and a newest session without an order."""
    keys = finished.warehouse.sessions("gru_book")

    def of_gru(kind, read=keys):
        return finished.warehouse.read(f"gru_{kind}", read, needed_by="test").frame

    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        positions, returns, orders = (
            connection.execute(f"SELECT * FROM {view} WHERE model = 'gru'").df()  # noqa: S608 - names of this file
            for view in ("positions", "daily_returns", "latest_orders")
        )
    assert positions["amount"].tolist() == of_gru("portfolio")["amount"].tolist()
    assert returns["return_with_cost"].tolist() == of_gru("book")["return_with_cost"].tolist()
    assert orders["instrument"].tolist() == of_gru("orders", keys[-1:])["instrument"].tolist()
    sql = latest_orders_sql(["a"])
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE a_book (date DATE)")
        connection.execute("CREATE TABLE a_orders (date DATE, sequence INTEGER)")
        connection.execute("INSERT INTO a_book VALUES ('2020-01-02'), ('2020-01-03')")
        connection.execute("INSERT INTO a_orders VALUES ('2020-01-02', 1)")
        assert not connection.execute(sql).fetchall(), "yesterday's list is nobody's of today"


def test_one_query_answers_ic_by_month_by_model(finished):
    """Oracle: the evaluation partitions of one model."""
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        rows = connection.execute(
            "SELECT model, date_trunc('month', decision_date) AS month, avg(ic) AS ic "
            "FROM evaluations GROUP BY ALL ORDER BY ALL"
        ).df()
    keys = finished.warehouse.sessions("gru_evaluation")
    own = finished.warehouse.read("gru_evaluation", keys, needed_by="test").frame
    month = pd.to_datetime(own["decision_date"]).dt.to_period("M").dt.to_timestamp()
    expected = own.groupby(month)["ic"].mean()
    of_gru = rows[rows["model"] == "gru"].set_index("month")["ic"]
    assert set(rows["model"]) == {"lstm", "gru", "krnn"}
    assert of_gru.to_list() == pytest.approx(expected.to_list())


def test_a_prediction_is_traced_by_one_query(finished):
    """Oracle: the footers, one by one, from the prediction to the bundle."""
    key = finished.sessions.keys[-1]
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        ((config, inputs, digest, model),) = connection.execute(
            "SELECT p.config_hash, p.inputs, p.digest, m.inputs->>'bundle' FROM provenance p "
            "JOIN provenance m ON m.asset = 'lstm_model' AND m.digest = p.inputs->>'model' "
            "AND m.date = p.date WHERE p.asset = 'lstm_prediction' AND p.date = ?",
            [key],
        ).fetchall()
    info = finished.warehouse.info("lstm_prediction", key)
    pointer = finished.warehouse.info("lstm_model", key)
    assert (config, digest) == (info.provenance.config, info.digest)
    assert json.loads(inputs) == dict(info.provenance.inputs)
    assert model == pointer.provenance.inputs["bundle"]


def test_an_open_shell_blocks_nothing(finished, tmp_path):
    """A person's connection keeps reading while the catalog is rebuilt beneath it."""
    path = tmp_path / "open.duckdb"
    store, predictions = finished.warehouse.store, TABLES
    assert refresh_catalog(path, store, predictions, {})
    assert not refresh_catalog(path, store, predictions, {}), "nothing new: not rebuilt"
    with duckdb.connect(str(path)) as shell:
        before = shell.execute("SELECT count(*) FROM label").fetchone()
        assert refresh_catalog(path, store, {"lstm": "lstm_prediction"}, {})
        assert shell.execute("SELECT count(*) FROM label").fetchone() == before
    assert [p.name for p in tmp_path.iterdir()] == ["open.duckdb"]


def test_a_damaged_catalog_is_replaced(finished, tmp_path):
    path = tmp_path / "bad.duckdb"
    path.write_bytes(b"not a database")
    assert refresh_catalog(path, finished.warehouse.store, TABLES, {})
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM ohlcv").fetchone()[0] > 0


def test_what_a_killed_rebuild_leaves_is_swept(finished, tmp_path):
    script = """
import os, sys
from pathlib import Path
from pipelines.warehouse.catalog import refresh_catalog
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import remove_leftovers
Path.replace = lambda *_: os._exit(9)
refresh_catalog(Path(sys.argv[1]), LocalStore(sys.argv[2]), {}, {})
"""
    path, store = tmp_path / "warehouse.duckdb", finished.warehouse.store
    process = Forked(script, path, store.root)
    assert process.wait() == 9, process.said()
    assert list(tmp_path.iterdir()) != []
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert refresh_catalog(path, store, TABLES, {})
    assert [item.name for item in tmp_path.iterdir()] == ["warehouse.duckdb"]


def test_a_catalog_is_opened_again_once_its_file_changed(finished, tmp_path, monkeypatch):
    """A step does not open a catalog that it knows; one that somebody replaced it opens."""
    path, store = tmp_path / "known.duckdb", finished.warehouse.store
    assert refresh_catalog(path, store, TABLES, {})
    assert not refresh_catalog(path, store, TABLES, {})
    with monkeypatch.context() as patch:
        patch.setattr(catalog.duckdb, "connect", None)
        assert not refresh_catalog(path, store, TABLES, {})
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM _views")
    assert refresh_catalog(path, store, TABLES, {})


def test_a_prediction_leads_back_to_its_bars_in_sql(finished):
    """score -> fingerprint -> the model partition that points to the same bundle."""
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        orphans = connection.execute(
            "SELECT count(*) FROM lstm_prediction p LEFT JOIN lstm_model m "
            "ON m.fingerprint = p.fingerprint AND m.date = p.date WHERE m.bundle IS NULL"
        ).fetchone()[0]
    assert orphans == 0


@pytest.mark.parametrize("table", ["alpha158", "dataset_infer"])
def test_columns_are_the_features(finished, table):
    with duckdb.connect(str(finished.paths.catalog), read_only=True) as connection:
        names = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    wanted = {"alpha158": 158, "dataset_infer": 6}[table]
    assert len(names) == wanted + 3  # instrument, member, date


def test_an_empty_table_and_an_odd_path_stop_nothing(finished, tmp_path):
    """A folder without partitions has no view; quotes and brackets in a path are literal."""
    odd = tmp_path / "it's [my] data"
    shutil.copytree(finished.paths.warehouse / "label", odd / "label")
    (odd / "alpha158" / "date=2020-01-02").mkdir(parents=True)
    path = tmp_path / "odd.duckdb"
    assert refresh_catalog(path, LocalStore(odd), {}, {})
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(DISTINCT date) FROM label").fetchone()[0] > 80
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        assert views.fetchall() == [("label",), ("provenance",)]


def test_revisions_have_a_view_of_their_own(finished, tmp_path):
    """Two earlier versions of a session; the main view and its globs show neither."""
    odd = tmp_path / "it's [my] data"
    shutil.copytree(finished.paths.warehouse / "label", odd / "label")
    store, keys = LocalStore(odd), finished.sessions.keys[-3:]
    path = tmp_path / "odd.duckdb"
    assert refresh_catalog(path, store, {}, {})
    assert revisions.keep(store, "label", keys[0]) == 1
    store.write(
        store.read("label", f"date={keys[1]}", "part-0.parquet"),
        "label",
        f"date={keys[0]}",
        "part-0.parquet",
    )
    assert revisions.keep(store, "label", keys[0]) == 2
    assert revisions.numbers(store, "label", keys[0]) == [1, 2]
    assert revisions.sessions(store, "label") == [keys[0]]
    assert refresh_catalog(path, store, {}, {}), "a first revision brings a view"
    assert not refresh_catalog(path, store, {}, {})
    with duckdb.connect(str(path), read_only=True) as connection:

        def rows(sql):
            return connection.execute(sql).fetchall()

        days = "SELECT DISTINCT date::VARCHAR, revision FROM label_revisions ORDER BY revision"
        assert rows(days) == [(keys[0], 1), (keys[0], 2)]
        columns = [row[0] for row in rows("DESCRIBE label_revisions")]
        assert columns == ["instrument", "decision_date", "label", "date", "revision"]
    n = len(finished.warehouse.sessions("label"))
    assert len(list((odd / "label").glob("**/*.parquet"))) == n
    assert store.partitions("label") == finished.warehouse.sessions("label")
