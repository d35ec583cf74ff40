"""Atomic writes: a reader sees the old content of a file or the new, never a part.

Content is written under a temporary name in the same folder and renamed. The name holds the
writer's host and process, so the leftovers of a killed process differ from files that are being
written:

    .NAME.HOST-PID.HEX.tmp

That is enough for killed processes. A machine that loses power may besides forget what it had not
put on the disk yet; a write that is *durable* is there once it returns, the name in its folder
included.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from rnn_core.host import host_id, is_running

_TEMPORARY = re.compile(r"^\..*\.(?:([0-9a-f]{8})-)?(\d+)\.[0-9a-f]{8}\.tmp$")
_LONGEST_WRITE_SECONDS = 7 * 86_400.0  # far above any: whole bundles are written within minutes


def temporary_path(path: Path) -> Path:
    """A name in the folder of `path` that no other writer uses, for a file or a folder."""
    unique = uuid.uuid4().hex[:8]
    return path.parent / f".{path.name}.{host_id()}-{os.getpid()}.{unique}.tmp"


def is_leftover(path: Path) -> bool:
    """True of a temporary file or folder that nobody writes any more.

    The writer's process tells, if it is one of this host. What another host writes, an earlier boot
    of this one included, is a leftover once nothing has touched it for a week. A name without a
    host, as earlier releases made them, is taken for one of this host.
    """
    found = _TEMPORARY.match(path.name)
    if found is None:
        return False
    host, pid = found.groups()
    if host is None or host == host_id():
        return not is_running(int(pid))
    try:
        return time.time() - path.stat().st_mtime > _LONGEST_WRITE_SECONDS
    except OSError:  # it is in place by now
        return False


def atomic_write(
    path: Path, data: bytes, *, times: tuple[int, int] | None = None, durable: bool = False
) -> None:
    """Write a local file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder is made if absent.
        data: the content.
        times: times of access and of modification that the file gets, ns since 1970.
        durable: the file is on the disk when this returns, whatever happens to the machine.

    Raises:
        OSError: the folder cannot be made or written; nothing is left behind.
    """
    made_in = make_folder(path.parent)
    temporary = temporary_path(path)
    try:
        write_file(temporary, data, times=times, durable=durable)
        temporary.replace(path)
        if durable:
            sync_folders([path.parent, *made_in])
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_file(
    path: Path, data: bytes, *, times: tuple[int, int] | None = None, durable: bool = False
) -> None:
    """Write a file that nobody reads yet; see `atomic_write`."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        if times is not None:
            os.utime(path, ns=times)
        if durable:
            os.fsync(file.fileno())


def make_folder(folder: Path) -> list[Path]:
    """Make a folder with those above it, and return the folders that have got a new name in them.

    Raises:
        OSError: it cannot be made.
    """
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [path.parent for path in absent]


def sync_folders(folders: Iterable[Path]) -> None:
    """Put the names in some folders on the disk, where that can be done to a folder.

    Raises:
        OSError: the disk refused.
    """
    for folder in folders:
        with contextlib.suppress(PermissionError):  # of a folder far above, which is none of ours
            try:
                sync(folder)
            except OSError as error:  # some shared disks sync names by themselves
                if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                    raise


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
