"""Warnings that point at the caller's own line, however deep in the library they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_LIBRARY = __name__.partition(".")[0]


def warn_caller(text: str) -> None:
    """Warn of the nearest line outside the library.

    Args:
        text: the message.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").startswith(f"{_LIBRARY}."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
