"""Composition of a window from shorter ones, the same for every session and every set.

A statistic of N sessions is merged from those of its newest A sessions and the N - A before them,
and many windows share these parts: Alpha158's 5, 10, 20, 30 and 60 sessions take 8 merges in all,
adding value by value takes 60. So each window is computed afresh, in an order that depends only on
N: neither on the start of the series nor on the other requested windows. A merge with a part
without values changes nothing, so a window of 2^k sessions over a shorter history is that history,
and stays so while it grows.

The split: an even N into halves; an odd one into the largest of 2^k and 5·2^k below it, and the
rest (windows are mostly counted in fives).

Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, give the merge of
means, variances and covariances that `merged` uses.
"""

from __future__ import annotations

from collections.abc import Iterable

Level = tuple[int, int, int]
"""Length in sessions, position of the newer part among the levels, position of the older part."""


def split(length: int) -> tuple[int, int]:
    """Split a window of 2 sessions or more into its newer and its older part."""
    if length % 2 == 0:
        return length // 2, length // 2
    power = 1 << ((length - 1).bit_length() - 1)  # the largest 2^k below an odd length
    five = 5 << max(((length - 1) // 5).bit_length() - 1, 0)
    newer = max(power, five) if five < length else power
    return newer, length - newer


def levels(lengths: Iterable[int]) -> tuple[Level, ...]:
    """List the windows needed for some windows, from the shortest (1 session) to the longest.

    Args:
        lengths: sessions, at least 1 each.

    Returns:
        Levels in ascending order of length; the first is the single session, without parts.
    """
    needed, pending = {1}, set(lengths)
    while pending:
        length = pending.pop()
        if length not in needed:
            needed.add(length)
            pending.update(split(length))
    ordered = sorted(needed)
    place = {length: k for k, length in enumerate(ordered)}
    chain = [(1, 0, 0)]
    for length in ordered[1:]:
        newer, older = split(length)
        chain.append((length, place[newer], place[older]))
    return tuple(chain)


def covering(sessions: int) -> int:
    """Return the window that stands for all of history: the least power of two that covers it."""
    return 1 << max(sessions - 1, 0).bit_length()
