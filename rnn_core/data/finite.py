"""Where a frame is not finite, asked before tensors are built.

One NaN feature in one batch turns every weight of a network into NaN (qlib masks NaN labels, not
NaN features), so the question is asked of the frame, where a column and a date can be named.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from rnn_core.data.frames import index_level

WORST = 5
"""Columns that the error names."""


def finite_report(frame: pd.DataFrame) -> pd.DataFrame:
    """NaN and infinite cells of every column.

    Args:
        frame: a long frame of numbers, flat or two-level columns.

    Returns:
        One row a column of `frame`, in its order: `nan` and `inf` (cells), `share` of the rows
        that are either, and `first_date`, the earliest session with one (NaT where none).
    """
    sessions, codes = index_level(frame, "datetime")
    order = np.argsort(np.argsort(sessions.to_numpy()))[codes]  # place of each row's session
    ranked = sessions.sort_values()
    rows = []
    for j in range(frame.shape[1]):
        x = frame.iloc[:, j].to_numpy(dtype=np.float64)
        bad = ~np.isfinite(x)
        nan = int(np.isnan(x).sum())
        first = ranked[order[bad].min()] if bad.any() else pd.NaT
        rows.append((nan, int(bad.sum()) - nan, bad.mean() if len(x) else 0.0, first))
    report = pd.DataFrame(rows, columns=["nan", "inf", "share", "first_date"], index=frame.columns)
    return report.astype({"first_date": "datetime64[ns]"})


def require_finite(frame: pd.DataFrame, max_share: float = 0.0) -> None:
    """Raise where a column has more NaN or infinite cells than allowed.

    Args:
        frame: a long frame of numbers.
        max_share: share of a column's rows that may be NaN or infinite, 0 to 1.

    Raises:
        ValueError: a column has more; the worst are named with counts and first dates.
    """
    report = finite_report(frame)
    bad = report[report["share"] > max_share].sort_values("share", ascending=False, kind="stable")
    if bad.empty:
        return
    named = "; ".join(
        f"{'/'.join(map(str, c)) if isinstance(c, tuple) else c}: {nan} NaN and {inf} infinite of "
        f"{len(frame)} rows from {first:%Y-%m-%d}"
        for c, nan, inf, first in zip(
            bad.index[:WORST], bad["nan"], bad["inf"], bad["first_date"], strict=False
        )
    )
    raise ValueError(
        f"{len(bad)} of {frame.shape[1]} columns exceed a share of {max_share} cells without a "
        f"finite value ({named}): fill them with Fillna or ProcessInf, or drop the column"
    )
