"""The sessions that were verified and found current: only what has changed is hashed again.

A session counts as unchanged while all of its files, those of its bundles included, have the size,
the time and the inode that they had before they were last hashed. **Partition D holds nothing later
than D**, so whatever was found of a session holds as long as no session up to it has changed, and
neither has anything that is no partition: the configuration of the stages, their code versions, the
calendar, the universe, fitted states. From the first session that has changed on everything is
hashed and compared.

After the machine has started anew nothing counts as verified, since a loss of power can leave such
files behind. A flip of bytes that keeps size, time and inode is found by `verify` and by every read
of an asset, which hash everything, and not by `status` or by the comparison of a `backfill`. The
record is a file of this machine beside the market's state; `verify` writes it, and the check
`up_to_date` adds the sessions that it has compared. A command that only reads writes none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.calendar.training_plan import TrainingPlan
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.staleness.causes import Cause
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.local_store import is_session
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.store import PART
from rnn_core import __version__
from rnn_core.atomic import atomic_write
from rnn_core.host import boot_id

FORMAT = 1
_META = b"rnn.verified"
_LASTING = (Cause.SERVED, Cause.UNRECORDED)  # found anew each time, or of the record's own facts


@dataclass(frozen=True)
class Unchanged:
    """The sessions from the first one on that are as they were when they were verified.

    Attributes:
        made: when everything was last verified, UTC.
        sessions: their keys, in order.
        served: those that were served and would have other inputs now, by asset.
        empty: those without rows, and why, by asset.
        table: a row a session, with the digest of each asset's partition.
        files: number of their files.
    """

    made: str
    sessions: tuple[str, ...]
    served: Mapping[str, frozenset[str]]
    empty: Mapping[str, Mapping[str, str]]
    table: pa.Table = field(compare=False)
    files: int = 0

    @property
    def last(self) -> str:
        """The newest of them."""
        return self.sessions[-1]

    def digests(self, asset: str) -> dict[str, str]:
        """The digests of the partitions of an asset."""
        if asset not in self.table.column_names:
            return {}
        values = self.table[asset].to_pylist()
        return {k: v.hex() for k, v in zip(self.sessions, values, strict=True) if v is not None}


class Stamps:
    """The size, time and inode of every file of a market on this machine, by session.

    Args:
        market: the market; one whose state lies in an object store has no stamps.
        stages: its stages.

    Attributes:
        stored: the sessions of each table that have a file.
    """

    def __init__(self, market: Market, stages: Sequence[Stage]) -> None:
        self.stored: dict[str, frozenset[str]] = {}
        self.files = 0
        self._stats: dict[str, array[int]] = {}
        self.is_possible = market.tables.is_local and market.bundles.is_local
        if self.is_possible:
            names = [table.name for stage in stages for table in stage.tables]
            for i, name in enumerate(sorted(names)):
                folder, place = market.tables.path(name), _place(i, PART)
                keys = (inside[5:] for inside in _names(folder) if is_session(inside))
                self.stored[name] = frozenset(
                    key for key in keys if self._look(key, place, f"{folder}/date={key}/{PART}")
                )
            for i, model in enumerate(sorted(spec.name for spec in market.models)):
                folder = market.bundles.path(model)
                for key in (key for key in _names(folder) if key[0] != "."):
                    for file in sorted(_files(f"{folder}/{key}")):
                        self._look(key, _place(-1 - i, file), f"{folder}/{key}/{file}")

    def _look(self, key: str, place: int, path: str) -> bool:
        """Take the stamp of a file of a session; False if there is none."""
        try:
            stat = os.stat(path)  # noqa: PTH116 - of a hundred thousand files
        except (FileNotFoundError, NotADirectoryError):
            return False
        values = self._stats.get(key)
        if values is None:
            values = self._stats[key] = array("q")
        values.extend((place, stat.st_size, stat.st_mtime_ns, stat.st_ino & (2**63 - 1)))
        self.files += 1
        return True

    def of(self, key: str) -> bytes:
        """The stamp of a session."""
        values = self._stats.get(key)
        return hashlib.blake2b(values.tobytes() if values else b"", digest_size=16).digest()

    def count(self, keys: Sequence[str]) -> int:
        """The number of files of some sessions."""
        return sum(len(self._stats.get(key, ())) // 4 for key in keys)


def _place(number: int, file: str) -> int:
    """A table or model, and the name of a file, as one number."""
    return (number << 32) + zlib.crc32(file.encode())


def _files(folder: str) -> Iterator[str]:
    """The files below a folder by their paths in it: states of estimators lie in folders."""
    for name in _names(folder):
        path = f"{folder}/{name}"
        if os.path.isdir(path):  # noqa: PTH112 - of a hundred thousand files
            yield from (f"{name}/{below}" for below in _files(path))
        else:
            yield name


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def _plan(plan: TrainingPlan) -> list[object]:
    """The facts that decide which model is in force at a session."""
    return [plan.first_trained, plan.retrain_every, plan.pin]


class VerifiedRecord:
    """The record of a market's verified sessions, as it was before this object was made.

    Args:
        market: the market.
        stages: its stages.
        served: its served sessions.

    Attributes:
        stored: the sessions of each table that have a file; empty in an object store.
    """

    def __init__(self, market: Market, stages: Sequence[Stage], served: Served) -> None:
        self._market, self._stages, self._served = market, stages, served
        self._path = market.paths.verified
        self._stamps = Stamps(market, stages)  # before anything is read
        self.stored = self._stamps.stored
        self.unchanged = self._unchanged()

    @cached_property
    def _facts(self) -> dict[str, object]:
        """The facts beside partitions and bundles that decide whether a session is current."""
        market, universe = self._market, self._market.universe
        whole = {s.name: s for s in self._stages if s.kind is Kind.FITTED and not s.tables}
        now = StoredVersions(market, self._stages)
        states = {}
        for name in whole:
            with contextlib.suppress(DamagedFileError):
                info = now.table(name).info(WHOLE)
                states[name] = None if info is None else info.digest
        return {
            "format": FORMAT,
            "release": __version__,
            "boot": boot_id(),  # a loss of power can leave a file its size and time, not its bytes
            "plans": {spec.name: _plan(market.plan_of(spec.name)) for spec in market.models},
            "universe": hashlib.sha256(
                universe.to_csv(index=False).encode()
                if isinstance(universe, pd.DataFrame)
                else str(universe).encode()
            ).hexdigest(),
            "states": states,
            "stages": [
                [s.name, s.code_version, s.config_hash, s.first, [t.name for t in s.tables], s.deps]
                for s in self._stages
            ],
        }

    def _context(self, last: str) -> str:
        """A hash of all that decides besides the files of the sessions up to one."""
        keys = [key for key in self._market.sessions.keys if key <= last]
        served = {
            spec.name: sorted(k for k in self._served.sessions(spec.name) if k <= last)
            for spec in self._market.models
        }
        return fingerprint([self._facts, keys, served])

    def _unchanged(self) -> Unchanged | None:
        """The verified sessions that are unchanged; None if there are none."""
        if not self._stamps.is_possible:
            return None
        try:
            table = pq.read_table(self._path)
            meta = json.loads(table.schema.metadata[_META])
            keys, stamps = table["session"].to_pylist(), table["stamp"].to_pylist()
            if not keys or meta["context"] != self._context(keys[-1]):
                return None
            count = 0
            for key, stamp in zip(keys, stamps, strict=True):
                if self._stamps.of(key) != stamp:
                    break
                count += 1
            if not count:
                return None
            sessions = tuple(keys[:count])
            return Unchanged(
                str(meta["made"]),
                sessions,
                {asset: frozenset(found) for asset, found in meta["served"].items()},
                meta["empty"],
                table.slice(0, count),
                self._stamps.count(sessions),
            )
        except (OSError, ValueError, KeyError, TypeError):  # absent, of another release, damaged
            return None

    def keep(self, found: Survey, now: StoredVersions, *, full: bool = False) -> None:
        """Write down what a survey has verified, as far as nothing is left to do in between.

        Args:
            found: a survey that began after this object was made.
            now: the versions that it has read.
            full: everything was verified, and nothing of an earlier record counts.
        """
        before = None if full else self.unchanged
        if not self._stamps.is_possible or (before is None and not full):
            return
        if full:
            self.forget()
        new = list(self._verified(found, before))
        if not new:
            return
        sessions = [*(before.sessions if before else ()), *new]
        made = (
            f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}" if full or not before else before.made
        )
        known = set(sessions)
        served = {a: set(s) for a, s in (before.served if before else {}).items()}
        empty = {a: dict(e) for a, e in (before.empty if before else {}).items()}
        for asset, reasons in found.reasons.items():
            keys = {k for k, why in reasons.items() if why.cause == Cause.SERVED and k in known}
            served.setdefault(asset, set()).update(keys)
        for asset, lacks in found.empty.items():
            lacking = {k: why.detail for k, why in lacks.items() if k in known}
            empty.setdefault(asset, {}).update(lacking)
        columns: dict[str, pa.Array] = {
            "session": pa.array(new, pa.string()),
            "stamp": pa.array([self._stamps.of(key) for key in new], pa.binary(16)),
        }
        for stage in (stage for stage in self._stages if stage.tables):
            infos = now.table(stage.name).infos(new)
            values = [bytes.fromhex(infos[k].digest) if k in infos else None for k in new]
            columns[stage.name] = pa.array(values, pa.binary(32))
        meta = {
            "made": made,
            "context": self._context(sessions[-1]),
            "served": {asset: sorted(keys) for asset, keys in served.items()},
            "empty": empty,
        }
        rows = pa.table(columns)
        if before is not None:
            rows = pa.concat_tables([before.table.replace_schema_metadata(None), rows])
        table = rows.replace_schema_metadata({_META: json.dumps(meta).encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none", use_dictionary=False)
        with contextlib.suppress(OSError):  # of a folder that is read only: status hashes all
            atomic_write(self._path, sink.getvalue().to_pybytes())

    def forget(self) -> None:
        """Remove the record: it may call intact what was found damaged since."""
        with contextlib.suppress(OSError):  # of a folder that is read only
            self._path.unlink(missing_ok=True)

    def _verified(self, found: Survey, before: Unchanged | None) -> Iterator[str]:
        """The sessions of a survey, from the first that is not known on, that need nothing."""
        due = {s.name: s for s in self._stages if s.is_compared and s.tables}
        wanted = {name: frozenset(found.wanted.get(name, ())) for name in due}
        for key in self._market.sessions.keys:
            if before is not None and key <= before.last:
                continue
            for name, stage in due.items():
                why = found.reasons.get(name, {}).get(key)
                is_due = stage.first is None or key >= stage.first
                if is_due and (key not in wanted[name] or (why and why.cause not in _LASTING)):
                    return
            yield key
