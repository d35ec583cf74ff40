"""Atomic writes: a reader sees the old content of a file or the new, never a part.

Content is written under a temporary name in the same folder and renamed. The name holds the
writer's host and process, so the leftovers of a killed process differ from files that are being
written:

    .NAME.HOST-PID.HEX.tmp
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
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
