"""A folder of files, on this machine or in an object store: the place of all state of a market.

`Store` is what the project asks of such a place. Every write is all-or-nothing: on a disk a
temporary name is moved into place (`local_store.py`), in an object store a put is atomic in itself
(`object_store.py`). The warehouse knows tables, the store only files. `stores.py` opens one.

A store is a `Folder` of `rnn_core` as well, so bundles and checkpoints are kept in it as they are
on a disk.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnn_core.atomic import atomic_write, is_leftover

__all__ = ["PART", "StateFile", "Store", "atomic_write", "leftovers", "remove_leftovers"]

_PARTITION = re.compile(r"date=(\d{4}-\d{2}-\d{2})$")
PART = "part-0.parquet"


def remove_leftovers(root: Path, *, deep: bool = True) -> int:
    """Remove temporary files and folders of writers that were killed, and return their number.

    Args:
        root: the folder.
        deep: look into the folders below it, too.
    """
    paths = leftovers(root, deep=deep)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(paths)


def leftovers(root: Path, *, deep: bool = True) -> list[Path]:
    """The temporary files and folders below a folder that nobody writes any more."""
    return [path for path in root.glob("**/.*.tmp" if deep else ".*.tmp") if is_leftover(path)]


class Store(ABC):
    """A folder of files; names of a file are given as one or several parts of its path.

    Attributes:
        root: the folder, without the protocol of its URL.
        is_local: True if it is one of this machine, where files have times and readers may open
            them by their path.
    """

    is_local: bool

    def __init__(self, root: str) -> None:
        self.root = root

    def __str__(self) -> str:
        return self.url()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.url() == self.url()

    def __hash__(self) -> int:
        return hash(self.url())

    # --- names -------------------------------------------------------------------------------

    def path(self, *parts: str) -> str:
        """The full path of a file below the root, without the protocol."""
        return "/".join((self.root.rstrip("/"), *parts))

    @abstractmethod
    def url(self, *parts: str) -> str:
        """The path in the form that DuckDB and people read."""

    @abstractmethod
    def below(self, *parts: str) -> Store:
        """A folder of the store as a store of its own."""

    def file(self, *parts: str) -> StateFile:
        """A file of the store, to be handed on."""
        return StateFile(self, parts)

    def is_below(self, folder: Path) -> bool:
        """True if the whole store lies in a local folder."""
        return self.is_local and Path(self.root).resolve().is_relative_to(folder.resolve())

    # --- files -------------------------------------------------------------------------------

    @abstractmethod
    def read(self, *parts: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def tail(self, *parts: str) -> bytes:
        """Read the end of a file, enough for a footer, or all of it.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def write(self, data: bytes, *parts: str, durable: bool = False) -> None:
        """Put a file in place in one step.

        Args:
            data: the content.
            parts: its path.
            durable: the file outlives a machine that loses power, once this returns. A put into an
                object store always does.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """

    @abstractmethod
    def write_as_of(self, data: bytes, source: Sequence[str], *parts: str) -> None:
        """Put a durable file in place in one step, with the time of another, as `written` tells it.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """

    @abstractmethod
    def write_at(self, data: bytes, written: float, *parts: str) -> None:
        """Put a file in place in one step, with a time, seconds since 1970.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """

    @abstractmethod
    def create(self, data: bytes, *parts: str, durable: bool = False) -> bool:
        """Put a file in place unless there is one; False if there is, which then stays.

        Raises:
            OSError: it cannot be written.
        """

    @abstractmethod
    def append(self, data: bytes, *parts: str) -> None:
        """Add to the end of a file, which is made if absent; callers take turns by a lock.

        Raises:
            OSError: it cannot be written.
        """

    def append_line(self, line: str, *parts: str) -> None:
        """Add a line to the end of a text; a last one that a full disk cut off is ended first.

        Raises:
            OSError: it cannot be written.
        """
        self.forget(*parts)
        before = self.read(*parts) if self.exists(*parts) else b""
        end = b"\n" if before and not before.endswith(b"\n") else b""
        self.append(end + line.encode() + b"\n", *parts)

    def rewrite(self, data: bytes, *parts: str) -> None:
        """Replace a file in one step; where files keep times, it keeps its own.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        self.write(data, *parts)

    @abstractmethod
    def remove(self, *parts: str) -> None:
        """Remove a file, if there is one."""

    @abstractmethod
    def remove_all(self) -> None:
        """Remove every file of the store, as far as that is possible."""

    @abstractmethod
    def exists(self, *parts: str) -> bool:
        """True if the file exists."""

    @abstractmethod
    def written(self, *parts: str) -> float:
        """The time at which a file was written, seconds since 1970.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def names(self) -> set[str]:
        """The names of the files and folders at the root, as `Folder` has it."""

    @abstractmethod
    def files(self, *parts: str) -> list[str]:
        """The paths of all files below a folder, as seen from it, in order; none if it is absent.

        Files whose name begins with a dot are being written, and left out.
        """

    @abstractmethod
    def sizes(self, *parts: str) -> dict[str, int]:
        """The bytes of each of the `files` below a folder, by its path as seen from it."""

    @abstractmethod
    def forget(self, *parts: str) -> None:
        """Look again at what lies below a folder, instead of what was fetched before."""

    def settle_all(self) -> None:
        """Put everything that was written on the disk for good, by one call for many files."""
        if self.is_local:
            os.sync()

    @abstractmethod
    def settle(self) -> None:
        """Put everything that the folder has on the disk for good; an object store has it there.

        Raises:
            OSError: the disk refused.
        """

    # --- files that belong together ----------------------------------------------------------

    @abstractmethod
    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Put files in place in one step, as `Folder` has it."""

    @abstractmethod
    def published(self, name: str, last: bytes, /) -> bytes:
        """Read a file that was published with another, as `Folder` has it."""

    # --- tables ------------------------------------------------------------------------------

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of the folders below the root."""

    def has_partitions(self, table: str) -> bool:
        """True if a table has a file; a killed writer may leave a folder alone."""
        return bool(self.partitions(table))

    def partitions(self, table: str, first: str = "", last: str = "9999-12-31") -> list[str]:
        """The session keys of a table that have a file, in order.

        Args:
            table: the table.
            first, last: bounds of the keys, both included. On a disk each file is looked at, so a
                step that needs some sessions names them, or its cost grows with the history.
        """
        files = self._partition_files(table, first, last)
        folders = (name.removesuffix(f"/{PART}") for name in files)
        keys = sorted(match.group(1) for f in folders if (match := _PARTITION.match(f)))
        return [key for key in keys if first <= key <= last]

    def newest(self, table: str, last: str, count: int) -> list[str]:
        """The newest sessions of a table with a file that are not after one, in order.

        Args:
            table: the table.
            last: the session; keys after it do not count.
            count: so many of them at most.
        """
        return self.partitions(table, last=last)[-count:] if count else []

    def table_bytes(self) -> int:
        """The bytes of all partitions and of the files at the root."""
        own = {name: n for name, n in self.sizes().items() if _is_of_table(name)}
        return sum(own.values())

    def absent(self, table: str, keys: Sequence[str]) -> list[str]:
        """Those of some session keys that have no file, by one listing or one look at each."""
        present = set(self.partitions(table))
        return [key for key in keys if key not in present]

    def _partition_files(self, table: str, first: str, last: str) -> list[str]:
        """`date=…/part-0.parquet` of a table, in any order, at least those within the bounds."""
        return [name for name in self.files(table) if name.endswith(f"/{PART}")]


def _is_of_table(name: str) -> bool:
    """True for a partition, and for a file at the root."""
    return "/" not in name or bool(re.fullmatch(rf"[^/]+/date=[^/]+/{re.escape(PART)}", name))


@dataclass(frozen=True)
class StateFile:
    """One file of a store."""

    store: Store
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return self.store.url(*self.parts)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.parts[-1].rpartition("/")[2]

    def read(self) -> bytes:
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.store.read(*self.parts)

    def write(self, data: bytes, *, durable: bool = False) -> None:
        """Put the file in place in one step, as `Store.write` does.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        self.store.write(data, *self.parts, durable=durable)
