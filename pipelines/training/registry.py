"""Where a market's model bundles lie, and which of them is in force at a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ModelNotTrainedError
from pipelines.market.market import Market
from pipelines.training.promotion import model_verdict

if TYPE_CHECKING:
    import pandas as pd

    from rnn_core.training import Bundle


def bundle_name(model: str, as_of: str) -> str:
    """Folder of a bundle below the market's models folder: `lstm/2012-07-02`."""
    return f"{model}/{as_of}"


def bundle_path(market: Market, model: str, as_of: str) -> Path:
    """Folder of the bundle that the session `as_of` trains."""
    return market.paths.models / bundle_name(model, as_of)


@lru_cache(maxsize=16)
def _load(path: Path, stamp: int) -> Bundle:
    from rnn_core.training import load_bundle

    return load_bundle(path)


def find_bundle(market: Market, model: str, as_of: str) -> Bundle | None:
    """The verified bundle of a session, or None where none was trained.

    Raises:
        BundleError: its files are damaged.
    """
    path = bundle_path(market, model, as_of)
    manifest = path / "manifest.json"
    if not manifest.is_file():
        return None
    return _load(path, manifest.stat().st_mtime_ns)


def require_bundle(market: Market, model: str, as_of: str, needed_by: str) -> Bundle:
    """The verified bundle of a session.

    Raises:
        ModelNotTrainedError: none was trained or its files are damaged, naming the key to run.
    """
    from rnn_core.training import BundleError

    try:
        bundle = find_bundle(market, model, as_of)
    except BundleError as error:
        raise ModelNotTrainedError(
            f"{needed_by} serves the {model} model of {as_of}: {error}; materialize "
            f"{model}_model of {as_of} to train it again"
        ) from error
    if bundle is None:
        raise ModelNotTrainedError(
            f"{needed_by} serves the {model} model of {as_of}, and there is none in "
            f"{bundle_path(market, model, as_of)}; materialize {model}_model of {as_of} first"
        )
    return bundle


def histories_of(name: str, bundle: Bundle) -> dict[str, pd.DataFrame]:
    """The history of each network of a bundle, one row an epoch, by name for a picture."""
    history, seeds = bundle.history, bundle.manifest["seeds"]
    if len(seeds) == 1:
        return {name: history}
    return {f"{name} seed {s['seed']}": history[history["seed"] == s["seed"]] for s in seeds}


@dataclass(frozen=True)
class InForce:
    """The model in force at a session.

    Attributes:
        as_of: the session whose partition trained it.
        bundle: of that session.
        passed_over: reasons by newer session, newest first, whose models were not good enough.
    """

    as_of: str
    bundle: Bundle
    passed_over: dict[str, tuple[str, ...]]

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of a partition that points to this model."""
        return pointer_inputs(self.bundle.fingerprint, self.passed_over)


@dataclass(frozen=True)
class NoneInForce:
    """Every model trained so far was not good enough.

    Attributes:
        passed_over: reasons by session, newest first.
    """

    passed_over: dict[str, tuple[str, ...]]

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of a partition that points to no model."""
        return pointer_inputs(None, self.passed_over)


def pointer_inputs(fingerprint: str | None, passed_over: Iterable[str]) -> dict[str, str]:
    """The inputs of a partition that points to the model in force.

    Args:
        fingerprint: of the bundle in force; None where every model was not good enough.
        passed_over: the newer sessions whose models were not good enough, newest first.
    """
    inputs = {} if fingerprint is None else {"bundle": fingerprint}
    newer = " ".join(passed_over)
    return {**inputs, "passed_over": newer} if newer else inputs


@dataclass(frozen=True)
class Candidate:
    """What decides whether a bundle may serve.

    Attributes:
        manifest: of the bundle; empty where it cannot be read.
        misfit: see `misfit`; empty where there is none.
    """

    manifest: Mapping[str, Any]
    misfit: str = ""


def misfit(
    market: Market, config: Mapping[str, Any], manifest: Mapping[str, Any], processors: str | None
) -> str:
    """Why a bundle cannot score the windows that the market makes now; empty where it can.

    Args:
        market: the market.
        config: what the bundle was trained with.
        manifest: of the bundle.
        processors: hash of the state in force; None where it is not known.
    """
    now = {
        "step_len": market.config.dataset.step_len,
        "columns": list(market.dataset_columns),
        "label": market.config.features.label,
    }
    for name, value in now.items():
        if config.get(name) != value:
            return f"was trained with another {name}"
    if processors is not None and manifest["processors"] != processors:
        return "was trained on features of another processor state"
    return ""


def newest_good(
    market: Market, model: str, key: str, look: Callable[[str], Candidate]
) -> tuple[str | None, dict[str, tuple[str, ...]]]:
    """The newest session at or before one whose model may serve, and the newer ones passed over.

    First comes the anchor of the plan, then every older bundle that is there, newest first, also
    one of another rhythm or other hyper-parameters: it was good enough to serve before. A pinned
    model is served whatever the checks say: it was named by a person.

    Args:
        market: the market.
        model: its name.
        key: a session at or after the first trained one.
        look: what is known of the bundle of a session.

    Returns:
        The session, None where no model may serve; reasons by session, newest first.
    """
    plan, checks = market.plan_of(model), market.config.checks.model
    anchor = plan.anchor(key)
    passed_over: dict[str, tuple[str, ...]] = {}
    if anchor is None:
        return None, passed_over
    for as_of in (anchor, *_older(market, model, anchor)):
        found = look(as_of)
        if plan.is_pinned(key):
            return as_of, passed_over
        reasons = (
            (found.misfit,) if found.misfit else model_verdict(checks, found.manifest).blocking
        )
        if not reasons:
            return as_of, passed_over
        passed_over[as_of] = reasons
    return None, passed_over


def _older(market: Market, model: str, anchor: str) -> Iterator[str]:
    """Sessions before an anchor that have a bundle, newest first."""
    first = market.plan.first_trained
    folder = market.paths.models / model
    names = {path.parent.name for path in folder.glob("[0-9]*/manifest.json")}
    yield from sorted(
        (n for n in names if first <= n < anchor and n in market.sessions), reverse=True
    )


def in_force(
    market: Market, model: str, key: str, needed_by: str, processors: str | None = None
) -> InForce | NoneInForce:
    """The newest model at or before a session that passes its blocking checks.

    Args:
        market: the market.
        model: its name.
        key: a session at or after the first trained one.
        needed_by: for the message.
        processors: hash of the state in force; None compares none.

    Raises:
        ModelNotTrainedError: the bundle of the session's anchor is absent, damaged or does not fit
            the market as it is configured, naming the key to run.
    """
    plan = market.plan_of(model)
    anchor = plan.anchor(key)
    bundles: dict[str, Bundle] = {}

    def look(as_of: str) -> Candidate:
        older = None if as_of == anchor else _readable(market, model, as_of)
        if as_of != anchor and older is None:
            return Candidate({}, "is damaged")
        bundle = older or require_bundle(market, model, as_of, needed_by)
        bundles[as_of] = bundle
        found = misfit(market, bundle.config, bundle.manifest, processors)
        if as_of == anchor and found:
            remedy = (
                "name another session in training.pin, or go back to that configuration"
                if plan.is_pinned(key)
                else f"materialize {model}_model of {as_of} again first"
            )
            raise ModelNotTrainedError(
                f"{needed_by} serves the {model} model of {as_of}, which {found}; {remedy}"
            )
        return Candidate(bundle.manifest, found)

    as_of, passed_over = newest_good(market, model, key, look)
    if as_of is None:
        return NoneInForce(passed_over)
    return InForce(as_of, bundles[as_of], passed_over)


def _readable(market: Market, model: str, as_of: str) -> Bundle | None:
    """The bundle of a session; None where its files are damaged or it is gone."""
    from rnn_core.training import BundleError

    try:
        return find_bundle(market, model, as_of)
    except BundleError:
        return None
