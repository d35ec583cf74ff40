"""Markets of a data folder as code locations. Oracle: Dagster's own loading of the workspace."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from pipelines import code_locations
from pipelines.cli.main import main
from pipelines.errors import ConfigError, WarehouseError
from pipelines.instance.home import open_home, prepare_home, prepare_workspace
from pipelines.instance.market_list import keep_config, markets_of
from pipelines.market.paths import Paths
from tests.pipelines.conftest import TINY, merged


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, with two YAMLs beside it."""
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RNN_CONFIG", "")
    monkeypatch.setenv("DAGSTER_HOME", "")
    for name in ("tiny", "second"):
        text = yaml.safe_dump(merged(TINY, {"name": name}))
        (tmp_path / f"{name}.yaml").write_text(text)
    code_locations._definitions.cache_clear()
    return tmp_path / "data"


def keep(data, *names) -> None:
    for name in names:
        keep_config(Paths(data / name), data.parent / f"{name}.yaml")


def test_every_market_of_the_folder_is_known_by_its_yaml(data):
    assert markets_of(data) == {}
    keep(data, "tiny", "second")
    (data / "reports").mkdir()
    (data / "dagster").mkdir()
    (data / "notes").mkdir()  # no market
    (data / "earlier" / "warehouse").mkdir(parents=True)
    (data / "sample" / "warehouse").mkdir(parents=True)
    assert markets_of(data) == {
        "earlier": None,
        "sample": "sample",
        "second": str(data.parent / "second.yaml"),
        "tiny": str(data.parent / "tiny.yaml"),
    }
    assert main(["status"]) == 1


def test_a_broken_yaml_takes_down_its_own_market_only(data):
    """Each location is loaded by a process of its own, as by the webserver."""
    keep(data, "tiny", "second")
    (data.parent / "second.yaml").write_text("name: second\nmarket: {calender: XNYS}\n")
    home = prepare_home(data / "dagster")
    (path,) = prepare_workspace(home, markets_of(data))
    with (
        open_home(home) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(path)])) as process,
    ):
        entries = process.create_request_context().get_code_location_entries()
        assert set(entries) == {"tiny", "second"}
        assert entries["tiny"].load_error is None
        error = entries["second"].load_error
        assert error is not None
        while error.cause is not None:
            error = error.cause
        assert "market.calender (line 2): unknown key; did you mean 'calendar'" in error.message
        (repository,) = entries["tiny"].code_location.get_repositories().values()
        keys = {node.asset_key for node in repository.get_asset_node_snaps()}
        assert dg.AssetKey(["tiny", "ohlcv"]) in keys
        assert {key.path[0] for key in keys} == {"tiny"}
        jobs = {job.name for job in repository.get_all_jobs()}
        assert jobs >= {"tiny_daily", "tiny_reports", "tiny_refit"}
        assert repository.has_schedule("tiny_daily_retraining")


def test_a_location_says_what_is_wrong(data):
    with pytest.raises(AttributeError):
        code_locations.__path__  # noqa: B018 - asked for by Python itself
    with pytest.raises(ConfigError, match="no market nothing whose YAML is known"):
        code_locations.nothing  # noqa: B018
    keep(data, "tiny")
    (data.parent / "tiny.yaml").write_text(yaml.safe_dump(merged(TINY, {"name": "other"})))
    with pytest.raises(ConfigError, match=r"tiny.yaml describes the market other now, not tiny"):
        code_locations.tiny  # noqa: B018
    keep(data, "second")
    (data / "second" / "dagster").mkdir()
    said = "is in .*second/dagster, .*`rnn-pipelines sync --config .*` brings it over"
    with pytest.raises(WarehouseError, match=said):
        code_locations.second  # noqa: B018


def shown_by_ui(monkeypatch, *words: str) -> list[str]:
    """The markets that the UI is started with."""
    started: list[list[str]] = []
    monkeypatch.setattr(
        "pipelines.instance.ui_process.supervise",
        lambda command, *descriptors, **rest: started.append(command) or 0,
    )
    assert main(["ui", *words]) == 0
    (command,) = started
    text = Path(command[command.index("--workspace") + 1]).read_text()
    return [entry["python_module"]["attribute"] for entry in yaml.safe_load(text)["load_from"]]


def test_the_ui_shows_every_market_or_those_that_are_named(data, monkeypatch, capsys):
    assert shown_by_ui(monkeypatch) == ["sample"]  # an empty folder
    keep(data, "tiny", "second")
    (data / "earlier" / "warehouse").mkdir(parents=True)
    (data.parent / "second.yaml").write_text("no market")  # shown with its error
    assert shown_by_ui(monkeypatch) == ["sample", "second", "tiny"]
    assert "earlier is not shown: its YAML is not known" in capsys.readouterr().out
    assert shown_by_ui(monkeypatch, "tiny") == ["tiny"]
    assert shown_by_ui(monkeypatch, "tiny", str(data.parent / "second.yaml")) == ["tiny", "second"]
    assert shown_by_ui(monkeypatch, "--config", str(data.parent / "tiny.yaml")) == ["tiny"]
    monkeypatch.setenv("RNN_CONFIG", str(data.parent / "tiny.yaml"))
    assert shown_by_ui(monkeypatch) == ["sample", "second", "tiny"]


def test_status_without_a_market_is_about_all(data, monkeypatch, capsys):
    """One that cannot be looked at does not hide the others."""
    keep(data, "tiny", "second")
    assert main(["status", "--json"]) == 3
    assert [each["market"] for each in json.loads(capsys.readouterr().out)] == ["second", "tiny"]
    assert main(["status", "--json", "--config", str(data.parent / "tiny.yaml")]) == 3
    assert json.loads(capsys.readouterr().out)["market"] == "tiny"
    (data.parent / "second.yaml").write_text("no market")
    assert main(["status"]) == 1
    said = capsys.readouterr()
    assert "tiny, newest closed session" in said.out
    assert "error: second: " in said.err


def test_fresh_deletes_no_market_that_is_not_named(data, capsys):
    assert main(["demo", "--fresh"]) == 1
    assert "name the one" in capsys.readouterr().err
    assert not data.exists()
