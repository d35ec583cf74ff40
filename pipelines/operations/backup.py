"""`backup`: keep what nothing can make again, in a folder of contents by their digest.

That is what was served (predictions with the pointers, books and evaluations of their sessions, the
bundles that gave them), revisions, order lists, the bars as the source gave them, what a vendor was
asked for, the fitted state of a fixed window, a derived calendar, `market.json`, the YAML and the
owner's settings of Dagster. Tables and bundles of models that have left the YAML are kept whole:
nobody knows any more whether they were served. Everything else `backfill` makes again.

Every file is read once, and the bytes that are copied are the ones that are verified
(`backup_groups.py`). Of one that is damaged the content of the backup before is taken over, if
there is any, of a bundle that of all its files; it is named.
"""

from __future__ import annotations

import datetime as dt
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from pipelines.assets.stages import stages as stages_of
from pipelines.config.loader import config_path
from pipelines.errors import WarehouseError
from pipelines.instance.home import reading_instance
from pipelines.instance.market_list import kept_name
from pipelines.instance.materializations import first_made
from pipelines.instance.names import asset_key
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.operations.backup_groups import (
    BackupGroups,
    Group,
    bundle_folder_of,
    fingerprint_of,
    places,
    read_group,
)
from pipelines.operations.console import figures_table, say
from pipelines.staleness.state_bytes import bytes_in_words
from pipelines.warehouse.backup_files import Backups, Entry, Manifest
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import Store
from pipelines.warehouse.stores import open_store
from rnn_core.training.bundle_files import MANIFEST

YAML = "yaml"
_GONE = "it is not there any more"


def run_backup(market: Market, console: Console, folder: str, named: str | None) -> bool:
    """Back up a market.

    Args:
        market: the market.
        console: gets the table of what is kept.
        folder: a folder or URL outside of the market's state.
        named: its YAML, as the command names it.

    Returns:
        True if every file was intact, and everything that the backup had before.

    Raises:
        WarehouseError: the folder lies inside of what is backed up, or cannot be written.
    """
    target = open_store(folder)
    if (around := _around(target, market)) is not None:
        raise WarehouseError(
            f"{folder} lies in {around}, which is backed up: name a folder on another disk"
        )
    name = market.config.name
    try:
        with _written(folder):
            backups = Backups(target)
            times = backups.times(name)
        taken = _Taken(market, backups, backups.read(name, times[-1]).files if times else ())
        with reading_instance(market) as instance:
            stages = stages_of(market)
            made = _times(market, stages, instance)
            groups = BackupGroups(market, stages, instance)
            for group in groups:
                taken.take(group, made)
            taken.keep_gone(groups)
        path = config_path(named)
        content, stat = path.read_bytes(), path.stat()
    except OSError as error:
        raise WarehouseError(
            f"cannot read what is to be backed up: {error}; earlier backups are as they were"
        ) from error
    with _written(folder):
        digest, _ = backups.keep(content)
        taken.note(Entry(YAML, path.name, digest, len(content), stat.st_mtime, "YAML"))
        now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H%M%S.%fZ}"
        files = tuple(entry for entries in taken.entries.values() for entry in entries)
        place = backups.write(Manifest(name, now, kept_name(path), files))
    console.print(_table(name, taken.entries, taken.new))
    lines = [f"damaged: {line}" for line in taken.damaged]
    if taken.damaged:
        lines.append(f"`{market.command('verify')}` names what repairs it")
    lines += [
        f"damaged: {place} of the backup itself, and it was written again"
        for place in backups.mended
    ]
    named_one = f" --market {name}" if len(backups.markets()) > 1 else ""
    restore = market.command(f"restore {shlex.quote(folder)}{named_one}")
    say(console, *lines, f"{place} is whole; `{restore}` brings it back")
    return not taken.damaged and not backups.mended


@contextmanager
def _written(where: object) -> Iterator[None]:
    """Say of what fails in a block that the backup cannot be written."""
    try:
        yield
    except OSError as error:
        raise WarehouseError(
            f"cannot write the backup in {where}: {error}; earlier backups are as they were"
        ) from error


class _Taken:
    """The files that a backup has taken so far.

    Args:
        market: the market.
        backups: the contents.
        earlier: the files of the last backup.

    Attributes:
        entries: by kind of file.
        new: the number of contents that the backups did not have, likewise.
        damaged: lines on what is damaged, lost or not of one version.
    """

    def __init__(self, market: Market, backups: Backups, earlier: Sequence[Entry]) -> None:
        self._stores, self._backups = places(market), backups
        self._earlier = {(entry.place, entry.path): entry for entry in earlier}
        self._listed = set[tuple[str, str]]()
        self.entries, self.new = dict[str, list[Entry]](), dict[str, int]()
        self.damaged: list[str] = []

    def note(self, entry: Entry, *, is_new: bool = False) -> None:
        """Keep a file."""
        self.entries.setdefault(entry.kind, []).append(entry)
        self._listed.add((entry.place, entry.path))
        self.new[entry.kind] = self.new.get(entry.kind, 0) + is_new

    def take(self, group: Group, made: Mapping[str, float]) -> None:
        """Copy a group; of what is damaged the last backup has the content.

        Args:
            group: the group.
            made: times at which files were first made, by path.
        """
        store = self._stores[group.place]
        read = read_group(store, group)
        if group.folder and read.damaged:  # its files count together only
            old = [e for e in self._earlier.values() if _bundle_of(e) == group.folder]
            self._take_over(store.url(group.folder), next(iter(read.damaged.values())), old)
            return
        for path in {**read.contents, **read.damaged}:
            if path in read.damaged:
                before = self._earlier.get((group.place, path))
                self._take_over(store.url(path), read.damaged[path], [before] if before else [])
                continue
            if path in read.parted:
                self.damaged.append(f"{store.url(path)}: {read.parted[path]}; it is kept as it is")
            content = read.contents[path]
            try:
                store.forget(path)  # a listing from before the content has the time of another
                # After the content: an earlier time would make served what is none.
                written = store.written(*path.split("/"))
            except FileNotFoundError:  # dropped meanwhile; what was read is kept
                written = time.time()
            written = min(written, made.get(path, written))
            with _written(self._backups):
                digest, is_new = self._backups.keep(content)
            entry = Entry(group.place, path, digest, len(content), written, group.kind)
            self.note(entry, is_new=is_new)

    def keep_gone(self, groups: BackupGroups) -> None:
        """Keep files of the last backup that are gone, as if a disk were not mounted.

        A bundle that nothing needs, and a revision that nobody was served, are pruned in order. A
        bundle that is there has the files that were listed: one of an earlier version beside them
        would make it another.
        """
        bundles: dict[str, list[Entry]] = {}
        for (place, path), entry in self._earlier.items():
            if (place, path) in self._listed or place not in self._stores:
                continue
            if place == "models":
                bundles.setdefault(_bundle_of(entry), []).append(entry)
            elif not (groups.may_go(entry) or self._stores[place].exists(*path.split("/"))):
                self._take_over(self._stores[place].url(path), _GONE, [entry])
        listed = {bundle_folder_of(path) for place, path in self._listed if place == "models"}
        store = self._stores["models"]
        for folder, entries in bundles.items():
            is_there = folder in listed or store.exists(folder, MANIFEST)
            if not is_there and groups.needs(folder, self._fingerprint(entries)):
                self._take_over(store.url(folder), _GONE, entries)

    def _fingerprint(self, bundle: Sequence[Entry]) -> str:
        """The fingerprint of a bundle of the last backup."""
        for entry in bundle:
            if entry.path.endswith(f"/{MANIFEST}"):
                with suppress(DamagedFileError):
                    return fingerprint_of(self._backups.content(entry))
        return ""

    def _take_over(self, where: str, why: str, old: Sequence[Entry]) -> None:
        """Keep what the last backup has of something that is damaged or gone, and say so."""
        taken = "its last backup is kept" if old else "no backup has it"
        if self._backups.lost(old):
            taken += ", which is damaged itself"
        self.damaged.append(f"{where}: {why}; {taken}")
        for entry in old:
            self.note(entry)


def _bundle_of(entry: Entry) -> str:
    """The folder of the bundle that a file belongs to; empty for one of none."""
    return bundle_folder_of(entry.path) if entry.place == "models" else ""


def _around(target: Store, market: Market) -> str | None:
    """The folder of the market, or of the data folder, that a store lies in; None if in none.

    Links are followed, on both sides: those of a table or a model that lies on another disk too.
    """
    data = LocalStore(market.paths.root.parent)
    for store in (data, *places(market).values(), market.reports):
        if store.is_local != target.is_local:
            continue
        if not store.is_local:
            if f"{target.url()}/".startswith(f"{store.url()}/"):
                return store.url()
            continue
        real = Path(target.root).resolve()
        above = {_inode(path) for path in (real, *real.parents) if path.exists()}
        root = Path(store.root)
        moved = root.glob("*") if store in (market.tables, market.bundles) else ()
        for folder in (root, *(path for path in moved if path.is_symlink())):
            if real.is_relative_to(folder.resolve()) or (
                folder.exists() and _inode(folder) in above
            ):
                return str(folder)
    return None


def _inode(path: Path) -> tuple[int, int]:
    """The folder itself, by whatever name: a disk may be mounted twice."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _times(
    market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance
) -> Mapping[str, float]:
    """The times at which predictions were first made, by path; a file may be of a later run."""
    return {
        f"{stage.name}/date={key}/part-0.parquet": when.timestamp()
        for stage in stages
        if stage.kind is Kind.PREDICTION
        for key, when in first_made(instance, asset_key(market, stage.name)).items()
    }


def _table(name: str, entries: Mapping[str, Sequence[Entry]], new: Mapping[str, int]) -> Table:
    table = figures_table(name, ["kept"], ["files", "bytes", "new"])
    for kind, files in entries.items():
        size = bytes_in_words(sum(entry.bytes for entry in files))
        table.add_row(kind, f"{len(files)}", size, f"{new.get(kind, 0) or '–'}")
    return table
