"""Atomic writes: a reader sees the old content of a file or the new, never a part.

Content is written under a temporary name in the same folder and renamed. The name holds the
writer's process, so the leftovers of a killed process differ from files that are being written:

    .NAME.PID.HEX.tmp
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

_TEMPORARY = re.compile(r"^\..*\.(\d+)\.[0-9a-f]{8}\.tmp$")


def temporary_path(path: Path) -> Path:
    """A name in the folder of `path` that no other writer uses, for a file or a folder."""
    return path.parent / f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"


def writer_of(path: Path) -> int | None:
    """The process that a temporary name belongs to; None of any other name."""
    found = _TEMPORARY.match(path.name)
    return int(found.group(1)) if found else None


def atomic_write(path: Path, data: bytes, *, times: tuple[int, int] | None = None) -> None:
    """Write a local file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder is made if absent.
        data: the content.
        times: times of access and of modification that the file gets, ns since 1970.

    Raises:
        OSError: the folder cannot be made or written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        temporary.write_bytes(data)
        if times is not None:
            os.utime(temporary, ns=times)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
