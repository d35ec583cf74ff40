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
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.bars.bar_versions import inputs_now
from pipelines.config.models import ModelSpec
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
from pipelines.market.stage import Absent, External, Kind, Outdated, Stage, Version
from pipelines.staleness.served import Served
from pipelines.staleness.table_versions import TableVersions, WholeVersion
from pipelines.training import registry
from pipelines.training.registry import Candidate, bundle_folder, has_bundle, newest_good
from pipelines.training.training_config import training_config
from pipelines.training.warm_start import chain_before, has_parent, parent_of
from pipelines.warehouse.identity import UnsignedFileError
from pipelines.warehouse.partition_file import fingerprint


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
        self._warehouse = market.warehouse.afresh()
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
        versions = self[table] = TableVersions(self._warehouse, table)
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
        if manifest.get("config_hash") != fingerprint(training_config(market, spec)):
            return BundleState(manifest, "", f"{named} has another configuration")
        gave = self._served is not None and self._served.gave(model, anchor)
        same = gave or manifest.get("data") == self._training_inputs(dataset, anchor)
        reason = "" if same else f"{named} has other training data"
        if not reason and not gave and not self._has_parent(spec, anchor, manifest):
            reason = f"{named} begins with other weights"
        return BundleState(manifest, "", reason, usable=True)

    def _has_parent(self, spec: ModelSpec, anchor: str, manifest: Mapping[str, Any]) -> bool:
        """True if a bundle began with the weights that a training of now would begin with.

        False as well while a link before it is still to be trained: if that gives the same bytes,
        the bundle is found current afterwards.
        """
        before = chain_before(self.market, spec, anchor)
        for link in before:  # the oldest first, so that none has to ask deeper than one
            self.bundle(spec.name, link)
        parent = parent_of(self.market, spec, anchor, partial(self.bundle, spec.name))
        nearer = (link for link in before if parent is None or link >= parent.as_of)
        return has_parent(manifest, parent) and not any(
            self._will_train(spec.name, link) for link in nearer
        )

    def _will_train(self, model: str, anchor: str) -> bool:
        """True if a command would train an anchor again: what has served whole stays as it is."""
        if not self.bundle(model, anchor).reason or not self.market.plan_of(model).trains(anchor):
            return False
        served = self._served
        return served is None or not (
            served.gave(model, anchor) and not served.leaves_to_make(model, anchor)
        )

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
        self._bars |= inputs_now(self.market, self._warehouse, intact_keys, intact)
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
