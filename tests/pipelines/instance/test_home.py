"""DAGSTER_HOME and the UI's code locations. Oracle: Dagster's own reading of the files."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.errors import ConfigError, WarehouseError
from pipelines.instance.home import (
    dagster_instance,
    open_home,
    prepare_home,
    prepare_workspace,
    reading_instance,
)
from pipelines.instance.market_list import markets_of
from tests.pipelines.conftest import TINY

NAMED = """\
load_from:
  - python_module:
      module_name: pipelines.definitions
      location_name: pipelines
"""
OWN = "load_from:\n  - python_file: {relative_path: mine.py, location_name: mine}\n"


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")


def names(market) -> list[str]:
    return sorted(path.name for path in market.paths.dagster.iterdir())


def workspace_of(market) -> list[Path]:
    return prepare_workspace(market.paths.dagster, ["second", "tiny"])


def test_the_workspace_names_a_code_location_a_market_and_is_written_once(market):
    (path,) = workspace_of(market)
    assert path.parent == market.paths.dagster
    assert [entry["python_module"] for entry in yaml.safe_load(path.read_text())["load_from"]] == [
        {"module_name": "pipelines.code_locations", "attribute": name, "location_name": name}
        for name in ("second", "tiny")
    ]
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert workspace_of(market) == [path]
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert prepare_home(market.paths.dagster) == path.parent
    assert names(market) == ["dagster.yaml", "generated_workspace.yaml"]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        (OWN, ["generated_workspace.yaml", "workspace.yaml"]),
        ("", ["generated_workspace.yaml", "workspace.yaml"]),
        (NAMED + OWN.removeprefix("load_from:\n"), ["workspace.yaml"]),
        ("load_from:\n  - python_module: pipelines.definitions\n", ["workspace.yaml"]),
    ],
)
def test_the_owners_workspace_stays_and_no_location_is_loaded_twice(market, text, files):
    own = prepare_home(market.paths.dagster) / "workspace.yaml"
    own.write_text(text)
    before = own.stat()
    assert [path.name for path in workspace_of(market)] == files
    assert own.read_text() == text
    assert (own.stat().st_mtime_ns, own.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_workspace_that_is_no_yaml_is_named(market):
    own = prepare_home(market.paths.dagster) / "workspace.yaml"
    own.write_text("load_from: [\n")
    with pytest.raises(ConfigError, match=r"workspace\.yaml, line 2: .*correct the file"):
        workspace_of(market)


def test_a_home_that_cannot_be_made_says_what_to_do(market):
    home = market.paths.dagster
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("in the way")
    said = r"cannot prepare .*set RNN_DATA_DIR to a folder"
    with pytest.raises(WarehouseError, match=said):
        prepare_workspace(home, ["tiny"])
    with pytest.raises(WarehouseError, match=said):
        prepare_home(home)


@pytest.mark.parametrize("opened", [dagster_instance, reading_instance])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run_retries: {enabled: maybe}\n", r"dagster\.yaml: .*run_retries.*correct the file"),
        ("storage: {custom: {module: nowhere, class: A, config: {}}}\n", "import module nowhere"),
    ],
)
def test_settings_that_dagster_refuses_are_named(market, opened, text, said):
    (prepare_home(market.paths.dagster) / "dagster.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"(?s)Dagster cannot open .*{said}"), opened(market):
        pytest.fail("there is no such instance")


def test_an_event_log_of_before_the_move_is_named_with_the_way_out(market):
    path = prepare_home(market.paths.dagster) / "dagster.yaml"
    path.write_text(path.read_text().replace("pipelines.instance.", "pipelines.") + "# mine\n")
    said = "write module pipelines.instance.event_log and class LocalEventLogStorage"
    with pytest.raises(ConfigError, match=said), dagster_instance(market):
        pytest.fail("the module is gone")


def test_the_owners_log_bucket_is_used_by_commands_too(market):
    path = prepare_home(market.paths.dagster) / "dagster.yaml"
    with dagster_instance(market) as instance:
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
    folder = market.paths.root / "logs"
    local = "dagster._core.storage.local_compute_log_manager, class: LocalComputeLogManager"
    own = f"compute_logs: {{module: {local}, config: {{base_dir: {folder}}}}}\n"
    path.write_text(path.read_text() + own)
    with dagster_instance(market) as instance:
        assert type(instance.compute_log_manager).__name__ == "LocalComputeLogManager"


def start_ui(folder, monkeypatch, *arguments: str) -> tuple[int, list[str]]:
    """The command `ui` in a folder with a YAML; gives its status and the program it started."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RNN_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("RNN_CONFIG", "")
    started = []
    monkeypatch.setattr(
        "pipelines.instance.ui_process.supervise",
        lambda command, *descriptors, **rest: started.append((command, descriptors)) or 9,
    )
    status = main(["ui", "--config", "mine.yaml", *arguments])
    ((command, (claim,)),) = started
    assert claim > 2
    return status, list(command)


def test_the_ui_starts_outside_the_project(tmp_path, monkeypatch):
    """`dg dev` is given the workspace, and the whole path of the YAML is kept."""
    status, words = start_ui(tmp_path, monkeypatch, "--port", "3210")
    assert status == 9
    assert Path(words[0]).name == "dg"
    assert words[1] == "dev"
    workspace = Path(words[words.index("--workspace") + 1])
    assert workspace == tmp_path / "data" / "dagster" / "generated_workspace.yaml"
    assert workspace.is_file()
    assert words[words.index("--port") + 1] == "3210"
    (entry,) = yaml.safe_load(workspace.read_text())["load_from"]
    assert entry["python_module"]["attribute"] == "tiny"
    assert markets_of(tmp_path / "data") == {"tiny": str(tmp_path / "mine.yaml")}
    assert os.environ["DAGSTER_HOME"] == str(workspace.parent)


def test_a_ui_for_others_says_that_it_asks_for_no_password(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("DAGSTER_WEBSERVER_PATH_PREFIX", raising=False)
    _, words = start_ui(tmp_path, monkeypatch, "--port", "3210")
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "password" not in capfd.readouterr().out
    assert "DAGSTER_WEBSERVER_PATH_PREFIX" not in os.environ
    monkeypatch.setenv("DAGSTER_WEBSERVER_PATH_PREFIX", "")
    _, words = start_ui(
        tmp_path,
        monkeypatch,
        "--port",
        "3210",
        "--host",
        "0.0.0.0",  # noqa: S104
        "--path-prefix",
        "/rnn",
    )
    assert words[words.index("--host") + 1] == "0.0.0.0"  # noqa: S104
    assert os.environ["DAGSTER_WEBSERVER_PATH_PREFIX"] == "/rnn"
    said = capfd.readouterr().out
    assert "the UI asks nobody for a password: whoever reaches 0.0.0.0:3210 can start" in said


@pytest.mark.parametrize("prefix", ["rnn", "/rnn/", "/"])
def test_a_path_of_a_proxy_that_is_none_is_refused(tmp_path, monkeypatch, capsys, prefix):
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    assert main(["ui", "--config", "simulated", "--path-prefix", prefix]) == 1
    assert f"--path-prefix {prefix}: expected /PATH, without a slash" in capsys.readouterr().err


def test_the_ui_loads_the_owners_locations_and_says_what_it_added(tmp_path, monkeypatch, capfd):
    home = tmp_path / "data" / "dagster"
    home.mkdir(parents=True)
    (home / "workspace.yaml").write_text(OWN)
    (home / "dagster.yaml").write_text("run_retries: {enabled: true, max_retries: 2}\n")
    _, words = start_ui(tmp_path, monkeypatch)
    files = [words[i + 1] for i, word in enumerate(words) if word == "--workspace"]
    assert files == [str(home / "generated_workspace.yaml"), str(home / "workspace.yaml")]
    added = "telemetry, nux, event_log_storage, concurrency, run_monitoring, retention"
    assert f"dagster.yaml: added {added}; every other key" in capfd.readouterr().out
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_retries_max_retries == 2


@pytest.mark.thorough
def test_commands_that_open_a_new_record_at_once_leave_it_whole(market):
    """Oracle: Dagster's tables have one revision; two would keep every later command out."""
    home = market.paths.dagster
    code = (
        "import sys, time; from pathlib import Path\n"
        "from pipelines.instance.home import open_home, prepare_home\n"
        "home = prepare_home(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read(1)\n"
        "with open_home(home) as instance: print(len(instance.get_runs()))\n"
    )
    command = [sys.executable, "-c", code, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    assert [process.communicate("go")[0] for process in processes] == ["0\n"] * 4
    for file in home.rglob("*.db"):
        with sqlite3.connect(file) as record:
            assert len(record.execute("SELECT * FROM alembic_version").fetchall()) == 1, file


def test_a_record_of_two_revisions_is_named_with_the_way_out(market):
    home = prepare_home(market.paths.dagster)
    with open_home(home):
        pass
    with sqlite3.connect(home / "schedules" / "schedules.db") as record:
        record.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
    with pytest.raises(WarehouseError, match=r"is damaged: .*more than one.*sync"), open_home(home):
        pytest.fail("it cannot be opened")
