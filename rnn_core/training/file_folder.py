"""A folder of files, local or elsewhere: the place of a bundle or of a checkpoint.

`Folder` is all that bundles and checkpoints ask of a place, so that an object store can hold them
as a disk does. Files that belong together are *published*: they come into being with one of them,
which is written last. On a disk that is a folder that is moved into place. A store without folders
puts the others below `.VERSION/`, a name that the content of the last one gives, where only its
readers look. Both are read wherever they lie, so a plain copy moves a bundle between the two.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rnn_core.atomic import atomic_write, temporary_path
from rnn_core.training.atomic_dirs import move_into_place


def version_of(last: bytes) -> str:
    """The hidden folder of the files that were published with a file of this content."""
    return f".{hashlib.sha256(last).hexdigest()[:16]}"


class Folder(Protocol):
    """A folder whose files are each replaced in one step."""

    def read(self, name: str, /) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none.
        """

    def write(self, data: bytes, name: str, /) -> None:
        """Put a file in place in one step.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """

    def remove(self, name: str, /) -> None:
        """Remove a file, if there is one."""

    def names(self) -> set[str]:
        """The names of the files and folders in it; none if it does not exist.

        Raises:
            NotADirectoryError: a file stands in its place.
        """

    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Put files in place in one step, instead of those that were published before.

        Args:
            files: the content by name.
            last: the name of the one that makes the others count.

        Raises:
            OSError: they cannot be written; what was published before is still there.
        """

    def published(self, name: str, last: bytes, /) -> bytes:
        """Read a file that was published with another.

        Args:
            name: its name.
            last: the content of the file that makes it count.

        Raises:
            FileNotFoundError: there is none.
        """


class LocalFolder:
    """A folder of this machine.

    Args:
        path: the folder; made when the first file is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str, /) -> bytes:
        """Read a file; see `Folder`."""
        return (self.path / name).read_bytes()

    def write(self, data: bytes, name: str, /) -> None:
        """Put a file in place in one step; see `Folder`."""
        atomic_write(self.path / name, data)

    def remove(self, name: str, /) -> None:
        """Remove a file, if there is one."""
        (self.path / name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The names of the files and folders in it; see `Folder`."""
        try:
            return {item.name for item in self.path.iterdir()}
        except FileNotFoundError:
            return set()

    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Build the folder beside its place, and move it there; see `Folder`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(self.path)
        temporary.mkdir()
        try:
            temporary.chmod(0o755)
            for name, data in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(data)
            move_into_place(temporary, self.path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def published(self, name: str, last: bytes, /) -> bytes:
        """Read a file that was published with another; see `Folder`."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return self.read(f"{version_of(last)}/{name}")


class HeldFolder:
    """The files of a folder that were read already: what is checked of them is what is held.

    Args:
        name: the folder, for messages.
        contents: the content of every file by its path in the folder.
    """

    def __init__(self, name: str, contents: Mapping[str, bytes]) -> None:
        self._name, self._contents = name, dict(contents)

    def __str__(self) -> str:
        return self._name

    def read(self, name: str, /) -> bytes:
        """Give a file; see `Folder`."""
        try:
            return self._contents[name]
        except KeyError:
            raise FileNotFoundError(f"{self._name} has no {name}") from None

    def write(self, data: bytes, name: str, /) -> None:
        """Hold a file; see `Folder`."""
        self._contents[name] = data

    def remove(self, name: str, /) -> None:
        """Hold a file no longer, if it is held."""
        self._contents.pop(name, None)

    def names(self) -> set[str]:
        """The names of the files and folders in it."""
        return {name.partition("/")[0] for name in self._contents}

    def publish(self, files: Mapping[str, bytes], last: str, /) -> None:
        """Hold these files and no others; see `Folder`."""
        self._contents = {last: files[last], **files}

    def published(self, name: str, last: bytes, /) -> bytes:
        """Give a file that was published with another, on a disk or elsewhere; see `Folder`."""
        inside = f"{version_of(last)}/{name}"
        return self.read(inside if inside in self._contents else name)


def folder_at(place: str | Path | Folder) -> Folder:
    """The folder at a path; one that is none of this machine stays what it is."""
    return LocalFolder(place) if isinstance(place, str | Path) else place
