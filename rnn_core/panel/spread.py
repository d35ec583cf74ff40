"""From instrument-major arrays to session-major rows, a chunk of instruments at a time.

A long frame is sorted by session, a dense array by instrument, so turning one into the other is a
transposition with gaps. Read in order, each value goes to another cache line; the sessions are
therefore walked in blocks few enough that the lines being filled stay in the cache until the next
instruments have filled their part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 64
"""Sessions walked at once: as many cache lines are being filled."""


@njit(cache=True, nogil=True, error_model="numpy")
def spread(values: Array, places: Array, out: Array) -> None:
    """Write values to the rows of a long block.

    Args:
        values: [F, C, T] of any dtype.
        places: [C, T] row of each value, -1 for those that have none.
        out: [F, R] of the same dtype; rows that no value names are left as they are.
    """
    features, instruments, sessions = values.shape
    for f in range(features):
        row = out[f]
        for start in range(0, sessions, BLOCK):
            for i in range(instruments):
                for t in range(start, min(start + BLOCK, sessions)):
                    place = places[i, t]
                    if place >= 0:
                        row[np.uint64(place)] = values[f, i, t]
