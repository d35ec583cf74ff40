"""Bring the record of a market from a home of its own into the home of all markets.

Earlier releases gave each market a DAGSTER_HOME, `data/NAME/dagster`. Its owner's settings, its
record and the switches of its schedule and sensors are taken over; then the folder is renamed, and
the home of all markets holds. Until then a move that was stopped begins anew when it is asked for
again. Nothing of the warehouse is read or written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.errors import ConfigError, PipelineError
from pipelines.instance.home import WORKSPACE, open_home, prepare_home, writing_to
from pipelines.instance.names import hidden_tag
from pipelines.instance.orphaned_runs import LIVE, OWNER_TAG, is_orphan
from pipelines.instance.record_copy import copy_record, copy_switches
from pipelines.instance.settings import SETTINGS, is_released, merge_settings, parse_yaml
from pipelines.instance.ui_lock import claim_ui
from pipelines.market.market import Market
from pipelines.warehouse.store import atomic_write

_MOVED = "dagster-moved"
_RELEASED_WORKSPACE = """\
# What the webserver and the daemon load; written by `rnn-pipelines ui`.
load_from:
  - python_module:
      module_name: pipelines.definitions
      location_name: pipelines
"""


def bring_over(
    market: Market, begin: Callable[[dg.DagsterInstance], None] = lambda record: None
) -> list[str]:
    """Move the record of a market into the home of all markets, if it has one of its own.

    Args:
        market: the market.
        begin: puts on record what comes before all that is brought over.

    Returns:
        Lines for a person; none where there was nothing to move.

    Raises:
        ConfigError: the owners of two homes set keys differently, which the message names.
        PipelineError: a UI or a run of an earlier release is at work on the market.
        WarehouseError: a record is damaged, or the home cannot be written.
    """
    earlier, home = market.paths.earlier_dagster, market.paths.dagster
    if not earlier.is_dir():
        return []
    with claim_ui(market.paths.root, why_not="end it before its record is moved"):
        with writing_to(home):
            settings, workspace = merge_settings(earlier, home), _workspace(earlier, home)
            prepare_home(home)
            atomic_write(home / SETTINGS, settings.encode())
            if workspace is not None:
                atomic_write(home / WORKSPACE, workspace)
        with open_home(earlier) as old, open_home(home) as new:
            _require_idle(old)
            runs = copy_record(market, old, new, begin)
            switches = copy_switches(market, old, new)
        moved = _free_name(market.paths.root / _MOVED)
        with writing_to(home):
            earlier.rename(moved)
    lines = [
        f"{earlier}: brought over to {home}, {runs} runs; what was there is kept as {moved}, "
        f"delete it when you like"
    ]
    return lines + ([f"as they were switched in the UI: {', '.join(switches)}"] if switches else [])


def owned_files(home: Path) -> list[Path]:
    """The files of a DAGSTER_HOME that its owner wrote."""
    files = [home / name for name in (SETTINGS, WORKSPACE)]
    texts = {path: path.read_bytes().decode(errors="replace") for path in files if path.is_file()}
    return [p for p, text in texts.items() if text != _RELEASED_WORKSPACE and not is_released(text)]


def _workspace(earlier: Path, home: Path) -> bytes | None:
    """The owner's code locations of an earlier home; None if there are none to take over.

    Raises:
        ConfigError: the home has other ones, or they are named by the folder that they lie in.
    """
    path, there = earlier / WORKSPACE, home / WORKSPACE
    if path not in owned_files(earlier):
        return None
    content = path.read_bytes()
    if there.is_file() and there.read_bytes() != content:
        raise ConfigError(
            f"{path} and {there} name different code locations, and all markets share one home; "
            f"make them equal and give the command again, nothing was moved"
        )
    if any(not Path(file).is_absolute() for file in _relative_paths(parse_yaml(path, content))):
        raise ConfigError(
            f"{path}: its relative_path leads from the folder that it lies in, which changes; "
            f"write an absolute path and give the command again, nothing was moved"
        )
    return content


def _relative_paths(value: Any) -> list[str]:
    """The values of `relative_path` in nested lists and mappings, and of a bare `python_file`."""
    if isinstance(value, list):
        return [path for item in value for path in _relative_paths(item)]
    if not isinstance(value, dict):
        return []
    own = [str(v) for k, v in value.items() if k in ("relative_path", "python_file")]
    nested = [path for item in value.values() for path in _relative_paths(item)]
    return [path for path in own if not path.startswith("{")] + nested


def _require_idle(record: dg.DagsterInstance) -> None:
    """Require that no process works on a run of a record.

    Raises:
        PipelineError: one does.
    """
    for run in record.get_runs(dg.RunsFilter(statuses=LIVE)):
        if hidden_tag(run.tags, OWNER_TAG) and not is_orphan(record, run):
            raise PipelineError(
                f"run {run.run_id[:8]} is working: wait for its end, or end it, before its record "
                f"is moved; nothing was moved"
            )


def _free_name(path: Path) -> Path:
    """A path at which nothing lies: this one, or with a number."""
    names = [path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 100))]
    return next(name for name in names if not name.exists())
