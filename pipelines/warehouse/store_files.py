"""A remote store as a file system of fsspec, as DuckDB takes one."""

from __future__ import annotations

import datetime as dt
import re
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any

import fsspec

from pipelines.warehouse.object_store import ObjectStore


class StoreFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The files of a store for readers of fsspec's protocol; read only.

    Args:
        store: the store.
    """

    cachable = False

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self.protocol = store.protocol
        self._store = store

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def glob(self, path: str, **kwargs: Any) -> list[str]:
        """The URLs of the files that match a pattern below the store."""
        literal = re.split(r"[*?]|\[(?![*?[]\])", path, maxsplit=1)[0].rpartition("/")[0]
        try:
            folder = self._parts(re.sub(r"\[([*?[])\]", r"\1", literal))
        except FileNotFoundError:
            return []  # DuckDB says it in its own words
        urls = (self._store.url(*folder, name) for name in self._store.files(*folder))
        return [url for url in urls if fnmatchcase(url, path)]

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> BytesIO:
        """The whole content of a file."""
        if mode != "rb":
            raise PermissionError(f"{path} is only read here, and mode {mode!r} was asked for")
        return BytesIO(self._store.read(*self._parts(path)))

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Size and type of a file."""
        size = len(self._store.read(*self._parts(path)))
        return {"name": path, "size": size, "type": "file"}

    def exists(self, path: str, **kwargs: Any) -> bool:
        """True if a file exists."""
        return self._store.exists(*self._parts(path))

    def modified(self, path: str) -> dt.datetime:
        """The time at which a file was put."""
        return dt.datetime.fromtimestamp(self._store.written(*self._parts(path)), dt.UTC)

    def _parts(self, path: str) -> tuple[str, ...]:
        """The parts of a path below the store.

        Raises:
            FileNotFoundError: the path lies elsewhere.
        """
        root = self._store.url()
        if path != root and not path.startswith(f"{root}/"):
            raise FileNotFoundError(f"{path} does not lie below {root}")
        return tuple(filter(None, path[len(root) :].split("/")))
