"""Commands that read write nothing. Oracle: names, times and sizes of all files below data."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.instance.home import dagster_instance, reading_instance
from pipelines.instance.run_history import work_in_progress
from pipelines.market.market import Market
from tests.pipelines.conftest import TINY, key_of, make_market, merged
from tests.pipelines.dirty_market import clean_bars
from tests.pipelines.finished_markets import recorded_copy_of

READING = [
    ["status"],
    ["status", "--json"],
    ["signal"],
    ["orders"],
    ["sql", "SHOW TABLES"],
    ["validate"],
]


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    """Times, inode and size of everything below a folder, itself included."""
    paths = [root, *root.rglob("*")] if root.exists() else []
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino, path.lstat().st_size)
        for path in paths
    }


def run(market: Market, words: list[str], folder: Path, monkeypatch) -> int:
    """A command over a market, its YAML in a folder outside of the data root."""
    folder.mkdir(exist_ok=True)
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("RNN_DATA_DIR", str(market.paths.root.parent))
    return main([*words, *(["--config"] if words[0] != "validate" else []), str(config)])


@pytest.fixture(scope="module")
def recorded(finished, tmp_path_factory):
    """A finished market on record; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        return recorded_copy_of(finished, tmp_path_factory.mktemp("recorded") / "data" / "tiny")


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_leaves_a_market_as_it_is(recorded, tmp_path, monkeypatch, words):
    before = tree(recorded.paths.root.parent)
    assert run(recorded, words, tmp_path, monkeypatch) == 0
    assert tree(recorded.paths.root.parent) == before
    assert not os.environ["DAGSTER_HOME"]


@pytest.mark.parametrize("words", READING, ids=" ".join)
@pytest.mark.parametrize("there", [True, False])
def test_a_command_that_reads_makes_nothing_where_nothing_is(
    tmp_path, monkeypatch, capsys, words, there
):
    data = tmp_path / "data"
    if there:
        data.mkdir()
    market, before = make_market(data / "tiny"), tree(data)
    status = run(market, words, tmp_path / "config", monkeypatch)
    assert status == {"status": 3, "validate": 0}.get(words[0], 1)
    assert tree(data) == before
    assert not os.environ["DAGSTER_HOME"]
    if status == 1:
        assert "demo" in capsys.readouterr().err


def test_a_calendar_of_the_data_is_derived_and_not_kept(tmp_path, monkeypatch):
    clean_bars(tmp_path).to_parquet(tmp_path / "bars.parquet", index=False)
    source = {
        "kind": "files",
        "path": str(tmp_path / "bars.parquet"),
        "basis": {"ratio": "adj_ratio"},
    }
    changes = {"market": {"calendar": {"from": "data", "timezone": "America/New_York"}}}
    raw = merged(TINY, changes)
    raw["market"]["source"] = source
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    assert main(["status", "--config", str(tmp_path / "tiny.yaml")]) == 3
    assert not (tmp_path / "data").exists()
    assert main(["sync", "--config", str(tmp_path / "tiny.yaml")]) == 0
    assert (tmp_path / "data" / "tiny" / "calendar.json").is_file()


def test_what_is_read_is_the_record(recorded):
    """Oracle: the instance that commands write with, over a copy."""
    with reading_instance(recorded) as reading:
        seen = {
            name: reading.get_materialized_partitions(key_of(name))
            for name in ("ohlcv", "lstm_prediction")
        }
        assert work_in_progress(reading, recorded, recorded.sessions.keys) is None
    with dagster_instance(recorded) as instance:
        for name, keys in seen.items():
            assert keys == instance.get_materialized_partitions(key_of(name))
            assert keys


@pytest.mark.parametrize("written_by", ["this release", "an earlier one", "its owner"])
def test_a_record_is_read_whoever_wrote_its_settings(recorded, tmp_path, written_by):
    copy = make_market(tmp_path / "data" / "tiny")
    shutil.copytree(recorded.paths.root.parent, copy.paths.root.parent)
    settings = copy.paths.dagster / "dagster.yaml"
    text = settings.read_text()
    if written_by == "an earlier one":
        old = Path(__file__).parents[2] / "fixtures" / "dagster_yaml" / "55e1127.yaml"
        text = old.read_text().replace("{home}", "/moved/away")
    if written_by == "its owner":
        text = f"storage: {{sqlite: {{base_dir: {copy.paths.dagster}}}}}\n"
    settings.write_text(text)
    before = tree(copy.paths.root.parent)
    with reading_instance(copy) as instance:
        assert instance.get_materialized_partitions(key_of("ohlcv"))
    assert tree(copy.paths.root.parent) == before


def test_a_record_at_work_is_read_up_to_its_newest_row(market):
    """The newest rows are in the file beside the database until its writer lets go."""
    with dagster_instance(market) as writer:
        for key in ("2020-01-02", "2020-01-03"):
            writer.report_runless_asset_event(
                dg.AssetMaterialization(key_of("ohlcv"), partition=key)
            )
        index = market.paths.dagster / "history" / "runs" / "index.db"
        assert index.with_name("index.db-wal").exists()
        before = sorted(market.paths.dagster.rglob("*"))
        with reading_instance(market) as reading:
            keys = reading.get_materialized_partitions(key_of("ohlcv"))
            assert keys == {"2020-01-02", "2020-01-03"}
            writer.report_runless_asset_event(
                dg.AssetMaterialization(key_of("ohlcv"), partition="2020-01-06")
            )
            assert len(reading.get_materialized_partitions(key_of("ohlcv"))) == 3
        assert sorted(market.paths.dagster.rglob("*")) == before
    assert not index.with_name("index.db-wal").exists()


def test_a_record_in_a_folder_with_odd_letters_is_read(tmp_path):
    market = make_market(tmp_path / "50% off #1 & more" / "tiny")
    with dagster_instance(market) as writer:
        writer.report_runless_asset_event(
            dg.AssetMaterialization(key_of("ohlcv"), partition="2020-01-02")
        )
    before = tree(market.paths.dagster)
    with reading_instance(market) as instance:
        assert instance.get_materialized_partitions(key_of("ohlcv")) == {"2020-01-02"}
    assert tree(market.paths.dagster) == before


def test_a_reader_cannot_write(market):
    with dagster_instance(market) as writer:
        writer.report_runless_asset_event(
            dg.AssetMaterialization(key_of("ohlcv"), partition="2020-01-02")
        )
    with reading_instance(market) as instance, pytest.raises(Exception, match="readonly database"):
        instance.report_runless_asset_event(dg.AssetMaterialization(key_of("ohlcv")))


def test_the_tree_sees_what_dagsters_own_reading_leaves(market):
    """The oracle of this module is sharp enough: a plain reader of the same file shows in it."""
    with dagster_instance(market) as writer:
        writer.report_runless_asset_event(
            dg.AssetMaterialization(key_of("ohlcv"), partition="2020-01-02")
        )
    before = tree(market.paths.dagster)
    index = market.paths.dagster / "history" / "runs" / "index.db"
    with sqlite3.connect(index) as connection:
        connection.execute("SELECT count(*) FROM event_logs").fetchall()
    connection.close()
    assert tree(market.paths.dagster) != before
