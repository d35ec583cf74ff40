"""Confirm the places of files that do not say where they belong, from what they quote.

Releases without identity left one trace of a file's place: partitions quote the digests of what
they were made from. `Evidence` reads all of it, and a file is confirmed

- if it was made from what lies at the sessions that its place reads, as a hash that names the
  sessions says (a window of features or bars, a training window, a bundle in force);
- if a confirmed file quotes it, or it quotes a confirmed file that differs from session to session;
- if Dagster's record of the run that made it names its digest.

A file whose provenance names another asset is in the wrong place whatever else agrees, and so is
one of two tables that a stage wrote together if their provenance differs. Bars of a source are told
from a copy of another session's, since their fingerprint holds the date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.market.input_versions import training_inputs
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage, Version
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.table_versions import TableVersions
from pipelines.training import registry
from pipelines.training.registry import bundle_folder
from pipelines.warehouse.partition_file import PartitionInfo
from pipelines.warehouse.store import Store
from rnn_core.training.bundle_files import IDENTITY, MANIFEST

Place: TypeAlias = tuple[str, str]  # a stage, or a model's bundles (`bundles_of`), and a session
RecordedDigests: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, set[str]]]
_SHOWN = 16  # characters of a digest in Dagster's record


def bundles_of(model: str) -> str:
    """The name that stands for the bundles of a model among the stages."""
    return f"models/{model}"


@dataclass(frozen=True)
class Places:
    """The files that are where they belong, and the others.

    Attributes:
        digests: digest of every file, by place; of a bundle its fingerprint.
        unsigned: places whose file, or a file beside it of the same stage, has no identity.
        confirmed: places that the evidence confirms, with those that carry their identity.
        foreign: places whose file says that another asset made it.
    """

    digests: Mapping[Place, str]
    unsigned: frozenset[Place]
    confirmed: frozenset[Place]
    foreign: frozenset[Place]


def places_of(
    market: Market,
    stages: Sequence[Stage],
    recorded: RecordedDigests,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Places:
    """Find out which files of a market are where they belong.

    Args:
        market: the market; its warehouse reads files without identity.
        stages: its stages, upstream first.
        recorded: gives, by session, the first characters of the digests that runs recorded when
            they made partitions of an asset.
        on_stage: told the name of each stage that was read.
    """
    evidence = Evidence(market, stages)
    for stage in (stage for stage in stages if stage.is_compared):
        evidence.look(stage)
        on_stage(stage.name)
    for model in (stage.model for stage in stages if stage.kind is Kind.MODEL):
        evidence.look_at_bundles(str(model))
    evidence.spread()
    # The record decides the rest: files that were made anew around them quote others.
    open_keys: dict[str, list[str]] = {}
    for name, key in sorted(evidence.unsigned - evidence.confirmed - evidence.foreign):
        open_keys.setdefault(name, []).append(key)
    for stage in (stage for stage in stages if stage.tables and stage.name in open_keys):
        for key, digests in recorded(stage.name, open_keys[stage.name]).items():
            place = (stage.name, key)
            if place not in evidence.parted and evidence.digests[place][:_SHOWN] in digests:
                evidence.confirmed.add(place)
    evidence.spread()
    return Places(
        evidence.digests,
        frozenset(evidence.unsigned),
        frozenset(evidence.confirmed),
        frozenset(evidence.foreign),
    )


class Evidence:
    """The evidence of the files of a market about each other.

    Attributes:
        digests: as `Places`.
        unsigned: likewise.
        confirmed: likewise; grows by `spread`.
        foreign: likewise.
        parted: places whose two files were not made together.
    """

    def __init__(self, market: Market, stages: Sequence[Stage]) -> None:
        self._market = market
        self._now = StoredVersions(market, stages)
        self._stage_of = {t.name: stage.name for stage in stages for t in stage.tables}
        self._stage_of |= {stage.name: stage.name for stage in stages if not stage.tables}
        self._quotes: dict[Place, frozenset[Place]] = {}
        self._agrees: set[Place] = set()
        self._copies: set[Place] = set()
        self.digests: dict[Place, str] = {}
        self.unsigned: set[Place] = set()
        self.confirmed: set[Place] = set()
        self.foreign: set[Place] = set()
        self.parted: set[Place] = set()

    def look(self, stage: Stage) -> None:
        """Read the partitions of a stage, after those of the stages that it reads."""
        table = self._now.table(stage.name)
        keys = sorted(table.stored)  # all of them: reports read days that are no session any more
        self._now.load(stage, keys)
        infos = table.infos(keys)
        for key, info in infos.items():
            self._take(stage, key, info)
        if stage.is_source:
            bars = {key: info.provenance.inputs.get("bars") for key, info in infos.items()}
            times = Counter(value for value in bars.values() if value is not None)
            self._copies |= {
                (stage.name, key) for key, value in bars.items() if value and times[value] > 1
            }

    def _take(self, stage: Stage, key: str, info: PartitionInfo) -> None:
        place = (stage.name, key)
        self.digests[place] = info.digest
        together = [table for table in stage.tables[1:] if not table.origins]
        beside = [self._now.table(table.name).info(key) for table in together]
        signed = [found.identity is not None for found in (info, *beside) if found is not None]
        if all(signed):
            self.confirmed.add(place)
        else:
            self.unsigned.add(place)
        if info.provenance.asset != stage.name:
            self.foreign.add(place)
        elif any(found and found.provenance != info.provenance for found in beside):
            self.parted.add(place)
        elif (key in self._market.sessions or key == WHOLE) and not stage.is_source:
            # A source's inputs, but for the bars that it knows alone, are the same on many days.
            self._compare(place, info, *self._expected(stage, key))

    def _expected(self, stage: Stage, key: str) -> tuple[Mapping[str, Version], dict[Place, str]]:
        """The inputs that a partition would have now, and the files that they come from."""
        reads: dict[Place, str] = {}
        inputs = stage.inputs(key, _Traced(self._now, self._stage_of, reads))
        return inputs, reads

    def _compare(
        self,
        place: Place,
        info: PartitionInfo,
        expected: Mapping[str, Version],
        reads: Mapping[Place, str],
    ) -> None:
        """Note what a partition quotes, and confirm it if a hash over sessions agrees."""
        inputs = info.provenance.inputs
        if dict(expected) == dict(inputs):
            self._quotes[place] = frozenset(reads)
            self._agrees.add(place)
            plain = set(reads.values())
            if not inputs or any(value not in plain for value in inputs.values()):
                self.confirmed.add(place)
        else:
            quoted = set(inputs.values())
            self._quotes[place] = frozenset(p for p, digest in reads.items() if digest in quoted)

    def look_at_bundles(self, model: str) -> None:
        """Read the bundles of a model, after the pointers to them."""
        name = bundles_of(model)
        for as_of in registry.bundles_of(self._market, model):
            manifest = self._now.bundle(model, as_of).manifest
            if not manifest or as_of not in self._market.sessions:
                continue
            place = (name, as_of)
            self.digests[place] = str(manifest["fingerprint"])
            if _is_signed(bundle_folder(self._market, model, as_of)):
                self.confirmed.add(place)
            else:
                self.unsigned.add(place)
            if (manifest.get("model"), manifest.get("as_of")) != (model, as_of):
                self.foreign.add(place)
            elif self._market.plan.first_trained <= as_of:
                reads: dict[Place, str] = {}
                dataset = self._market.dataset_of(model)
                traced = _Traced(self._now, self._stage_of, reads)
                if manifest.get("data") == training_inputs(dataset, as_of, traced):
                    self.confirmed.add(place)
                    self._quotes[place] = frozenset(reads)
        self._quote_bundles(model, name)

    def _quote_bundles(self, model: str, name: str) -> None:
        """Note the bundles that the pointers of a model quote."""
        places = {digest: place for place, digest in self.digests.items() if place[0] == name}
        for stage_name, key in [p for p in self.digests if p[0] == f"{model}_model"]:
            info = self._now.table(stage_name).info(key)
            quoted = places.get(info.provenance.inputs.get("bundle", "")) if info else None
            if quoted is not None:
                place = (stage_name, key)
                self._quotes[place] = self._quotes.get(place, frozenset()) | {quoted}

    def spread(self) -> None:
        """Confirm what confirmed files quote, and what quotes them, until nothing is added."""
        barred = self.foreign | self.parted | self._copies
        # Whatever quotes one of these can belong to one session only: not the state without
        # sessions, not a bundle, and not pointers and empty partitions, which are alike on days.
        partitions = {p: d for p, d in self.digests.items() if p[1] != WHOLE and "/" not in p[0]}
        times = Counter((place[0], digest) for place, digest in partitions.items())
        alone = {place for place, d in partitions.items() if times[place[0], d] == 1}
        count = -1
        while count < len(self.confirmed):
            count = len(self.confirmed)
            for place, quoted in self._quotes.items():
                agrees = place in self._agrees and quoted <= self.confirmed
                if place in self.confirmed:
                    self.confirmed |= quoted - barred
                elif agrees or quoted & alone & self.confirmed:
                    self.confirmed.add(place)
            self.confirmed -= self.foreign


def _is_signed(bundle: Store) -> bool:
    """True if a bundle says where it belongs."""
    try:
        bundle.published(IDENTITY, bundle.read(MANIFEST))
    except FileNotFoundError:
        return False
    return True


class _Traced(dict[str, Mapping[str, Version]]):
    """Versions that note which files were asked for."""

    def __init__(
        self, now: StoredVersions, stage_of: Mapping[str, str], reads: dict[Place, str]
    ) -> None:
        super().__init__()
        self._now, self._stage_of, self._reads = now, stage_of, reads

    def __missing__(self, table: str) -> Mapping[str, Version]:
        versions = self._now[table]
        stage = self._stage_of.get(table)
        if isinstance(versions, TableVersions) and stage is not None:
            versions = _TracedTable(versions, stage, self._reads)
        self[table] = versions
        return versions


class _TracedTable(Mapping[str, Version]):
    """The versions of one table, that note which sessions were asked for."""

    def __init__(self, versions: TableVersions, stage: str, reads: dict[Place, str]) -> None:
        self._versions, self._stage, self._reads = versions, stage, reads

    def __getitem__(self, key: str) -> Version:
        version = self._versions[key]
        if isinstance(version, str):
            self._reads[self._stage, key] = version
        return version

    def __contains__(self, key: object) -> bool:
        return key in self._versions

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)
