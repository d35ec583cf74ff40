"""A store that is a folder of this machine, or of a disk that several machines share."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from pipelines.warehouse.store import PART, Store
from rnn_core.atomic import atomic_write, sync, sync_folders, temporary_path, write_file
from rnn_core.training.file_folder import LocalFolder


class LocalStore(Store):
    """The files below a local folder, which need not exist yet."""

    is_local = True

    def __init__(self, root: str | Path) -> None:
        super().__init__(Path(root).absolute().as_posix())
        self._found: dict[str, str] = {}  # a folder with a file, by table

    def url(self, *parts: str) -> str:
        """The path."""
        return self.path(*parts)

    def below(self, *parts: str) -> LocalStore:
        """A folder of the store as a store of its own."""
        return LocalStore(self.path(*parts))

    def read(self, *parts: str) -> bytes:
        """Read a file; see `Store`."""
        with open(self.path(*parts), "rb") as file:  # noqa: PTH123 - a third of the time
            return file.read()

    def tail(self, *parts: str) -> bytes:
        """Read a file; see `Store`."""
        return self.read(*parts)

    def write(self, data: bytes, *parts: str, durable: bool = False) -> None:
        """Put a file in place in one step; see `Store`."""
        path = Path(self.path(*parts))
        atomic_write(path, data, durable=durable)
        if durable:
            self._sync_above(path)

    def write_as_of(self, data: bytes, source: Sequence[str], *parts: str) -> None:
        """Put a file in place with the times of another; see `Store`."""
        stat = Path(self.path(*source)).stat()
        path = Path(self.path(*parts))
        atomic_write(path, data, times=(stat.st_atime_ns, stat.st_mtime_ns), durable=True)
        self._sync_above(path)

    def write_at(self, data: bytes, written: float, *parts: str) -> None:
        """Put a file in place with a time; see `Store`."""
        moment = round(written * 1e9)
        atomic_write(Path(self.path(*parts)), data, times=(moment, moment))

    def _sync_above(self, path: Path) -> None:
        """Sync the folders above that of a file: a write that synced nothing may have made them."""
        sync_folders(f for f in path.parent.parents if f.is_relative_to(self.root))

    def create(self, data: bytes, *parts: str, durable: bool = False) -> bool:
        """Put a file in place unless there is one; see `Store`."""
        path = Path(self.path(*parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        try:
            write_file(temporary, data, durable=durable)
            path.hardlink_to(temporary)  # which fails where a rename would replace
        except FileExistsError:
            return False
        except OSError:  # a disk without links
            if path.exists():
                return False
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_all_above(path)
        return True

    def append(self, data: bytes, *parts: str) -> None:
        """Add to the end of a file, on the disk before this returns; see `Store`."""
        path = Path(self.path(*parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:  # unbuffered, a disk that fills up would say nothing
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, data: bytes, *parts: str) -> None:
        """Replace a file in one step; it keeps its times, killed or not."""
        stat = Path(self.path(*parts)).stat()
        atomic_write(Path(self.path(*parts)), data, times=(stat.st_atime_ns, stat.st_mtime_ns))

    def remove(self, *parts: str) -> None:
        """Remove a file, if there is one."""
        Path(self.path(*parts)).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove the folder, as far as that is possible."""
        shutil.rmtree(self.root, ignore_errors=True)

    def exists(self, *parts: str) -> bool:
        """True if the file exists."""
        return Path(self.path(*parts)).exists()

    def written(self, *parts: str) -> float:
        """The time at which a file was written; see `Store`."""
        return Path(self.path(*parts)).stat().st_mtime

    def settle(self) -> None:
        """Sync every file with its name, and the folders above; see `Store`."""
        root = Path(self.root)
        paths = sorted(root.rglob("*"))
        for path in (path for path in paths if path.is_file()):
            sync(path)
        sync_folders(path for path in paths if path.is_dir())
        sync_folders([root])
        _sync_all_above(root)

    def names(self) -> set[str]:
        """The names of the files and folders at the root; see `Store`."""
        return LocalFolder(self.root).names()

    def files(self, *parts: str) -> list[str]:
        """The paths of all files below a folder; see `Store`."""
        return sorted(self.sizes(*parts))

    def sizes(self, *parts: str) -> dict[str, int]:
        """The bytes of all files below a folder; see `Store`.

        Links to folders are followed at the first level alone: those of whole tables.
        """
        sizes: dict[str, int] = {}
        todo = [("", self.path(*parts))]
        while todo:  # a state has ten thousands of files: without `Path`
            below, folder = todo.pop()
            # A file or folder that was removed since it was listed has no size.
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(folder) as at,
            ):
                for entry in at:
                    # A link that leads back to itself is no folder, and no file: it is passed by.
                    is_link = entry.is_symlink()
                    if entry.is_dir(follow_symlinks=False) or (
                        is_link and not below and _leads_out(entry.path, self.root)
                    ):
                        todo.append((f"{below}{entry.name}/", entry.path))
                    elif not entry.name.startswith(".") and (
                        os.path.isfile(entry.path) if is_link else entry.is_file()  # noqa: PTH113
                    ):
                        with contextlib.suppress(FileNotFoundError):
                            sizes[f"{below}{entry.name}"] = entry.stat().st_size
        return sizes

    def forget(self, *parts: str) -> None:
        """Do nothing: nothing is fetched before it is asked for."""

    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Build the folder beside its place, and move it there; see `Store`."""
        LocalFolder(self.root).publish(files, last)

    def published(self, name: str, last: bytes, /) -> bytes:
        """Read a file that was published with another; see `Store`."""
        return LocalFolder(self.root).published(name, last)

    def tables(self) -> list[str]:
        """The names of the folders below the root."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in Path(self.root).iterdir() if path.is_dir())
        return []

    def has_partitions(self, table: str) -> bool:
        """True if a table has a file; a killed writer may leave a folder alone."""
        if table in self._found and _has_part(self._found[table]):  # every step asks
            return True
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.path(table)) as folders,
        ):
            for folder in folders:
                if is_session(folder.name) and _has_part(folder.path):
                    self._found[table] = folder.path
                    return True
        return False

    def newest(self, table: str, last: str, count: int) -> list[str]:
        """The newest sessions with a file, of which no more are looked at; see `Store`."""
        names = sorted(filter(is_session, self._folders(table, "", last)), reverse=True)
        stored = (name for name in names if _has_part(f"{self.path(table)}/{name}"))
        return [name.removeprefix("date=") for name in islice(stored, count)][::-1]

    def table_bytes(self) -> int:
        """The bytes of partitions by one look at each: to list their folders takes three times."""
        total = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if not entry.is_dir():
                    with contextlib.suppress(FileNotFoundError):
                        total += 0 if entry.name.startswith(".") else entry.stat().st_size
                    continue
                for name in self._folders(entry.name, "", "9999-12-31"):
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        total += os.stat(f"{entry.path}/{name}/{PART}").st_size  # noqa: PTH116
        return total

    def absent(self, table: str, keys: Sequence[str]) -> list[str]:
        """Those of some session keys that have no file, by one look at each."""
        folder = self.path(table)
        return [key for key in keys if not _has_part(f"{folder}/date={key}")]

    def _partition_files(self, table: str, first: str, last: str) -> list[str]:
        """The partitions of a table; every step lists some, so without `Path`."""
        folder, names = self.path(table), filter(is_session, self._folders(table, first, last))
        return [f"{name}/{PART}" for name in names if _has_part(f"{folder}/{name}")]

    def _folders(self, table: str, first: str, last: str) -> list[str]:
        """The folders of a table's sessions, with a file or without."""
        low, high = f"date={first}", f"date={last}"
        try:
            names = os.listdir(self.path(table))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if low <= name <= high]


def is_session(folder: str) -> bool:
    """True of `date=YYYY-MM-DD`; an operator may keep a copy beside it, under a longer name."""
    return folder.startswith("date=") and len(folder) == len("date=YYYY-MM-DD")


def _has_part(folder: str) -> bool:
    return os.access(f"{folder}/{PART}", os.F_OK)  # of a hundred thousand files


def _leads_out(path: str, root: str) -> bool:
    """True of a link to a folder elsewhere, as of a table that was moved to another disk.

    What it leads to below the root is counted there, and above the root it would be without end.
    """
    if not os.path.isdir(path):  # noqa: PTH112
        return False
    target, own = f"{os.path.realpath(path)}/", f"{os.path.realpath(root)}/"
    return not (target.startswith(own) or own.startswith(target))


def _sync_all_above(path: Path) -> None:
    """Sync every folder above a path, whoever made it, up to where its disk is mounted."""
    for folder in path.parents:
        sync_folders([folder])
        if folder.is_mount():
            return
