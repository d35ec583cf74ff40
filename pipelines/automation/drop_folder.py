"""Drop folder: detect files that have changed, and files that are still being written.

A look at the folder is a digest of names, sizes and modification times; contents are not read. A
change counts once two looks in a row saw the same: a file that is still growing is left alone. A
copy that stalls for longer than two looks is read too early: the run of its session fails and is
tried again. A writer avoids that by a name that starts with a dot, and renames at the end.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Watch:
    """The memory between two looks, kept as the cursor of a sensor.

    Attributes:
        seen: digest at the last look.
        handled: digest of the last change that was acted on.
    """

    seen: str = ""
    handled: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> Watch:
        """Read a cursor; an absent or foreign one means that nothing was seen yet."""
        try:
            state = json.loads(cursor or "{}")
            return cls(str(state["seen"]), str(state["handled"]))
        except (ValueError, KeyError, TypeError):
            return cls()

    def cursor(self) -> str:
        """The text to keep."""
        return json.dumps(asdict(self))


def look_at(folder: Path) -> str:
    """Digest of the names, sizes and times of all files below a folder, hidden ones apart.

    Raises:
        OSError: the folder is not there or cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    lines = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:  # renamed since it was listed: the next look sees how it ended
            continue
        lines.append(f"{'/'.join(parts)}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()
