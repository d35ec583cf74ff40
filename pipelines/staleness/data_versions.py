"""A market as it is now: the fingerprint of every partition, of the processors and of the bundles.

What:   `Snapshot` is the `Digests` of `input_versions.py` (table -> session -> digest), each file
read when
        it is first asked for and hashed whole: for small files that costs no more than their
        footer, and a flipped byte is found before anything is called current.
How:    what a survey finds that has to be made again is marked `outdated`; from then on it has a
        fingerprint that nothing was made from. So whatever was made from it differs from what is
        expected, and is found by the same comparison, partition by partition.
Served: where what was served is to stay, a bundle that gave served scores stays in force though its
        training data were restated since. One that is gone or cannot score any more (another
        configuration or processor state) is trained anew, if a session is left that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import yaml

from pipelines.bars.bar_versions import inputs_now
from pipelines.errors import ProcessorStateError
from pipelines.market import input_versions
from pipelines.market.market import Market
from pipelines.staleness.served import Served
from pipelines.training.processors import ProcessorState, load_state
from pipelines.training.registry import Candidate, bundle_path, misfit, newest_good, training_config
from pipelines.warehouse.partition_file import (
    DamagedFileError,
    PartitionInfo,
    fingerprint,
    read_info,
    verify,
)
from pipelines.warehouse.store import PART

_READERS = 4
_FEW = 5  # sessions for which a look at each is cheaper than a list of all


class TableState(Mapping[str, str]):
    """Digests of one table by session; an absent or damaged one is a KeyError of the table's name.

    Attributes:
        damaged: why a file cannot be read, by session, of those looked at so far.
    """

    def __init__(self, market: Market, name: str) -> None:
        self._store = market.warehouse.store
        self._name = name
        self._infos: dict[str, PartitionInfo | None] = {}
        self._outdated: set[str] = set()
        self.damaged: dict[str, str] = {}

    @cached_property
    def there(self) -> frozenset[str]:
        """The sessions that have a file."""
        return frozenset(self._store.partitions(self._name))

    def info(self, key: str) -> PartitionInfo | None:
        """The footer of a partition whose bytes have its digest; None if absent or damaged."""
        if key not in self._infos:
            try:
                raw = self._store.read(self._name, f"date={key}", PART)
                verify(raw)
                self._infos[key] = read_info(pa.BufferReader(raw))
            except DamagedFileError as error:
                self._infos[key] = None
                self.damaged[key] = str(error)
            except (FileNotFoundError, NotADirectoryError):
                self._infos[key] = None
        return self._infos[key]

    def infos(self, keys: Iterable[str]) -> dict[str, PartitionInfo]:
        """The footers of those of some sessions that are there and intact."""
        return {key: info for key in keys if (info := self.info(key)) is not None}

    def load(self, keys: Sequence[str]) -> None:
        """Read the files of several sessions at once."""
        known = keys if len(keys) <= _FEW else [key for key in keys if key in self.there]
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(self.info, known))

    def mark_outdated(self, keys: Iterable[str]) -> None:
        """These will be made again: nothing that is there was made from what they will be."""
        self._outdated |= set(keys)

    def __getitem__(self, key: str) -> str:
        if key in self._outdated:
            return f"outdated {self._name} {key}"
        info = self.info(key)
        if info is None:
            raise KeyError(self._name)
        return info.digest

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self._outdated or self.info(key) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.there | self._outdated))

    def __len__(self) -> int:
        return len(self.there | self._outdated)


@dataclass(frozen=True)
class BundleState(Candidate):
    """A bundle, and whether it is the one that would be trained now.

    Attributes:
        reason: why it would be trained again; empty where it is current.
        usable: whether it could serve sessions of now, though on other training data.
    """

    reason: str = ""
    usable: bool = False


@dataclass(frozen=True)
class ModelState:
    """The model that would be in force at a session.

    Attributes:
        inputs: what a partition that points to it is made from (`registry.pointer_inputs`).
        reason: what is wrong with a bundle on the way; `inputs` then match no partition.
    """

    inputs: dict[str, str]
    reason: str = ""


class Snapshot(dict[str, TableState]):
    """A market as it is now: `TableState` by table.

    Args:
        market: the market.
        served: what is to stay as it was served; None where all may be made again.
    """

    def __init__(self, market: Market, served: Served | None = None) -> None:
        super().__init__()
        self.market = market
        self._served = served
        self.processors_outdated = False
        self._bundles: dict[tuple[str, str], BundleState] = {}
        self._training: dict[str, str] = {}
        self._bars: dict[str, dict[str, str]] = {}
        self._unchained: str | None = None

    def __missing__(self, table: str) -> TableState:
        self[table] = TableState(self.market, table)
        return self[table]

    @cached_property
    def processors(self) -> ProcessorState | None:
        """The fitted processors; None where they are not fitted for this configuration."""
        try:
            return load_state(self.market)
        except ProcessorStateError:
            return None

    @property
    def processors_hash(self) -> str:
        """Of the state in force, or a value that no partition was made from."""
        return "outdated processors" if self.processors_outdated else self._processors_hash

    @cached_property
    def _processors_hash(self) -> str:
        return "absent processors" if self.processors is None else self.processors.hash

    def model(self, model: str, key: str) -> ModelState:
        """The newest model at or before a session that may serve, as `registry.in_force` finds it.

        A pinned one is served whatever the checks say and whatever it was trained on.
        """
        plan = self.market.plan_of(model)
        as_of, passed_over = newest_good(
            self.market, model, key, lambda as_of: self.bundle(model, as_of)
        )
        pinned, anchor = plan.is_pinned(key), plan.anchor(key)
        for looked_at in (*passed_over, *([as_of] if as_of else [])):
            state = self.bundle(model, looked_at)
            trains_now = not pinned and plan.trains(looked_at) and bool(state.reason)
            if trains_now or (looked_at == anchor and (not state.manifest or state.misfit)):
                return ModelState({"bundle": f"outdated bundle of {looked_at}"}, state.reason)
        made_from = {}
        if as_of is not None:
            made_from["bundle"] = str(self.bundle(model, as_of).manifest["fingerprint"])
        if passed_over:
            made_from["passed_over"] = " ".join(passed_over)
        return ModelState(made_from)

    def lacks_bundle(self, asset: str, key: str) -> bool:
        """Whether a session of a model has to train, though its pointer was served.

        Its bundle is gone or cannot score any more, and sessions that were not served build on it.
        """
        model, _, kind = asset.rpartition("_")
        if kind != "model" or self._served is None or not self.market.plan_of(model).trains(key):
            return False
        return not self.bundle(model, key).usable and self._served.leaves_to_make(model, key)

    def is_history(self, model: str, anchor: str) -> bool:
        """Whether a bundle gave scores that are to stay as they were served."""
        return self._served is not None and self._served.gave(model, anchor)

    def bundle(self, model: str, anchor: str) -> BundleState:
        """The bundle of a session, every byte verified."""
        if (model, anchor) not in self._bundles:
            self._bundles[model, anchor] = self._bundle(model, anchor)
        return self._bundles[model, anchor]

    def _bundle(self, model: str, anchor: str) -> BundleState:
        from rnn_core.training.bundle_files import BundleError, read_verified

        market, named = self.market, f"the {model} bundle of {anchor}"
        path = bundle_path(market, model, anchor)
        if not (path / "manifest.json").is_file():
            return BundleState({}, "is not there", f"{named} is not there")
        try:
            manifest, files = read_verified(path)
        except BundleError:
            return BundleState({}, "is damaged", f"{named} is damaged")
        config = yaml.safe_load(files["config.yaml"])["config"]
        processors = None if self.processors is None else self.processors.hash
        unfit = misfit(market, config, manifest, processors)
        if unfit:
            return BundleState(manifest, unfit, f"{named} {unfit}")
        spec = next(spec for spec in market.models if spec.name == model)
        if manifest.get("config_hash") != fingerprint(training_config(market, spec)):
            return BundleState(manifest, "", f"{named} has another configuration")
        same = manifest.get("data") == self._training_inputs(anchor)
        reason = (
            "" if same or self.is_history(model, anchor) else f"{named} has other training data"
        )
        return BundleState(manifest, "", reason, usable=True)

    def _training_inputs(self, anchor: str) -> str:
        """What a model of any family as of `anchor` would be trained on now."""
        if anchor not in self._training:
            try:
                self._training[anchor] = input_versions.training_inputs(self.market, anchor, self)
            except KeyError:
                self._training[anchor] = "not all there"
        return self._training[anchor]

    def load_bars(self, keys: Sequence[str]) -> None:
        """Find what several sessions of `ohlcv` would be made from at once; keys in order."""
        tables = self["ohlcv"], self["ohlcv_quarantine"]
        for table in tables:
            table.load(keys)

        def intact(key: str) -> bool:
            return all(table.info(key) is not None for table in tables)

        both = [key for key in keys if intact(key)]
        self._bars |= inputs_now(self.market, both, intact)
        for key in both:
            info = self["ohlcv"].info(key)
            if info and info.provenance.inputs.get("entering") != self._bars[key]["entering"]:
                self._unchained = min(key, self._unchained or key)
                break

    def members(self, key: str) -> str | None:
        """Fingerprint of a session's members; None where its bars set aside are not there."""
        if key not in self._bars:
            self.load_bars([key])
        return self._bars[key]["members"] if key in self._bars else None

    def is_chained(self, key: str) -> bool:
        """Whether no loaded session up to this one was made from other factors than enter it."""
        return self._unchained is None or key < self._unchained
