"""The files of a market that a backup keeps, in groups that have to be of one version.

A group is read once, and the bytes that were read are verified and copied: there is no second read
that could meet another version. A run may replace files between two reads of one group; their
digests, or the provenance that tables of one stage share, tell that, and the group is read again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import pyarrow as pa

from pipelines.errors import ProcessorStateError
from pipelines.instance.home import WORKSPACE
from pipelines.instance.settings import SETTINGS, is_released
from pipelines.market.calendar_ledger import parse_ledger
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.operations.prune_files import is_unserved
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.market_files import (
    BUNDLES,
    MARKET,
    REVISION,
    REVISIONS,
    UNKNOWN,
    MarketFiles,
    bundle_fault,
    place_of,
)
from pipelines.staleness.needed_bundles import NeededBundles, needed_bundles
from pipelines.staleness.served import Served
from pipelines.training.processors import require_state, state_file
from pipelines.warehouse import revisions
from pipelines.warehouse.backup_files import Entry
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.partition_file import read_info, verify
from pipelines.warehouse.store import PART, Store
from rnn_core.training.bundle_files import MANIFEST
from rnn_core.training.file_folder import HeldFolder, version_of

Contents = Mapping[str, bytes]
"""The bytes of files by their path in the store of their place."""
CALENDAR = "calendar.json"
_READS, _WAIT_SECONDS = 3, 0.2


@dataclass(frozen=True)
class Group:
    """Files that a backup takes together.

    Attributes:
        place: the store that they belong to, of `places`.
        kind: of file, in words.
        names: their paths as they are listed now.
        faults: says by path why files are not those that were written there.
        folder: of the bundle that they are; empty if they are none.
    """

    place: str
    kind: str
    names: Callable[[], Sequence[str]]
    faults: Callable[[Contents], dict[str, str]] = lambda contents: {}
    folder: str = ""


def places(market: Market) -> dict[str, Store]:
    """The stores that files of a backup belong to, by name."""
    return {
        "tables": market.tables,
        "models": market.bundles,
        "state": market.state,
        "machine": LocalStore(market.paths.root),
        "home": LocalStore(market.paths.dagster),
    }


@dataclass(frozen=True)
class Read:
    """A group as it was read.

    Attributes:
        contents: the bytes by path, of all that can be read.
        damaged: says by path why a file is not the one that was written there, or not readable.
        parted: says by path why an intact file is not of the same run as those beside it.
    """

    contents: dict[str, bytes]
    damaged: dict[str, str]
    parted: dict[str, str]


def read_group(store: Store, group: Group) -> Read:
    """Read each file of a group once, and all of them again if a run came in between.

    What is damaged is read once more at once: other bytes are those of a run, and the same ones
    are damage. A run writes tables of one stage one after the other, so these are waited for.

    Raises:
        ConnectionError, TimeoutError: the store does not answer, which says nothing on a file.
    """
    before: tuple[Contents, Mapping[str, str]] | None = None
    contents, parted = dict[str, bytes](), dict[str, str]()
    for attempt in range(_READS):
        if attempt > 0:
            if parted or attempt > 1:
                time.sleep(_WAIT_SECONDS)
            for path in contents:
                store.forget(path)
        contents, damaged = _contents(store, group)
        damaged = group.faults(contents) | damaged
        parted = _parted(group, contents)
        if not (damaged or parted) or (contents, damaged) == before:
            break
        before = contents, damaged
    return Read(contents, damaged, parted)


def _contents(store: Store, group: Group) -> tuple[dict[str, bytes], dict[str, str]]:
    """The bytes of a group by path, and likewise why the disk cannot give those of a file."""
    contents, damaged = dict[str, bytes](), dict[str, str]()
    for path in group.names():
        try:
            contents[path] = store.read(*path.split("/"))
        except FileNotFoundError:  # a run dropped it since it was listed
            continue
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            damaged[path] = f"it cannot be read: {error}"
    return contents, damaged


def _parted(group: Group, contents: Contents) -> dict[str, str]:
    """Say which tables of those that one run writes together are not of the same run."""
    if group.folder or len(contents) < 2:
        return {}
    made = {}
    for path, content in contents.items():
        try:
            made[path] = read_info(pa.BufferReader(content)).provenance
        except DamagedFileError:  # `faults` names it
            continue
    first = next(iter(made), "")
    return {
        path: f"it is not of the same run as {first}: a run is at work, or one was cut off"
        for path, provenance in made.items()
        if provenance != made[first]
    }


class BackupGroups:
    """The groups of a market that nothing makes again.

    Args:
        market: the market.
        stages: its stages.
        instance: its Dagster record.
    """

    def __init__(
        self, market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance
    ) -> None:
        self._market, self._stages = market, stages
        self._served = Served(market, stages, instance)
        self._files = MarketFiles(market, stages, self._served, StoredVersions(market, stages))
        self._needed: dict[str, NeededBundles] = {}

    def __iter__(self) -> Iterator[Group]:
        """All groups; bundles after the tables that name them."""
        yield from self._tables()
        for dataset in self._market.datasets:
            name = state_file(dataset)
            if dataset.fit_plan is None and self._market.tables.exists(name):

                def state_faults(
                    contents: Contents, dataset: Dataset = dataset, name: str = name
                ) -> dict[str, str]:
                    try:
                        if name in contents:
                            require_state(self._market, dataset, contents[name].decode())
                    except (ProcessorStateError, UnicodeDecodeError) as error:
                        return {name: str(error)}
                    return {}

                yield Group("tables", "fitted state", _always(name), state_faults)
        if self._market.state.exists(CALENDAR):
            yield Group("state", "market and calendar", _always(CALENDAR), _ledger_faults)
        yield from self._bundles()
        machine, home = (
            LocalStore(p) for p in (self._market.paths.root, self._market.paths.dagster)
        )
        for name in machine.files("downloads"):
            yield Group("machine", "what a vendor was asked for", _always(f"downloads/{name}"))
        for name in (SETTINGS, WORKSPACE):
            # As a release wrote it, the next command writes it again.
            try:
                released = is_released(home.read(name).decode(errors="replace"))
            except FileNotFoundError:
                continue
            except OSError:  # which the backup says
                released = False
            if not released:
                yield Group("home", "settings of Dagster", _always(name))

    def _tables(self) -> Iterator[Group]:
        by_table = {table.name: stage for stage in self._stages for table in stage.tables}
        together: dict[tuple[str, str], list[str]] = {}
        for group in self._files.of_tables():
            (path,) = group.names
            table, _, rest = path.partition("/")
            stage, key = by_table.get(table), rest.removeprefix("date=")[:10]
            if table == revisions.FOLDER:
                kind = "revisions and order lists" if group.kind == REVISIONS else "other files"
            elif group.kind == MARKET:
                kind = "market and calendar"
            elif stage is None:
                kind = "tables of no asset"
            elif stage.is_source or self._served.holds(stage, key):
                together.setdefault((stage.name, key), []).append(path)
                continue
            else:
                continue
            yield Group("tables", kind, _always(path), self._table_faults)
        by_name = {stage.name: stage for stage in self._stages}
        for (name, key), paths in together.items():
            stage = by_name[name]
            kind = (
                "bars" if stage.is_source else "served: predictions, pointers, books, evaluations"
            )
            # Columns beside the bars are fetched by themselves.
            alone = {f"{t.name}/date={key}/{PART}" for t in stage.tables if t.origins}
            for names in (
                [p for p in paths if p not in alone],
                *([p] for p in paths if p in alone),
            ):
                if names:
                    yield Group("tables", kind, _always(*names), self._table_faults)

    def _table_faults(self, contents: Contents) -> dict[str, str]:
        """Hold partitions and revisions against their footers and places, `market.json` too."""
        faults, warehouse = {}, self._market.warehouse
        for path, content in contents.items():
            place = place_of(path)
            try:
                if place is not None:
                    identity = warehouse.identity(*place)
                    verify(content, identity, unsigned=warehouse.reads_unsigned)
                elif path == "market.json":
                    dict(json.loads(content))
            except (DamagedFileError, ValueError, TypeError) as error:
                faults[path] = str(error)
        return faults

    def may_go(self, entry: Entry) -> bool:
        """True of a revision that `prune` removes, in order, once it is old enough."""
        match = REVISION.fullmatch(entry.path) if entry.place == "tables" else None
        if match is None:
            return False
        table, key, number = match.groups()
        stage = next((s for s in self._stages if any(t.name == table for t in s.tables)), None)
        return (
            stage is not None
            and int(number) > 1
            and is_unserved(self._market, stage, key, entry.written)
        )

    # --- bundles -----------------------------------------------------------------------------

    def needs(self, folder: str, fingerprint: str) -> bool:
        """True if the bundle of a folder may not be lost: it served or serves, or nobody knows.

        Args:
            folder: of a bundle or of the copy of one, below the models.
            fingerprint: the bundle's.
        """
        model, as_of = model_of(folder)
        if model not in self._needed and any(spec.name == model for spec in self._market.models):
            try:
                needed = needed_bundles(self._market, self._stages, self._served, model, ())
                self._needed[model] = needed
            except (ConnectionError, TimeoutError):
                raise
            except OSError:  # of scores that the disk cannot give nobody knows what gave them
                return True
        if model not in self._needed:
            return True
        if folder.startswith("."):
            return fingerprint in self._needed[model].fingerprints
        return self._needed[model].holds(as_of, fingerprint)

    def _bundles(self) -> Iterator[Group]:
        """The bundles that served, are in force or are pinned, and all kept copies."""
        seen = set[str]()
        for group in self._files.of_bundles():
            folder = bundle_folder_of(group.names[0])
            if group.kind == UNKNOWN or folder in seen:
                continue  # of no bundle: whoever put it there has it elsewhere
            seen.add(folder)
            if group.kind == BUNDLES and not self.needs(folder, self._fingerprint(folder)):
                continue
            yield self._bundle(folder)

    def _bundle(self, folder: str) -> Group:
        bundles = self._market.bundles

        def names() -> list[str]:
            bundles.forget(folder)
            paths = bundles.below(folder).files()
            # The manifest is read first: files of another one than it names are told by that.
            return [f"{folder}/{name}" for name in sorted(paths, key=lambda n: n != MANIFEST)]

        def faults(contents: Contents) -> dict[str, str]:
            why = held_fault(self._market, bundles.url(folder), folder, contents)
            return dict.fromkeys(contents, why) if why else {}

        return Group("models", "bundles that served or serve", names, faults, folder)

    def _fingerprint(self, folder: str) -> str:
        try:
            return fingerprint_of(self._market.bundles.below(folder).read(MANIFEST))
        except OSError:
            return ""


def held_fault(market: Market, where: str, folder: str, contents: Contents) -> str:
    """Say why files that were read are not the bundle of a folder; empty if they are.

    Args:
        market: the market.
        where: the folder, for messages.
        folder: the same below the models.
        contents: its files by their path below the models.
    """
    held = inside(folder, contents)
    return bundle_fault(market, HeldFolder(where, held), *model_of(folder), held)


def inside(folder: str, contents: Contents) -> dict[str, bytes]:
    """The files of a bundle by their path in its folder, without those of an earlier version.

    A publication in an object store that was cut off leaves both below `.VERSION/`.
    """
    held = {path[len(folder) + 1 :]: content for path, content in contents.items()}
    version = version_of(held.get(MANIFEST, b""))
    return {n: data for n, data in held.items() if n[0] != "." or n.startswith(f"{version}/")}


def bundle_folder_of(path: str) -> str:
    """The folder of the bundle, or of the copy of one, that a file belongs to."""
    parts = path.split("/")
    return "/".join(parts[: 4 if parts[0] == revisions.FOLDER else 2])


def fingerprint_of(manifest: bytes) -> str:
    """The fingerprint that a manifest names; empty if it cannot be read."""
    try:
        return str(json.loads(manifest)["fingerprint"])
    except (ValueError, KeyError, TypeError):
        return ""


def model_of(folder: str) -> tuple[str, str]:
    """The model and the session of a bundle's folder."""
    parts = [part for part in folder.split("/") if part != revisions.FOLDER]
    return parts[0], parts[1]


def _always(*names: str) -> Callable[[], Sequence[str]]:
    return lambda: names


def _ledger_faults(contents: Contents) -> dict[str, str]:
    try:
        for content in contents.values():
            parse_ledger(content)
    except (ValueError, KeyError, TypeError) as error:
        return {CALENDAR: f"it cannot be read: {error}"}
    return {}
