"""A folder that several processes need: the first to ask builds it, and each has a copy."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def copy_built_once(built: Path, copy: Path, build: Callable[[Path], None]) -> None:
    """Copy a folder that the first process to ask for it builds, while the others wait.

    Args:
        built: where it is built; it appears there whole or not at all.
        copy: where the copy goes; times of files are kept.
        build: makes the folder that it is given; where it fails the next process tries again.
    """
    built.parent.mkdir(parents=True, exist_ok=True)
    with built.with_name(f"{built.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, whatever ends it
        if not built.exists():
            unfinished = built.with_name(f"{built.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            build(unfinished)
            unfinished.rename(built)
    shutil.copytree(built, copy)
