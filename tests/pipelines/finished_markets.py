"""Markets for tests of the operator's commands: copies on record, changing sources, times."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.instance.event_log import LocalEventLogStorage
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.backfill import run_backfill
from pipelines.operations.sync import sync_record
from pipelines.staleness.survey import Work
from pipelines.warehouse.market_record import FILE
from pipelines.warehouse.partition_file import canonical_json
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import TINY, ChangedBars, make_market, market_of
from tests.pipelines.unsigned_file import without_identity


def copy_of(finished: Market, root: Path, *, linked: bool = False, **kwargs: Any) -> Market:
    """A copy of a finished market, times of its files kept.

    With `linked` its files are those of the other market, by hard links: for tests that write into
    none and change no time. The packages never write into a file, they replace it.
    """
    copy: Any = os.link if linked else shutil.copy2
    shutil.copytree(finished.paths.root, root, copy_function=copy)
    return make_market(root, **kwargs)


def part_of(
    finished: Market, root: Path, model: str, changes: Mapping[str, Any] | None = None
) -> Market:
    """A copy of a finished market with one of its models and no report, times of files kept."""
    others = tuple(spec.name for spec in finished.models if spec.name != model)
    of_all = {finished.paths.reports.name, finished.paths.catalog.name}

    def left_out(folder: str, names: list[str]) -> set[str]:
        if Path(folder) == finished.paths.root:
            return of_all & {*names}
        inside = Path(folder).parent == finished.paths.root
        return {name for name in names if inside and name.startswith(others)}

    shutil.copytree(finished.paths.root, root, ignore=left_out)
    return market_of(root, model, changes)


def named_copy_of(finished: Market, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Market:
    """A copy of a finished market in a data folder; the environment names it and its YAML."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for name, value in (
        ("RNN_DATA_DIR", str(folder / "data")),
        ("RNN_CONFIG", str(folder / "tiny.yaml")),
        ("DAGSTER_HOME", ""),
    ):
        monkeypatch.setenv(name, value)
    return copy_of(finished, folder / "data" / "tiny")


def put_on_record(market: Market, instance: dg.DagsterInstance) -> Market:
    """The market with all its partitions on record.

    Where this process has put a market of equal files into an empty record before, the events of
    that one are copied, which takes a tenth of the time.
    """
    log, kind = instance.event_log_storage, (repr(market.config), tuple(_files_of(market)))
    if not isinstance(log, LocalEventLogStorage) or instance.all_asset_keys():
        sync_record(market, stages(market), instance)
    elif kind in _RECORDS:
        for name, database in _RECORDS[kind].items():
            _copy_into(database, Path(log._base_dir, name))
    else:
        sync_record(market, stages(market), instance)
        _RECORDS[kind] = databases = {}
        for path in Path(log._base_dir).glob("*.db"):
            databases[path.name] = sqlite3.connect(":memory:")
            with closing(sqlite3.connect(path)) as stored:
                stored.backup(databases[path.name])
    return market


_RECORDS: dict[tuple[str, tuple[tuple[str, int, int], ...]], dict[str, sqlite3.Connection]] = {}


def _files_of(market: Market) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file of a market below its root."""
    for folder, _, names in sorted(os.walk(market.paths.root)):
        for path in (Path(folder, name) for name in sorted(names)):
            found = path.stat()
            yield path.relative_to(market.paths.root).as_posix(), found.st_size, found.st_mtime_ns


def _copy_into(database: sqlite3.Connection, path: Path) -> None:
    with closing(sqlite3.connect(path)) as stored:
        database.backup(stored)


def recorded_copy_of(finished: Market, root: Path) -> Market:
    """A copy of a finished market, on record in its own home."""
    market = copy_of(finished, root)
    with dagster_instance(market) as instance:
        return put_on_record(market, instance)


def backfill(market: Market, **kwargs: Any) -> tuple[Work | None, str]:
    """The command: what it ran, and what it said."""
    console = Console(file=io.StringIO(), width=500)
    work = run_backfill(market, console, **kwargs)
    return work, console.file.getvalue()


def restated(market: Market, key: str, *, split_of: str | None = None) -> Market:
    """The market with a source that today gives other bars of one session.

    Args:
        market: the market.
        key: the session.
        split_of: an instrument whose split the source missed before; without one the closes move.
    """

    def change(bars: pd.DataFrame) -> pd.DataFrame:
        rows = bars["date"] == key
        if split_of is None:
            bars.loc[rows, "close"] = bars.loc[rows, ["low", "high"]].mean(axis=1)
        else:
            bars.loc[rows & (bars["instrument"] == split_of), "adj_ratio"] = 2.0
        return bars

    plain = make_market(market.paths.root).source
    return make_market(market.paths.root, source=ChangedBars(plain, change))


def made_on_the_evening(market: Market, models: Iterable[str], keys: Iterable[str]) -> None:
    """Date the predictions of some sessions to 22:00 UTC of their day, before the next open."""
    for model in models:
        for key in keys:
            when = pd.Timestamp(f"{key} 22:00", tz="UTC").timestamp()
            path = market.paths.warehouse / f"{model}_prediction" / f"date={key}" / PART
            os.utime(path, (when, when))


def as_of_an_earlier_release(market: Market) -> Market:
    """The market with its state in the form of releases that gave no identity, times kept."""
    store = market.warehouse.store
    for path in market.paths.warehouse.rglob("*.parquet"):
        plain, identity = without_identity(path.read_bytes())
        assert identity is not None
        store.rewrite(plain, path.relative_to(market.paths.warehouse).as_posix())
    for path in market.paths.models.rglob("identity.json"):
        path.unlink()
    state, record = market.paths.warehouse / "processors.json", market.paths.warehouse / FILE
    for path in filter(Path.is_file, (state, record)):
        values = json.loads(path.read_bytes())
        without = {k: v for k, v in values.items() if k not in ("format", "identity")}
        path.write_text(canonical_json(without), encoding="utf-8")
    return make_market(market.paths.root)


def stamps(market: Market) -> dict[str, tuple[int, int]]:
    """Modification time and inode of every partition file: other ones if it was written."""
    root = market.paths.warehouse
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(root.glob("*/date=*/*"))
        if not path.name.startswith(".")  # what a killed writer left: not a partition
    }
