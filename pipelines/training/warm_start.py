"""The weights that a training begins with: fresh ones, or those of the model in force before it.

With `training.warm_start` the anchors of a plan form chains. Every `full_every`-th one, counted
from the first trained session, is trained from fresh weights over all epochs. Each of the others
begins with the weights of the model that was in force at the session before it, seed by seed, and
trains for at most `epochs` epochs. It begins with fresh weights as well where no model was good
enough by then, or the one in force has another configuration.

The bundle of a parent is an input like any other: its fingerprint stands in the manifest of its
child, and a child whose parent is made anew with other bytes is stale. So a chain is made in its
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config.models import ModelSpec
from pipelines.errors import ModelNotTrainedError
from pipelines.market.market import Market
from pipelines.training.processors import processors_hash
from pipelines.training.registry import InForce, in_force, require_bundle
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
        as_of: a session that trains.

    Returns:
        Their sessions in order; none for a session that begins with fresh weights.
    """
    warm, plan = market.config.training.warm_start, market.plan_of(spec.name)
    if warm is None or spec.estimator is not None:
        return ()
    keys, first = market.sessions.keys, market.sessions.position(plan.first_trained)
    at = market.sessions.position(as_of)
    links = (at - first) // plan.retrain_every % warm.full_every
    return tuple(keys[at - plan.retrain_every * n] for n in range(links, 0, -1))


def parent_of(market: Market, spec: ModelSpec, as_of: str) -> Parent | None:
    """The bundle whose weights a training begins with; None for fresh weights.

    Raises:
        ModelNotTrainedError: the chain has a broken link: the bundle of the anchor before is
            absent, damaged or of another layout. The message names it and the way out.
    """
    before = chain_before(market, spec, as_of)
    if not before:
        return None
    last = market.sessions.back(as_of, 1)
    assert last is not None  # noqa: S101 - an anchor lies before
    needed_by = f"{spec.name}_model of {as_of}, which begins with its weights,"
    processors = processors_hash(market, market.dataset_of(spec.name))
    try:
        found = in_force(market, spec.name, last, needed_by, processors)
    except ModelNotTrainedError as error:
        raise ModelNotTrainedError(
            f"the chain of warm starts is broken at {before[-1]}: {error}. Or leave out "
            f"training.warm_start to train from fresh weights"
        ) from error
    if not isinstance(found, InForce):
        return None
    return parent_from(market, spec, found.as_of, found.bundle.manifest, found.bundle.fingerprint)


def parent_from(
    market: Market, spec: ModelSpec, as_of: str, manifest: Mapping[str, Any], digest: str
) -> Parent | None:
    """The model in force as a parent; None if it was trained with another configuration."""
    if manifest.get("config_hash") != fingerprint(training_config(market, spec)):
        return None
    return Parent(as_of, digest)


def has_parent(manifest: Mapping[str, Any], parent: Parent | None) -> bool:
    """True if a bundle began with the weights of a parent, or with fresh ones where it is None."""
    return manifest.get("parent") == (parent.to_dict() if parent else None)


def parent_bundle(market: Market, spec: ModelSpec, as_of: str, parent: Parent) -> Bundle:
    """Load the bundle of a parent with its weights.

    Raises:
        ModelNotTrainedError: it is absent or damaged, or its weights were pruned.
    """
    needed_by = f"{spec.name}_model of {as_of}, which begins with its weights,"
    return require_bundle(market, spec.name, parent.as_of, needed_by)


def trainer_settings(market: Market, settings: Mapping[str, Any], parent: object) -> dict[str, Any]:
    """The settings of the trainer, the epochs capped for a training that begins with weights."""
    warm = market.config.training.warm_start
    if warm is None or parent is None:
        return dict(settings)
    from rnn_core.training import TrainerConfig

    most = TrainerConfig(**settings).n_epochs
    return {**settings, "n_epochs": min(most, warm.epochs)}
