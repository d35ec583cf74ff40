"""The files of a market that nothing needs, and how each is removed.

Every function returns things by name, each with its bytes and the call that removes it; nothing
where its rule is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipelines.calendar.trading_times import served_until
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.staleness.needed_bundles import NeededBundles
from pipelines.training.registry import bundle_folder, bundles_of
from pipelines.warehouse import revisions
from pipelines.warehouse.store import Store
from rnn_core.training.bundle_files import (
    MANIFEST,
    BundleError,
    prunable_files,
    prune_bundle,
    read_verified,
)

Things = dict[str, tuple[int, Callable[[], None]]]


def unneeded_bundles(
    market: Market,
    needed: Mapping[str, NeededBundles],
    newest: int | None,
    oldest_day: str | None,
) -> Things:
    """Bundles that lose their weights; a damaged one is left as it is.

    Args:
        market: the market.
        needed: what stays, by model.
        newest: so many bundles of each model stay, too; None for no such rule.
        oldest_day: those of this day and later stay, too; likewise.
    """
    things: Things = {}
    if newest is None and oldest_day is None:
        return things
    for model, stays in needed.items():
        for as_of in bundles_of(market, model)[: -newest if newest else None]:
            if oldest_day is not None and as_of >= oldest_day:
                continue
            folder = bundle_folder(market, model, as_of)
            sizes = prunable_files(folder.sizes())
            if not sizes:
                continue
            try:
                manifest, _ = read_verified(folder, weights=False)
            except BundleError:
                continue
            if not stays.holds(as_of, str(manifest["fingerprint"])):
                total = sum(sizes.values())
                things[f"{model}/{as_of}"] = (total, partial(prune_bundle, folder))
    return things


def old_units(market: Market, before: float | None) -> Things:
    """Trainings that were cut off and that nobody touched since a moment."""
    return _old_folders(market.state.below("units"), 1, before)


def old_checkpoints(market: Market, before: float | None) -> Things:
    """Checkpoints of earlier releases that nobody touched since a moment."""
    return _old_folders(market.bundles.below(".checkpoints"), 2, before)


def _old_folders(store: Store, depth: int, before: float | None) -> Things:
    """Folders of a store, by so many parts of their path, whose newest file is older."""
    if before is None:
        return {}
    return {
        name: (sum(sizes.values()), store.below(name).remove_all)
        for name, sizes in _folders(store, depth).items()
        if all(store.written(*file.split("/")) < before for file in sizes)
    }


def _folders(store: Store, depth: int) -> dict[str, dict[str, int]]:
    """The bytes of the files of a store by the first parts of their path."""
    folders: dict[str, dict[str, int]] = {}
    for file, size in store.sizes().items():
        folders.setdefault("/".join(file.split("/")[:depth]), {})[file] = size
    return folders


def old_revisions(market: Market, stages: Sequence[Stage], before: float | None) -> Things:
    """Versions of partitions that were made and replaced after their session could be traded on.

    The first version of each was served and stays, and so do tables that are no stage's: the order
    lists that were issued for somebody's book.
    """
    things: Things = {}
    store = market.warehouse.store
    stage_of = {table.name: stage for stage in stages for table in stage.tables}
    if before is None:
        return things
    sizes = store.sizes(revisions.FOLDER)
    for table in sorted(set(revisions.tables(store)) & stage_of.keys()):
        for key in revisions.sessions(store, table):
            for number in revisions.numbers(store, table, key)[1:]:
                parts = revisions.part(table, key, number)
                written = store.written(*parts)
                if written < before and is_unserved(market, stage_of[table], key, written):
                    size = sizes.get("/".join(parts[1:]), 0)
                    things["/".join(parts[1:])] = (size, partial(store.remove, *parts))
    return things


def is_unserved(market: Market, stage: Stage, key: str, written: float) -> bool:
    """True of a version after the first that was made once its session could be traded on."""
    decision = _decision(market, stage, key)
    return decision is not None and served_until(market.sessions, decision).timestamp() < written


def _decision(market: Market, stage: Stage, key: str) -> str | None:
    """The session whose scores a partition belongs to; None if it is no session of the market."""
    if key not in market.sessions:
        return None
    return market.decision_of(stage.dataset, key) if stage.kind is Kind.EVALUATION else key


def unneeded_copies(
    market: Market, needed: Mapping[str, NeededBundles], before: float | None
) -> Things:
    """Copies of bundles that were trained anew, and that no kept score names."""
    things: Things = {}
    if before is None:
        return things
    store = market.bundles.below(revisions.FOLDER)
    for name, sizes in _folders(store, 3).items():
        model, folder = name.split("/")[0], store.below(name)
        try:
            fingerprint = str(json.loads(folder.read(MANIFEST))["fingerprint"])
            is_old = folder.written(MANIFEST) < before
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
        stays = needed.get(model)
        if stays is not None and is_old and fingerprint not in stays.fingerprints:
            things[name] = (sum(sizes.values()), folder.remove_all)
    return things
