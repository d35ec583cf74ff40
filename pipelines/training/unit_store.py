"""The files of training units, `units/KEY/` below the market's state.

    plan.json         the facts of the unit, for those who train it
    checkpoint/       while it is at work
    weights.safetensors, or state/0/…   the trained member
    history.parquet   one row a step
    manifest.json     the record of the training and a digest of each file above; written last

A unit is scratch: the bundle that joins it holds the same bytes, and the join removes it, together
with units of the same model and session that were planned under another configuration. Whatever is
damaged counts as absent, and is trained again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.training.units import Unit
from pipelines.warehouse.store import atomic_write
from rnn_core.training.bundle_files import digest, json_bytes

_LOG = logging.getLogger(__name__)
HISTORY = "history.parquet"
_PLAN, _MANIFEST, _CHECKPOINT = "plan.json", "manifest.json", "checkpoint"


@dataclass(frozen=True)
class StoredUnit:
    """A finished unit.

    Attributes:
        record: of the training, as it was saved.
        contents: the bytes of its files by name.
    """

    record: Mapping[str, Any]
    contents: Mapping[str, bytes]


class UnitStore:
    """The units of a market; the only code that touches their files.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plan(self, units: Iterable[Unit]) -> None:
        """Write the plans of units, for whoever trains them."""
        for unit in units:
            path = self._folder / unit.key / _PLAN
            if not path.is_file():
                atomic_write(path, json_bytes(unit.to_dict()))

    def planned(self, key: str) -> Unit | None:
        """The plan of a unit; None if it is gone, as after the join, or is none."""
        try:
            unit = Unit.of(json.loads((self._folder / key / _PLAN).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("the plan of unit %s is passed over: %s", key[:12], error)
            return None
        return unit if unit.key == key else None

    def checkpoint(self, key: str) -> Path:
        """The folder of a unit's checkpoint."""
        return self._folder / key / _CHECKPOINT

    def save(self, key: str, contents: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write a finished unit, its manifest last."""
        folder = self._folder / key
        for name, data in contents.items():
            atomic_write(folder / name, data)
        manifest = {"record": record, "files": {n: digest(d) for n, d in contents.items()}}
        sealed = {**manifest, "digest": digest(json_bytes(manifest))}
        atomic_write(folder / _MANIFEST, json_bytes(sealed))
        shutil.rmtree(self.checkpoint(key), ignore_errors=True)

    def load(self, key: str) -> StoredUnit | None:
        """Read and verify a finished unit; None if it is not finished or is damaged."""
        folder = self._folder / key
        try:
            manifest = json.loads((folder / _MANIFEST).read_bytes())
            seal = manifest.pop("digest")
            contents = {name: (folder / name).read_bytes() for name in manifest["files"]}
            found = {name: digest(data) for name, data in contents.items()}
            if found == manifest["files"] and digest(json_bytes(manifest)) == seal:
                return StoredUnit(manifest["record"], contents)
            fault = "its digests are others"
        except FileNotFoundError as error:
            if Path(str(error.filename)).name == _MANIFEST:
                return None
            fault = str(error)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fault = str(error)
        _LOG.warning("unit %s is damaged (%s) and is trained again", key[:12], fault)
        return None

    def remove(self, model: str, as_of: str) -> list[str]:
        """Remove the units of a model and session, and return their keys."""
        removed = []
        for path in self._folder.glob(f"*/{_PLAN}"):
            unit = self.planned(path.parent.name)
            if unit is not None and (unit.model, unit.as_of) != (model, as_of):
                continue
            shutil.rmtree(path.parent, ignore_errors=True)
            removed.append(path.parent.name)
        return removed
