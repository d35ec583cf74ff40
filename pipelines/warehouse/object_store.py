"""A store in an object store: S3, Google's, or any other file system that fsspec knows.

A put is atomic, and there are no renames, no folders and no times but that of the last put. So
files that belong together lie below `.VERSION/` until the one that names them is put, last; a file
that nobody may replace is put on condition that there is none. The time of a file that keeps
another than that of its put lies beside it, as `NAME.written`, with the digest of the content that
it dates: a later put of other bytes makes it void, and nobody is listed it. A listing is one
request a thousand files, whatever the depth; everything else is one request for a named file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from pipelines.errors import StoreRefusedError, StoreUnreachableError
from pipelines.warehouse.fetched import present
from pipelines.warehouse.store import Store
from rnn_core.training.file_folder import version_of

_TAIL = 64 * 1024  # bytes; a footer of some hundred columns is shorter
_TIME = ".written"  # ending of the file that holds the time of a content of the file beside it
_TOGETHER = 60.0  # seconds between the puts of a note and of its file
_AT_ONCE = 8
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests", "urllib3"}


class ObjectStore(Store):
    """The files below a prefix of an object store.

    Args:
        files: fsspec's file system.
        root: the prefix, as the file system names it.
    """

    is_local = False

    def __init__(self, files: Any, root: str) -> None:
        super().__init__(root.rstrip("/"))
        self._fs = files
        names = files.protocol
        self.protocol: str = names if isinstance(names, str) else names[0]

    def url(self, *parts: str) -> str:
        """The URL."""
        return f"{self.protocol}://{self.path(*parts)}"

    def below(self, *parts: str) -> ObjectStore:
        """A folder of the store as a store of its own."""
        return ObjectStore(self._fs, self.path(*parts))

    # --- files -------------------------------------------------------------------------------

    def read(self, *parts: str) -> bytes:
        """Read a file in one request; see `Store`."""
        kept, url = present(), self.url(*parts)
        if kept is not None and (content := kept.content(url)) is not None:
            return content
        with _asking(url):
            data = bytes(self._fs.cat_file(self.path(*parts)))
        if kept is not None:
            kept.keep(url, data)
        return data

    def tail(self, *parts: str) -> bytes:
        """Read the end of a file in one request; see `Store`.

        A piece of work reads the rows of nearly every file whose footer it asks for, so it fetches
        the whole file, once.
        """
        if present() is not None:
            return self.read(*parts)
        with _asking(self.url(*parts)):
            return bytes(self._fs.cat_file(self.path(*parts), start=-_TAIL))

    def write(self, data: bytes, *parts: str, durable: bool = False) -> None:
        """Put a file in place in one step; see `Store`."""
        with _asking(self.url(*parts)):
            self._fs.pipe_file(self.path(*parts), data)
        self._note(data, *parts)

    def write_as_of(self, data: bytes, source: Sequence[str], *parts: str) -> None:
        """Put a file in place with the time of another; see `Store`."""
        self.write_at(data, self.written(*source), *parts)

    def write_at(self, data: bytes, written: float, *parts: str) -> None:
        """Put a file in place, after one beside it that holds its time; see `Store`."""
        *folder, name = parts
        note = {"written": written, "sha256": hashlib.sha256(data).hexdigest()}
        self.write(json.dumps(note).encode(), *folder, f"{name}{_TIME}")
        self.write(data, *parts)

    def rewrite(self, data: bytes, *parts: str) -> None:
        """Put a file in place of another; where that has a time beside it, it keeps it."""
        when = self._noted(self._listing(*parts[:-1]), *parts)
        if when is None:
            self.write(data, *parts)
        else:
            self.write_at(data, when, *parts)

    def _noted(self, listed: Mapping[str, float], *parts: str) -> float | None:
        """The time that is noted beside a file; None if the note is of another content.

        A note of an earlier release is the time alone: it counts if both were put together.
        """
        *folder, name = parts
        beside = f"{name}{_TIME}"
        if beside not in listed:
            return None
        try:
            note = json.loads(self.read(*folder, beside))
            if isinstance(note, float):
                return note if listed.get(name, 0) - listed[beside] < _TOGETHER else None
            is_own = note["sha256"] == hashlib.sha256(self.read(*parts)).hexdigest()
            return float(note["written"]) if is_own else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def create(self, data: bytes, *parts: str, durable: bool = False) -> bool:
        """Put a file in place unless there is one, by a conditional put; see `Store`."""
        with _asking(self.url(*parts)):
            try:
                self._fs.pipe_file(self.path(*parts), data, mode="create")
            except FileExistsError:
                return False
        self._note(data, *parts)
        return True

    def _note(self, data: bytes, *parts: str) -> None:
        if (kept := present()) is not None:
            kept.written(self.url(*parts), data)

    def append(self, data: bytes, *parts: str) -> None:
        """Add to the end of a file by putting it whole; see `Store`."""
        self.forget(*parts)  # another machine may have added to it
        try:
            before = self.read(*parts)
        except FileNotFoundError:
            before = b""
        self.write(before + data, *parts)

    def remove(self, *parts: str) -> None:
        """Remove a file, if there is one, with the note of its time."""
        *folder, name = parts
        beside = f"{name}{_TIME}"
        for path in [parts, *([(*folder, beside)] if beside in self._listing(*folder) else [])]:
            with _asking(self.url(*path)), suppress(FileNotFoundError):
                self._fs.rm_file(self.path(*path))
            if (kept := present()) is not None:
                kept.removed(self.url(*path))

    def remove_all(self) -> None:
        """Remove every file of the store, as far as that is possible."""
        self.forget()
        try:
            for name in self._listing():
                self.remove(name)
        except OSError:
            return

    def exists(self, *parts: str) -> bool:
        """True if the file exists."""
        kept = present()
        if kept is not None and kept.content(self.url(*parts)) is not None:
            return True
        with _asking(self.url(*parts)):
            return bool(self._fs.isfile(self.path(*parts)))

    def written(self, *parts: str) -> float:
        """The time at which a file was put; see `Store`."""
        *folder, name = parts
        listed = self._listing(*folder)
        if name not in listed:
            raise FileNotFoundError(f"there is no {self.url(*parts)}")
        noted = self._noted(listed, *parts)
        return listed[name] if noted is None else noted

    def names(self) -> set[str]:
        """The names of the files and folders at the root, but for versions; see `Store`."""
        names = {name.partition("/")[0] for name in self.files()}
        return {name for name in names if not name.startswith(".")}

    def files(self, *parts: str) -> list[str]:
        """The paths of all files below a folder, from one listing; see `Store`."""
        return sorted(name for name in self._listing(*parts) if not name.endswith(_TIME))

    def sizes(self, *parts: str) -> dict[str, int]:
        """The bytes of all files below a folder, from one listing; see `Store`."""
        prefix = self.path(*parts)
        with _asking(self.url(*parts)):
            found = self._fs.find(prefix, detail=True)
        inside = (p for p in found if p.startswith(f"{prefix}/") and not p.endswith(_TIME))
        return {path[len(prefix) + 1 :]: int(found[path]["size"]) for path in inside}

    def forget(self, *parts: str) -> None:
        """Fetch what lies below a folder, or a file, anew."""
        if (kept := present()) is not None:
            kept.forget(self.url(*parts))
            kept.removed(self.url(*parts))

    def tables(self) -> list[str]:
        """The names of the folders below the root."""
        with _asking(self.url()):
            try:
                entries = self._fs.ls(self.root, detail=True)
            except FileNotFoundError:
                return []
        folders = (e["name"].rstrip("/") for e in entries if e["type"] == "directory")
        return sorted(name.rpartition("/")[2] for name in folders)

    def _listing(self, *parts: str) -> Mapping[str, float]:
        """The files below a folder, and when they were put."""
        kept, url = present(), self.url(*parts)
        if kept is not None and (listed := kept.listing(url)) is not None:
            return listed
        prefix = self.path(*parts)
        with _asking(url):
            found = self._fs.find(prefix, detail=True)
        files = {
            path[len(prefix) + 1 :]: _written(entry)
            for path, entry in found.items()
            if path.startswith(f"{prefix}/")
        }
        if kept is not None:
            kept.keep_listing(url, files)
        return files

    def settle(self) -> None:
        """Do nothing: what was put is there for good."""

    # --- files that belong together ----------------------------------------------------------

    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Put the other files, then the last one, then remove those of earlier versions.

        A reader of the earlier last file may find that its files are gone, and reads it anew.
        """
        version = version_of(files[last])
        others = {f"{version}/{name}": data for name, data in files.items() if name != last}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.write, others.values(), others))
        if not self.create(files[last], last):
            self.write(files[last], last)
        self.forget()
        for name in self._listing().keys() - {*others, last}:
            self.remove(name)

    def published(self, name: str, last: bytes, /) -> bytes:
        """Read a file that was published with another; see `Store`."""
        kept = present()
        if kept is None or self.url() not in kept.copied:
            try:
                return self.read(version_of(last), name)
            except FileNotFoundError:
                pass
        data = self.read(name)  # copied from a disk, as the others of the folder
        if kept is not None:
            kept.copied.add(self.url())
        return data


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Turn what clients raise into errors that people see.

    Raises:
        StoreRefusedError: credentials are missing or do not suffice.
        StoreUnreachableError: the store does not answer.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
        raise
    except Exception as error:
        kind = type(error)
        is_of_client = kind.__module__.partition(".")[0] in _CLIENTS
        if isinstance(error, PermissionError) or (is_of_client and "Credential" in kind.__name__):
            raise StoreRefusedError(
                f"{url} is refused: {error}; set credentials with the right to read and write it "
                f"in the environment, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for "
                f"Google's store GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        if isinstance(error, OSError) or is_of_client:
            raise StoreUnreachableError(
                f"{url} cannot be reached: {error}; check the network, and endpoint_url under "
                f"storage_options"
            ) from error
        raise


def _written(entry: Mapping[str, Any]) -> float:
    """The time of an entry of a listing, seconds since 1970; each file system has its own key."""
    when = next(
        (entry[k] for k in ("LastModified", "mtime", "updated", "created") if k in entry), 0
    )
    if isinstance(when, str):
        when = dt.datetime.fromisoformat(when)
    return when.timestamp() if isinstance(when, dt.datetime) else float(when)
