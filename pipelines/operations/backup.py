"""`backup`: keep what nothing can make again, in a folder of contents by their digest.

That is what was served (predictions with the pointers, books and evaluations of their sessions, the
bundles that gave them), revisions, order lists, the bars as the source gave them, what a vendor was
asked for, the fitted state of a fixed window, a derived calendar, `market.json`, the YAML and the
owner's settings of Dagster. Tables and bundles of models that have left the YAML are kept whole:
nobody knows any more whether they were served. Everything else `backfill` makes again.

Every file is verified while it is read. Of one that is damaged the content of the backup before is
taken over, if there is any, and it is named.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.assets.stages import stages as stages_of
from pipelines.config.loader import config_path
from pipelines.errors import WarehouseError
from pipelines.instance.home import WORKSPACE, reading_instance
from pipelines.instance.market_list import kept_name
from pipelines.instance.materializations import first_made
from pipelines.instance.names import asset_key
from pipelines.instance.settings import SETTINGS, is_released
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.market_files import (
    BUNDLES,
    MARKET,
    REVISIONS,
    UNKNOWN,
    FileGroup,
    MarketFiles,
)
from pipelines.staleness.needed_bundles import needed_bundles
from pipelines.staleness.served import Served
from pipelines.staleness.state_bytes import bytes_in_words
from pipelines.warehouse import revisions
from pipelines.warehouse.backup_files import Backups, Entry, Manifest
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import Store
from pipelines.warehouse.stores import open_store
from rnn_core.training.bundle_files import MANIFEST

YAML = "yaml"


@dataclass(frozen=True)
class Kept:
    """A file that belongs into a backup.

    Attributes:
        place: of `places`.
        path: its path there.
        kind: of file, in words.
        check: says why it is damaged; None if it is not.
    """

    place: str
    path: str
    kind: str
    check: Callable[[], str | None] = lambda: None


def places(market: Market) -> dict[str, Store]:
    """The stores that files of a backup belong to, by name."""
    return {
        "tables": market.tables,
        "models": market.bundles,
        "state": market.state,
        "machine": LocalStore(market.paths.root),
        "home": LocalStore(market.paths.dagster),
    }


def run_backup(market: Market, console: Console, folder: str, named: str | None) -> bool:
    """Back up a market.

    Args:
        market: the market.
        console: gets the table of what is kept.
        folder: a folder or URL outside of the market's state.
        named: its YAML, as the command names it.

    Returns:
        True if every file was intact.

    Raises:
        WarehouseError: the folder lies inside of what is backed up, or cannot be written.
    """
    if "://" not in folder and _is_inside(Path(folder), market):
        raise WarehouseError(
            f"{folder} lies in the data folder that is backed up: name a folder on another disk"
        )
    backups = Backups(open_store(folder))
    times = backups.times(market.config.name)
    before = backups.read(market.config.name, times[-1]) if times else None
    earlier = {(e.place, e.path): e for e in before.files} if before else {}
    entries, new, damaged = dict[str, list[Entry]](), dict[str, int](), list[str]()
    try:
        with reading_instance(market) as instance:
            stages = stages_of(market)
            made = _times(market, stages, instance)
            stores = places(market)
            for kept in _kept(market, stages, instance):
                store, old = stores[kept.place], earlier.get((kept.place, kept.path))
                why = kept.check()
                if why is not None:
                    taken = "its last backup is kept" if old else "no backup has it"
                    damaged.append(f"{store.url(kept.path)}: {why}; {taken}")
                    if old is not None:
                        entries.setdefault(kept.kind, []).append(old)
                    continue
                try:
                    content = store.read(*kept.path.split("/"))
                    written = store.written(*kept.path.split("/"))
                except FileNotFoundError:  # a run dropped it since it was listed
                    continue
                written = min(written, made.get(kept.path, written))
                digest, is_new = backups.keep(content)
                entry = Entry(kept.place, kept.path, digest, len(content), written, kept.kind)
                entries.setdefault(kept.kind, []).append(entry)
                new[kept.kind] = new.get(kept.kind, 0) + is_new
            gone = _gone(stores, earlier, entries)
        for entry in gone:
            entries.setdefault(entry.kind, []).append(entry)
            where = stores[entry.place].url(entry.path)
            damaged.append(f"{where}: it is not there any more; its last backup is kept")
        path = config_path(named)
        config = kept_name(path)
        digest, _ = backups.keep(path.read_bytes())
        yaml = Entry(YAML, path.name, digest, path.stat().st_size, path.stat().st_mtime, "YAML")
        entries["YAML"] = [yaml]
        now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H%M%S.%fZ}"
        files = tuple(entry for kind in entries for entry in entries[kind])
        place = backups.write(Manifest(market.config.name, now, config, files))
    except OSError as error:
        raise WarehouseError(
            f"cannot write the backup in {folder}: {error}; earlier backups are as they were"
        ) from error
    console.print(_table(market.config.name, entries, new))
    for line in damaged:
        console.print(f"damaged: {line}", soft_wrap=True, highlight=False, markup=False)
    if damaged:
        advice = f"`{market.command('verify')}` names what repairs it"
        console.print(advice, soft_wrap=True, highlight=False)
    restore = market.command(f"restore {folder}")
    console.print(f"{place} is whole; `{restore}` brings it back", soft_wrap=True, highlight=False)
    return not damaged


def _is_inside(folder: Path, market: Market) -> bool:
    return folder.resolve().is_relative_to(market.paths.root.parent.resolve())


def _gone(
    stores: Mapping[str, Store],
    earlier: Mapping[tuple[str, str], Entry],
    entries: Mapping[str, Sequence[Entry]],
) -> list[Entry]:
    """Find entries of the last backup whose files are gone, as if a disk were not mounted.

    A bundle that nothing needs is pruned in order; of one that is kept every file belongs to it.
    """
    listed = {(entry.place, entry.path) for kind in entries.values() for entry in kind}
    bundles = {path.rpartition("/")[0] for place, path in listed if place == "models"}
    return [
        entry
        for key, entry in earlier.items()
        if key not in listed
        and entry.place in stores
        and (entry.place != "models" or entry.path.rpartition("/")[0] in bundles)
        and not stores[entry.place].exists(*entry.path.split("/"))
    ]


def _kept(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> Iterator[Kept]:
    """The files of a market that nothing makes again."""
    served = Served(market, stages, instance)
    files = MarketFiles(market, stages, served, StoredVersions(market, stages))
    by_table = {table.name: stage for stage in stages for table in stage.tables}
    states = {f"{stage.name}.json" for stage in stages if stage.kind is Kind.FITTED}
    for group in files.of_tables():
        (path,) = group.names
        table, _, rest = path.partition("/")
        stage, key = by_table.get(table), rest.removeprefix("date=")[:10]
        if table == revisions.FOLDER:
            kind = "revisions and order lists" if group.kind == REVISIONS else "other files"
        elif group.kind == MARKET:
            kind = "market and calendar"
        elif stage is None:
            kind = "tables of no asset"
        elif stage.is_source:
            kind = "bars"
        elif served.holds(stage, key):
            kind = "served: predictions, pointers, books, evaluations"
        else:
            continue
        yield Kept("tables", path, kind, _check(group))
    for state in sorted(states):
        if market.tables.exists(state):
            yield Kept("tables", state, "fitted state")
    if market.state.exists("calendar.json"):
        yield Kept("state", "calendar.json", "market and calendar")
    yield from _bundles(market, stages, served, files)
    machine = LocalStore(market.paths.root)
    for name in machine.files("downloads"):
        yield Kept("machine", f"downloads/{name}", "what a vendor was asked for")
    home = LocalStore(market.paths.dagster)
    for name in (SETTINGS, WORKSPACE):
        # As a release wrote it, the next command writes it again.
        if home.exists(name) and not is_released(home.read(name).decode(errors="replace")):
            yield Kept("home", name, "settings of Dagster")


def _bundles(
    market: Market, stages: Sequence[Stage], served: Served, files: MarketFiles
) -> Iterator[Kept]:
    """The files of bundles that served, are in force or are pinned, and of all kept copies."""
    needed = {s.name: needed_bundles(market, stages, served, s.name, ()) for s in market.models}
    for group in files.of_bundles():
        if group.kind == UNKNOWN:  # of no bundle: whoever put it there has it elsewhere
            continue
        model, _, rest = group.names[0].partition("/")
        if group.kind == BUNDLES and model in needed:
            as_of = rest.partition("/")[0]
            fingerprint = _fingerprint(market.bundles.below(model, as_of))
            if not needed[model].holds(as_of, fingerprint):
                continue
        check = _check(group)
        for path in group.names:
            yield Kept("models", path, "bundles that served or serve", check)


def _fingerprint(bundle: Store) -> str:
    """The fingerprint that a bundle names; empty if it cannot be read."""
    try:
        return str(json.loads(bundle.read(MANIFEST))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check(group: FileGroup) -> Callable[[], str | None]:
    """The check of a group, made once for all of its files."""
    results: list[str | None] = []

    def check() -> str | None:
        if not results:
            damage = group.check() if group.check is not None else None
            results.append(None if damage is None else damage.why)
        return results[0]

    return check


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
    table = Table(title=name, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("kept", no_wrap=True)
    for title in ("files", "bytes", "new"):
        table.add_column(title, justify="right", no_wrap=True)
    for kind, files in entries.items():
        size = bytes_in_words(sum(entry.bytes for entry in files))
        table.add_row(kind, f"{len(files)}", size, f"{new.get(kind, 0) or '–'}")
    return table
