"""Suggestions for error messages: the known names that an unknown one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_matches(name: object, known: Iterable[object]) -> str:
    """A clause for an error message that suggests known names.

    Args:
        name: the unknown name.
        known: the names that exist.

    Returns:
        `"; did you mean 'KMID' or 'KMID2'?"`, or an empty text where nothing is near.
    """
    matches = difflib.get_close_matches(str(name), [str(k) for k in known], n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""
