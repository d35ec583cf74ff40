"""What a run makes of the sessions that it is given: those that are not current, and no others.

Every partitioned asset, whoever launches it (a command, the UI, the schedule), first compares the
partitions that are there with what it would write: same code version, configuration and inputs,
and bytes that still have their digest. Such a partition is recorded as materialized with the
figures of when it was made, and its file is not touched. So a range that was cut off half-way and
is run again does the other half, as one run of the whole range.

`ohlcv` has nothing upstream to compare with: it asks its source, unless a command tells it by a
tag to trust the bars that are there. Two tags on a run say what the command wants:

    rnn/current   keep: trust stored bars too;  ask: the source, as without the tag;
                  remake: make everything again, current or not
                  retrain: that, and train every model of the range anew
    rnn/served    keep: leave what was served as it is, though its inputs changed since

Before something served is written anew its file is kept as a revision (`revisions.py`), and so is
a bundle that gave served scores. A pointer that was served stays where its bundle has to be trained
again, since it is gone or cannot score any more: the sessions that follow need the bundle.

What is there and not on record, as after a lost DAGSTER_HOME, is put on record first, at the time
at which its file was written. A prediction on record that is gone or damaged is taken off it: what
is made in its place was not served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipelines.instance.materializations import forget, on_record, put_on_record
from pipelines.staleness.causes import why_not_current
from pipelines.staleness.data_versions import Snapshot
from pipelines.staleness.served import Served
from pipelines.warehouse import revisions

if TYPE_CHECKING:
    from pipelines.assets.asset_factory import Run
    from pipelines.calendar.sessions import Sessions

CURRENT_TAG = "rnn/current"
SERVED_TAG = "rnn/served"
KEEP, ASK, REMAKE, RETRAIN = "keep", "ask", "remake", "retrain"
_PAGE = 1000


def make_what_is_left(run: Run, body: Callable[[Run], None]) -> None:
    """Run an asset's body on the sessions that are not current, block by consecutive block.

    Args:
        run: the run of an asset; its `keys` are narrowed while the body works.
        body: makes the partitions of `run.keys`, consecutive sessions.
    """
    everything, tags = run.keys, run.context.run.tags
    served = Served(run.market, run.context.instance)
    now = Snapshot(run.market, served if tags.get(SERVED_TAG) == KEEP else None)
    there = _there(run, now)
    _mend_record(run, now, there)
    if run.name == "ohlcv" and tags.get(CURRENT_TAG) == KEEP:
        now.load_bars(everything)
    kept = {key for key in there if _is_kept(run, key, tags, now, served)}
    run.stays = frozenset(key for key in kept if now.lacks_bundle(run.name, key))
    _record_kept(run, now, [key for key in everything if key in kept - run.stays])
    left = [key for key in everything if key not in kept - run.stays]
    store = run.market.warehouse.store
    replaced = [key for key in left if key in there - run.stays and served.holds(run.name, key)]
    for key in replaced:
        revisions.keep(store, run.name, key)
    model, _, kind = run.name.rpartition("_")
    bundles: list[str] = []
    if kind == "model":
        run.retrains = tags.get(CURRENT_TAG) == RETRAIN
        run.history = frozenset(key for key in left if now.is_history(model, key))
        trained = (key for key in left if run.market.plan_of(model).trains(key))
        bundles = [key for key in trained if served.follows(model, key)]
    for key in bundles:
        revisions.keep_bundle(run.market.paths.models, model, key)
    try:
        for block in consecutive(left, run.market.sessions):
            run.keys = block
            body(run)
    finally:
        run.keys = everything
        revisions.drop_unchanged(store, run.name, replaced)
        for key in bundles:
            revisions.drop_unchanged_bundle(run.market.paths.models, model, key)


def _there(run: Run, now: Snapshot) -> set[str]:
    """The sessions of the run that have an intact file."""
    table = now[run.name]
    table.load(run.keys)
    return {key for key in run.keys if table.info(key) is not None}


def _mend_record(run: Run, now: Snapshot, there: set[str]) -> None:
    """Put on record what is there and not on it; take predictions off it that are not there."""
    instance, table = run.context.instance, now[run.name]
    recorded = on_record(instance, run.name, run.keys)
    put_on_record(
        run.market.warehouse.store, instance, run.name, table.infos(sorted(there - recorded))
    )
    if run.name.endswith("_prediction"):
        gone = sorted(recorded - there)
        forget(instance, run.name, gone, but_of_run=run.context.run.run_id)


def _is_kept(run: Run, key: str, tags: Mapping[str, str], now: Snapshot, served: Served) -> bool:
    """Whether a partition that is there stays as it is."""
    if tags.get(SERVED_TAG) == KEEP and served.holds(run.name, key):
        return True
    asks_source = run.name == "ohlcv" and tags.get(CURRENT_TAG) != KEEP
    if asks_source or tags.get(CURRENT_TAG) in (REMAKE, RETRAIN):
        return False
    made_by = run.provenance({})
    return why_not_current(run.name, key, made_by.code_version, made_by.config, now) is None


def _record_kept(run: Run, now: Snapshot, keys: Sequence[str]) -> None:
    """Say of each kept partition that it is done, with the figures of when it was made."""
    before = _recorded_metadata(run, keys)
    for key in keys:
        info = now[run.name].info(key)
        assert info is not None  # noqa: S101 - only what is there is kept
        known = before.get(key, {})
        same = getattr(known.get("digest"), "value", None) == info.digest[:16]
        run.done(key, info, **({**known, "kept": True} if same else {"kept": True}))


def _recorded_metadata(run: Run, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The metadata of each partition's newest materialization."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while len(found) < len(keys):
        page = run.context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(run.name), asset_partitions=list(keys)),
            limit=_PAGE,
            cursor=cursor,
        )
        for record in page.records:
            event = record.asset_materialization
            if record.partition_key is not None and event is not None:
                found.setdefault(record.partition_key, dict(event.metadata))
        if not page.has_more:
            break
        cursor = page.cursor
    return found


def consecutive(keys: Sequence[str], sessions: Sessions) -> list[tuple[str, ...]]:
    """Sessions in order, cut where one in between is missing."""
    blocks: list[list[str]] = []
    for key in keys:
        if blocks and sessions.position(key) == sessions.position(blocks[-1][-1]) + 1:
            blocks[-1].append(key)
        else:
            blocks.append([key])
    return [tuple(block) for block in blocks]
