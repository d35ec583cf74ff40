"""Transposition of instrument-major arrays into session-major rows, chunk by chunk.

A long frame is sorted by session, a dense array by instrument, so the step from one to the other is
a transposition with gaps. Values read in order go to a different cache line each. The kernel
therefore walks the sessions in small blocks, whose cache lines stay in the cache until the next
instruments have filled their part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 64
"""Sessions of a block, and so the number of cache lines that are being filled."""


@njit(cache=True, nogil=True, error_model="numpy")
def spread(values: Array, places: Array, out: Array) -> None:
    """Write values to the rows of a long block.

    Args:
        values: [F, C, T] of any dtype.
        places: [C, T] row of each value, -1 for a value without a row.
        out: [F, R] of the same dtype; rows without a value keep their content.
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
