"""A lock between processes: `filelock` on a file that names its holder.

The kernel releases the lock when the holding process ends, however it ends, so no lock is stale.
A forked child does not keep it. The file itself stays.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import UnixFileLock

from pipelines.errors import WarehouseError

POLL_SECONDS = 0.2
FOLDER = ".locks"
"""The folder of the locks of a data root, beside its markets."""


@contextmanager
def file_lock(
    path: Path, holder: Mapping[str, Any], on_busy: Callable[[dict[str, Any]], None]
) -> Iterator[int]:
    """Hold the lock of a file inside the block; waiting can be interrupted.

    Args:
        path: the file, made where it is absent.
        holder: the process that takes the lock, written into the file for those who wait.
        on_busy: called with the holder at each look that finds the lock taken, with an empty
            mapping where the file does not name one; to give up it raises.

    Yields:
        The descriptor that holds the lock. A program to which it is passed holds the lock, too.

    Raises:
        WarehouseError: the file cannot be made or its file system has no locks.
    """
    descriptors: list[int] = []
    lock = UnixFileLock(path, fallback_to_soft=False, on_acquired=descriptors.append)

    def look() -> bool:
        on_busy(_holder_in(path))
        return False

    try:
        lock.acquire(poll_interval=POLL_SECONDS, cancel_check=look)
    except OSError as error:
        raise WarehouseError(
            f"cannot make the lock {path}: {error}; check that {path.parent.parent} is writable "
            f"and on a local disk, or set RNN_DATA_DIR to a folder that is"
        ) from error
    (descriptor,) = descriptors
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its name is lost
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield descriptor
    finally:
        lock.release()


def _holder_in(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
