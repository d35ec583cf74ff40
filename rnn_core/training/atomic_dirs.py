"""Atomic moves of a folder into place: a reader sees the old folder or the new one.

A rename replaces a file but not a folder that has something in it. Linux can exchange two folders
in one step (`renameat2` with RENAME_EXCHANGE, since Linux 3.15 and glibc 2.28); where that call
is missing, or the file system does not know it, the old folder is moved aside first, which leaves
an instant with neither.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def move_into_place(finished: Path, target: Path) -> None:
    """Move `finished` to `target`; a folder that was there is deleted.

    Args:
        finished: a folder beside `target`, on the same file system.
        target: a folder, or nothing yet.

    Raises:
        OSError: the file system refused.
    """
    if not target.exists():
        try:
            finished.rename(target)
            return
        except OSError:
            if not target.exists():  # otherwise another writer was first: replace its folder
                raise
    if _exchange(finished, target):
        shutil.rmtree(finished)  # after the exchange it is the old folder
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)) / "old"
    target.rename(aside)
    try:
        finished.rename(target)
    except OSError:
        aside.rename(target)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
