"""`upgrade`: give the state of an earlier release the identity that this release asks for.

Nothing is computed again. Each partition gets its identity in the footer (`partition_file.py`),
each bundle and the fitted processors theirs, and at the end `market.json` the format. Digests are
taken without the identity, so whatever quotes one stays as it is: provenance, bundles, Dagster's
record. Files keep their times, which may be all that tells a served prediction.

Only files whose place is confirmed (`staleness/places.py`) are signed; the others are named. The
whole may be stopped anywhere and given again: each file is replaced in one step, what is signed is
passed over, and the market counts as one of the earlier release until all is done.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.errors import ProcessorStateError, WarehouseError, name_sessions
from pipelines.instance.earlier_home import bring_over
from pipelines.instance.home import dagster_instance
from pipelines.instance.locks import writer_lock
from pipelines.instance.materializations import made_digests, on_record, put_on_record
from pipelines.instance.names import asset_key
from pipelines.instance.orphaned_runs import sweep
from pipelines.instance.progress import progress
from pipelines.market.market import Market
from pipelines.market.reads import stored_reads
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.warm_up import mark_warm_up
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.places import Place, Places, bundles_of, places_of
from pipelines.staleness.status_report import status_report
from pipelines.training.processors import ProcessorState, signed_state, state_file, stored_state
from pipelines.training.registry import bundle_folder, bundle_identity
from pipelines.warehouse import revisions
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import read_info, sign, verify
from pipelines.warehouse.store import PART
from rnn_core.training.bundle_files import IDENTITY, json_bytes

_LOOK = "confirm places"


@dataclass
class Upgraded:
    """The result of an upgrade.

    Attributes:
        signed: number of files that got an identity, by table, model folder or state.
        unconfirmed: sessions whose files have none, by the same.
        left_out: tables of no stage of the configuration, which stay as they are.
    """

    signed: dict[str, int] = field(default_factory=dict)
    unconfirmed: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def note(self, name: str, key: str, *, is_signed: bool) -> None:
        """Count a file that was signed, or name one that was not."""
        if is_signed:
            self.signed[name] = self.signed.get(name, 0) + 1
        else:
            self.unconfirmed.setdefault(name, []).append(key)


def run_upgrade(market: Market, console: Console, *, accept: bool = False) -> Upgraded:
    """Sign the state of a market that an earlier release made.

    Args:
        market: the market.
        console: shows progress and the result.
        accept: sign files that nothing confirms, too, on the word of the person who asks; never
            one that says itself that it is another's.

    Raises:
        WarehouseError: it is the warehouse of another market, a newer release made it, or a file
            cannot be written.
    """
    record = market.warehouse.record
    record.require_same_market()
    now, market = market, as_fitted(market)
    # A report is made again by the next command; nothing quotes it, so it needs no identity.
    stages = tuple(stage for stage in stages_of(market) if stage.kind is not Kind.REPORT)
    upgraded = Upgraded()
    say(console, *bring_over(market, partial(mark_warm_up, market, stages_of(market))))
    with _at_work(market), dagster_instance(market) as instance:
        sweep(market, instance, console, deep=True)
        with LiveProgress(console).shown():
            places = _look(market, stages, instance)
            _keep_served(market, stages, instance)
            for stage in (stage for stage in stages if stage.is_compared):
                with writer_lock(market, stage.name, on_wait=partial(say, console)):
                    _sign_stage(market, stage, places, upgraded, accept=accept)
                    _sign_revisions(market, stage, instance, upgraded, accept=accept)
    known = {table.name for stage in stages for table in stage.tables}
    upgraded.left_out += sorted(set(market.warehouse.store.tables()) - known - {revisions.FOLDER})
    if places.digests or record.format() is not None:
        market.tables.settle_all()  # what was served is rewritten, and lies nowhere else
        record.write()  # the last step: until here it is a market of the earlier release
    lines = upgrade_lines(market, upgraded)
    if now is not market and (upgraded.signed or upgraded.unconfirmed):
        lines += _changed_fit_lines(now)
    say(console, *lines)
    return upgraded


def as_fitted(market: Market) -> Market:
    """The market with the fit windows that states on disk were fitted on.

    What an earlier release made had a fixed fit window. If the YAML has one that moves by now, the
    files confirm each other under the window of their time, which the fitted state tells, signed or
    not: an upgrade that was stopped goes on under the same window.
    """
    sections = {}
    for dataset in market.datasets:
        if dataset.fit_plan is None or not market.warehouse.store.exists(state_file(dataset)):
            continue
        text = market.warehouse.store.read(state_file(dataset)).decode(errors="replace")
        try:
            state = ProcessorState.from_json(text, state_file(dataset))
        except ProcessorStateError:
            continue  # damaged: it confirms nothing
        arguments = (processor.kwargs() for processor in state.infer)
        fitted = next((kwargs for kwargs in arguments if kwargs.get("fit_end_time")), None)
        if fitted is not None:
            fit_start, fit_end = (
                dt.date.fromisoformat(str(fitted[name])[:10])
                for name in ("fit_start_time", "fit_end_time")
            )
            sections[dataset.name] = dataset.config.model_copy(
                update={"fit": None, "fit_start": fit_start, "fit_end": fit_end}
            )
    if not sections:
        return market
    return market.opened_anew(market.config.with_datasets(sections))


def _changed_fit_lines(market: Market) -> list[str]:
    """Say what the present configuration makes stale of what was signed; nothing is made yet."""
    market = market.opened_anew()
    with dagster_instance(market) as instance:
        report = status_report(market, stages_of(market), instance)
    stale = [
        f"{asset.asset} {count}"
        for asset in report.assets
        if (count := sum(len(f.keys) for f in asset.findings if f.is_stale))
    ]
    if not stale:
        return []
    return [
        f"the fit window of the processors moves in the configuration and was fixed when this was "
        f"made; it makes stale: {', '.join(stale)}. `{market.command('status')}` lists them, "
        f"`{market.backfill_command()}` makes them, and `fit: fixed` with the window of before "
        f"keeps them current"
    ]


@contextmanager
def _at_work(market: Market) -> Iterator[None]:
    """Read files without identity inside the block."""
    market.warehouse.reads_unsigned = True
    try:
        yield
    except OSError as error:
        raise WarehouseError(
            f"cannot sign the files of {market.paths.root}: {error}; check that it is writable and "
            f"the disk not full, what was signed stays so: the same command goes on"
        ) from error
    finally:
        market.warehouse.reads_unsigned = False


def _look(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> Places:
    """Find the files whose place is confirmed."""
    progress().start(_LOOK, sum(stage.is_compared for stage in stages))
    places = places_of(
        market,
        stages,
        lambda name, keys: made_digests(instance, asset_key(market, name), keys),
        lambda name: progress().advance(_LOOK, name),
    )
    progress().finish(_LOOK)
    return places


def _keep_served(market: Market, stages: Sequence[Stage], instance: dg.DagsterInstance) -> None:
    """Put predictions on record whose time only their file tells, where a file cannot keep it."""
    store = market.warehouse.store
    if store.is_local:
        return
    now = StoredVersions(market, stages)
    for stage in (stage for stage in stages if stage.kind is Kind.PREDICTION):
        keys = store.partitions(stage.name)
        asset = asset_key(market, stage.name)
        unrecorded = sorted(set(keys) - on_record(instance, asset, keys))
        reads = stored_reads(stage, lambda name: now.table(name).stored)
        put_on_record(store, instance, asset, now.table(stage.name).infos(unrecorded), reads)


def _sign_stage(
    market: Market, stage: Stage, places: Places, upgraded: Upgraded, *, accept: bool
) -> None:
    """Sign the partitions or the state of a stage, and the bundles of a model."""
    names = [stage.name, *([bundles_of(str(stage.model))] if stage.kind is Kind.MODEL else [])]
    for name in names:
        keys = sorted(key for place, key in places.unsigned if place == name)
        if not keys:
            continue
        progress().start(name, len(keys))
        for key in keys:
            place = (name, key)
            if place in places.confirmed or (accept and place not in places.foreign):
                for table, is_signed in _sign_place(market, stage, place, places).items():
                    upgraded.note(table, key, is_signed=is_signed)
            else:
                upgraded.note(name, key, is_signed=False)
            progress().advance(name, key)
        progress().finish(name)


def _sign_place(market: Market, stage: Stage, place: Place, places: Places) -> dict[str, bool]:
    """Sign the files of one place that are as they were when it was confirmed.

    Returns:
        True of each table whose file was signed; files that were signed before are left out.
    """
    name, key = place
    if name != stage.name:
        model = str(stage.model)
        identity = bundle_identity(market, model, key).to_dict()
        bundle_folder(market, model, key).write(json_bytes(identity), IDENTITY)
        return {name: True}
    if not stage.tables:
        dataset = next(d for d in market.datasets if d.processors == name)
        state = stored_state(market, dataset)
        is_same = state is not None and state.hash == places.digests[place]
        if state is not None and is_same:
            content = signed_state(market, dataset, state).encode()
            market.warehouse.store.rewrite(content, state_file(dataset))
        return {name: is_same}
    results = {}
    for table in stage.tables:
        digest = places.digests[place] if table.name == name else None
        columns = table.names if len(stage.tables) > 1 else None
        parts = (table.name, f"date={key}", PART)
        is_signed = _sign_file(market, parts, table.name, key, digest, columns)
        if is_signed is not None:
            results[table.name] = is_signed
    return results


def _sign_file(
    market: Market,
    parts: Sequence[str],
    table: str,
    key: str,
    digest: str | None,
    columns: Sequence[str] | None = None,
) -> bool | None:
    """Sign a partition file.

    Args:
        market: the market.
        parts: the path of the file below the warehouse.
        table: the table that it belongs to.
        key: its session.
        digest: the digest that was confirmed, or its beginning; None for a file that stands and
            falls with another.
        columns: the columns of the table, where a file of another might lie.

    Returns:
        True if it was signed, False if it is another file by now; None if there is nothing to sign.
    """
    store, identity = market.warehouse.store, market.warehouse.identity(table, key)
    try:
        raw = store.read(*parts)
        actual = verify(raw, identity, unsigned=True)
        info = read_info(pa.BufferReader(raw))
    except (FileNotFoundError, DamagedFileError):
        return None
    if info.identity is not None:
        return None
    if digest is not None and not actual.startswith(digest):
        return False
    if columns is not None and pq.read_schema(pa.BufferReader(raw)).names != list(columns):
        return False
    store.rewrite(sign(raw, identity), *parts)
    return True


def _sign_revisions(
    market: Market, stage: Stage, instance: dg.DagsterInstance, upgraded: Upgraded, *, accept: bool
) -> None:
    """Sign the kept versions of partitions that were served and made again since.

    Nothing quotes them any more: Dagster's record of the runs that made them confirms them.
    """
    store = market.warehouse.store
    for table in (table.name for table in stage.tables):
        keys = revisions.sessions(store, table)
        made = made_digests(instance, asset_key(market, stage.name), keys)
        for key in keys:
            for number in revisions.numbers(store, table, key):
                parts, name = revisions.part(table, key, number), f"{revisions.FOLDER}/{table}"
                is_signed = None
                for digest in [None] if accept else sorted(made.get(key, ())):
                    is_signed = is_signed or _sign_file(market, parts, table, key, digest)
                if is_signed is not None or not made.get(key):
                    upgraded.note(name, key, is_signed=bool(is_signed))


def upgrade_lines(market: Market, upgraded: Upgraded) -> list[str]:
    """The result for a person."""
    lines = []
    if upgraded.signed:
        counts = ", ".join(f"{name} {count}" for name, count in upgraded.signed.items())
        lines.append(f"signed: {counts}")
    elif not upgraded.unconfirmed:
        lines.append("every file carries its identity; nothing to upgrade")
    for name, keys in upgraded.unconfirmed.items():
        shown = "" if keys == [WHOLE] else f" {name_sessions(keys)}"
        lines.append(f"unconfirmed, left without identity: {name}{shown}")
    if upgraded.unconfirmed:
        lines.append(
            f"nothing around these files confirms that they lie where they belong: "
            f"`{market.command('status')}` says how they are made again, and "
            f"`{market.command('upgrade --accept')}` signs them as they are, if you know that they "
            f"are right"
        )
    if upgraded.left_out:
        lines.append(
            f"of no asset of the configuration, left as they are: {', '.join(upgraded.left_out)}"
        )
    return lines
