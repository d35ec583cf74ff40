"""Verify every file of a market: its bytes, its place, what it was made from, and gaps between.

Each file is read and hashed once. The survey of staleness then compares what was read, so that one
command knows of every file whether it is the one that was written there, and of every partition
whether it is the one that would be made now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import dagster as dg

from pipelines.instance.names import asset_key
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.reports.report_record import files_of
from pipelines.staleness.causes import Cause
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.market_files import Damage, FileGroup, MarketFiles
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey, survey
from pipelines.staleness.verified_record import VerifiedRecord
from pipelines.warehouse.store import PART

_READERS, _FETCHERS = min(8, (os.cpu_count() or 1) + 1), 16  # hashing releases the lock
_KEPT = (Cause.DAMAGED, Cause.SERVED, Cause.UNRECORDED)  # no partition of these is stale


@dataclass
class Count:
    """The files of one kind.

    Attributes:
        files: number of them that are there.
        bytes: of all of them.
        damaged: not what was written at their place.
        missing: on record, or between others, and not there.
        stale: partitions that would be made otherwise now, or are still to be made.
        unknown: without a checksum to hold them against, or none of this market's.
    """

    files: int = 0
    bytes: int = 0
    damaged: int = 0
    missing: int = 0
    stale: int = 0
    unknown: int = 0

    @property
    def intact(self) -> int:
        """The files that are what was written there."""
        return self.files - self.damaged - self.unknown


@dataclass(frozen=True)
class Verification:
    """The counts by kind, and what is damaged or missing."""

    counts: dict[str, Count]
    damages: tuple[Damage, ...]


def verify_market(
    market: Market,
    stages: Sequence[Stage],
    instance: dg.DagsterInstance,
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Verify every file of a market, and compare every partition with what would be made now.

    Args:
        market: the market.
        stages: its stages, upstream first.
        instance: its Dagster record.
        on_bytes: told how many bytes of how many are verified.

    Raises:
        NewerStateError: a newer release made something of it.
        WarehouseError: `market.json` cannot be read, or names another market or format.
        ConfigError: the market's first session is not over yet.
    """
    market.warehouse.record.require_same_market()
    served = Served(market, stages, instance)
    record = VerifiedRecord(market, stages, served)
    now = StoredVersions(market, stages, served)
    files = MarketFiles(market, stages, served, now)
    # A bundle is compared with the partitions that it learned from, so those are read before.
    parts = [list(files.of_tables()), [*files.of_bundles(), *files.others()]]
    counts = {stage.name: Count() for stage in stages if stage.is_compared}
    total, damages = sum(file.bytes for part in parts for file in part), list[Damage]()
    done = 0
    for part in parts:
        for file, damage in _checked(part, _READERS if market.tables.is_local else _FETCHERS):
            count = counts.setdefault(file.kind, Count())
            count.files, count.bytes = count.files + len(file.names), count.bytes + file.bytes
            count.unknown += len(file.names) * (file.check is None)
            done += file.bytes
            on_bytes(done, total)
            if damage is not None:
                record.forget()  # at once: the verification may be stopped
                count.damaged += len(file.names)
                damages.append(damage)
    damages += _whole_stages(market, stages, now, counts)
    closed = market.sessions.between(market.sessions.first, market.last_closed())
    wanted = {s.name: keys for s in stages if s.is_compared and (keys := s.due(closed))}
    compared = survey(market, stages, instance, wanted, served=served, now=now)
    record.keep(compared, now, full=True)
    for stage in (stage for stage in stages if stage.name in compared.wanted):
        reasons = compared.reasons[stage.name]
        gone = list(_missing(market, stage, instance, now, compared, files))
        gone_keys = {damage.key for damage in gone}
        count = counts[stage.name]
        count.missing += len(gone)
        count.stale = sum(
            why.cause not in _KEPT and key not in gone_keys for key, why in reasons.items()
        )
        damages += gone
    return Verification(counts, tuple(sorted(damages, key=lambda d: d.path)))


def _checked(files: Iterable[FileGroup], readers: int) -> Iterator[tuple[FileGroup, Damage | None]]:
    """Check files in threads; those without a check come first."""
    with ThreadPoolExecutor(readers) as pool:
        jobs = {}
        for file in files:
            if file.check is None:
                yield file, None
            else:
                jobs[pool.submit(file.check)] = file
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BaseException:  # Ctrl-C ends it at once
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _whole_stages(
    market: Market, stages: Sequence[Stage], now: StoredVersions, counts: dict[str, Count]
) -> Iterator[Damage]:
    """Check fitted states and reports, each of which its stage reads whole."""
    counted = set[str]()  # two reports may name one file
    for stage in (stage for stage in stages if stage.is_compared and not stage.tables):
        store = market.reports if stage.kind is Kind.REPORT else market.tables
        is_report = stage.kind is Kind.REPORT
        names = files_of(market, stage.name) if is_report else {f"{stage.name}.json"}
        sizes = store.sizes()
        there, count = names & sizes.keys(), counts[stage.name]
        own = there - counted
        counted |= own
        count.files, count.bytes = len(own), sum(sizes[name] for name in own)
        # Two reports draw the same pictures, and state no checksum of them.
        count.unknown = sum(name.endswith(".png") for name in own)
        versions = now.table(stage.name)
        info, error = versions.info(WHOLE), versions.damaged.get(WHOLE)
        place = store.url(f"{stage.name}.json")
        if error is not None:
            count.damaged += 1
            differs = stage.kind is Kind.FITTED
            yield Damage(place, str(error), stage.name, stage.name, WHOLE, may_differ=differs)
        elif info is None and there:
            count.missing += len(names - there)
            lacks = store.url(min(names - there))
            yield Damage(lacks, "it is not there", stage.name, stage.name, WHOLE, is_missing=True)


def _missing(
    market: Market,
    stage: Stage,
    instance: dg.DagsterInstance,
    now: StoredVersions,
    compared: Survey,
    files: MarketFiles,
) -> Iterator[Damage]:
    """The files of a stage that are gone: on record as made, or with later ones behind them."""
    if not stage.tables:
        return
    recorded = instance.get_materialized_partitions(asset_key(market, stage.name))
    first = now.table(stage.name)
    last = max(first.stored, default="")
    for table in stage.tables:
        stored = now.table(table.name).stored
        for key in (key for key in compared.wanted[stage.name] if key not in stored):
            why = compared.reasons[stage.name].get(key)
            if table.origins and (why is None or why.cause != Cause.ABSENT):
                continue  # columns of which there is no file may have come into the YAML since
            # A table beside is there wherever the first one is.
            if key in recorded or key < last or key in first.stored:
                place = market.tables.url(table.name, f"date={key}", PART)
                yield Damage(
                    place,
                    "it is not there",
                    stage.name,
                    stage.name,
                    key,
                    files.is_history(stage, key),
                    is_missing=True,
                    may_differ=stage.is_source,
                )
