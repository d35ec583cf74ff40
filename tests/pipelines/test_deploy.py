"""The files of `deploy/` parse, and name only what exists.

Oracles: the programs that read them, where they are installed, and the project's own sources.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipelines.cli.ui import ARGUMENTS
from pipelines.instance.home import complete_home
from pipelines.instance.postgres_record import PostgresEventLog
from tests.conftest import ROOT
from tests.pipelines.records import postgres_server

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
HELM = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = DEPLOY / "systemd" / "rnn-pipelines.service"
PAGE = (ROOT / "docs" / "deploy.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {name: s for name, s in COMPOSE["services"].items() if "build" in s}


def texts() -> str:
    """All that is deployed, and the page that explains it."""
    files = [path.read_text() for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    return "\n".join([*files, PAGE])


def test_environment_variables_are_read_by_the_program_or_by_these_files():
    sources = "".join(
        path.read_text()
        for room in ("pipelines", "rnn_core")
        for path in (ROOT / room).rglob("*.py")
    )
    interpolated = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    named = {str(value) for value in leaves(yaml.safe_load((DEPLOY / "dagster.yaml").read_text()))}
    unknown = {
        name
        for name in re.findall(r"RNN_[A-Z_]*[A-Z]", texts())
        if f'"{name}"' not in sources and name not in interpolated | named
    }
    assert unknown == set()


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for nested in value.values() for leaf in leaves(nested)]
    return (
        [leaf for nested in value for leaf in leaves(nested)]
        if isinstance(value, list)
        else [value]
    )


def test_what_compose_interpolates_is_explained_in_the_example_and_the_other_way_round():
    interpolated = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    explained = set(re.findall(r"(?m)^(\w+)=", (DEPLOY / ".env.example").read_text()))
    assert interpolated == explained


def test_the_example_holds_no_secret():
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    secrets = [line for line in lines if re.match(r"\w*(PASSWORD|KEY)\w*=", line)]
    assert len(secrets) == 3
    assert all(line.endswith("=") for line in secrets)
    ignored = subprocess.run(["git", "check-ignore", "deploy/.env"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0


def test_extras_exist():
    extras = set(PROJECT["optional-dependencies"])
    lists = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE) + re.findall(r"factory\[([\w,]+)\]", texts())
    assert lists
    assert {name for text in lists for name in text.split(",")} <= extras


@pytest.mark.parametrize("service", OURS)
def test_a_service_starts_a_program_with_options_that_it_has(service):
    words = OURS[service].get("entrypoint", ["rnn-pipelines"]) + OURS[service].get("command", [])
    program = Path(sys.executable).with_name(words[0])
    if words[0] == "dagster-celery" and not program.is_file():
        pytest.skip("the extra `celery` is not installed")
    commands = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"]
    options = {word for word in words if word.startswith("--")}
    help_text = subprocess.run(
        [program, *commands, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {option for option in options if option not in help_text} == set()


def test_mounted_and_copied_files_are_there():
    for service in OURS.values():
        files = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
        assert len(files) == 3
        assert all((DEPLOY / file).is_file() for file in files)
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", DOCKERFILE):
        assert all((ROOT / name).exists() for name in line.split()[:-1])
    kept = re.findall(r"(?m)^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text())
    copied = " ".join(re.findall(r"(?m)^COPY (?!--from)(.*)$", DOCKERFILE)).split()
    assert all(
        any(name == k or name.startswith(f"{k}/") for k in kept) for name in copied if name != "./"
    )


def test_the_image_runs_as_an_ordinary_user_with_the_kernels_compiled():
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert "\nUSER rnn\n" in last
    assert "-m rnn_core.warm" in DOCKERFILE
    assert (
        DOCKERFILE.count("NUMBA_CACHE_DIR=/opt/rnn/kernels") == 2
    )  # filled by one, read by the other


def test_the_ui_is_reached_from_this_machine_alone():
    published = [port for s in COMPOSE["services"].values() for port in s.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_the_webserver_asks_the_code_server_where_it_is():
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    command = COMPOSE["services"][server["host"]]["command"]
    assert command[command.index("--port") + 1] == str(server["port"])


def test_the_settings_open_a_record_and_break_no_promise(tmp_path, monkeypatch):
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("RNN_RECORD_URL", postgres_server().database(tmp_path))
    assert complete_home(home) == []  # nothing is missing, nothing is wrong
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLog)
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


CHART = """\
schedule_storage:
  module: dagster_postgres.schedule_storage
  class: PostgresScheduleStorage
  config: &config
    postgres_url: {url}
run_storage:
  module: dagster_postgres.run_storage
  class: PostgresRunStorage
  config: *config
event_log_storage:
  module: dagster_postgres.event_log
  class: PostgresEventLogStorage
  config: *config
"""


def test_the_values_of_the_chart_put_our_event_log_in_the_place_of_dagsters(tmp_path, monkeypatch):
    """As the chart writes it: its own keys first, `additionalInstanceConfig` after them."""
    url = postgres_server().database(tmp_path).replace("postgresql:", "postgresql+psycopg2:")
    added = HELM["additionalInstanceConfig"]
    database = added["event_log_storage"]["config"].pop("postgres_db")
    assert database["username"] == HELM["postgresql"]["postgresqlUsername"]
    assert database["hostname"] == HELM["postgresql"]["postgresqlHost"]
    assert database["db_name"] == HELM["postgresql"]["postgresqlDatabase"]
    added["event_log_storage"]["config"] = {"postgres_url": url}
    (tmp_path / "dagster.yaml").write_text(CHART.format(url=url) + yaml.safe_dump(added))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLog)
    home = HELM["global"]["dagsterHome"]
    (deployment,) = HELM["dagster-user-deployments"]["deployments"]
    data = {each["name"]: each["value"] for each in deployment["env"]}["RNN_DATA_DIR"]
    assert home == f"{data}/dagster"  # where locks look for the settings


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    text = UNIT.read_text()
    (started,) = re.findall(r"(?m)^ExecStart=(\S+) (.*)$", text)
    assert started[1].split()[0] == "ui"
    assert set(re.findall(r"--[\w-]+", started[1])) <= ARGUMENTS.keys()
    installed = str(Path(sys.executable).with_name("rnn-pipelines"))
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(started[0], installed))
    checked = subprocess.run([analyze, "verify", copy], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    copy.write_text(copy.read_text().replace("KillMode=", "KilMode="))  # it can fail
    assert (
        "KilMode"
        in subprocess.run([analyze, "verify", copy], capture_output=True, text=True).stderr
    )
