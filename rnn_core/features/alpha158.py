"""Alpha158 of a whole market: 158 features of every bar, chunk by chunk of instruments.

The kernels release the interpreter's lock and know nothing of each other's instruments, so a plain
thread pool over chunks is all the parallelism there is: results do not depend on the number of
threads or on which other instruments are in the panel, and several callers may run at once.
(numba's own `parallel=True` was the alternative; its default layer aborts the process when two
threads enter it, and it takes several times as long to compile.)

Layout: [158, N, T] float32, so a feature of one instrument is one contiguous run.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.panel import Panel
from rnn_core.features import faithful, strict
from rnn_core.features.layout import ALPHA158_FIELDS, ALPHA158_NAMES

Semantics = Literal["strict", "qlib"]
WRITERS = {"strict": strict.write_chunk, "qlib": faithful.write_chunk}

CHUNK_CELLS = 40_000
"""Bars per chunk: its dozen float64 series of 320 kB each stay in the second-level cache."""


def alpha158_panel(
    panel: Panel,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the 158 features of every instrument and session.

    Args:
        panel: the market, with open, high, low, close, volume and vwap (adjusted).
        semantics: "strict" (each value a function of the 61 sessions ending at its own; see
            docs/deviations.md) or "qlib" (pyqlib 0.9.7's numbers).
        threads: how many to use; by default one per available core. The result does not depend
            on it.
        out: array to write into, [158, N, T] float32, C-contiguous.

    Returns:
        [158, N, T] float32 in the order of `ALPHA158_NAMES`; NaN where a feature is missing. In
        strict semantics absent rows are NaN; in qlib's, those outside an instrument's span.

    Raises:
        ValueError: on an unknown semantics, missing fields, a wrong `out` or `threads` < 1.
    """
    if semantics not in WRITERS:
        raise ValueError(f"semantics={semantics!r}, expected one of {sorted(WRITERS)}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads}, expected at least 1 (or None for one per core)")
    _check_fields(panel)
    shape = (len(ALPHA158_NAMES), *panel.shape)
    if out is None:
        out = np.empty(shape, dtype=np.float32)  # [158, N, T]
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(
            f"`out` is {out.dtype} {out.shape}, expected a C-contiguous float32 array {shape}"
        )
    write, target = WRITERS[semantics], out

    def work(first: int) -> None:
        write(panel, first, min(first + step, panel.shape[0]), target)

    workers = threads or available_cores()
    step = max(1, min(CHUNK_CELLS // max(panel.shape[1], 1), -(-panel.shape[0] // workers)))
    starts = range(0, panel.shape[0], step)
    if workers == 1 or len(starts) <= 1:
        for first in starts:
            work(first)
    else:
        with ThreadPoolExecutor(min(workers, len(starts))) as pool:
            for _ in pool.map(work, starts):
                pass
    return out


def alpha158(
    bars: pd.DataFrame, *, semantics: Semantics = "strict", threads: int | None = None
) -> pd.DataFrame:
    """Compute the 158 features of a long frame of bars.

    Args:
        bars: date, instrument, open, high, low, close, volume, vwap (adjusted); a suspended
            instrument has no row. The sessions are the dates that occur; to count a session on
            which nothing traded, build a `Panel` with `sessions` and use `alpha158_panel`.
        semantics: see `alpha158_panel`.
        threads: see `alpha158_panel`.

    Returns:
        One row for each row of `bars`, sorted by (datetime, instrument): 158 float32 columns in
        the order of `ALPHA158_NAMES`.

    Raises:
        ValueError: as `Panel.from_frame` and `alpha158_panel`.
    """
    panel = Panel.from_frame(bars)
    values = alpha158_panel(panel, semantics=semantics, threads=threads)
    return panel.to_frame(values, ALPHA158_NAMES)


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_fields(panel: Panel) -> None:
    """Refuse a panel without the six fields: a silent column of NaN is worse than an error."""
    missing: list[Any] = [name for name in ALPHA158_FIELDS if name not in panel.fields]
    if not missing:
        return
    hint = (
        "; without traded amounts, set vwap to (high + low + close) / 3 yourself"
        if missing == ["vwap"]
        else ""
    )
    raise ValueError(
        f"Alpha158 needs the fields {missing}, the panel has {sorted(panel.fields)}{hint}"
    )
