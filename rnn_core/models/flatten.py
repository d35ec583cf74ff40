"""An estimator that takes rows reads a window as its newest session, or as all of it side by side.

Shapes: `L` window length in sessions, `F` features of a session.
"""

from __future__ import annotations

from collections.abc import Sequence

FLATTEN = ("last", "window")
"""The newest session of a window, [F]; or all of its sessions, the oldest first, [L * F]."""


def require_flatten(flatten: object) -> str:
    """Return the word, or refuse another one.

    Raises:
        ValueError: it is neither "last" nor "window".
    """
    if flatten not in FLATTEN:
        raise ValueError(f"flatten is {flatten!r}, expected 'last' or 'window'")
    return str(flatten)


def row_names(columns: Sequence[str], width: int) -> list[str]:
    """Name the values of a row: the feature, with its age in sessions where a row is a window.

    Args:
        columns: the F features.
        width: F, or L * F.
    """
    steps = width // max(len(columns), 1)
    if steps <= 1:
        return list(columns)
    return [
        f"{name} t-{age}" if age else name for age in reversed(range(steps)) for name in columns
    ]
