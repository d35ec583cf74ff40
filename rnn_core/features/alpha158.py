"""Alpha158 of a whole market: qlib's 158 features of every bar.

Nothing here but the set: the formulas are those of `layout`, evaluated as any other expressions.

Layout: [158, N, T] float32, so a feature of one instrument is one contiguous run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.panel import Panel
from rnn_core.features.evaluate import Semantics, evaluate
from rnn_core.features.expression import Expression
from rnn_core.features.layout import ALPHA158_EXPRESSIONS, ALPHA158_FIELDS, ALPHA158_NAMES
from rnn_core.features.parser import parse


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
    _check_fields(panel)
    if out is None:
        out = np.empty((len(ALPHA158_NAMES), *panel.shape), dtype=np.float32)
    elif out.dtype != np.float32:
        raise ValueError(
            f"`out` is {out.dtype} {out.shape}, expected a C-contiguous float32 array"
            f" {(len(ALPHA158_NAMES), *panel.shape)}"
        )
    evaluate(panel, _nodes(), out, semantics=semantics, threads=threads)
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


@lru_cache(maxsize=1)
def _nodes() -> tuple[Expression, ...]:
    """The parsed formulas."""
    return tuple(parse(text) for text in ALPHA158_EXPRESSIONS.values())


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
