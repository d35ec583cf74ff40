"""`dagster.yaml`: replaced while it is the project's, completed once it is its owner's.

Oracle: the texts that earlier releases wrote (`tests/fixtures/dagster_yaml`), Dagster's own reading
of the file, and the owner's text, which must begin every file that was completed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.errors import ConfigError
from pipelines.instance.settings import (
    complete_settings,
    is_released,
    keep_settings,
    shipped_settings,
)

RELEASED = sorted((Path(__file__).parents[2] / "fixtures" / "dagster_yaml").glob("*.yaml"))
RETRIES = "\n# Mine.\nrun_retries: {enabled: true, max_retries: 2}\n"
KEYS = {"telemetry", "nux", "event_log_storage", "concurrency", "run_monitoring", "retention"}


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "dagster"
    folder.mkdir()
    return folder


def written(home: Path, text: str) -> Path:
    path = home / "dagster.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("earlier", RELEASED, ids=lambda path: path.stem)
@pytest.mark.parametrize("place", ["here", "/moved from/elsewhere"])
def test_the_file_of_an_earlier_release_is_replaced(home, earlier, place):
    old = earlier.read_text().replace("{home}", home.as_posix() if place == "here" else place)
    path = written(home, old)
    assert complete_settings(home) == []
    assert path.read_text() == old
    keep_settings(home)
    assert path.read_text() == shipped_settings(home)
    assert yaml.safe_load(path.read_text())["event_log_storage"]["config"] == {
        "base_dir": f"{home}/history/runs"
    }


def test_five_texts_were_released_and_the_present_one_is_a_sixth(home):
    assert len(RELEASED) == 5
    assert not any(path.read_text() == shipped_settings(Path("{home}")) for path in RELEASED)
    assert is_released(shipped_settings(home))
    assert is_released(shipped_settings(Path("/some/where/else")))
    assert not is_released(shipped_settings(home) + "\n")


def test_an_unchanged_file_is_not_written_again(home):
    keep_settings(home)
    path = home / "dagster.yaml"
    before = path.stat()
    keep_settings(home)
    assert complete_settings(home) == []
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize(
    ("text", "added"),
    [
        (RETRIES, KEYS),
        ("", KEYS),
        ("# nothing but a comment", KEYS),
        ("---\ntelemetry: {enabled: true}  # no line ends here", KEYS - {"telemetry"}),
        ("storage:\n  custom:\n    module: m\n    class: C\n", KEYS - {"event_log_storage"}),
        ("run_queue: {max_concurrent_runs: 4}\n", KEYS - {"concurrency"}),
        (
            "run_coordinator:\n  module: dagster.core.run_coordinator\n"
            "  class: QueuedRunCoordinator\n  config: {max_concurrent_runs: 3}\r\n",
            KEYS - {"concurrency"},
        ),
        ("concurrency: {pools: {default_limit: 4}}\n", KEYS - {"concurrency"}),
    ],
)
def test_absent_keys_are_appended_and_nothing_else_changes(home, text, added):
    path = home / "dagster.yaml"
    path.write_bytes(text.encode())
    path.chmod(0o600)
    keep_settings(home)
    assert path.read_bytes().decode() == text
    (line,) = complete_settings(home)
    after = path.read_bytes().decode()
    assert after.startswith(text)
    assert path.stat().st_mode & 0o777 == 0o600  # it may hold a password
    own, whole = yaml.safe_load(text) or {}, yaml.safe_load(after)
    shipped = yaml.safe_load(shipped_settings(home))
    assert whole == own | {key: shipped[key] for key in added}
    names = line.removeprefix(f"{path}: added ").removesuffix("; every other key is as it was")
    assert set(names.split(", ")) == added
    assert complete_settings(home) == []
    assert path.read_bytes().decode() == after
    for key in added:  # with the comment that explains it
        comment = re.split(rf"(?m)^{key}:", shipped_settings(home))[0].rsplit("\n\n", 1)[1]
        assert f"\n{comment}{key}:" in after


def test_dagster_takes_what_was_completed(home):
    written(home, RETRIES)
    complete_settings(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert type(instance.event_log_storage).__name__ == "LocalEventLogStorage"
        assert instance.run_monitoring_enabled


@pytest.mark.parametrize("text", ["{telemetry: {enabled: true}}\n", "  nux:\n    enabled: true\n"])
def test_a_form_that_cannot_be_appended_to_is_left_and_named(home, text):
    path = written(home, text)
    (line, *_) = complete_settings(home)
    assert "event_log_storage" in line
    assert "cannot be added" in line
    assert "copy what you want from" in line
    assert path.read_text() == text


def test_a_file_that_a_link_names_is_written_through_the_link(home, tmp_path):
    """As Kubernetes mounts a ConfigMap."""
    target = tmp_path / "mounted.yaml"
    target.write_text(RETRIES)
    (home / "dagster.yaml").symlink_to(target)
    complete_settings(home)
    assert (home / "dagster.yaml").is_symlink()
    assert set(yaml.safe_load(target.read_text())) == KEYS | {"run_retries"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", r"dagster\.yaml, line 3: .*nothing was written, correct"),
        ("a: 1\n\tb: 2\n", r"dagster\.yaml, line 2: "),
        ("- a\n- b\n", r"dagster\.yaml: it holds a list; expected `key: value` lines"),
        (b"a: \xff\n", r"dagster\.yaml: .*can't decode.*expected UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_stays(home, text, said):
    path = home / "dagster.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    for act in (keep_settings, complete_settings):
        with pytest.raises(ConfigError, match=said):
            act(home)
    assert path.read_bytes() == before


POSTGRES = (
    "storage:\n  custom:\n    module: pipelines.instance.postgres_record\n"
    "    class: PostgresRecord\n    config: {postgres_url: p}\n"
)
LOG = "event_log_storage: {{module: {}, class: {}, config: {{base_dir: {}}}}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            LOG.format("pipelines.event_log", "LocalEventLogStorage", "HOME/history/runs"),
            "the module pipelines.event_log, which has moved; write module "
            "pipelines.instance.event_log and class LocalEventLogStorage",
        ),
        (
            LOG.format("dagster._core.storage.event_log", "SqliteEventLogStorage", "x"),
            "SqliteEventLogStorage stores one event at a time",
        ),
        (
            "storage: {postgres: {postgres_url: p}}\n",
            "storage: postgres stores one event at a time, and plans a check for every session; "
            "use storage: custom with module pipelines.instance.postgres_record",
        ),
        ("storage: {sqlite: {base_dir: x}}\n", "storage: sqlite stores one event at a time"),
        (
            LOG.format("pipelines.instance.event_log", "LocalEventLogStorage", "/other/history"),
            "the event log is in /other/history, another home's if this one was copied; write "
            "base_dir: HOME/history/runs",
        ),
        ("run_monitoring: {enabled: false}\n", "run_monitoring is not enabled"),
        ("run_monitoring: {poll_interval_seconds: 9}\n", "run_monitoring is not enabled"),
        ("run_monitoring:\n", "run_monitoring is not enabled"),
        (
            "run_monitoring: {enabled: true}\n",
            "lacks free_slots_after_run_end_seconds, and a canceled training keeps",
        ),
    ],
)
def test_a_setting_that_breaks_a_promise_is_named_each_time_and_never_replaced(home, text, said):
    text = text.replace("HOME", str(home))
    path = written(home, text)
    for _ in range(2):
        warning = complete_settings(home)[-1]
        assert warning.startswith(f"{path}: ")
        assert said.replace("HOME", str(home)) in warning
        assert path.read_text().startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        POSTGRES,
        "storage: {custom: {module: mine, class: Mine, config: {}}}\n",
        LOG.format("mine", "Mine", "x"),
        LOG.format("pipelines.instance.event_log", "LocalEventLogStorage", "{env: HOME}"),
        "run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 5}\n",
        "concurrency: {pools: {default_limit: 8}}\n",
        "compute_logs: {module: m, class: C, config: {}}\n",
    ],
)
def test_an_owner_may_choose(home, text):
    written(home, text)
    (line,) = complete_settings(home)
    assert ": added " in line


def test_a_home_that_is_gone_is_made_again(home):
    shutil.rmtree(home)
    keep_settings(home)
    assert (home / "dagster.yaml").read_text() == shipped_settings(home)
