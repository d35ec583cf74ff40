"""`restore`: bring back what a backup has, into a fresh or a damaged market.

A file that is gone or damaged comes back, with the time at which it was made: by that it is known
again what was served. One that is intact and another than that of the backup stays, is named, and
is replaced on request only. Every content is verified before anything of it is written. The record
is brought in step at the end, so that a `backfill` that follows finds the served sessions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.assets.stages import stages as stages_of
from pipelines.config.loader import CONFIGS, load_config
from pipelines.config.market_file import FactoryConfig
from pipelines.errors import ConfigError, PipelineError, did_you_mean
from pipelines.instance.home import dagster_instance
from pipelines.instance.locks import only_writer
from pipelines.instance.market_list import keep_config
from pipelines.instance.orphaned_runs import sweep
from pipelines.instance.run_history import work_in_progress
from pipelines.market.calendar_ledger import read_ledger
from pipelines.market.market import Market
from pipelines.market.paths import data_root, state_root
from pipelines.market.stage import Stage
from pipelines.operations.backup import YAML, places
from pipelines.operations.sync import sync_lines, sync_record
from pipelines.staleness.market_files import bundle_fault, place_of
from pipelines.warehouse.backup_files import Backups, Entry, Manifest
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.market_record import FILE as MARKET_FILE
from pipelines.warehouse.partition_file import verify
from pipelines.warehouse.store import Store
from pipelines.warehouse.stores import open_store
from rnn_core.atomic import atomic_write
from rnn_core.training.bundle_files import MANIFEST

_SHOWN = 20  # files that are named one by one


class Outcome:
    """The files of a backup by what became of them.

    Attributes:
        counts: by kind of file, and `restored`, `replaced`, `same` or `left`.
        left: places of files that stay as they are, since they are intact.
        lost: places of files whose content the backup has lost.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.left: list[str] = []
        self.lost: list[str] = []

    def note(self, kind: str, what: str, files: int = 1) -> None:
        """Count files."""
        self.counts.setdefault(kind, Counter())[what] += files


def run_restore(
    console: Console,
    folder: str,
    *,
    market: str | None = None,
    at: str | None = None,
    config: str | None = None,
    replace: bool = False,
) -> bool:
    """Restore a market.

    Args:
        console: gets the table of what was restored.
        folder: the folder or URL of the backups.
        market: its name; None where the backups are of one market.
        at: the time of the backup, as its manifest is named; the newest without it.
        config: its YAML; None for that of the backup, at the path where it was.
        replace: replace files that are intact and others than those of the backup.

    Returns:
        True if the backup had every file.

    Raises:
        PipelineError: there is no such backup, it is damaged, or somebody works on the market.
    """
    backups = Backups(open_store(folder))
    manifest = _manifest(backups, market, at)
    path = _yaml(backups, manifest, config, console)
    settings = load_config(path)
    if settings.name != manifest.market:
        raise ConfigError(
            f"{path} is the market {settings.name}, and the backup is one of {manifest.market}; "
            f"name its YAML with --config"
        )
    outcome = Outcome()
    first = [e for e in manifest.files if e.path in ("calendar.json", MARKET_FILE)]
    home = [entry for entry in manifest.files if entry.place == "home"]
    _before_the_market(backups, settings, [*first, *home], outcome)
    opened = Market(settings, named=str(path))
    opened.warehouse.record.require_same_market()
    keep_config(opened.paths, path)
    stages = stages_of(opened)
    with dagster_instance(opened) as instance:
        sweep(opened, instance, console)
        with only_writer(opened, [stage.name for stage in stages]):
            if busy := work_in_progress(instance, opened):
                raise PipelineError(
                    f"{busy} in the market {manifest.market}: wait for its end, or end it in the "
                    f"UI; nothing was restored"
                )
            rest = [e for e in manifest.files if e not in first and e.place not in ("home", YAML)]
            _restore(backups, opened, stages, rest, outcome, replace=replace)
            opened.state.settle_all()
        lines = sync_lines(sync_record(opened, stages, instance))
    console.print(_table(manifest, outcome))
    for line in [*_lines(outcome), *lines]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    ends = f"--start {opened.sessions.first} --end {opened.last_closed()}"
    again = opened.command(f"backfill {ends}")
    console.print(f"`{again}` makes the rest", soft_wrap=True, highlight=False)
    return not outcome.lost


def _manifest(backups: Backups, market: str | None, at: str | None) -> Manifest:
    """The manifest of a backup.

    Raises:
        PipelineError: there is none of this market or time, or several markets and none is named.
    """
    names = backups.markets()
    if not names or (market is not None and market not in names):
        there = did_you_mean(market, names) if names and market else "no market has one there"
        raise PipelineError(f"{backups} has no backup of {market or 'a market'}; {there}")
    if market is None and len(names) > 1:
        raise PipelineError(f"{backups} has {', '.join(names)}: name one with --market")
    name = market or names[0]
    times = backups.times(name)
    if at is not None and at not in times:
        raise PipelineError(f"{backups} has no {name} of {at!r}, it has {', '.join(times)}")
    return backups.read(name, at or times[-1])


def _yaml(backups: Backups, manifest: Manifest, config: str | None, console: Console) -> Path:
    """The YAML of the market, put back where it was if it is gone.

    Raises:
        ConfigError: it cannot be written there.
    """
    entry = next(entry for entry in manifest.files if entry.place == YAML)
    shipped = CONFIGS / f"{manifest.config}.yaml"
    path = Path(config) if config else shipped if shipped.is_file() else Path(manifest.config)
    content = backups.content(entry)
    if not path.is_file():
        try:
            atomic_write(path, content, durable=True)
        except OSError as error:
            raise ConfigError(
                f"cannot put {path} back: {error}; name the YAML of {manifest.market} with --config"
            ) from error
        console.print(f"{path} is there again", soft_wrap=True, highlight=False)
    elif path.read_bytes() != content:
        said = f"{path} is another one than at the time of the backup, and stays as it is"
        console.print(said, soft_wrap=True, highlight=False)
    return path


def _before_the_market(
    backups: Backups, settings: FactoryConfig, entries: Sequence[Entry], outcome: Outcome
) -> None:
    """Restore what a market is opened with, where it is gone or cannot be read."""
    root = (data_root() / settings.name).absolute()
    place = state_root(settings.state, settings.name, root)
    state = open_store(str(place), settings.storage_options)
    tables = state.below("warehouse")
    if settings.warehouse:
        tables = open_store(settings.warehouse, settings.storage_options)
    stores = {"state": state, "tables": tables, "home": LocalStore(root.parent / "dagster")}
    for entry in entries:
        store, content = stores[entry.place], _content(backups, entry, outcome)
        if content is None:
            continue
        found = _read(store, entry.path)
        if found is None or (entry.place != "home" and not _opens(store, entry.path, found)):
            store.write_at(content, entry.written, entry.path)
            outcome.note(entry.kind, "restored" if found is None else "replaced")
        elif found == content:
            outcome.note(entry.kind, "same")
        else:  # a calendar goes on, settings are the owner's
            outcome.note(entry.kind, "left")
            outcome.left.append(store.url(entry.path))


def _opens(store: Store, path: str, found: bytes) -> bool:
    """True if a ledger or the record of a market can be read."""
    try:
        if path == MARKET_FILE:
            return isinstance(json.loads(found), dict)
        read_ledger(store.file(path))
    except (ValueError, ConfigError):
        return False
    return True


def _restore(
    backups: Backups,
    market: Market,
    stages: Sequence[Stage],
    entries: Sequence[Entry],
    outcome: Outcome,
    *,
    replace: bool,
) -> None:
    """Restore partitions, revisions, states, downloads, and bundles as wholes."""
    stores = places(market)
    bundles: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.place == "models":
            bundles.setdefault(_folder(entry), []).append(entry)
            continue
        store, content = stores[entry.place], _content(backups, entry, outcome)
        if content is None:
            continue
        found = _read(store, entry.path)
        if found == content:
            if store.written(*entry.path.split("/")) > entry.written + 1:
                store.write_at(content, entry.written, *entry.path.split("/"))
            outcome.note(entry.kind, "same")
        elif found is None or replace or _is_damaged(market, stages, entry, found):
            store.write_at(content, entry.written, *entry.path.split("/"))
            outcome.note(entry.kind, "restored" if found is None else "replaced")
        else:
            outcome.note(entry.kind, "left")
            outcome.left.append(store.url(entry.path))
    for folder, files in bundles.items():
        _restore_bundle(backups, market, folder, files, outcome, replace=replace)


def _is_damaged(market: Market, stages: Sequence[Stage], entry: Entry, found: bytes) -> bool:
    """True if a file that is there is not one that was written at its place."""
    place = place_of(entry.path)
    try:
        if entry.place == "tables" and place is not None:
            verify(found, market.warehouse.identity(*place))
        for stage in stages:
            if stage.recorded is not None and entry.path == f"{stage.name}.json":
                stage.recorded(market)
    except DamagedFileError:
        return True
    return False


def _folder(entry: Entry) -> str:
    """The folder of the bundle that a file belongs to."""
    parts = entry.path.split("/")
    return "/".join(parts[: 4 if parts[0].startswith(".") else 2])


def _restore_bundle(
    backups: Backups,
    market: Market,
    folder: str,
    entries: Sequence[Entry],
    outcome: Outcome,
    *,
    replace: bool,
) -> None:
    """Restore a bundle in one step, unless an intact one is there."""
    store, kind = market.bundles.below(folder), entries[0].kind
    contents: dict[str, bytes] = {}
    for entry in entries:
        content = _content(backups, entry, outcome)
        if content is None:
            return
        name = entry.path[len(folder) + 1 :]
        # Of an object store the files lie in a folder of their version, which is made anew.
        contents[name.partition("/")[2] if name.startswith(".") else name] = content
    if MANIFEST not in contents:
        outcome.note(kind, "lost", len(entries))
        outcome.lost.append(f"{folder}: the backup has no {MANIFEST} of it, so it is no bundle")
        return
    there = _read(store, MANIFEST)
    names = store.files()
    *_, model, key = [part for part in folder.split("/")[:3] if part != ".revisions"][:2]
    intact = there is not None and not bundle_fault(market, store, model, key, names)
    if intact and there == contents[MANIFEST]:
        outcome.note(kind, "same", len(entries))
    elif intact and not replace:
        outcome.note(kind, "left", len(entries))
        outcome.left.append(store.url())
    else:
        store.publish(contents, MANIFEST)
        if store.is_local:  # the same bytes once more, with the times by which `prune` goes
            for name, entry in zip(contents, entries, strict=True):
                store.write_at(contents[name], entry.written, *name.split("/"))
        outcome.note(kind, "replaced" if names else "restored", len(entries))


def _content(backups: Backups, entry: Entry, outcome: Outcome) -> bytes | None:
    """The content of a file of the backup; None, and noted, if the backup has lost it."""
    try:
        return backups.content(entry)
    except DamagedFileError as error:
        outcome.note(entry.kind, "lost")
        outcome.lost.append(f"{entry.path}: {error}")
        return None


def _read(store: Store, path: str) -> bytes | None:
    try:
        return store.read(*path.split("/"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _table(manifest: Manifest, outcome: Outcome) -> Table:
    title = f"{manifest.market} as of {manifest.made}"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("restored from the backup", no_wrap=True)
    columns = ("restored", "replaced", "same", "left", "lost")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for kind, counts in outcome.counts.items():
        table.add_row(kind, *(f"{counts[column] or '–'}" for column in columns))
    return table


def _lines(outcome: Outcome) -> Iterator[str]:
    """Lines that name the files that were left or lost."""
    for said, paths in (
        ("is intact and another one than in the backup, and stays", outcome.left),
        ("cannot be restored: the backup has lost its content", outcome.lost),
    ):
        yield from (f"{path} {said}" for path in paths[:_SHOWN])
        if len(paths) > _SHOWN:
            yield f"… and {len(paths) - _SHOWN} more: each {said}"
    if outcome.left:
        yield "`restore … --replace` takes those of the backup"
