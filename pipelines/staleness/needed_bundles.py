"""The bundles of a model whose weights stay, however old: served, in force, pinned or awaited."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.staleness.served import Served
from pipelines.training.registry import by_manifest, newest_good
from pipelines.training.warm_start import parent_of
from pipelines.warehouse import revisions
from pipelines.warehouse.store import PART


@dataclass
class NeededBundles:
    """The bundles of one model that are needed, by either of their names.

    Attributes:
        sessions: the sessions that trained them.
        fingerprints: what scores and pointers quote of them.
    """

    sessions: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)

    def holds(self, as_of: str, fingerprint: str) -> bool:
        """True if a bundle is needed."""
        return as_of in self.sessions or fingerprint in self.fingerprints


def needed_bundles(
    market: Market,
    stages: Sequence[Stage],
    served: Served,
    model: str,
    to_make: Collection[str],
) -> NeededBundles:
    """Find the bundles of a model that gave served or kept scores, or may have to give some.

    Args:
        market: the market.
        stages: its stages.
        served: its served sessions.
        model: the model.
        to_make: sessions of which its pointer or its prediction is still to be made.
    """
    plan, needed = market.plan_of(model), bundles_that_served(market, stages, served, model)
    spec = next(spec for spec in market.models if spec.name == model)
    pointers = by_model(stages, Kind.MODEL)[model].name
    look = partial(by_manifest, market, model)
    # In force at the newest session, and wherever something is to be made.
    stored = market.warehouse.sessions(pointers)
    upcoming = {*to_make, *([market.last_closed()] if market.sessions.keys else [])}
    for key in sorted(key for key in upcoming if key >= plan.first_trained):
        in_force, _ = newest_good(market, model, key, look)
        anchor = plan.anchor(key)
        parent = anchor and parent_of(market, spec, anchor, look)
        found = (in_force, anchor, parent and parent.as_of)
        needed.sessions |= {as_of for as_of in found if as_of}
    # A pin, also one that takes effect at a session to come.
    if plan.pin is not None:
        needed.sessions |= {key for key in (plan.pin[1], plan.anchor(plan.pin[1])) if key}
    newest = {stored[-1]} if stored else set[str]()
    _note(needed, _files(market, pointers, newest | set(to_make)))
    return needed


def bundles_that_served(
    market: Market, stages: Sequence[Stage], served: Served, model: str
) -> NeededBundles:
    """Find the bundles of a model that gave served or kept scores.

    By the plan, by the pointers and by the scores, which name them even if the plan has changed
    since, or the bundle that the plan names was not in force.
    """
    plan, found = market.plan_of(model), NeededBundles()
    pointers = by_model(stages, Kind.MODEL)[model].name
    prediction = by_model(stages, Kind.PREDICTION).get(model)
    sessions = served.sessions(model)
    found.sessions |= {a for key in sessions if (a := plan.anchor(key)) is not None}
    _note(found, _files(market, pointers, sessions))
    if prediction is not None:
        _note(found, _files(market, prediction.name, sessions))
        store = market.warehouse.store
        for key in revisions.sessions(store, prediction.name):
            for number in revisions.numbers(store, prediction.name, key):
                _note(found, [store.read(*revisions.part(prediction.name, key, number))])
    return found


def _files(market: Market, table: str, keys: Iterable[str]) -> Iterable[bytes]:
    """The files of some sessions of a table; a session without one is passed over."""
    store = market.warehouse.store
    for key in sorted(set(keys) & set(store.partitions(table))):
        yield store.read(table, f"date={key}", PART)


def _note(needed: NeededBundles, files: Iterable[bytes]) -> None:
    """Note the bundles that pointers or scores name; a damaged file names none."""
    for data in files:
        try:
            rows = pq.read_table(pa.BufferReader(data), columns=["as_of", "fingerprint"])
        except (pa.ArrowInvalid, OSError):
            continue
        needed.sessions |= {f"{day:%Y-%m-%d}" for day in rows["as_of"].unique().to_pylist() if day}
        needed.fingerprints |= {text for text in rows["fingerprint"].unique().to_pylist() if text}
