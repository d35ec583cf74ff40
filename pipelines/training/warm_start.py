"""The weights that a training begins with: fresh ones, or those of the model before it.

With `training.warm_start` the anchors of a plan form chains. Every `full_every`-th one, counted
from the first trained session, is trained from fresh weights over all epochs. Each of the others
begins with the weights of the newest model of its chain, seed by seed, that has the present
configuration, fits the present data and passed its checks: the model in force before it. It trains
for at most `epochs` epochs. A chain without such a model begins again, with fresh weights.

The bundle of a parent is an input like any other: its fingerprint stands in the manifest of its
child, and a child whose parent is made anew with other bytes is stale. So a chain is made in its
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config.models import ModelSpec
from pipelines.errors import ModelNotTrainedError
from pipelines.market.market import Market
from pipelines.training.processors import processors_hash
from pipelines.training.promotion import model_verdict
from pipelines.training.registry import Candidate, find_bundle, misfit
from pipelines.training.training_config import training_config
from pipelines.warehouse.partition_file import fingerprint

if TYPE_CHECKING:
    from rnn_core.training import Bundle


@dataclass(frozen=True)
class Parent:
    """The bundle whose weights a training begins with.

    Attributes:
        as_of: the session that trained it.
        fingerprint: the digest of its files.
    """

    as_of: str
    fingerprint: str

    def to_dict(self) -> dict[str, str]:
        """The entry of the child's manifest."""
        return {"as_of": self.as_of, "fingerprint": self.fingerprint}


def chain_before(market: Market, spec: ModelSpec, as_of: str) -> tuple[str, ...]:
    """The anchors from the last full training to the one before a session.

    Args:
        market: the market.
        spec: the model.
        as_of: a session.

    Returns:
        Their sessions in order; none for a session that begins with fresh weights, or trains
        nothing by the present plan.
    """
    warm, plan = market.config.training.warm_start, market.plan_of(spec.name)
    if warm is None or spec.estimator is not None or as_of < plan.first_trained:
        return ()
    keys, at = market.sessions.keys, market.sessions.position(as_of)
    links, off = divmod(at - market.sessions.position(plan.first_trained), plan.retrain_every)
    count = 0 if off else links % warm.full_every
    return tuple(keys[at - plan.retrain_every * n] for n in range(count, 0, -1))


def parent_of(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    look: Callable[[str], Candidate] | None = None,
) -> Parent | None:
    """The bundle whose weights a training begins with; None for fresh weights.

    Args:
        market: the market.
        spec: the model.
        as_of: the session that trains.
        look: gives the bundle of a session; None to read those that are stored.
    """
    before = chain_before(market, spec, as_of)
    config = fingerprint(training_config(market, spec)) if before else ""
    for link in reversed(before):
        found = look(link) if look is not None else _stored(market, spec, link)
        manifest = found.manifest
        if found.misfit or manifest.get("config_hash") != config:
            continue
        if not model_verdict(market.config.checks.model, manifest).blocking:
            return Parent(link, str(manifest["fingerprint"]))
    return None


def _stored(market: Market, spec: ModelSpec, as_of: str) -> Candidate:
    """A stored bundle; one that is absent or damaged does not fit."""
    from rnn_core.training import BundleError

    try:
        bundle = find_bundle(market, spec.name, as_of, weights=False)
    except BundleError as error:
        return Candidate({}, f"is damaged: {error}")
    if bundle is None:
        return Candidate({}, "is not there")
    dataset = market.dataset_of(spec.name)
    processors = processors_hash(market, dataset)
    reason = misfit(dataset, spec.family, bundle.config, bundle.manifest, processors)
    return Candidate({**bundle.manifest, "fingerprint": bundle.fingerprint}, reason)


def has_parent(manifest: Mapping[str, Any], parent: Parent | None) -> bool:
    """True if a bundle began with the weights of a parent, or with fresh ones where it is None."""
    return manifest.get("parent") == (parent.to_dict() if parent else None)


def parent_words(market: Market, spec: ModelSpec, as_of: str, parent: Parent | None) -> str:
    """The weights that a training begins with, for a person; empty without a warm start."""
    before = chain_before(market, spec, as_of)
    if not before:
        return ""
    last = before[-1]
    if parent is not None and parent.as_of == last:
        return f"the weights of {last}"
    begun = "fresh weights" if parent is None else f"the weights of {parent.as_of}"
    why = _stored(market, spec, last).misfit or "is of another configuration or failed its checks"
    return f"{begun}: the chain is broken at {last}, whose bundle {why}"


def parent_bundle(market: Market, spec: ModelSpec, as_of: str, parent: Parent) -> Bundle:
    """Load the bundle of a parent with its weights.

    Raises:
        ModelNotTrainedError: its weights were pruned, or it is gone by now.
    """
    from rnn_core.training import BundleError

    try:
        bundle = find_bundle(market, spec.name, parent.as_of)
        why = "it is not there any more"
    except BundleError as error:
        bundle, why = None, str(error)
    if bundle is not None and bundle.fingerprint == parent.fingerprint:
        return bundle
    first = chain_before(market, spec, as_of)[0]
    again = f"backfill --start {first} --end {parent.as_of} --select {spec.name}_model --force"
    raise ModelNotTrainedError(
        f"{spec.name} as of {as_of} begins with the weights of {parent.as_of}: {why}; "
        f"`{market.command(again)}` trains its chain again, to the same bytes"
    )


def trainer_settings(market: Market, settings: Mapping[str, Any], parent: object) -> dict[str, Any]:
    """The settings of the trainer, the epochs capped for a training that begins with weights."""
    warm = market.config.training.warm_start
    if warm is None or parent is None:
        return dict(settings)
    from rnn_core.training import TrainerConfig

    most = TrainerConfig(**settings).n_epochs
    return {**settings, "n_epochs": min(most, warm.epochs)}
