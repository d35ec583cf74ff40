"""Evaluation of expressions on whole markets: the only way from formulas to features.

A set of expressions is evaluated together, one chunk of instruments after the other, on a plain
pool of threads. A chunk knows nothing of other instruments and its kernels release the
interpreter's lock, so the result depends neither on the number of threads nor on the chunks,
several callers may run at once, and memory beyond the result is a constant. (numba's own
`parallel=True` was the alternative; its default layer aborts the process when two threads enter
it.) Both engines load numba, so each is imported when it is first used.

Semantics. `strict` (`strict.engine`): float64, an infinity is missing as soon as it arises, windows
and references see no value on a session without a row, every window is computed afresh. `qlib`
(`qlib.interpreter`): pyqlib 0.9.7's numbers. docs/semantics.md lists the operators.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.features.expression import Expression
from rnn_core.features.own_features import OwnFeature, node_of, own_values
from rnn_core.features.parser import parse
from rnn_core.panel.frames import Semantics
from rnn_core.panel.panel import Panel

Array = NDArray[Any]

CHUNK_CELLS = 40_000
"""Bars per chunk: enough to make calls cheap, few enough to spread a market over the threads."""

BUFFER_VALUES = 3_000_000
"""Values of a chunk for a long frame, 12 MB: they do not leave the last cache."""

Run = Callable[[int, int, Array, int], None]
"""Function that evaluates the instruments first .. last-1 into an [F, *, T] array, at a place."""


def evaluate(
    panel: Panel,
    nodes: Sequence[Expression],
    out: Array,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    min_periods: int = 1,
    everywhere: bool = False,
) -> None:
    """Evaluate expressions on a panel.

    Args:
        panel: the market; it must reach `look_back` sessions before and `look_ahead` after the
            sessions of interest.
        nodes: F expressions.
        out: [F, N, T] float32 or float64, C-contiguous; every cell is written. A missing value is
            NaN, conditions are 0 and 1.
        semantics: "strict" or "qlib".
        threads: number of threads; by default one per available core. The result does not depend
            on it.
        min_periods: fewest values that a window needs for a result (operators that need more by
            nature keep their own minimum); strict semantics only.
        everywhere: keep the formula's values on cells without a row; strict semantics only.

    Raises:
        ValueError: on an unknown semantics, a field or an instrument that the panel lacks, a
            wrong `out`, `threads` or `min_periods`.
    """
    shape = (len(nodes), *panel.shape)
    kinds = (np.float32, np.float64)
    if out.shape != shape or out.dtype not in kinds or not out.flags.c_contiguous:
        raise ValueError(
            f"`out` is {out.dtype} {out.shape}, expected a C-contiguous float32 or float64 array"
            f" {shape}"
        )
    run = _prepare(panel, nodes, semantics, min_periods, everywhere)
    instruments, sessions = panel.shape
    step = max(1, CHUNK_CELLS // max(sessions, 1))
    _share(lambda first, last: run(first, last, out, first), instruments, step, threads)


def evaluate_frame(
    panel: Panel,
    nodes: Sequence[Expression],
    names: Sequence[str],
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    min_periods: int = 1,
) -> pd.DataFrame:
    """Evaluate expressions on a panel into a long frame, without a dense array in between.

    Args:
        panel, nodes, semantics, threads, min_periods: see `evaluate`.
        names: the F column names.

    Returns:
        One row per existing row, sorted by (datetime, instrument); one float32 column per name.

    Raises:
        ValueError: as `evaluate`.
    """
    from rnn_core.panel.spread import spread

    run = _prepare(panel, nodes, semantics, min_periods, False)
    places, index = panel.long_rows()
    block = np.empty((len(nodes), len(index)), dtype=np.float32)  # [F, R]
    instruments, sessions = panel.shape
    step = max(1, min(BUFFER_VALUES // max(len(nodes) * sessions, 1), 64))

    def work(first: int, last: int) -> None:
        buffer = np.empty((len(nodes), last - first, sessions), dtype=np.float32)  # [F, C, T]
        run(first, last, buffer, 0)
        spread(buffer, places[first:last], block)

    _share(work, instruments, step, threads)
    return pd.DataFrame(block.T, index=index, columns=list(names), copy=False)


def expression_panel(
    panel: Panel, expression: Expression | str, *, semantics: Semantics = "strict"
) -> Array:
    """Evaluate one expression on a panel.

    Args:
        panel: see `evaluate`.
        expression: a parsed expression, or its text.
        semantics: "strict" or "qlib"; see the module.

    Returns:
        [N, T], float64 in strict semantics and float32 in qlib's (conditions as 0 and 1). Cells of
        absent rows hold the formula's values; `Panel.to_frame` leaves them out.

    Raises:
        ExpressionError: if the text cannot be read.
        ValueError: as `evaluate`.

    Examples:
        >>> expression_panel(panel, "Mean($close, 5)/$close").shape  # N, T
        (3, 70)
    """
    node = parse(expression) if isinstance(expression, str) else expression
    kind = np.float64 if semantics == "strict" else np.float32
    out = np.empty((1, *panel.shape), dtype=kind)
    evaluate(panel, [node], out, semantics=semantics, everywhere=True)
    result: Array = out[0]
    return result


def compute_features(
    bars: pd.DataFrame | Panel,
    features: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    min_periods: int = 1,
) -> pd.DataFrame:
    """Compute named expressions.

    Args:
        bars: a long frame as for `Panel.from_frame`, or a panel.
        features: name to expression, or (name, expression) pairs, e.g.
            {"LABEL0": "Ref($close, -2)/Ref($close, -1) - 1"}; a function of one's own stands by its
            name, as in a feature set.
        semantics: "strict" or "qlib".
        threads: see `evaluate`.
        min_periods: see `evaluate`.

    Returns:
        One row per existing row, sorted by (datetime, instrument); one float32 column per name.

    Raises:
        ExpressionError: if a text cannot be read.
        TypeError: if `features` is neither a mapping nor pairs of texts.
        ValueError: on duplicate names, and as `evaluate`.

    Examples:
        >>> own = compute_features(bars, {"GAP": "$open/Ref($close, 1)", "UP": "$close > $open"})
        >>> own.columns.tolist(), list(own.index.names)
        (['GAP', 'UP'], ['datetime', 'instrument'])
    """
    pairs = _pairs(features)
    names = [name for name, _ in pairs]
    repeats = sorted({name for name in names if names.count(name) > 1})
    if repeats:
        raise ValueError(f"the names {repeats} are given twice: every column needs its own")
    panel = bars if isinstance(bars, Panel) else Panel.from_frame(bars)
    nodes = [node_of(text) for _, text in pairs]
    return evaluate_frame(
        panel, nodes, names, semantics=semantics, threads=threads, min_periods=min_periods
    )


def _pairs(features: Any) -> list[tuple[str, str]]:
    """Return names with their expressions, or raise an error that shows what was given."""
    form = "expected {name: expression}, or a list of (name, expression) pairs"
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise TypeError(f"features is {features!r:.80}, {form}")
    pairs = list(features.items() if isinstance(features, Mapping) else features)
    for pair in pairs:
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or not all(isinstance(part, str) for part in pair):
            raise TypeError(f"features holds {pair!r:.80}, {form}")
    return [(name, text) for name, text in pairs]


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _prepare(
    panel: Panel, nodes: Sequence[Expression], semantics: str, min_periods: int, everywhere: bool
) -> Run:
    """Return the function that evaluates chunks, or raise for an invalid request."""
    if semantics not in ("strict", "qlib"):
        raise ValueError(f"semantics={semantics!r}, expected one of ['qlib', 'strict']")
    if min_periods < 1:
        raise ValueError(f"min_periods={min_periods}, expected at least 1")
    if min_periods > 1 and semantics == "qlib":
        raise ValueError(
            f"min_periods={min_periods} with semantics='qlib', where it is always 1:"
            " use semantics='strict'"
        )
    missing = sorted(set().union(*(n.fields for n in nodes)) - set(panel.fields))
    if missing:
        raise ValueError(
            f"no field {', '.join('$' + name for name in missing)} in the panel:"
            f" it has {sorted(panel.fields)}"
        )
    functions = {k: node for k, node in enumerate(nodes) if isinstance(node, OwnFeature)}
    plain = tuple(node for node in nodes if not isinstance(node, OwnFeature))
    run: Run
    if semantics == "qlib":
        from rnn_core.features.qlib import interpreter

        run = partial(interpreter.evaluate, panel, plain)
    else:
        from rnn_core.features.strict import engine

        run = engine.prepare(panel, plain, min_periods, everywhere)
    if not functions:
        return run
    values = {k: own_values(panel, node) for k, node in functions.items()}  # [N, T] each
    if semantics == "strict":
        values = {k: np.where(np.isinf(x), np.nan, x) for k, x in values.items()}
    return partial(_with_functions, run, [k for k in range(len(nodes)) if k not in values], values)


def _with_functions(
    run: Run,
    plain: list[int],
    values: dict[int, Array],
    first: int,
    last: int,
    out: Array,
    place: int,
) -> None:
    """Evaluate the expressions of a chunk, and put the values of feature functions beside them.

    Args:
        run: evaluates the expressions.
        plain: their rows in `out`.
        values: [N, T] of each function, by its row.
        first, last, out, place: as `Run`.
    """
    chunk = slice(place, place + last - first)
    if plain:
        part = np.empty((len(plain), last - first, out.shape[2]), dtype=out.dtype)
        run(first, last, part, 0)
        out[plain, chunk] = part
    for row, series in values.items():
        out[row, chunk] = series[first:last]


def _share(
    work: Callable[[int, int], None], instruments: int, step: int, threads: int | None
) -> None:
    """Run chunks of at most `step` instruments on a pool of threads."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads}, expected at least 1 (or None for one per core)")
    workers = threads or available_cores()
    step = min(step, max(1, -(-instruments // workers)))
    chunks = [(k, min(k + step, instruments)) for k in range(0, instruments, step)]
    if workers == 1 or len(chunks) <= 1:
        for first, last in chunks:
            work(first, last)
        return
    with ThreadPoolExecutor(min(workers, len(chunks))) as pool:
        for _ in pool.map(work, *zip(*chunks, strict=True)):
            pass
