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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.training.units import Unit
from pipelines.warehouse.store import Store
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
        state: the market's state.
    """

    def __init__(self, state: Store) -> None:
        self._store = state.below("units")

    def plan(self, units: Iterable[Unit]) -> None:
        """Write the plans of units, for whoever trains them."""
        for unit in units:
            self._store.create(json_bytes(unit.to_dict()), unit.key, _PLAN)

    def planned(self, key: str) -> Unit | None:
        """The plan of a unit; None if it is gone, as after the join, or is none."""
        try:
            return self._plan(key)
        except FileNotFoundError:
            return None

    def _plan(self, key: str) -> Unit | None:
        """The plan of a unit; None if it is none.

        Raises:
            FileNotFoundError: there is none, any more or yet.
        """
        raw = self._store.read(key, _PLAN)
        try:
            unit = Unit.of(json.loads(raw))
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("the plan of unit %s is passed over: %s", key[:12], error)
            return None
        return unit if unit.key == key else None

    def checkpoint(self, key: str) -> Store:
        """The folder of a unit's checkpoint."""
        return self._store.below(key, _CHECKPOINT)

    def save(self, key: str, contents: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write a finished unit, its manifest last."""
        for name, data in contents.items():
            self._store.write(data, key, name)
        manifest = {"record": record, "files": {n: digest(d) for n, d in contents.items()}}
        sealed = {**manifest, "digest": digest(json_bytes(manifest))}
        self._store.write(json_bytes(sealed), key, _MANIFEST)
        self.checkpoint(key).remove_all()

    def load(self, key: str) -> StoredUnit | None:
        """Read and verify a finished unit; None if it is not finished or is damaged."""
        try:
            raw = self._store.read(key, _MANIFEST)
        except FileNotFoundError:
            return None
        try:
            manifest = json.loads(raw)
            seal = manifest.pop("digest")
            contents = {name: self._store.read(key, name) for name in manifest["files"]}
            found = {name: digest(data) for name, data in contents.items()}
            if found == manifest["files"] and digest(json_bytes(manifest)) == seal:
                return StoredUnit(manifest["record"], contents)
            fault = "its digests are others"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fault = str(error)
        _LOG.warning("unit %s is damaged (%s) and is trained again", key[:12], fault)
        return None

    def remove(self, model: str, as_of: str) -> list[str]:
        """Remove the units of a model and session, and return their keys."""
        removed = []
        for key in sorted(self._store.names()):
            try:
                unit = self._plan(key)
            except FileNotFoundError:  # another process is about to write it, or removes it
                continue
            if unit is not None and (unit.model, unit.as_of) != (model, as_of):
                continue
            self._store.below(key).remove_all()
            removed.append(key)
        return removed
