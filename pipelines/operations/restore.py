"""`restore`: bring back what a backup has, into a fresh or a damaged market.

A file that is gone or damaged comes back, with the time at which it was made: by that it is known
again what was served. One that is intact and another than that of the backup stays, is named, and
is replaced on request only, the calendar, `market.json` and the owner's settings of Dagster too;
the YAML stays always. Every content of the backup is verified before anything is written, and each
file and each bundle is replaced in one step: the same command completes a restore that was killed.
The record is brought in step at the end, so that a `backfill` that follows finds what was served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.assets.stages import stages as stages_of
from pipelines.config.loader import CONFIGS, load_config
from pipelines.config.market_file import FactoryConfig
from pipelines.errors import ConfigError, PipelineError, WarehouseError, did_you_mean
from pipelines.instance.home import WORKSPACE, dagster_instance
from pipelines.instance.locks import only_writer
from pipelines.instance.market_list import keep_config
from pipelines.instance.orphaned_runs import sweep
from pipelines.instance.run_history import work_in_progress
from pipelines.instance.settings import SETTINGS
from pipelines.market.calendar_ledger import read_ledger
from pipelines.market.market import Market
from pipelines.market.paths import data_root, state_root
from pipelines.market.stage import Stage
from pipelines.operations.backup import YAML
from pipelines.operations.backup_groups import CALENDAR, bundle_folder_of, places
from pipelines.operations.console import figures_table, say
from pipelines.operations.restore_bundle import (
    Outcome,
    content_of,
    present_content,
    restore_bundle,
)
from pipelines.operations.sync import sync_lines, sync_record
from pipelines.staleness.market_files import place_of
from pipelines.warehouse.backup_files import Backups, Entry, Manifest
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.market_record import FILE as MARKET_FILE
from pipelines.warehouse.partition_file import verify
from pipelines.warehouse.store import Store
from pipelines.warehouse.stores import open_store
from rnn_core.atomic import atomic_write

_SHOWN = 20  # files that are named one by one


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
    outcome = Outcome(backups.lost(manifest.files))
    if outcome.damaged and replace:
        raise PipelineError(
            f"{backups} has lost {len(outcome.damaged)} contents of {manifest.market} as of "
            f"{manifest.made}, the first: {next(iter(outcome.damaged.values()))}. Nothing was "
            f"replaced: take another backup with --at, or restore without --replace, which brings "
            f"back what is gone or damaged and names what is lost"
        )
    path = _yaml(backups, manifest, config, console, outcome)
    settings = load_config(path)
    if settings.name != manifest.market:
        raise ConfigError(
            f"{path} is the market {settings.name}, and the backup is one of {manifest.market}; "
            f"name its YAML with --config"
        )
    entries = [entry for entry in manifest.files if entry.place != YAML]
    ahead = (("state", CALENDAR), ("tables", MARKET_FILE))
    opening = [e for e in entries if (e.place, e.path) in ahead or e.place == "home"]
    brought = _before_the_market(backups, settings, opening, outcome)
    opened = Market(settings, named=str(path))
    opened.warehouse.record.require_same_market()
    keep_config(opened.paths, path)
    stages = stages_of(opened)
    with dagster_instance(opened) as instance:
        sweep(opened, instance, console, deep=True)
        with only_writer(opened, [stage.name for stage in stages]):
            if busy := work_in_progress(instance, opened):
                came = f"only {', '.join(outcome.first)}" if outcome.first else "nothing"
                raise PipelineError(
                    f"{busy} in the market {manifest.market}: wait for its end, or end it in the "
                    f"UI; {came} was restored"
                )
            work = _Restoration(backups, opened, stages, outcome, replace)
            work.open_anew([entry for entry in opening if entry not in brought])
            work.restore([entry for entry in entries if entry not in opening])
            opened = work.market
            opened.state.settle_all()
    stages = stages_of(opened)
    with dagster_instance(opened) as instance:  # by the settings that hold now
        lines = sync_lines(sync_record(opened, stages, instance))
    console.print(_table(manifest, outcome))
    say(console, *_lines(outcome), *lines, f"`{opened.backfill_command()}` makes the rest")
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
    manifest = backups.read(name, at or times[-1])
    _require_own_files(manifest)
    return manifest


def _require_own_files(manifest: Manifest) -> None:
    """Refuse a backup that somebody made to put files where no market has any.

    Raises:
        WarehouseError: it does; nothing was written.
    """
    strange = [
        entry.path
        for entry in manifest.files
        if (entry.place == "home" and entry.path not in (SETTINGS, WORKSPACE))
        or (entry.place == "machine" and not entry.path.startswith("downloads/"))
        or (entry.place == "models" and entry.path.count("/") < 2)
    ]
    if not (CONFIGS / f"{manifest.config}.yaml").is_file() and not _is_yaml(manifest.config):
        strange.append(manifest.config)
    if strange:
        raise WarehouseError(
            f"the backup of {manifest.market} names {strange[0]!r}, which no backup does: it was "
            f"not made by `rnn-pipelines backup`, and nothing was restored"
        )


def _is_yaml(path: str) -> bool:
    return Path(path).suffix in (".yaml", ".yml")


def _yaml(
    backups: Backups, manifest: Manifest, config: str | None, console: Console, outcome: Outcome
) -> Path:
    """The YAML of the market, put back where it was if it is gone.

    Raises:
        ConfigError: it cannot be written there.
    """
    entry = next(entry for entry in manifest.files if entry.place == YAML)
    shipped = CONFIGS / f"{manifest.config}.yaml"
    path = Path(config) if config else shipped if shipped.is_file() else Path(manifest.config)
    try:
        content = backups.content(entry)
    except DamagedFileError as error:
        if not path.is_file():
            raise ConfigError(
                f"the backup has lost the YAML of {manifest.market}: {error}; name one with "
                f"--config"
            ) from error
        return path
    if not path.is_file():
        try:
            atomic_write(path, content, durable=True)
        except OSError as error:
            raise ConfigError(
                f"cannot put {path} back: {error}; name the YAML of {manifest.market} with --config"
            ) from error
        outcome.first.append(str(path))
        say(console, f"{path} is there again")
    elif path.read_bytes() != content:
        say(
            console,
            f"{path} is another one than at the time of the backup, and stays as it is; "
            f"`--config NEW.yaml` puts that of the backup there, and restores with it",
        )
    return path


def _before_the_market(
    backups: Backups, settings: FactoryConfig, entries: Sequence[Entry], outcome: Outcome
) -> list[Entry]:
    """Restore what a market is opened with, where it is gone or cannot be read.

    Returns:
        The files that are dealt with.
    """
    root = (data_root() / settings.name).absolute()
    place = state_root(settings.state, settings.name, root)
    state = open_store(str(place), settings.storage_options)
    tables = state.below("warehouse")
    if settings.warehouse:
        tables = open_store(settings.warehouse, settings.storage_options)
    stores = {"state": state, "tables": tables, "home": LocalStore(root.parent / "dagster")}
    brought = []
    for entry in entries:
        store = stores[entry.place]
        found = present_content(store, entry.path)
        if found is not None and (entry.place == "home" or _opens(store, entry.path, found)):
            continue
        brought.append(entry)
        content = content_of(backups, entry, outcome)
        if content is not None:
            store.write_at(content, entry.written, entry.path)
            outcome.first.append(store.url(entry.path))
            outcome.note(entry.kind, "restored" if found is None else "replaced")
    return brought


def _opens(store: Store, path: str, found: bytes) -> bool:
    """True if a ledger or the record of a market can be read."""
    try:
        if path == MARKET_FILE:
            return isinstance(json.loads(found), dict)
        read_ledger(store.file(path))
    except (ValueError, ConfigError):
        return False
    return True


@dataclass
class _Restoration:
    """The work of one restore.

    Attributes:
        backups: the contents.
        market: the market, opened anew by `open_anew`.
        stages: its stages.
        outcome: counts what became of the files.
        replace: replace files that are intact and others than those of the backup.
    """

    backups: Backups
    market: Market
    stages: Sequence[Stage]
    outcome: Outcome
    replace: bool

    def open_anew(self, entries: Sequence[Entry]) -> None:
        """Restore what is intact of the files that a market is opened with, and open it anew.

        Raises:
            PipelineError: the YAML describes another market than these files; they are as they
                were.
        """
        stores = places(self.market)
        before = {entry: present_content(stores[entry.place], entry.path) for entry in entries}
        there = [entry for entry, found in before.items() if found is not None]
        times = {entry: stores[entry.place].written(entry.path) for entry in there}
        self.restore(entries)
        if not self.replace:
            return
        try:
            self.market = self.market.opened_anew()
            self.market.warehouse.record.require_same_market()
        except PipelineError as error:
            for entry, when in times.items():
                stores[entry.place].write_at(before[entry] or b"", when, entry.path)
            raise PipelineError(
                f"the backup does not fit the YAML, and nothing was replaced: {error}; "
                f"`--config NEW.yaml` puts the YAML of the backup there, and restores with it"
            ) from error

    def restore(self, entries: Sequence[Entry]) -> None:
        """Restore partitions, revisions, states, downloads, and bundles as wholes."""
        stores, outcome = places(self.market), self.outcome
        bundles: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.place == "models":
                bundles.setdefault(bundle_folder_of(entry.path), []).append(entry)
                continue
            store, content = stores[entry.place], content_of(self.backups, entry, outcome)
            if content is None:
                continue
            found, parts = present_content(store, entry.path), entry.path.split("/")
            if found == content:
                if store.written(*parts) > entry.written + 1:
                    store.write_at(content, entry.written, *parts)
                outcome.note(entry.kind, "same")
            elif found is None or self.replace or self._is_damaged(entry, found):
                store.write_at(content, entry.written, *parts)
                outcome.note(entry.kind, "restored" if found is None else "replaced")
            else:
                outcome.note(entry.kind, "left")
                outcome.left.append(store.url(entry.path))
        for folder, files in bundles.items():
            restore_bundle(self.backups, self.market, folder, files, outcome, replace=self.replace)

    def _is_damaged(self, entry: Entry, found: bytes) -> bool:
        """True if a file that is there is not one that was written at its place."""
        place = place_of(entry.path)
        try:
            if entry.place == "tables" and place is not None:
                verify(found, self.market.warehouse.identity(*place))
            for stage in self.stages:
                if stage.recorded is not None and entry.path == f"{stage.name}.json":
                    stage.recorded(self.market)
        except DamagedFileError:
            return True
        return False


def _table(manifest: Manifest, outcome: Outcome) -> Table:
    title = f"{manifest.market} as of {manifest.made}"
    columns = ("restored", "replaced", "same", "left", "lost")
    table = figures_table(title, ["restored from the backup"], columns)
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
