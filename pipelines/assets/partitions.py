"""Partition keys of runs."""

from __future__ import annotations

from collections.abc import Sequence

SESSIONS_AT_ONCE = 120


def chunks(keys: Sequence[str], size: int = SESSIONS_AT_ONCE) -> list[tuple[str, ...]]:
    """Runs of consecutive keys, so that a long range needs no more memory than a short one."""
    return [tuple(keys[i : i + size]) for i in range(0, len(keys), size)]
