"""The machine of the strict semantics: it runs a `program` for a chunk of instruments.

One instrument at a time goes through all instructions in a workspace that stays in the second-level
cache; the only traffic with memory is the bars in and the features out. The whole of it is compiled
and runs without the interpreter's lock, so threads over chunks of instruments scale.

A value depends only on the sessions that its expression names. So a market may be cut into any
chunks of instruments and any pieces of sessions, each with its look-back in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features import operators
from rnn_core.features.strict import codes, elementwise, finish, lags, merged, ordered
from rnn_core.kernel_sources import sources_digest

Array = NDArray[Any]

PADS = 4
"""Scratch rows of single kernels, each `MARGIN` longer than the sessions."""

MARGIN = 9
"""Room of a sorted window around its values: an end on either side, and whole vectors."""


@njit(cache=True, nogil=True, error_model="numpy")
def clean(values: Array, present: Array, out: Array) -> None:
    """Convert a field to float64: missing if absent or infinite, no negative zero (for sorting).

    Args:
        values: [C, T] float32 or float64.
        present: [C, T] bool.
        out: [C, T] float64.
    """
    for i in range(out.shape[0]):
        for t in range(out.shape[1]):
            value = np.float64(values[i, t]) + 0.0
            out[i, t] = value if present[i, t] and abs(value) < np.inf else np.nan


@njit(nogil=True, error_model="numpy")
def _load(raw: Array, present: Array, i: int, start: int, ws: Array) -> None:
    """Load rows and fields of an instrument from `start` on; raw [fields, C, T], present [C, T]."""
    sessions = ws.shape[1]
    ahead = sessions
    for t in range(sessions - 1, -1, -1):
        exists = present[i, start + t]
        ahead = t if exists else ahead
        ws[codes.PRESENT, t] = 1.0 if exists else 0.0
        ws[codes.NEXT, t] = ahead
    for f in range(raw.shape[0]):
        row = ws[codes.FIELDS + f]
        for t in range(sessions):
            row[t] = raw[f, i, start + t]


@njit(nogil=True, error_model="numpy", inline="always")
def _group(
    code: Array, levels: Array, requests: Array, params: Array, least: int, known: Array, ws: Array,
    pad: Array,
) -> None:  # fmt: skip
    """Compute one family of statistics of one series, over all its windows.

    numba inlines it before compiling: its callees are then optimised once less, which saves a
    quarter of the time of a first call.

    Args:
        code: kind, series, second series, first and last+1 level, first and last+1 request,
            geometry, first row of scratch, flag (MOMENTS: lines; EXTREMES: minimum 1, places 2).
        levels: [*, 3].
        requests: [*, 4].
        params: constants.
        least: fewest values for a result.
        known: [G] state of each geometry: 0 none, 1 without lags, 2 with.
        ws: [rows, T].
        pad: [PADS, T+MARGIN] scratch.
    """
    kind, flag, base = code[0], code[9], code[8]
    x, y = ws[code[1]], ws[code[2]]
    steps = levels[code[3] : code[4]]
    asked = requests[code[5] : code[6]]
    sessions = x.shape[0]
    # Pairs count only where both series have a value.
    if kind == codes.COMOMENTS:
        left, right = pad[0, :sessions], pad[1, :sessions]
        for t in range(sessions):
            both = x[t] == x[t] and y[t] == y[t]
            left[t] = x[t] if both else np.nan
            right[t] = y[t] if both else np.nan
        x, y = left, right
    # The geometry of the values, unless an earlier group had values in the same places.
    geo = 0
    if code[7] >= 0:
        geo = code[10]
        lines = kind == codes.MOMENTS and flag == 1
        state = known[code[7]]
        if state > 0 and not merged.same_places(x, ws[geo]):
            state = 0
        if state == 0 or (lines and state == 1):
            merged.geometry(x, steps, lines, ws, geo)
            known[code[7]] = 2 if lines else 1
    # Kinds without merged parts.
    if kind == codes.QUANTILES:
        ordered.quantiles(x, asked[0, 1], asked, params, least, ws, pad)
        return
    if kind == codes.RANKS:
        ordered.ranks(x, steps, asked, least, ws, geo, pad)
        return
    # The merged parts of all windows.
    if kind == codes.MOMENTS:
        merged.moments(x, steps, flag == 1, ws, geo, base)
    elif kind == codes.COMOMENTS:
        merged.comoments(x, y, steps, ws, geo, base)
    elif kind == codes.SUMS or kind == codes.CONDITIONS:
        merged.sums(x, steps, ws, base)
    elif kind == codes.EXTREMES:
        merged.extremes(x, steps, -1.0 if flag & 1 else 1.0, flag & 2 != 0, ws, base)
    elif kind == codes.DECAYED:
        merged.decayed(x, steps, params[asked[0, 3]], ws, base)
    # The requested statistics, from the parts.
    window = pad[3, :sessions]
    for r in range(asked.shape[0]):
        stat, level, out = asked[r, 0], asked[r, 1], ws[asked[r, 2]]
        length = level if kind == codes.LAGGED else steps[level, 0]
        g = geo + codes.GEOMETRY_ROWS * level if code[7] >= 0 else codes.PRESENT
        if kind == codes.MOMENTS:
            c = base + 3 * level
            finish.moment(
                stat, x, ws[c], ws[c + 1], ws[c + 2], ws[g], ws[g + 3], ws[g + 4], least, out
            )
        elif kind == codes.COMOMENTS:
            finish.comoment(stat, ws, base + 5 * level, ws[g], least, out)
        elif kind == codes.SUMS:
            finish.total(stat, ws[base + level], ws[g], least, out)
        elif kind == codes.CONDITIONS:
            merged.slots(ws[codes.NEXT], length, window)
            finish.total(stat, ws[base + level], window, least, out)
        elif kind == codes.EXTREMES:
            merged.slots(ws[codes.NEXT], length, window)
            c = base + 2 * level
            finish.place(
                stat, -1.0 if flag & 1 else 1.0, ws[c], ws[c + 1], window, ws[g], least, out
            )
        elif kind == codes.LAGGED:
            merged.slots(ws[codes.NEXT], length, window)
            lags.lagged(stat, x, window, length, least, pad, out)
        elif kind == codes.DECAYED:
            c = base + 2 * level
            for t in range(sessions):
                out[t] = ws[c, t] / ws[c + 1, t] if ws[c + 1, t] > 0.0 else np.nan
    # An infinity is missing.
    for r in range(asked.shape[0]):
        out = ws[asked[r, 2]]
        for t in range(sessions):
            out[t] = out[t] if abs(out[t]) < np.inf else np.nan


def _cached(sources: str) -> Any:
    """Compile `execute` with a cache that knows the sources of all its callees.

    numba recompiles a cached function when its own file changes, but not when the file of a callee
    does; a value that the function closes over is part of the key.
    """

    @njit(cache=True, nogil=True, error_model="numpy")
    def execute(
        code: Array,
        ops: Array,
        levels: Array,
        requests: Array,
        params: Array,
        raw: Array,
        present: Array,
        least: int,
        everywhere: bool,
        pieces: Array,
        first: int,
        memory: Array,
        rows: int,
        registers: Array,
        known: Array,
        out32: Array,
        out64: Array,
    ) -> None:
        """Carry out a program for the instruments of a chunk.

        Args:
            code: [I, 11] instructions; RUN has the first and last+1 of its operations.
            ops: [*, 5] operations.
            levels: [*, 3] levels of the windows.
            requests: [*, 4] requested statistics.
            params: constants of the statistics.
            raw: [fields, C, T] float64, cleaned.
            present: [C, T] bool.
            least: fewest values for a statistic.
            everywhere: store values of absent rows too.
            pieces: [P, 4] first and last+1 session to load, first and last+1 to store.
            first: place of the chunk's first instrument in the result.
            memory: workspace, at least (rows + PADS) x (longest piece + MARGIN).
            rows: the program's rows of the workspace.
            registers: [R, BLOCK] with the constants filled in.
            known: [G] scratch for the states of the geometries.
            out32, out64: [F, N, T]; exactly one has features.
        """
        _ = sources
        for i in range(raw.shape[1]):
            for p in range(pieces.shape[0]):
                start, stop, low, high = pieces[p, 0], pieces[p, 1], pieces[p, 2], pieces[p, 3]
                sessions = stop - start
                ws = memory[: rows * sessions].reshape(rows, sessions)
                pad = memory[rows * sessions : rows * sessions + PADS * (sessions + MARGIN)]
                pad = pad.reshape(PADS, sessions + MARGIN)
                _load(raw, present, i, start, ws)
                for k in range(known.shape[0]):
                    known[k] = 0
                span = (low - start, high - start, low)
                for k in range(code.shape[0]):
                    if code[k, 0] == codes.RUN:
                        todo = ops[code[k, 1] : code[k, 2]]
                        elementwise.run(
                            todo, ws, registers, everywhere, span, first + i, out32, out64
                        )
                    else:
                        _group(code[k], levels, requests, params, least, known, ws, pad)

    return execute


SOURCES = (codes, elementwise, finish, lags, merged, operators, ordered)
"""The modules whose kernels and constants `execute` is compiled from, besides this one."""

execute = _cached(sources_digest(SOURCES))
