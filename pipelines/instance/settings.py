"""`dagster.yaml` of a home: replaced by a newer release, or completed once its owner changed it.

Plain Dagster processes (webserver, daemon, a Helm chart) read the file themselves, so it holds
every setting on disk. A text that some release wrote belongs to the project, whatever folder it
names. Every other text belongs to the owner: keys are appended to it, nothing in it is changed,
and a setting that breaks a promise of the project is named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError
from pipelines.warehouse.store import atomic_write
from rnn_core.yaml_text import BoundedLoader, load_yaml

SETTINGS = "dagster.yaml"
_SHIPPED = Path(__file__).parent / SETTINGS
_RELEASED = {  # SHA-256 of earlier shipped texts, oldest first
    "150a71f980cbd2f298d423fb8a3f737a5f2e28980076b16ae3dc29291552525f",
    "173193a23371ef8429e3ea1810e7549c490671c22395d63bbafbbebc30f3f790",
    "129bfc24e4478c1b00d0c3507dabcde3e6ed30fd7fba3815ea69f084e9593835",
    "a6a86914d2cea3b02c55f31af85b75dcbafe7eaa81172a6fc92679d460f6c3da",
    "39b2fabdbb1734ca9d49e6036f3b73b19d2287a8001d7229c48364d6ab9012e6",
}
_HOME = re.compile(r'(?m)^( +base_dir: "|# ).*(/history/runs"| replaced by its path\.)$')
_BLOCK = re.compile(r"(?m)^(?:#.*\n)*(\w+):.*\n(?:  .*\n)*")
_INSTEAD = {  # Dagster refuses the key beside one of these
    "event_log_storage": {"storage"},
    "concurrency": {"run_queue", "run_coordinator"},
}
_INSTEAD_OF = {  # the same, read the other way round
    instead: {key for key, others in _INSTEAD.items() if instead in others}
    for instead in set().union(*_INSTEAD.values())
}
_OLD_MODULE, _MODULE, _CLASS = (
    "pipelines.event_log",
    "pipelines.instance.event_log",
    "LocalEventLogStorage",
)
_POSTGRES_CLASS = "module pipelines.instance.postgres_record and class PostgresRecord"
_STORAGES = {"storage", "run_storage", "event_log_storage", "schedule_storage"}
_UNBATCHED = {"SqliteEventLogStorage", "ConsolidatedSqliteEventLogStorage"}


def shipped_settings(home: Path) -> str:
    """The text of this release for a home."""
    return _SHIPPED.read_text(encoding="utf-8").replace("{home}", home.as_posix())


def is_released(text: str) -> bool:
    """True if a release wrote the text, for whatever home."""
    plain = _HOME.sub(r"\1{home}\2", text).encode()
    return plain == _SHIPPED.read_bytes() or hashlib.sha256(plain).hexdigest() in _RELEASED


def read_settings(home: Path) -> tuple[str, dict[str, Any]]:
    """The text that holds for a home and its keys; this release's where no owner wrote one.

    Raises:
        ConfigError: the owner's file is no such YAML, naming file and line.
        OSError: the file cannot be read.
    """
    content = _settings(home)
    return content.decode(errors="replace"), parse_yaml(home / SETTINGS, content)


def are_shipped(home: Path) -> bool:
    """True if a home has this release's settings, or takes them.

    Raises:
        OSError: the file cannot be read.
    """
    return _settings(home) == shipped_settings(home).encode()


def are_settings_kept(home: Path) -> bool:
    """True if the file of a home is the one of this release.

    Raises:
        OSError: the file cannot be read.
    """
    path = home / SETTINGS
    return path.is_file() and path.read_bytes() == shipped_settings(home).encode()


def _settings(home: Path) -> bytes:
    try:
        content = (home / SETTINGS).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        content = _SHIPPED.read_bytes()
    if is_released(content.decode(errors="replace")):
        content = shipped_settings(home).encode()
    return content


def parse_yaml(path: Path, content: bytes) -> dict[str, Any]:
    """The keys of a YAML file.

    Raises:
        ConfigError: it is none, naming file and line.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}; expected UTF-8 text") from error
    try:
        keys = load_yaml(text, loader=BoundedLoader) or {}
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or error
        raise ConfigError(f"{path}{line}: {why}; nothing was written, correct the file") from error
    if not isinstance(keys, dict):
        raise ConfigError(f"{path}: it holds a {type(keys).__name__}; expected `key: value` lines")
    return keys


def record_is_postgres(home: Path) -> bool:
    """True if the settings of a home name Postgres for the record.

    Raises:
        ConfigError: the owner's file is no such YAML.
        OSError: the file cannot be read.
    """
    _, settings = read_settings(home)
    return any("postgres" in str(settings.get(key, "")).lower() for key in _STORAGES)


def keep_settings(home: Path) -> None:
    """Write this release's settings where there are none, or those of an earlier release.

    Raises:
        ConfigError: the owner's file is no such YAML.
        OSError: the folder cannot be made or written.
    """
    path = home / SETTINGS
    text, _ = read_settings(home)
    if not path.is_file() or path.read_bytes() != text.encode():
        atomic_write(path, text.encode())


def complete_settings(home: Path) -> list[str]:
    """Append the top-level keys that an owner's settings lack.

    Returns:
        Lines for a person: the keys that were added, then the settings that break a promise.

    Raises:
        ConfigError: the file is no such YAML.
        OSError: the file cannot be read.
    """
    path = home / SETTINGS
    text, settings = read_settings(home)
    blocks = {
        match[1]: match[0]
        for match in _BLOCK.finditer(shipped_settings(home))
        if match[1] not in settings and not settings.keys() & _INSTEAD.get(match[1], set())
    }
    added = "".join(f"\n{block}" for block in blocks.values())
    defaults = parse_yaml(path, added.encode())
    lines = []
    if blocks:
        names = ", ".join(blocks)
        separator = "" if text.endswith("\n") or not text else "\n"
        try:
            if parse_yaml(path, (text + separator + added).encode()) != settings | defaults:
                raise ConfigError("its keys do not begin their lines")
            with path.open("ab") as file:  # in place: mode, owner and links stay
                file.write((separator + added).encode())
            lines = [f"{path}: added {names}; every other key is as it was"]
        except (OSError, ConfigError) as error:
            lines = [
                f"{path}: {names} cannot be added ({error}); copy what you want from {_SHIPPED}"
            ]
    return [*lines, *broken_promises(home, settings | defaults)]


def merge_settings(earlier: Path, home: Path) -> str:
    """Take the settings of an earlier home, which was one market's, into the home of all markets.

    Args:
        earlier: the home whose owner may have set keys.
        home: the home that takes them over.

    Returns:
        The text for the home's file; nothing is written.

    Raises:
        ConfigError: the two owners set keys differently, naming them, or the texts cannot be put
            together.
        OSError: a file cannot be read.
    """
    text, there = read_settings(home)
    path, shipped = earlier / SETTINGS, parse_yaml(home / SETTINGS, shipped_settings(home).encode())
    if not path.is_file() or is_released(path.read_bytes().decode(errors="replace")):
        return text
    old_text = path.read_text(encoding="utf-8").replace(earlier.as_posix(), home.as_posix())
    old = parse_yaml(path, old_text.encode())
    own_there = {key for key, value in there.items() if shipped.get(key) != value}
    own = {key for key, value in old.items() if shipped.get(key) != value}
    has_record = (home / "history").exists()
    differing = sorted(
        key
        for key in own
        if old[key] != there.get(key) and (key in own_there or (has_record and key in _STORAGES))
    )
    differing += sorted(
        f"{key} beside {other}"
        for key in own
        for other in own_there
        if other in _INSTEAD.get(key, ()) or key in _INSTEAD.get(other, ())
    )
    if differing:
        raise ConfigError(
            f"{path} and {home / SETTINGS} set {', '.join(differing)} differently, and all markets "
            f"share one home; make them equal in both files and give the command again, nothing "
            f"was moved"
        )
    if not own_there:
        return old_text
    wanted = {key: old[key] for key in own - own_there}
    # A key that stands instead of a shipped one takes its place.
    gone = {other for key in wanted for other in there if other in _INSTEAD_OF.get(key, ())}
    blocks = {match[1]: match[0] for match in _BLOCK.finditer(old_text)}
    kept = _BLOCK.sub(lambda m: "" if m[1] in gone | wanted.keys() else m[0], text)
    merged = kept + "".join(f"\n{blocks.get(key, '')}" for key in sorted(wanted))
    expected = {k: v for k, v in there.items() if k not in gone} | wanted
    if parse_yaml(path, merged.encode()) != expected:
        raise ConfigError(
            f"{', '.join(sorted(wanted))} of {path} cannot be put into {home / SETTINGS} by "
            f"themselves; copy them there and give the command again, nothing was moved"
        )
    return merged


def broken_promises(home: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    """Name each setting under which the project does not work as described, and the way out."""
    path = home / SETTINGS
    log = _section(settings, "event_log_storage")
    ours = f"module {_MODULE} and class {_CLASS}"
    if names_moved_module(settings):
        yield (
            f"{path}: event_log_storage names the module {_OLD_MODULE}, which has moved; "
            f"write {ours}"
        )
    if str(log.get("class")) in _UNBATCHED or "sqlite" in _section(settings, "storage"):
        name = log.get("class") or "storage: sqlite"
        yield (
            f"{path}: {name} stores one event at a time, and a backfill takes many times as "
            f"long; use event_log_storage with {ours}, or Postgres ({_POSTGRES_CLASS})"
        )
    if log.get("class") == "PostgresEventLogStorage" or "postgres" in _section(settings, "storage"):
        name = log.get("class") or "storage: postgres"
        yield (
            f"{path}: {name} stores one event at a time, and plans a check for every session; use "
            f"storage: custom with {_POSTGRES_CLASS} and the same config, see docs/deploy.md"
        )
    folder = _section(log, "config").get("base_dir")
    is_path = log.get("class") == _CLASS and isinstance(folder, str)
    if is_path and not Path(str(folder)).is_relative_to(home):
        yield (
            f"{path}: the event log is in {folder}, another home's if this one was copied; "
            f"write base_dir: {home.as_posix()}/history/runs"
        )
    monitoring = _section(settings, "run_monitoring")
    if monitoring.get("enabled") is not True:
        yield (
            f"{path}: run_monitoring is not enabled, and a run that hangs or does not start "
            f"stays for good; write enabled: true"
        )
    elif "free_slots_after_run_end_seconds" not in monitoring:
        yield (
            f"{path}: run_monitoring lacks free_slots_after_run_end_seconds, and a canceled "
            f"training keeps the accelerator's pool slot; write 60"
        )


def names_moved_module(settings: Mapping[str, Any]) -> bool:
    """True if the event log is that of the project under the module's name of before."""
    return _section(settings, "event_log_storage").get("module") == _OLD_MODULE


def _section(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A nested mapping; empty where the key is absent or holds something else."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}
