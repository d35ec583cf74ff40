"""Data versions of a market as it is now: partitions, fitted state, bundles, bars.

`StoredVersions` is the `DataVersions` of `market/stage.py` (table -> session -> version). A file is
read when its version is first asked for, and hashed whole: for small files that costs no more than
reading the footer, and a flipped byte is found before anything is called current.

A survey marks a stale partition; from then on the partition's version is `Outdated`. So partitions
that were made from it differ from what is expected, and the same comparison finds them, one by one.

If served partitions are to stay, a bundle that gave served scores stays in force though its
training data were restated since. A served bundle that is gone or cannot score any more (another
configuration or processor state) is trained anew if a session still needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import pyarrow as pa

from pipelines.bars.bar_versions import inputs_now
from pipelines.market.dataset import Dataset
from pipelines.market.input_versions import (
    ENTERING,
    MEMBERS,
    SOURCE_BARS,
    bundle_in_force,
    bundles_passed_over,
    column_input,
    training_inputs,
)
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Absent, External, Kind, Outdated, Stage, Version
from pipelines.staleness.served import Served
from pipelines.training import registry
from pipelines.training.registry import Candidate, bundle_folder, has_bundle, newest_good
from pipelines.warehouse.identity import DamagedFileError, UnsignedFileError
from pipelines.warehouse.partition_file import PartitionInfo, fingerprint, read_info, verify
from pipelines.warehouse.store import PART

_READERS = 4
_FEW = 5  # sessions for which a look at each is cheaper than a list of all


class TableVersions(Mapping[str, Version]):
    """Digests of one table by session; a partition that is not intact is `Absent`.

    Attributes:
        name: the name of the table.
        damaged: by session, why its file cannot be read; of the files read so far.
        known: digests of files that have not changed since they were verified.
    """

    def __init__(self, market: Market, name: str) -> None:
        self._warehouse = market.warehouse
        self._store = market.warehouse.store
        self.name = name
        self._infos: dict[str, PartitionInfo | None] = {}
        self._outdated: set[str] = set()
        self.damaged: dict[str, DamagedFileError] = {}
        self.known: Mapping[str, str] = {}

    @cached_property
    def stored(self) -> frozenset[str]:
        """The sessions that have a file."""
        return frozenset(self._store.partitions(self.name))

    def info(self, key: str) -> PartitionInfo | None:
        """The footer of a partition whose bytes have its digest; None if absent or damaged."""
        if key not in self._infos:
            try:
                self._infos[key] = self._read(key)
            except DamagedFileError as error:
                self._infos[key], self.damaged[key] = None, error
        return self._infos[key]

    def _read(self, key: str) -> PartitionInfo | None:
        """Read the footer of a partition.

        Raises:
            DamagedFileError: the bytes of the file do not have its digest, or it is none of this
                place.
        """
        try:
            raw = self._store.read(self.name, f"date={key}", PART)
        except (FileNotFoundError, NotADirectoryError):
            return None
        identity = self._warehouse.identity(self.name, key)
        verify(raw, identity, unsigned=self._warehouse.reads_unsigned)
        return read_info(pa.BufferReader(raw))

    def infos(self, keys: Iterable[str]) -> dict[str, PartitionInfo]:
        """The footers of the sessions that are stored and intact."""
        return {key: info for key in keys if (info := self.info(key)) is not None}

    def column(self, name: str, origin: str, key: str) -> Version:
        """The version of a column of its own; others of the table may be outdated."""
        info = self.info(key)
        made = None if info is None else info.provenance.inputs.get(name)
        if made is None:
            return Absent(f"{self.name} ({name})")
        return made if made.startswith(origin) else Outdated(self.name)

    def load(self, keys: Sequence[str]) -> None:
        """Read the files of several sessions at once."""
        wanted = keys if len(keys) <= _FEW else [key for key in keys if key in self.stored]
        if len(keys) > _FEW:
            self._infos |= {key: None for key in keys if key not in self.stored}
        unread = [key for key in wanted if key not in self._infos]
        if unread:  # a task a reader: thousands of small ones would cost more than the files
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(self.infos, (unread[i::_READERS] for i in range(_READERS))))

    def mark_outdated(self, keys: Iterable[str]) -> None:
        """Note that sessions will be made again: nothing stored was made from their new files."""
        self._outdated |= set(keys)

    def __getitem__(self, key: str) -> Version:
        if key in self._outdated:
            return Outdated(self.name)
        if key in self.known:
            return self.known[key]
        info = self.info(key)
        return Absent(self.name) if info is None else info.digest

    def __contains__(self, key: object) -> bool:
        return key in self._outdated or key in self.known or self.info(str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.stored | self._outdated))

    def __len__(self) -> int:
        return len(self.stored | self._outdated)


class WholeVersion(TableVersions):
    """The version of a stage without partitions, under the key `WHOLE`."""

    def __init__(self, market: Market, stage: Stage) -> None:
        super().__init__(market, stage.name)
        self._market, self._stage = market, stage

    @cached_property
    def stored(self) -> frozenset[str]:
        """`WHOLE` if the stage was made."""
        return frozenset() if self.info(WHOLE) is None else frozenset([WHOLE])

    @property
    def in_force(self) -> str | None:
        """The version; None if it was not made for the present configuration."""
        info = self.info(WHOLE)
        same = info is not None and info.provenance.config == self._stage.config_hash
        return info.digest if info is not None and same else None

    def _read(self, key: str) -> PartitionInfo | None:
        return None if self._stage.recorded is None else self._stage.recorded(self._market)

    def __getitem__(self, key: str) -> Version:
        version = super().__getitem__(key)
        return Outdated(self.name) if version != self.in_force else version


class _Computed(Mapping[str, Version]):
    """Versions that a function gives by session; a session without one is not in the mapping."""

    def __init__(self, version: Callable[[str], Version | None]) -> None:
        self._version = version

    def __getitem__(self, key: str) -> Version:
        version = self._version(key)
        if version is None:
            raise KeyError(key)
        return version

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class BundleState(Candidate):
    """A bundle compared with the one that would be trained now.

    Attributes:
        reason: why it would be trained again; empty if it is current.
        usable: True if it could serve sessions of now, though on other training data.
        damage: why its files are not those that were written there, if so.
    """

    reason: str = ""
    usable: bool = False
    damage: str = ""


@dataclass(frozen=True)
class ModelState:
    """The model that would be in force at a session.

    Attributes:
        bundle: version of its bundle; None if no model may serve.
        passed_over: newer sessions whose bundles were not good enough, newest first.
    """

    bundle: Version | None
    passed_over: tuple[str, ...] = ()


class StoredVersions(dict[str, Mapping[str, Version]]):
    """A market as it is now: versions by table.

    Args:
        market: the market.
        stages: its stages.
        served: the sessions that stay as served; None if all may be made again.

    Raises:
        WarehouseError: the state on disk has the format of another release, or is that of another
            market.
    """

    def __init__(
        self, market: Market, stages: Sequence[Stage], served: Served | None = None
    ) -> None:
        super().__init__()
        market.warehouse.require_format()
        market.warehouse.record.require_same_market()
        self.market = market
        self._served = served
        self._bundles: dict[tuple[str, str], BundleState] = {}
        self._training: dict[tuple[Dataset, str], Version] = {}
        self._models: dict[tuple[str, str | None, bool], ModelState] = {}
        self._bars: dict[str, dict[str, str]] = {}
        self._unchained: str | None = None
        self._source = next((stage for stage in stages if stage.is_source), None)
        self[SOURCE_BARS] = _Computed(lambda key: External())
        self[MEMBERS] = _Computed(partial(self._of_bars, "members", MEMBERS))
        self[ENTERING] = _Computed(self._entering)
        for table in (table for stage in stages for table in stage.tables):
            for column, origin in table.origins.items():
                of_column = partial(self.table(table.name).column, column, origin)
                self[column_input(column)] = _Computed(of_column)
        for stage in stages:
            if stage.kind is Kind.MODEL and stage.model is not None:
                self._add_model(stage.model)
            elif not stage.tables:
                self[stage.name] = WholeVersion(market, stage)

    def _add_model(self, model: str) -> None:
        self[bundle_in_force(model)] = _Computed(lambda key: self.model(model, key).bundle)
        self[bundles_passed_over(model)] = _Computed(
            lambda key: " ".join(self.model(model, key).passed_over) or None
        )

    def __missing__(self, table: str) -> TableVersions:
        versions = self[table] = TableVersions(self.market, table)
        return versions

    def table(self, name: str) -> TableVersions:
        """The versions of a stored table, or of a stage without partitions."""
        versions = self[name]
        assert isinstance(versions, TableVersions)  # noqa: S101 - only computed inputs are not
        return versions

    # --- stages ------------------------------------------------------------------------------

    def load(self, stage: Stage, keys: Sequence[str]) -> None:
        """Read the files of several sessions of a stage at once."""
        for table in stage.tables:
            self.table(table.name).load(keys)

    def is_intact(self, stage: Stage, key: str) -> bool:
        """True if the partition that other stages read is stored and its bytes have its digest."""
        return self.table(stage.name).info(key) is not None

    def is_unsigned(self, stage: Stage, key: str) -> bool:
        """True if the file of a partition is intact and does not say where it belongs."""
        return isinstance(self.table(stage.name).damaged.get(key), UnsignedFileError)

    def mark_outdated(self, stage: Stage, keys: Iterable[str]) -> None:
        """Note that sessions of a stage will be made again."""
        self.table(stage.name).mark_outdated(keys)

    # --- models ------------------------------------------------------------------------------

    def model(self, model: str, key: str) -> ModelState:
        """The newest model at or before a session that may serve, as `registry.in_force` finds it.

        A pinned model is served whatever the checks say and whatever it was trained on.
        """
        plan = self.market.plan_of(model)
        # All sessions of an anchor have the same model, but for the pinned ones.
        case = (model, plan.anchor(key), plan.is_pinned(key))
        if case not in self._models:
            self._models[case] = self._model(model, key)
        return self._models[case]

    def _model(self, model: str, key: str) -> ModelState:
        plan = self.market.plan_of(model)
        as_of, passed_over = newest_good(
            self.market, model, key, lambda as_of: self.bundle(model, as_of)
        )
        pinned, anchor = plan.is_pinned(key), plan.anchor(key)
        for candidate in (*passed_over, *([as_of] if as_of else [])):
            state = self.bundle(model, candidate)
            trains_now = not pinned and plan.trains(candidate) and bool(state.reason)
            if trains_now or (candidate == anchor and (not state.manifest or state.misfit)):
                return ModelState(Outdated(bundle_in_force(model), state.reason))
        bundle = None if as_of is None else str(self.bundle(model, as_of).manifest["fingerprint"])
        return ModelState(bundle, tuple(passed_over))

    def lacks_bundle(self, stage: Stage, key: str) -> bool:
        """True if a session of a model has to train, though its pointer was served.

        The bundle is gone or cannot score any more, and sessions that were not served build on it.
        """
        model, served = stage.model, self._served
        if stage.kind is not Kind.MODEL or model is None or served is None:
            return False
        if not self.market.plan_of(model).trains(key):
            return False
        return not self.bundle(model, key).usable and served.leaves_to_make(model, key)

    def is_history(self, stage: Stage, anchor: str) -> bool:
        """True if a bundle of a model gave scores that are to stay as they were served."""
        if stage.kind is not Kind.MODEL or stage.model is None or self._served is None:
            return False
        return self._served.gave(stage.model, anchor)

    def bundle(self, model: str, anchor: str) -> BundleState:
        """The bundle of a session, every byte verified; one that was pruned is no other."""
        if (model, anchor) not in self._bundles:
            self._bundles[model, anchor] = self._bundle(model, anchor)
        return self._bundles[model, anchor]

    def _bundle(self, model: str, anchor: str) -> BundleState:
        from rnn_core.training.bundle_files import BundleError, read_verified, settings_of

        market, named = self.market, f"the {model} bundle of {anchor}"
        if not has_bundle(market, model, anchor):
            return BundleState({}, "is not there", f"{named} is not there")
        try:
            registry.require_identity(market, model, anchor)
            folder = bundle_folder(market, model, anchor)
            manifest, files = read_verified(folder, weights=False)
            config = settings_of(folder, files)["config"]
        except BundleError as error:
            why = f"{named} is damaged or of another place"
            return BundleState({}, "is damaged", why, damage=str(error))
        dataset = market.dataset_of(model)
        spec = next(spec for spec in market.models if spec.name == model)
        processors = self[dataset.processors]
        in_force = processors.in_force if isinstance(processors, WholeVersion) else None
        unfit = registry.misfit(dataset, spec.family, config, manifest, in_force)
        if unfit:
            return BundleState(manifest, unfit, f"{named} {unfit}")
        if manifest.get("config_hash") != fingerprint(registry.training_config(market, spec)):
            return BundleState(manifest, "", f"{named} has another configuration")
        same = manifest.get("data") == self._training_inputs(dataset, anchor)
        same = same or (self._served is not None and self._served.gave(model, anchor))
        reason = "" if same else f"{named} has other training data"
        return BundleState(manifest, "", reason, usable=True)

    def _training_inputs(self, dataset: Dataset, anchor: str) -> Version:
        """The version of the data that a model of a dataset as of `anchor` would learn from."""
        if (dataset, anchor) not in self._training:
            self._training[dataset, anchor] = training_inputs(dataset, anchor, self)
        return self._training[dataset, anchor]

    # --- bars --------------------------------------------------------------------------------

    def load_bars(self, keys: Sequence[str]) -> None:
        """Compute the input versions of several sessions of bars at once; keys in order."""
        assert self._source is not None  # noqa: S101 - only a market with a source asks
        tables = [self.table(table.name) for table in self._source.tables if not table.origins]
        for table in tables:
            table.load(keys)

        def intact(key: str) -> bool:
            return all(table.info(key) is not None for table in tables)

        intact_keys = [key for key in keys if intact(key)]
        self._bars |= inputs_now(self.market, intact_keys, intact)
        for key in intact_keys:
            info = tables[0].info(key)
            if info and info.provenance.inputs.get("entering") != self._bars[key]["entering"]:
                self._unchained = min(key, self._unchained or key)
                break

    def _entering(self, key: str) -> Version:
        """Fingerprint of the state that enters a session.

        From the first session on that was made from another state every session is outdated, since
        it builds on those before it.
        """
        if self._unchained is not None and key >= self._unchained:
            return Outdated(ENTERING)
        return self._of_bars("entering", ENTERING, key)

    def _of_bars(self, name: str, source: str, key: str) -> Version:
        """Fingerprint of a session's members, or of the state that enters it."""
        if key not in self._bars:
            self.load_bars([key])
        return self._bars[key][name] if key in self._bars else Absent(source)
