"""DAGSTER_HOME, and the UI that starts from any folder with the workspace in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.errors import WarehouseError
from pipelines.instance.home import prepare_home, prepare_workspace
from tests.pipelines.conftest import TINY


def test_the_workspace_names_the_code_location_and_is_written_once(market, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    path = prepare_workspace(market)
    assert path.parent == market.paths.dagster
    (entry,) = yaml.safe_load(path.read_text())["load_from"]
    module = entry["python_module"]
    assert module == {"module_name": "pipelines.definitions", "location_name": "pipelines"}
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert prepare_workspace(market) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert prepare_home(market) == path.parent
    assert sorted(p.name for p in path.parent.iterdir()) == ["dagster.yaml", "workspace.yaml"]


def test_it_is_the_one_at_the_root_of_the_project(market):
    shipped = Path(__file__).parents[3] / "workspace.yaml"
    written = prepare_workspace(market)
    assert yaml.safe_load(written.read_text()) == yaml.safe_load(shipped.read_text())


def test_a_home_that_cannot_be_made_says_what_to_do(market):
    market.paths.root.mkdir(parents=True)
    market.paths.dagster.write_text("in the way")
    for prepare in (prepare_workspace, prepare_home):
        with pytest.raises(WarehouseError, match=r"cannot prepare .*set RNN_DATA_DIR to a folder"):
            prepare(market)


def test_the_ui_starts_outside_the_project(tmp_path, monkeypatch):
    """`dg dev` is given the workspace and the whole path of the YAML, whatever the folder."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    for name in ("DAGSTER_HOME", "RNN_CONFIG"):
        monkeypatch.setenv(name, "")
    started = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append((program, words)))
    main(["ui", "--config", "mine.yaml", "--port", "3210"])
    ((program, words),) = started
    assert program.name == "dg"
    assert words[1] == "dev"
    workspace = Path(words[words.index("--workspace") + 1])
    assert workspace == tmp_path / "data" / "tiny" / "dagster" / "workspace.yaml"
    assert workspace.is_file()
    assert words[words.index("--port") + 1] == "3210"
    assert os.environ["RNN_CONFIG"] == str(tmp_path / "mine.yaml")
