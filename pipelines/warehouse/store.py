"""Read and write files under a root: a local folder, or any fsspec URL.

Writes are all-or-nothing: on a local disk a temporary name is moved into place; on an object
store a put is atomic in itself. The warehouse knows tables, the store only files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from rnn_core.atomic import atomic_write, is_leftover

__all__ = ["PART", "Store", "atomic_write", "remove_leftovers"]

_PARTITION = re.compile(r"date=(\d{4}-\d{2}-\d{2})$")
PART = "part-0.parquet"


def remove_leftovers(root: Path) -> int:
    """Remove temporary files and folders of writers that were killed, and return their number."""
    removed = 0
    for path in list(root.glob("**/.*.tmp")):
        if not is_leftover(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += 1
    return removed


class Store:
    """The files `TABLE/date=…/part-0.parquet`, and a few at the root.

    Args:
        url: a local path, or a URL such as `s3://bucket/prefix` whose filesystem fsspec knows.
    """

    def __init__(self, url: str | Path) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(str(url))
        self.is_local = isinstance(self.fs, LocalFileSystem)
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        self.prefix = "" if self.is_local else f"{protocol}://"

    def is_below(self, folder: Path) -> bool:
        """True if the whole store lies in a local folder."""
        return self.is_local and Path(self.root).resolve().is_relative_to(folder.resolve())

    def path(self, *parts: str) -> str:
        """The full path of a file below the root, without the protocol."""
        return "/".join((self.root.rstrip("/"), *parts))

    def url(self, *parts: str) -> str:
        """The path in the form that DuckDB reads."""
        return self.prefix + self.path(*parts)

    def read(self, *parts: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:
            return Path(self.path(*parts)).read_bytes()
        data: bytes = self.fs.cat_file(self.path(*parts))
        return data

    def write(self, data: bytes, *parts: str) -> None:
        """Put a file in place in one step.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        if self.is_local:
            atomic_write(Path(self.path(*parts)), data)
        else:
            self.fs.pipe_file(self.path(*parts), data)

    def rewrite(self, data: bytes, *parts: str) -> None:
        """Replace a file in one step; on a local disk it keeps its times, killed or not.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        if not self.is_local:
            self.write(data, *parts)
            return
        stat = Path(self.path(*parts)).stat()
        atomic_write(Path(self.path(*parts)), data, times=(stat.st_atime_ns, stat.st_mtime_ns))

    def exists(self, *parts: str) -> bool:
        """True if the file exists."""
        return bool(self.fs.exists(self.path(*parts)))

    def open(self, *parts: str) -> Any:
        """Open a file for reading bytes."""
        return self.fs.open(self.path(*parts), "rb")

    def tables(self) -> list[str]:
        """The names of the folders below the root."""
        if not self.fs.exists(self.root):
            return []
        entries = self.fs.ls(self.root, detail=True)
        return sorted(
            e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory"
        )

    def has_partitions(self, table: str) -> bool:
        """True if a table has a file; a killed writer may leave a folder alone."""
        if self.is_local:
            return next(Path(self.path(table)).glob(f"date=*/{PART}"), None) is not None
        return bool(self.partitions(table))

    def partitions(self, table: str) -> list[str]:
        """The session keys of a table that have a file, in order."""
        if self.is_local:
            folders = self._local_folders(table)
        else:
            self.fs.invalidate_cache()
            found_remote = self.fs.glob(self.path(table, "date=*", PART))
            folders = [str(p).rsplit("/", 2)[-2] for p in found_remote]
        return sorted(m.group(1) for f in folders if (m := _PARTITION.match(f)))

    def _local_folders(self, table: str) -> list[str]:
        """The folders of a table that hold a file; every step lists some, so without `Path`."""
        folder = self.path(table)
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if os.path.exists(f"{folder}/{name}/{PART}")]  # noqa: PTH110

    def absent(self, table: str, keys: Sequence[str]) -> list[str]:
        """Those of some session keys that have no file, by one listing or one look at each."""
        if self.is_local:
            folder = self.path(table)
            return [key for key in keys if not os.path.exists(f"{folder}/date={key}/{PART}")]  # noqa: PTH110
        present = set(self.partitions(table))
        return [key for key in keys if key not in present]
