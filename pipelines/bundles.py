"""Where a market's model bundles lie, and which of them is in force at a session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ModelNotTrainedError
from pipelines.market import Market
from pipelines.verdict import model_verdict

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
        as_of: the anchor whose partition trained it.
        bundle: of that anchor.
        passed_over: reasons by newer anchor, newest first, whose models were not good enough.
    """

    as_of: str
    bundle: Bundle
    passed_over: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class NoneInForce:
    """Every model trained so far was not good enough.

    Attributes:
        passed_over: reasons by anchor, newest first.
    """

    passed_over: dict[str, tuple[str, ...]]


def in_force(market: Market, model: str, key: str, needed_by: str) -> InForce | NoneInForce:
    """The newest model at or before a session that passes its blocking checks.

    A pinned model is served whatever the checks say: it was named by a person.

    Args:
        market: the market.
        model: its name.
        key: a session at or after the first trained one.
        needed_by: for the message.

    Raises:
        ModelNotTrainedError: a bundle on the way back is absent or damaged, naming the key to run.
    """
    plan, checks = market.plan_of(model), market.config.checks.model
    passed_over: dict[str, tuple[str, ...]] = {}
    anchor = plan.anchor(key)
    while anchor is not None:
        bundle = require_bundle(market, model, anchor, needed_by)
        reasons = () if plan.is_pinned(key) else model_verdict(checks, bundle.manifest).blocking
        if not reasons:
            return InForce(anchor, bundle, passed_over)
        passed_over[anchor] = reasons
        anchor = plan.previous(anchor)
    return NoneInForce(passed_over)
