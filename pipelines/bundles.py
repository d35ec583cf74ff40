"""Where a market's model bundles lie, and whether the one there is the one that is wanted."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ModelNotTrainedError
from pipelines.market import Market

if TYPE_CHECKING:
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
