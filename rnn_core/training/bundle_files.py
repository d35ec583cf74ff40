"""The files of a bundle: their bytes for writing, and a check of every byte for reading.

Equal contents must give equal bytes, since the fingerprint is taken over them. So: JSON with sorted
keys, YAML in the order given, Parquet without pandas' note on its own version, weights in
safetensors' fixed order. Parquet and safetensors name the library that wrote them, so a new version
of one may give another fingerprint to the same training. This module does not import torch, since a
check of staleness does without.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rnn_core.training.file_folder import Folder, version_of
from rnn_core.yaml_text import load_yaml

FORMAT = 1
MANIFEST = "manifest.json"
COMMON = ("config.yaml", "history.parquet", "processors.json")
FILES = ("weights.safetensors", *COMMON)  # of a network
STATE = "state"  # folder of an estimator's files, `state/MEMBER/NAME`, in place of the weights
_STATE_FILE = re.compile(rf"{STATE}/\d+/\w[\w.-]*")
RESERVED = ("fingerprint", "files", "format")
IDENTITY = "identity.json"  # who the bundle is, for its owner; no part of the fingerprint
UNITS = "units.json"  # keys of the trainings that it joins; no part of the fingerprint
PRUNED = "pruned.json"  # the files that were removed on purpose; no part of the fingerprint
KEPT = ("config.yaml", "history.parquet")  # of a pruned bundle, beside its manifest


class BundleError(RuntimeError):
    """A bundle is absent, damaged, in the way, or of a format that this version does not read.

    Examples:
        >>> try:
        ...     load_bundle("/no/such/bundle")
        ... except BundleError as error:
        ...     print("/no/such/bundle" in str(error))
        True
    """


class PrunedBundleError(BundleError):
    """The weights of a bundle were removed on purpose; its manifest is intact.

    Examples:
        >>> issubclass(PrunedBundleError, BundleError)
        True
    """


def read_verified(
    folder: Folder, *, weights: bool = True
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the manifest and the bytes of the other files, and verify all of them.

    Args:
        folder: the bundle.
        weights: False for a reader that does without the files of which a pruned bundle has none.

    Returns:
        (manifest, name to bytes of each other file that is there).

    Raises:
        PrunedBundleError: files were removed by `prune_bundle`, and `weights` are asked for.
        BundleError: no bundle there, a file missing or damaged, a manifest that was changed, or
            another format.
        ConnectionError: a remote folder does not answer.
    """
    advice = "train it again, or restore the folder from a copy"

    def read(name: str, manifest: bytes | None = None) -> bytes:
        try:
            return folder.read(name) if manifest is None else folder.published(name, manifest)
        except (ConnectionError, TimeoutError):  # of a remote folder: no word on the bundle
            raise
        except OSError:
            if manifest is None and not _is_there(folder):
                raise BundleError(f"no bundle at {folder}; {advice}") from None
            raise BundleError(f"bundle {folder} has no readable {name}; {advice}") from None

    raw = read(MANIFEST)
    # In one go, so that a replacement rarely comes in between.
    names, contents = _listed(raw), dict[str, bytes]()
    for name in names:
        try:
            contents[name] = read(name, raw)
        except BundleError:
            if name not in _pruned(folder, raw):
                raise
            if weights:
                raise PrunedBundleError(f"the weights of bundle {folder} were pruned") from None
    # The manifest must be the bytes that were written, with the fingerprint of its own content.
    try:
        record = json.loads(raw)
        found_format, fingerprint = record["format"], record["fingerprint"]
        digests = dict(record["files"])
        unsigned = {name: value for name, value in record.items() if name != "fingerprint"}
        intact = raw == json_bytes(record) and digest(json_bytes(unsigned)) == fingerprint
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleError(f"{MANIFEST} of bundle {folder} is damaged; {advice}") from None
    if found_format != FORMAT:
        raise BundleError(
            f"bundle {folder} has format {found_format!r}, this version reads {FORMAT}; "
            f"use the version that wrote it, or train it again"
        )
    if not intact or set(digests) != set(names):
        raise BundleError(
            f"{MANIFEST} of bundle {folder} was changed after it was written; {advice}"
        )
    # Every other file must have the digest that the manifest holds.
    for name, data in contents.items():
        if digest(data) != digests[name]:
            raise BundleError(
                f"{name} of bundle {folder} is damaged: its digest is not the manifest's; {advice}"
            )
    return record, contents


def prune_bundle(folder: Folder) -> None:
    """Remove the weights and processors of a bundle; whoever needs its record alone goes on.

    The manifest, the configuration and the history stay. A note of what goes is written first, and
    excuses the absence of those files, so a removal that is cut off leaves a bundle that is whole
    or pruned, and another call completes it.

    Args:
        folder: the bundle, verified.
    """
    raw = folder.read(MANIFEST)
    names = sorted(set(json.loads(raw)["files"]) - set(KEPT))
    folder.write(json_bytes({"manifest": digest(raw), "files": names}), PRUNED)
    for name in names:
        folder.remove(name)
        folder.remove(f"{version_of(raw)}/{name}")


def prunable_files(sizes: Mapping[str, int]) -> dict[str, int]:
    """Select the files of a bundle that `prune_bundle` removes, if they are there.

    Args:
        sizes: the bytes of all files of its folder by name, `.VERSION/` before it or not.
    """
    stay = {MANIFEST, IDENTITY, UNITS, PRUNED, *KEPT}
    return {name: n for name, n in sizes.items() if re.sub(r"^\.[^/]+/", "", name) not in stay}


def _pruned(folder: Folder, manifest: bytes) -> tuple[str, ...]:
    """The files that were removed of the bundle with this manifest, not of one before it."""
    try:
        note = json.loads(folder.read(PRUNED))
        return tuple(note["files"]) if note["manifest"] == digest(manifest) else ()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ()


def settings_of(folder: Folder, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Read the settings of a bundle whose files are verified.

    Args:
        folder: the bundle, for messages.
        contents: name to bytes of each file.

    Returns:
        `family` (text), `hyper` (a mapping), `columns` (names), `config` (a mapping) and, of an
        ensemble, `members`.

    Raises:
        BundleError: they are something else: right digests do not make a bundle.
    """
    try:
        settings = load_yaml(contents["config.yaml"])
    except (yaml.YAMLError, ValueError) as error:
        raise BundleError(f"config.yaml of bundle {folder} cannot be read: {error}") from error
    wanted = {"family": str, "hyper": dict, "columns": list, "config": dict}
    for name, kind in wanted.items():
        found = settings.get(name) if isinstance(settings, dict) else None
        if not isinstance(found, kind):
            raise BundleError(
                f"config.yaml of bundle {folder} has the {name} {found!r:.60}, expected a "
                f"{kind.__name__}: no release wrote it; train it again"
            )
    if not all(isinstance(column, str) for column in settings["columns"]):
        raise BundleError(f"config.yaml of bundle {folder} has columns that are no names")
    return dict(settings)


def _is_there(folder: Folder) -> bool:
    """True if a folder has anything in it, damaged or not."""
    try:
        return bool(folder.names())
    except NotADirectoryError:
        return False


def _listed(manifest: bytes) -> tuple[str, ...]:
    """The files that a manifest names; those of a network if it names what no bundle has."""
    try:
        names = set(json.loads(manifest)["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return FILES
    state = names - set(COMMON)
    is_estimator = state and names >= set(COMMON) and all(map(_STATE_FILE.fullmatch, state))
    return tuple(sorted(names)) if is_estimator else FILES


def parquet_bytes(history: pd.DataFrame) -> bytes:
    """Serialise the history, without pandas' own note on its index and version.

    Args:
        history: one row an epoch; its index is dropped.

    Returns:
        The file's bytes.
    """
    table = pa.Table.from_pandas(history, preserve_index=False).replace_schema_metadata(None)
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def yaml_bytes(value: Any) -> bytes:
    """Serialise plain values as YAML, in the order given.

    Args:
        value: text, numbers, dates, lists and dicts.

    Returns:
        The file's bytes.

    Raises:
        ValueError: any other value inside.
    """
    try:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
    except yaml.representer.RepresenterError as error:
        raise ValueError(
            f"config holds a value that YAML cannot ({error}); use text, numbers, lists and dicts"
        ) from error


def json_bytes(value: Any) -> bytes:
    """Serialise JSON-able values, in the order of their keys.

    Args:
        value: text, finite numbers, lists and dicts.

    Returns:
        The file's bytes.

    Raises:
        ValueError: any other value inside.
    """
    try:
        return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the manifest holds a value that JSON cannot ({error}); use text, finite numbers, "
            f"lists and dicts"
        ) from error


def checked_json(text: str) -> bytes:
    """Encode a text that must be JSON.

    Args:
        text: the processors' fitted state.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the text is no JSON.
    """
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"processors_json is no JSON ({error}); give ProcessorChain.to_json()"
        ) from error
    return text.encode()


def digest(data: bytes) -> str:
    """Compute the SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
