"""Find a market's model bundles, the one in force at a session, and what they must match."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.errors import ModelNotTrainedError
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from pipelines.training.promotion import model_verdict
from pipelines.training.training_config import layout_entry, part_entry
from pipelines.warehouse.identity import DamagedFileError, Identity
from pipelines.warehouse.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from rnn_core.training import Bundle
    from rnn_core.training.file_folder import Folder


def bundle_name(model: str, as_of: str) -> str:
    """The folder of a bundle below the market's models folder: `lstm/2012-07-02`."""
    return f"{model}/{as_of}"


def bundle_identity(market: Market, model: str, as_of: str) -> Identity:
    """The identity of the bundle that the session `as_of` trains."""
    return Identity(market.warehouse.record.name, "model", model, as_of)


def require_identity(market: Market, model: str, as_of: str, folder: Folder | None = None) -> None:
    """Confirm that a bundle belongs to its place.

    Args:
        market: the market.
        model: its name.
        as_of: the session that trained it.
        folder: the bundle, if it is not the one at that place but a copy of it.

    Raises:
        BundleError: it is the bundle of another market, model or session, or has no identity.
        NewerStateError: a newer release made it.
    """
    from rnn_core.training.bundle_files import IDENTITY, MANIFEST, BundleError

    folder = folder or bundle_folder(market, model, as_of)
    try:
        found = json.loads(folder.published(IDENTITY, folder.read(MANIFEST)))
    except FileNotFoundError:
        found = None
    except (ConnectionError, TimeoutError):
        raise
    except (OSError, ValueError) as error:
        raise BundleError(f"{IDENTITY} of bundle {folder} cannot be read: {error}") from error
    if found is None and market.warehouse.reads_unsigned:
        return
    try:
        bundle_identity(market, model, as_of).require(found)
    except DamagedFileError as error:
        raise BundleError(f"bundle {folder} is none of this place: {error}") from error


def bundle_folder(market: Market, model: str, as_of: str) -> Store:
    """The folder of the bundle that the session `as_of` trains."""
    return market.bundles.below(bundle_name(model, as_of))


def has_bundle(market: Market, model: str, as_of: str) -> bool:
    """True if there is a bundle of a session: its manifest, which is put in place last."""
    return bundle_folder(market, model, as_of).exists("manifest.json")


def bundles_of(market: Market, model: str) -> list[str]:
    """The sessions of a model that have a bundle, in order."""
    parts = (name.split("/") for name in market.bundles.files(model))
    return sorted(p[0] for p in parts if len(p) == 2 and p[1] == "manifest.json" and p[0][0] != ".")


@lru_cache(maxsize=16)
def _load(folder: Store, manifest: bytes) -> Bundle:
    from rnn_core.training import load_bundle

    return load_bundle(folder)


def find_bundle(market: Market, model: str, as_of: str, *, weights: bool = True) -> Bundle | None:
    """Load and verify the bundle of a session; None if no model was trained.

    Args:
        market: the market.
        model: its name.
        as_of: the session.
        weights: False for a reader that does with the record of a pruned bundle.

    Raises:
        PrunedBundleError: its weights were pruned, and they are asked for.
        BundleError: its files are damaged, or it is the bundle of another place.
        NewerStateError: a newer release made it.
    """
    folder = bundle_folder(market, model, as_of)
    try:
        manifest = folder.read("manifest.json")
    except (FileNotFoundError, NotADirectoryError):
        return None
    require_identity(market, model, as_of)
    from rnn_core.training import PrunedBundleError, load_bundle

    try:
        return _load(folder, manifest)
    except PrunedBundleError:
        if weights:
            raise
        return load_bundle(folder, weights=False)


def require_bundle(
    market: Market, model: str, as_of: str, needed_by: str, *, weights: bool = True
) -> Bundle:
    """Load and verify the bundle of a session.

    Args:
        market: the market.
        model: its name.
        as_of: the session.
        needed_by: the reader, for the error.
        weights: False for a reader that does with the record of a pruned bundle.

    Raises:
        ModelNotTrainedError: no model was trained, its weights were pruned, or its files are
            damaged; the message names the key to run.
    """
    from rnn_core.training import BundleError, PrunedBundleError

    try:
        bundle = find_bundle(market, model, as_of, weights=weights)
    except PrunedBundleError as error:
        again = f"backfill --start {as_of} --end {as_of} --select {model}_model --force"
        raise ModelNotTrainedError(
            f"{needed_by} serves the {model} model of {as_of}: {error}; "
            f"`{market.command(again)}` trains it again"
        ) from error
    except BundleError as error:
        raise ModelNotTrainedError(
            f"{needed_by} serves the {model} model of {as_of}: {error}; materialize "
            f"{model}_model of {as_of} to train it again"
        ) from error
    if bundle is None:
        raise ModelNotTrainedError(
            f"{needed_by} serves the {model} model of {as_of}, and there is none in "
            f"{bundle_folder(market, model, as_of)}; materialize {model}_model of {as_of} first"
        )
    return bundle


def histories_of(name: str, bundle: Bundle) -> dict[str, pd.DataFrame]:
    """The history of each member of a bundle, one row a step, by name for a picture."""
    history, seeds = bundle.history, bundle.manifest["seeds"]
    if len(seeds) == 1:
        return {name: history}
    return {f"{name} seed {s['seed']}": history[history["seed"] == s["seed"]] for s in seeds}


@dataclass(frozen=True)
class InForce:
    """The model in force at a session.

    Attributes:
        as_of: the session whose partition trained it.
        bundle: its bundle, maybe without weights.
        passed_over: reasons against the models of newer sessions, newest first.
    """

    as_of: str
    bundle: Bundle
    passed_over: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class NoneInForce:
    """Every model trained so far was not good enough.

    Attributes:
        passed_over: reasons against the models by session, newest first.
    """

    passed_over: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Candidate:
    """A bundle that may serve.

    Attributes:
        manifest: its manifest; empty if it cannot be read.
        misfit: the reason of the function `misfit`; empty if there is none.
    """

    manifest: Mapping[str, Any]
    misfit: str = ""


def misfit(
    dataset: Dataset,
    family: str,
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    processors: str | None,
) -> str:
    """The reason why a bundle cannot score the present windows; empty if it can.

    Args:
        dataset: the dataset of its model.
        family: the family of its model.
        config: the configuration that the bundle was trained with.
        manifest: the bundle's manifest.
        processors: the hash of the processor state in force; None if it is unknown.
    """
    now = {
        "step_len": dataset.config.step_len,
        "columns": list(dataset.columns),
        "label": dataset.spec.features.label,
        "layout": layout_entry(dataset).get("layout"),
    }
    for name, value in now.items():
        if config.get(name) != value:
            return f"was trained with another {name}"
    if config.get("part") != part_entry(family).get("part") and config.get("family") == family:
        return f"was trained with other code of {family}"
    if processors is not None and manifest["processors"] != processors:
        return "was trained on features of another processor state"
    return ""


def by_manifest(market: Market, model: str, as_of: str) -> Candidate:
    """A bundle by its manifest alone; one without a manifest that can be read cannot serve."""
    try:
        return Candidate(json.loads(bundle_folder(market, model, as_of).read("manifest.json")))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        return unreadable(error)


def unreadable(error: Exception) -> Candidate:
    """A bundle that cannot serve, as it cannot be read."""
    return Candidate({}, f"its bundle cannot be read: {error}")


def newest_good(
    market: Market, model: str, key: str, look: Callable[[str], Candidate]
) -> tuple[str | None, dict[str, tuple[str, ...]]]:
    """Find the newest model at or before a session that may serve: the rule of the model in force.

    The anchor of the plan comes first, then every older bundle, newest first, also one of another
    rhythm or other hyper-parameters: it was good enough to serve before. A pinned model is served
    whatever the checks say: a person named it.

    Args:
        market: the market.
        model: its name.
        key: a session at or after the first trained one.
        look: gives the bundle of a session.

    Returns:
        The session that trained it, None if no model may serve, and the reasons against the newer
        ones by session, newest first.
    """
    plan, checks = market.plan_of(model), market.config.checks.model
    anchor = plan.anchor(key)
    passed_over: dict[str, tuple[str, ...]] = {}
    if anchor is None:
        return None, passed_over
    for as_of in (anchor, *_older(market, model, anchor)):
        candidate = look(as_of)
        if plan.is_pinned(key):
            return as_of, passed_over
        reasons = (
            (candidate.misfit,)
            if candidate.misfit
            else model_verdict(checks, candidate.manifest).blocking
        )
        if not reasons:
            return as_of, passed_over
        passed_over[as_of] = reasons
    return None, passed_over


def _older(market: Market, model: str, anchor: str) -> Iterator[str]:
    """Sessions before an anchor that have a bundle, newest first."""
    first = market.plan.first_trained
    names = bundles_of(market, model)
    yield from (n for n in reversed(names) if first <= n < anchor and n in market.sessions)


def in_force(
    market: Market, model: str, key: str, needed_by: str, processors: str | None = None
) -> InForce | NoneInForce:
    """Load the newest model at or before a session that passes its blocking checks.

    A bundle that was pruned is as good as another: the pointer to it needs no weights.

    Args:
        market: the market.
        model: its name.
        key: a session at or after the first trained one.
        needed_by: the reader, for the error.
        processors: the hash of the processor state in force; None compares none.

    Raises:
        ModelNotTrainedError: the bundle of the session's anchor is absent, damaged or does not fit
            the present configuration; the message names the key to run.
    """
    plan = market.plan_of(model)
    family = next(spec.family for spec in market.models if spec.name == model)
    anchor = plan.anchor(key)
    bundles: dict[str, Bundle] = {}

    def look(as_of: str) -> Candidate:
        # An older bundle that is damaged or does not fit is passed over; the anchor's is needed.
        older = None if as_of == anchor else _readable(market, model, as_of)
        if as_of != anchor and older is None:
            return Candidate({}, "is damaged")
        bundle = older or require_bundle(market, model, as_of, needed_by, weights=False)
        bundles[as_of] = bundle
        reason = misfit(
            market.dataset_of(model), family, bundle.config, bundle.manifest, processors
        )
        if as_of == anchor and reason:
            remedy = (
                "name another session in training.pin, or go back to that configuration"
                if plan.is_pinned(key)
                else f"materialize {model}_model of {as_of} again first"
            )
            raise ModelNotTrainedError(
                f"{needed_by} serves the {model} model of {as_of}, which {reason}; {remedy}"
            )
        return Candidate(bundle.manifest, reason)

    as_of, passed_over = newest_good(market, model, key, look)
    if as_of is None:
        return NoneInForce(passed_over)
    return InForce(as_of, bundles[as_of], passed_over)


def _readable(market: Market, model: str, as_of: str) -> Bundle | None:
    """The bundle of a session, maybe without weights; None if it is damaged or absent."""
    from rnn_core.training import BundleError

    try:
        return find_bundle(market, model, as_of, weights=False)
    except BundleError:
        return None
