"""Run a stage only for the sessions whose partitions are missing or stale.

Every partitioned asset, whoever launches it (a command, the UI, the schedule), first compares its
stored partitions with what it would write: same code version, configuration and inputs, and bytes
that still have their digest. A current partition is recorded as materialized with its earlier
figures, and its file is not touched. So a range that was cut off half-way and is run again makes
the other half, as one run of the whole range.

A stage that takes its data from outside asks its source, unless a command tells it by a tag to
trust the stored bars. Two tags on a run say what the command wants:

    rnn/current   keep: trust stored bars too;  ask: the source, as without the tag;
                  remake: make everything again, current or not
                  retrain: that, and train every model of the range anew
    rnn/served    keep: leave served partitions as they are, though their inputs changed since

Before a served partition is written anew its file is kept as a revision (`revisions.py`), and so is
a bundle that gave served scores. A served pointer stays even if its bundle has to be trained again,
because it is gone or cannot score any more: the sessions that follow need the bundle.

A partition that is stored and not on record, as after a lost DAGSTER_HOME, is put on record first,
at the time at which its file was written. A prediction on record whose file is gone or damaged is
taken off the record: its replacement was not served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg

from pipelines.assets.run import Run
from pipelines.instance.materializations import (
    forget,
    on_record,
    put_on_record,
    recorded_metadata,
)
from pipelines.instance.names import HIDDEN, asset_key, hidden_tag
from pipelines.market.reads import stored_reads
from pipelines.market.stage import Kind, Stage
from pipelines.staleness.causes import why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.warehouse import revisions

CURRENT_TAG = f"{HIDDEN}current"
SERVED_TAG = f"{HIDDEN}served"
KEEP, ASK, REMAKE, RETRAIN = "keep", "ask", "remake", "retrain"


def materialize(
    run: Run, stages: Sequence[Stage], instance: dg.DagsterInstance, tags: Mapping[str, str]
) -> None:
    """Make the sessions of a run that are not current, block by consecutive block.

    Args:
        run: the run of a partitioned stage, with all the sessions that were asked for.
        stages: every stage of the market, upstream first.
        instance: Dagster's record.
        tags: tags of the Dagster run.
    """
    stage, served = run.stage, run.predictions_served
    keeps_served = hidden_tag(tags, SERVED_TAG) == KEEP
    now = StoredVersions(run.market, stages, served if keeps_served else None)
    now.load(stage, run.keys)
    stored_keys = {key for key in run.keys if now.is_intact(stage, key)}
    # A file without identity may be the one that was served: it is kept, and stays on record.
    unsigned_keys = {key for key in run.keys if now.is_unsigned(stage, key)}
    # The record decides what was served, so it is mended before anything is compared.
    _mend_record(run, instance, now, stored_keys, unsigned_keys)
    if stage.is_source and hidden_tag(tags, CURRENT_TAG) == KEEP:
        now.load_bars(run.keys)

    kept_keys: set[str] = set()
    for key in run.keys:  # in order: a session may be made from the one before it
        if key in stored_keys and _is_kept(run, key, tags, now):
            kept_keys.add(key)
        else:
            now.mark_outdated(stage, [key])
    # A served pointer whose bundle has to be trained again is work, and stays as it is.
    pointer_keys = frozenset(key for key in kept_keys if now.lacks_bundle(stage, key))
    _record_kept(run, instance, now, [key for key in run.keys if key in kept_keys - pointer_keys])

    keys_to_make = [key for key in run.keys if key not in kept_keys - pointer_keys]
    # Served files are kept as revisions before their sessions are made anew.
    replaced_keys = [
        key
        for key in keys_to_make
        if key in (stored_keys | unsigned_keys) - pointer_keys and served.holds(stage, key)
    ]
    is_model = stage.kind is Kind.MODEL and stage.model is not None
    work = replace(
        run,
        stays=pointer_keys,
        retrains=is_model and hidden_tag(tags, CURRENT_TAG) == RETRAIN,
        history=frozenset(key for key in keys_to_make if now.is_history(stage, key)),
        replaced=frozenset(keys_to_make),
    )
    bundles = [key for key in keys_to_make if is_model and _replaces_served_bundle(run, key)]
    with _revisions_kept(run, replaced_keys, bundles):
        # A block has no gap, so that a stage reads its look-back once.
        for block in run.market.sessions.consecutive(keys_to_make):
            stage.make(replace(work, keys=block))


def _replaces_served_bundle(run: Run, key: str) -> bool:
    """True if a session trains a model that may have served sessions at or after it."""
    model = str(run.stage.model)
    return run.market.plan_of(model).trains(key) and run.predictions_served.follows(model, key)


@contextmanager
def _revisions_kept(run: Run, keys: Sequence[str], bundles: Sequence[str]) -> Iterator[None]:
    """Keep revisions of the served partitions and bundles that the block replaces."""
    store, models = run.market.warehouse.store, run.market.bundles
    tables = [table.name for table in run.stage.tables]
    for key in keys:
        for table in tables:
            revisions.keep(store, table, key)
    for key in bundles:
        revisions.keep_bundle(models, str(run.stage.model), key)
    try:
        yield
    finally:
        for table in tables:
            revisions.drop_unchanged(store, table, keys)
        for key in bundles:
            revisions.drop_unchanged_bundle(models, str(run.stage.model), key)


def _mend_record(
    run: Run,
    instance: dg.DagsterInstance,
    now: StoredVersions,
    stored: set[str],
    unsigned: set[str],
) -> None:
    """Put unrecorded partitions on record, and take predictions without a file off the record."""
    stage = run.stage
    asset = asset_key(run.market, stage.name)
    recorded_keys = on_record(instance, asset, run.keys)
    infos = now.table(stage.name).infos(sorted(stored - recorded_keys))
    reads = stored_reads(stage, lambda name: now.table(name).stored)
    put_on_record(run.market.warehouse.store, instance, asset, infos, reads)
    if stage.kind is Kind.PREDICTION:
        lost_keys = sorted(recorded_keys - stored - unsigned)
        forget(instance, asset, lost_keys, but_of_run=run.results.run_id)


def _is_kept(run: Run, key: str, tags: Mapping[str, str], now: StoredVersions) -> bool:
    """True if a stored partition stays as it is."""
    stage = run.stage
    if hidden_tag(tags, SERVED_TAG) == KEEP and run.predictions_served.holds(stage, key):
        return True
    asks_source = stage.is_source and hidden_tag(tags, CURRENT_TAG) != KEEP
    if asks_source or hidden_tag(tags, CURRENT_TAG) in (REMAKE, RETRAIN):
        return False
    return why_not_current(stage, key, now) is None


def _record_kept(
    run: Run, instance: dg.DagsterInstance, now: StoredVersions, keys: Sequence[str]
) -> None:
    """Record each kept partition as done, with its earlier figures."""
    earlier = _newest_metadata(instance, asset_key(run.market, run.stage.name), keys)
    reads = stored_reads(run.stage, lambda name: now.table(name).stored)
    for key in keys:
        info = now.table(run.stage.name).info(key)
        assert info is not None  # noqa: S101 - only stored partitions are kept
        figures = earlier.get(key, {})
        if "reads" not in figures and info.provenance.inputs:
            run.results.note_reads(key, reads(key))
        is_same = getattr(figures.get("digest"), "value", None) == info.digest[:16]
        run.done(key, info, **({**figures, "kept": True} if is_same else {"kept": True}))


def _newest_metadata(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """The metadata of each partition's newest materialization."""
    newest: dict[str, Mapping[str, Any]] = {}
    for key, metadata in recorded_metadata(instance, asset, keys):
        newest.setdefault(key, metadata)
        if len(newest) == len(keys):
            break
    return newest
