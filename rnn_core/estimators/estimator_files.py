"""A fitted estimator as files: one bundle a network, moved into place together.

One network is one bundle at the path itself, so `load_bundle` reads it too. An ensemble is a folder
of bundles, `member_00`, `member_01`, ... Both are written beside the path and moved into place, and
only an estimator is ever replaced. There is no pickle: weights are safetensors, arguments are plain
YAML.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from rnn_core.atomic import temporary_path
from rnn_core.training.atomic_dirs import move_into_place
from rnn_core.training.bundle import load_bundle, save_bundle
from rnn_core.training.bundle_files import FILES, MANIFEST, BundleError

_MEMBER = re.compile(r"member_\d\d+")


@dataclass(frozen=True, eq=False)
class Member:
    """One trained network.

    Attributes:
        network: with the weights of its best epoch, in eval mode.
        seed: of its weights, the order of rows and dropout.
        history: one row an epoch, as `FitResult.history`.
        record: best_epoch, best_score (None without validation rows), stopped_early, device.
    """

    network: nn.Module
    seed: int
    history: pd.DataFrame
    record: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted estimator: the content of its files.

    Attributes:
        estimator: name of its class.
        arguments: of its constructor, as the fit found them; `legacy_layout` as the fit decided.
        columns: the features it was fitted on, in their order; none for loaded weights.
        tabular: True if the rows came as a frame.
        members: its networks.
    """

    estimator: str
    arguments: dict[str, Any]
    columns: tuple[str, ...]
    tabular: bool
    members: tuple[Member, ...]


def require_place(path: str | Path, *, replace: bool) -> Path:
    """Confirm that an estimator may be written to a path.

    Args:
        path: a folder, or nothing yet.
        replace: True if an estimator at the path may be replaced.

    Returns:
        The path.

    Raises:
        BundleError: a file, a folder with anything else in it, or an estimator to be kept.
    """
    target = Path(path)
    if not target.exists():
        return target
    if not target.is_dir():
        raise BundleError(f"{target} is a file, expected a folder or nothing; move it away")
    names = sorted(item.name for item in target.iterdir())
    bundle = {MANIFEST, *FILES}
    strangers = [name for name in names if name not in bundle and not _MEMBER.fullmatch(name)]
    if strangers:
        raise BundleError(
            f"{target} holds files of no estimator ({', '.join(strangers[:3])}); it is not "
            f"replaced, choose another folder"
        )
    if names and not replace:
        raise BundleError(
            f"{target} holds another estimator; save with replace=True to replace it, or choose "
            f"another folder"
        )
    return target


def save_members(
    path: str | Path,
    fit: Fit,
    *,
    family: str,
    hyper: Mapping[str, Any],
    n_features: int,
    replace: bool,
) -> None:
    """Write an estimator, all of it or nothing.

    Args:
        path: the folder; its parents are made.
        fit: the content.
        family: a key of `MODEL_FAMILIES`.
        hyper: hyper-parameters of the networks.
        n_features: F.
        replace: True if an estimator at `path` may be replaced.

    Raises:
        BundleError: something else is at `path`.
        ValueError: weights that are not finite.
    """
    target = require_place(path, replace=replace)
    steps = len(fit.columns) // n_features  # T of a frame's rows; 1 for a sampler
    target.parent.mkdir(parents=True, exist_ok=True)
    # The bundles are written beside the target; one rename moves all of them into place.
    temporary = temporary_path(target)
    temporary.mkdir()
    try:
        folder = temporary / "estimator"
        for number, member in enumerate(fit.members):
            save_bundle(
                folder / f"member_{number:02d}" if len(fit.members) > 1 else folder,
                member.network,
                family=family,
                hyper=hyper,
                columns=fit.columns[::steps],  # of a frame: the oldest of every feature
                config={
                    "estimator": fit.estimator,
                    "arguments": fit.arguments,
                    "columns": list(fit.columns),
                    "tabular": fit.tabular,
                    "seeds": [m.seed for m in fit.members],
                },
                history=member.history,
                processors_json="[]",
                manifest={**member.record, "seed": member.seed},
            )
        move_into_place(folder, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_members(path: str | Path) -> Fit:
    """Read an estimator and verify every byte of it.

    Args:
        path: as given to `save_members`.

    Returns:
        The content of the files.

    Raises:
        BundleError: no estimator there, or a damaged one.
    """
    folder = Path(path)
    parts: Sequence[Path] = [folder]
    if folder.is_dir() and not (folder / MANIFEST).exists():
        parts = sorted(p for p in folder.iterdir() if _MEMBER.fullmatch(p.name)) or [folder]
    # Every bundle is verified; together they must be the networks of one estimator.
    bundles = [load_bundle(part) for part in parts]
    config = bundles[0].config
    networks = [bundle.network for bundle in bundles if bundle.network is not None]
    if "estimator" not in config or len(networks) < len(bundles):
        raise BundleError(
            f"bundle {folder} was not saved by an estimator of networks; read it with "
            f"rnn_core.training.load_bundle"
        )
    seeds = [int(bundle.manifest["seed"]) for bundle in bundles]
    if seeds != config["seeds"]:
        raise BundleError(
            f"{folder} holds networks of the seeds {seeds}, expected {config['seeds']}; restore "
            f"the folder from a copy"
        )
    members = tuple(
        Member(
            network,
            seed,
            bundle.history,
            {name: value for name, value in bundle.manifest.items() if name != "seed"},
        )
        for bundle, network, seed in zip(bundles, networks, seeds, strict=True)
    )
    return Fit(
        config["estimator"],
        dict(config["arguments"]),
        tuple(config["columns"]),
        bool(config["tabular"]),
        members,
    )
