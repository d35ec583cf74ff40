"""Suggestions for error messages: the known names that an unknown one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_matches(name: object, known: Iterable[object]) -> str:
    """A clause for an error message that suggests known names, whatever their case.

    Args:
        name: the unknown name.
        known: the names that exist.

    Returns:
        `"; did you mean 'KMID' or 'KMID2'?"`, or an empty text where nothing is near.
    """
    by_fold: dict[str, list[str]] = {}
    for text in map(str, known):
        by_fold.setdefault(text.casefold(), []).append(text)
    near = difflib.get_close_matches(str(name).casefold(), by_fold, n=3, cutoff=0.5)
    matches = [text for fold in near for text in by_fold[fold]][:3]
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""
