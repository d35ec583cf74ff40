"""The files of fitted estimators inside a bundle, `state/MEMBER/NAME`.

An estimator writes its own files, into a folder that is thrown away. They are taken as they are,
but for what runs code when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rnn_core.models.estimator_protocol import EstimatorFamily, EstimatorModel
from rnn_core.training.bundle_files import STATE

_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth")
_PICKLED = re.compile(rb"\x80[\x02-\x05]")  # how a pickle begins
_NAME = re.compile(r"\w[\w.-]*")


def state_files(estimators: Sequence[EstimatorModel]) -> dict[str, bytes]:
    """Have estimators save themselves, and collect what they wrote.

    Args:
        estimators: fitted.

    Returns:
        Bytes by name, `state/0/model.txt` say.

    Raises:
        ValueError: there is none, one wrote nothing, a folder, a pickle, or an odd name.
    """
    if not estimators:
        raise ValueError("no estimator was given, expected one or more")
    contents = {}
    for number, estimator in enumerate(estimators):
        with TemporaryDirectory(prefix="estimator-") as folder:
            estimator.save(Path(folder))
            paths = sorted(Path(folder).iterdir())
            if not paths:
                raise ValueError(f"save of {type(estimator).__name__} wrote no file")
            for path in paths:
                contents[f"{STATE}/{number}/{path.name}"] = _plain(path, estimator)
    return contents


def _plain(path: Path, estimator: EstimatorModel) -> bytes:
    """The bytes of a file that an estimator wrote, if it is one that a bundle may hold."""
    owner = type(estimator).__name__
    if not path.is_file() or not _NAME.fullmatch(path.name):
        raise ValueError(
            f"save of {owner} wrote {path.name!r}, expected files in the folder itself, with "
            f"letters, digits, '.', '_' and '-' in their names"
        )
    data = path.read_bytes()
    if path.suffix.lower() in _PICKLES or _PICKLED.match(data):
        raise ValueError(
            f"save of {owner} wrote {path.name}, a pickle, which runs code when it is read: write "
            f"text, JSON, .npy or safetensors"
        )
    return data


def restored(
    family: EstimatorFamily, hyper: Mapping[str, Any], contents: Mapping[str, bytes]
) -> tuple[EstimatorModel, ...]:
    """Make estimators from the files of a bundle.

    Args:
        family: of the estimators.
        hyper: their arguments.
        contents: bytes by name, as of `state_files`; other names are passed over.

    Returns:
        The estimators, in their order.

    Raises:
        ValueError: there is no such file, the arguments do not fit, or `load` failed.
    """
    members: dict[int, dict[str, bytes]] = {}
    for name, data in contents.items():
        place = name.split("/")
        if place[0] == STATE:
            members.setdefault(int(place[1]), {})[place[2]] = data
    if not members:
        raise ValueError(f"there is no state of a {family.name} in it")
    estimators = []
    for number in sorted(members):
        estimator = family.build(hyper)
        with TemporaryDirectory(prefix="estimator-") as folder:
            for name, data in members[number].items():
                (Path(folder) / name).write_bytes(data)
            try:
                estimator.load(Path(folder))
            except Exception as error:  # whatever foreign code raises
                raise ValueError(
                    f"load of {family.name} failed: {type(error).__name__}: {error}"
                ) from error
        estimators.append(estimator)
    return tuple(estimators)
