"""All files of a market, each with the check that it has to pass.

Every file that there is belongs to one kind. What nothing states a checksum of, as a picture, a
page or what a vendor gave, is counted without a check, and so is what is none of this market's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.market.calendar_ledger import read_ledger
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.reports.report_record import files_of
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.needed_bundles import NeededBundles, bundles_that_served
from pipelines.staleness.served import Served
from pipelines.training.registry import require_identity
from pipelines.warehouse import revisions
from pipelines.warehouse.identity import DamagedFileError, UnsignedFileError
from pipelines.warehouse.market_record import FILE as MARKET_FILE
from pipelines.warehouse.partition_file import verify
from pipelines.warehouse.store import PART, Store, leftovers
from rnn_core.training.bundle_files import (
    IDENTITY,
    MANIFEST,
    PRUNED,
    UNITS,
    BundleError,
    read_verified,
)
from rnn_core.training.file_folder import Folder

_DAY = r"\d{4}-\d\d-\d\d"
_PARTITION = re.compile(rf"([^/.]+)/date=({_DAY})/{re.escape(PART)}")
REVISION = re.compile(rf"{re.escape(revisions.FOLDER)}/([^/]+)/date=({_DAY})/rev-(\d+)\.parquet")
_BUNDLE = re.compile(rf"(([^/.]+)/({_DAY}))/(.+)")
_COPY = re.compile(rf"({re.escape(revisions.FOLDER)}/([^/]+)/({_DAY})/[^/]+)/(.+)")
_VERSION = re.compile(r"^\.[0-9a-f]{16}/")
BESIDE = (UNITS, PRUNED)  # of a bundle, outside of its fingerprint
REVISIONS, BUNDLES, COPIES = "revisions", "bundles", "copies of bundles"
MARKET, UNKNOWN, LEFT = "market and calendar", "other files", "temporary files"


@dataclass(frozen=True)
class Damage:
    """A file that is damaged or missing.

    Attributes:
        path: its place.
        why: what is wrong.
        kind: of file.
        stage: the asset that makes it again; empty if none does.
        key: its session.
        history: True if nothing brings it back as it was: it was served, or belongs to what was.
        unsigned: True if only its identity is missing.
        is_missing: True if it is not there.
        may_differ: True if, made again, it may be another: bars are asked of a source that may have
            restated them, states and models are fitted again on what is there now.
    """

    path: str
    why: str
    kind: str
    stage: str = ""
    key: str = ""
    history: bool = False
    unsigned: bool = False
    is_missing: bool = False
    may_differ: bool = False


@dataclass(frozen=True)
class FileGroup:
    """Files that are verified in one go: a partition, or all files of a bundle.

    Attributes:
        kind: of file.
        names: of all of them.
        bytes: of all of them.
        check: reads and verifies them; None if there is nothing to hold them against.
    """

    kind: str
    names: tuple[str, ...]
    bytes: int
    check: Callable[[], Damage | None] | None = field(default=None, compare=False)


class MarketFiles:
    """The files of a market.

    Args:
        market: the market.
        stages: its stages.
        served: its served sessions.
        now: its versions as it is, which keep what the checks have read.
    """

    def __init__(
        self, market: Market, stages: Sequence[Stage], served: Served, now: StoredVersions
    ) -> None:
        self._market, self._stages, self._served, self._now = market, stages, served, now
        self._stage_of = {t.name: stage for stage in stages for t in stage.tables}
        self._gave: dict[str, NeededBundles] = {}
        self._whole = {stage.name for stage in stages if stage.is_compared and not stage.tables}

    def is_history(self, stage: Stage, key: str) -> bool:
        """True if a prediction was served; what else belongs to it follows from it."""
        return stage.kind is Kind.PREDICTION and self._served.holds(stage, key)

    # --- partitions and revisions ------------------------------------------------------------

    def of_tables(self) -> Iterator[FileGroup]:
        """The files of the warehouse but the fitted states."""
        store = self._market.tables
        for path, size in store.sizes().items():
            partition, revision = _PARTITION.fullmatch(path), REVISION.fullmatch(path)
            check: Callable[[], Damage | None] | None = None
            kind = UNKNOWN
            if partition is not None:
                stage = self._stage_of.get(partition[1])
                kind = UNKNOWN if stage is None else stage.name
                check = self._partition(kind, stage, partition[1], partition[2])
            elif revision is not None:
                kind, check = REVISIONS, self._revision(path, revision[1], revision[2])
            elif path == MARKET_FILE:
                kind, check = MARKET, lambda: None  # it was read before all others
            elif path.removesuffix(".json") in self._whole:
                continue
            yield FileGroup(kind, (path,), size, check)

    def _partition(
        self, kind: str, stage: Stage | None, table: str, key: str
    ) -> Callable[[], Damage | None]:
        place, name = self._market.tables.url(table, f"date={key}", PART), stage and stage.name

        def check() -> Damage | None:
            versions = self._now.table(table)
            versions.info(key)
            error = versions.damaged.get(key)
            if error is None:
                return None
            # A table that left the YAML may have been served: nobody knows any more.
            history = stage is None or self.is_history(stage, key)
            unsigned = isinstance(error, UnsignedFileError)
            differs = stage is not None and stage.is_source
            why = str(error)
            return Damage(place, why, kind, name or "", key, history, unsigned, may_differ=differs)

        return check

    def _revision(self, path: str, table: str, key: str) -> Callable[[], Damage | None]:
        def check() -> Damage | None:
            store = self._market.tables
            try:
                verify(store.read(path), self._market.warehouse.identity(table, key))
            except FileNotFoundError:  # a run dropped it since
                return None
            except DamagedFileError as error:
                unsigned = isinstance(error, UnsignedFileError)
                return Damage(store.url(path), str(error), REVISIONS, "", key, True, unsigned)
            return None

        return check

    # --- bundles -----------------------------------------------------------------------------

    def of_bundles(self) -> Iterator[FileGroup]:
        """The bundles, their copies, and what else lies among them."""
        folders: dict[tuple[str, str, str, str], dict[str, int]] = {}
        for path, size in self._market.bundles.sizes().items():
            match, kind = _BUNDLE.fullmatch(path), BUNDLES
            if match is None:
                match, kind = _COPY.fullmatch(path), COPIES
            if match is None:
                yield FileGroup(UNKNOWN, (path,), size)
                continue
            folder, model, key, name = match.groups()
            folders.setdefault((kind, folder, model, key), {})[name] = size
        for (kind, folder, model, key), sizes in folders.items():
            beside = [name for name in sizes if name in BESIDE]
            for name in beside:
                yield FileGroup(kind, (f"{folder}/{name}",), sizes.pop(name))
            if sizes:
                names = tuple(f"{folder}/{name}" for name in sizes)
                check = self._bundle(kind, self._market.bundles.below(folder), model, key, sizes)
                yield FileGroup(kind, names, sum(sizes.values()), check)

    def _bundle(
        self, kind: str, folder: Store, model: str, key: str, names: dict[str, int]
    ) -> Callable[[], Damage | None]:
        def check() -> Damage | None:
            why = self._fault(kind, folder, model, key, names)
            return self._damaged_bundle(kind, folder, why, model, key) if why else None

        return check

    def _fault(self, kind: str, folder: Store, model: str, key: str, names: dict[str, int]) -> str:
        """The reason why a bundle is not the one written at its place; empty if it is."""
        market, in_yaml = self._market, any(spec.name == model for spec in self._market.models)
        if kind == BUNDLES and in_yaml and MANIFEST in names:
            state = self._now.bundle(model, key)
            if state.damage:
                return state.damage
            listed = set(state.manifest["files"])
            return _too_many(names, listed)
        return bundle_fault(market, folder, model, key, names)

    def _damaged_bundle(self, kind: str, folder: Store, why: str, model: str, key: str) -> Damage:
        stages = (s for s in self._stages if s.kind is Kind.MODEL and s.model == model)
        stage = next(stages, None)
        trains = (
            kind == BUNDLES
            and stage is not None
            and key in self._market.sessions
            and self._market.plan_of(model).trains(key)
        )
        name = stage.name if stage is not None and trains else ""
        history = not name or key in self._that_served(model).sessions
        return Damage(folder.url(), why, kind, name, key, history, may_differ=True)

    def _that_served(self, model: str) -> NeededBundles:
        if model not in self._gave:
            market, stages = self._market, self._stages
            self._gave[model] = bundles_that_served(market, stages, self._served, model)
        return self._gave[model]

    # --- the rest ----------------------------------------------------------------------------

    def others(self) -> Iterator[FileGroup]:
        """The calendar, trainings at work, pages, and what this machine alone keeps."""
        market = self._market
        state = market.state.file("calendar.json")
        if market.state.exists(*state.parts):
            yield FileGroup(MARKET, (state.name,), len(state.read()), self._calendar)
        for path, size in market.state.below("units").sizes().items():
            yield FileGroup("units", (path,), size)
        reports = (stage.name for stage in self._stages if stage.kind is Kind.REPORT)
        of_reports = {name for report in reports for name in files_of(market, report)}
        for path, size in market.reports.sizes().items():
            if path not in of_reports:
                yield FileGroup(UNKNOWN, (path,), size)
        for page in (market.page, market.served_page):
            if page.store.exists(*page.parts):
                yield FileGroup("pages", (str(page),), len(page.read()))
        paths = market.paths
        kept = (paths.config, paths.catalog, paths.verified)
        for file in (*kept, *sorted(paths.downloads.rglob("*"))):
            if file.is_file():
                kind = "downloads" if paths.downloads in file.parents else "catalog and settings"
                yield FileGroup(kind, (str(file),), file.stat().st_size)
        stores = (store for store in (market.state, market.tables) if store.is_local)
        roots = {paths.root, *(Path(store.root) for store in stores)}
        for left in sorted({path for root in roots for path in leftovers(root)}):
            yield FileGroup(LEFT, (str(left),), left.stat().st_size)

    def _calendar(self) -> Damage | None:
        """Hold the ledger of a derived calendar against the bars that are stored."""
        market = self._market
        known = set(read_ledger(market.state.file("calendar.json"))["sessions"])
        bars = {k for s in self._stages if s.is_source for k in self._now.table(s.name).stored}
        gone = (bars & set(market.sessions.keys)) - known
        if not gone or isinstance(market.config.market.calendar, str):
            return None
        why = f"it lacks {min(gone)}, a session that has bars"
        return Damage(market.state.url("calendar.json"), why, MARKET, history=True)


def bundle_fault(market: Market, folder: Folder, model: str, key: str, names: Iterable[str]) -> str:
    """Say why a bundle or a copy of one is not what was written there; empty if it is.

    Args:
        market: the market.
        folder: the bundle.
        model: the model that it belongs to.
        key: the session that trained it.
        names: all files of the folder.
    """
    try:
        require_identity(market, model, key, folder)
        listed = set(read_verified(folder, weights=False)[0]["files"])
    except BundleError as error:
        return str(error)
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    return _too_many(names, listed)


def _too_many(names: Iterable[str], listed: set[str]) -> str:
    more = {_VERSION.sub("", name) for name in names} - {*listed, MANIFEST, IDENTITY, *BESIDE}
    return f"it has {min(more)}, which is none of its files" if more else ""


def place_of(path: str) -> tuple[str, str] | None:
    """The table and session of a partition or revision, by its path below the warehouse."""
    match = _PARTITION.fullmatch(path) or REVISION.fullmatch(path)
    return (match[1], match[2]) if match else None
