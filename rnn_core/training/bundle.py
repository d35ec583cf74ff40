"""Model bundles: a trained model as a folder of plain files, equal bytes for equal trainings.

    weights.safetensors   the state dict of a network
    state/0/...           or, member by member, the files of an estimator that is no network
    config.yaml           family, hyper-parameters, members, feature columns, the caller's config
    history.parquet       one row an epoch, of every member
    processors.json       fitted state of the processors the features went through
    manifest.json         the caller's record, a digest of each file above, and the fingerprint
    identity.json         the place that the bundle belongs to, if the caller names one
    units.json            keys of the trainings that were joined, one a member, if there are some
    pruned.json           names of files that were removed on purpose, see `prune_bundle`

The fingerprint is the SHA-256 of the manifest without that key, hence of all files but the last
three, which the caller reads itself: the same training elsewhere has the same fingerprint.
Loading verifies the fingerprint and can run no code: there is no pickle, and YAML is read as plain
data. The files do not depend on when, where or how fast they were written; neither may `config` and
`manifest`.

A bundle is published in one step (`file_folder.py`), so a reader finds the old bundle, the new one
or none. On Linux, which can exchange two folders, a replacement has no moment without a bundle;
elsewhere that moment is two renames long, and `load_bundle` waits for its end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import nn

from rnn_core.models.ensemble import members_of
from rnn_core.models.estimator_protocol import EstimatorFamily, EstimatorModel
from rnn_core.models.families import family_of
from rnn_core.training.bundle_files import (
    FILES,
    FORMAT,
    IDENTITY,
    MANIFEST,
    PRUNED,
    RESERVED,
    STATE,
    UNITS,
    BundleError,
    PrunedBundleError,
    checked_json,
    digest,
    json_bytes,
    parquet_bytes,
    read_verified,
    settings_of,
    yaml_bytes,
)
from rnn_core.training.estimator_state import restored, state_files
from rnn_core.training.file_folder import Folder, folder_at
from rnn_core.training.member_files import WEIGHTS, built, network_of, weights_bytes
from rnn_core.training.members import Member

_ATTEMPTS, _PAUSE_SECONDS = 10, 0.02


@dataclass(frozen=True, eq=False)
class Bundle:
    """A loaded bundle.

    Args:
        network: on the CPU, in eval mode; an ensemble if several were saved. None of estimators,
            and where no weights were asked for.
        estimators: of a family of estimators, one or more; else none, likewise.
        family: a shipped family, or one of another package.
        hyper: all hyper-parameters.
        columns: the F feature columns, in the order of the windows.
        config: as given to `save_bundle`.
        history: one row an epoch.
        processors_json: as given to `save_bundle`; empty where no weights were asked for.
        manifest: as given to `save_bundle`.
        fingerprint: SHA-256 in hex over all files.

    Examples:
        >>> bundle = Bundle(make(), (), "lstm", {}, ("F0", "F1"), {}, pd.DataFrame(), "", {}, "")
        >>> bundle.family, bundle.columns
        ('lstm', ('F0', 'F1'))
    """

    network: nn.Module | None
    estimators: tuple[EstimatorModel, ...]
    family: str
    hyper: dict[str, Any]
    columns: tuple[str, ...]
    config: dict[str, Any]
    history: pd.DataFrame
    processors_json: str
    manifest: dict[str, Any]
    fingerprint: str

    @property
    def members(self) -> tuple[Member, ...]:
        """The networks or estimators that a score averages, mostly one."""
        return self.estimators if self.network is None else members_of(self.network)


def save_bundle(
    path: str | Path | Folder,
    network: nn.Module | Sequence[EstimatorModel],
    *,
    family: str,
    hyper: Mapping[str, Any],
    columns: Sequence[str],
    config: Mapping[str, Any],
    history: pd.DataFrame,
    processors_json: str,
    manifest: Mapping[str, Any],
    identity: Mapping[str, Any] | None = None,
    units: Sequence[str] = (),
    replace: bool = False,
) -> str:
    """Write a bundle, all of it or nothing.

    Args:
        path: the folder, which is made; a `Folder` for one that is not of this machine.
        network: trained, of `family` with `hyper`, reading `len(columns)` features; or a
            `MeanEnsemble` of such networks. Or fitted estimators of `family` with `hyper`.
        family: a shipped family, or one that `own_family` has made known.
        hyper: hyper-parameters that differ from the family's defaults, or all.
        columns: the feature columns, in the order of the windows.
        config: plain values (text, numbers, lists, dicts) that YAML can hold.
        history: one row an epoch, as `FitResult.history`.
        processors_json: JSON text, as `ProcessorChain.to_json()`.
        manifest: JSON-able record; the keys `fingerprint`, `files` and `format` are reserved.
        identity: JSON-able values that name the place which the bundle belongs to.
        units: keys of the trainings that were joined, one a member.
        replace: True if a different bundle at `path` may be replaced. A bundle with the same
            fingerprint is kept as it is.

    Returns:
        The fingerprint.

    Raises:
        BundleError: another bundle, a damaged one, or something else is at `path`.
        ValueError: a network of another shape, weights that are not finite, text that is no
            JSON, values that JSON or YAML cannot hold, or a reserved key.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> sizes = {"hidden_size": 4, "num_layers": 1}
        >>> facts = dict(family="lstm", hyper=sizes, columns=["F0", "F1"], config={}, manifest={})
        >>> facts |= dict(history=pd.DataFrame({"epoch": [0]}), processors_json="{}")
        >>> with TemporaryDirectory() as folder:
        ...     mark = save_bundle(f"{folder}/first", make(), **facts)
        ...     loaded = load_bundle(f"{folder}/first")
        >>> loaded.fingerprint == mark, loaded.network(torch.zeros(5, 2, 2)).shape
        (True, torch.Size([5]))
    """
    target = folder_at(path)
    hyper = family_of(family).resolve(hyper)
    members: Sequence[Member]
    if isinstance(network, nn.Module):
        _require_network(network, family, hyper, columns)
        members, state = members_of(network), {WEIGHTS: weights_bytes(network)}
    else:
        members, state = network, state_files(network)
    # Equal trainings give equal bytes, so nothing else may enter the files.
    contents = {
        **state,
        "config.yaml": yaml_bytes(
            {
                "family": family,
                "hyper": hyper,
                "members": len(members),
                "columns": [str(c) for c in columns],
                "config": dict(config),
            }
        ),
        "history.parquet": parquet_bytes(history),
        "processors.json": checked_json(processors_json),
    }
    clashes = sorted(set(manifest) & set(RESERVED))
    if clashes:
        raise ValueError(f"the manifest has {', '.join(clashes)}, which the bundle itself writes")
    record = {
        **manifest,
        "format": FORMAT,
        "files": {name: digest(data) for name, data in contents.items()},
    }
    record = json.loads(json_bytes(record))  # as it will be read: tuples are lists, keys are text
    fingerprint = digest(json_bytes(record))
    contents[MANIFEST] = json_bytes({**record, "fingerprint": fingerprint})

    # An equal bundle stays; any other is built beside the target and moved into place.
    if identity is not None:
        contents[IDENTITY] = json_bytes(dict(identity))
    if units:
        contents[UNITS] = json_bytes({"units": list(units)})
    if _may_keep(target, fingerprint, replace):
        for name in (IDENTITY, UNITS):
            if name in contents:
                target.write(contents[name], name)
        return fingerprint
    target.publish(contents, MANIFEST)
    return fingerprint


def load_bundle(path: str | Path | Folder, *, weights: bool = True) -> Bundle:
    """Read a bundle and verify every byte of it.

    Args:
        path: the folder.
        weights: False for the record alone, without members and processors, which a bundle still
            has after `prune_bundle`.

    Returns:
        The network with its weights, and everything that was saved with it.

    Raises:
        PrunedBundleError: the weights were removed on purpose.
        BundleError: no bundle there, a file missing or damaged (the message names it), a
            manifest that was changed, or a bundle of another format.

    Examples:
        >>> load_bundle("/no/such/bundle")
        Traceback (most recent call last):
            ...
        rnn_core.training.bundle_files.BundleError: no bundle at /no/such/bundle; train ...
    """
    folder = folder_at(path)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _load_verified(folder, weights)
        except PrunedBundleError:
            raise
        except BundleError:  # a replacement between two reads looks like damage once
            time.sleep(_PAUSE_SECONDS)
    return _load_verified(folder, weights)


def bundle_fingerprint(path: str | Path | Folder) -> str:
    """Verify a bundle without building its network.

    Args:
        path: the folder.

    Returns:
        The fingerprint.

    Raises:
        BundleError: as `load_bundle`.

    Examples:
        >>> bundle_fingerprint("/no/such/bundle")
        Traceback (most recent call last):
            ...
        rnn_core.training.bundle_files.BundleError: no bundle at /no/such/bundle; train ...
    """
    return str(read_verified(folder_at(path))[0]["fingerprint"])


def _load_verified(folder: Folder, weights: bool) -> Bundle:
    """Read and verify a bundle once."""
    record, contents = read_verified(folder, weights=weights)
    settings = settings_of(folder, contents)
    columns = tuple(settings["columns"])
    network: nn.Module | None = None
    estimators: tuple[EstimatorModel, ...] = ()
    try:
        history = pq.read_table(BytesIO(contents["history.parquet"])).to_pandas()
        family = family_of(settings["family"])
        if weights:
            json.loads(contents["processors.json"])
        if weights and isinstance(family, EstimatorFamily):
            estimators = restored(family, settings["hyper"], contents)
        elif weights:
            network = network_of(
                settings["family"],
                len(columns),
                settings["hyper"],
                contents[WEIGHTS],
                settings.get("members", 1),
            )
    except Exception as error:  # its digests are right, so whoever wrote it wrote something else
        raise BundleError(
            f"bundle {folder} holds a model that this version cannot build: "
            f"{type(error).__name__}: {error}"
        ) from error
    return Bundle(
        network=network,
        estimators=estimators,
        family=settings["family"],
        hyper=settings["hyper"],
        columns=columns,
        config=settings["config"],
        history=history,
        processors_json=contents["processors.json"].decode() if weights else "",
        manifest={name: value for name, value in record.items() if name not in RESERVED},
        fingerprint=record["fingerprint"],
    )


def _may_keep(target: Folder, fingerprint: str, replace: bool) -> bool:
    """True if `target` is this bundle already; raises if `target` may not be replaced."""
    try:
        names = {name for name in target.names() if not name.startswith(".")}
    except NotADirectoryError:
        raise BundleError(
            f"{target} is a file, expected a folder or nothing; move it away"
        ) from None
    if not names:
        return False
    strangers = sorted(names - {MANIFEST, IDENTITY, UNITS, PRUNED, STATE, *FILES})
    if strangers:
        raise BundleError(
            f"{target} holds files of no bundle ({', '.join(strangers[:3])}); it is not replaced, "
            f"choose another folder"
        )
    try:
        other_hash = bundle_fingerprint(target)
    except BundleError as error:
        if replace:
            return False
        raise BundleError(f"{error}; or save with replace=True") from error
    if other_hash == fingerprint:
        return True
    if not replace:
        raise BundleError(
            f"{target} holds another bundle ({other_hash[:12]}, not {fingerprint[:12]}); save with "
            f"replace=True to replace it, or choose another folder"
        )
    return False


def _require_network(
    network: nn.Module, family: str, hyper: Mapping[str, Any], columns: Sequence[str]
) -> None:
    """Refuse another network than `load_bundle` will build, or weights that are not finite."""
    with torch.device("meta"):
        n_members = len(members_of(network))
        expected = built(family, len(columns), hyper, n_members).state_dict()
    weights = network.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
        raise ValueError(
            f"the network's weights are not those of a {family} with {len(columns)} columns and "
            f"{dict(hyper)}; give the family, columns and hyper-parameters it was built with"
        )
    bad = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise ValueError(f"weights {', '.join(bad)} are not finite; such a model is not saved")
