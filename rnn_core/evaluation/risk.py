"""Risk figures of a series of returns, in qlib's convention.

The figures are mean, deviation, annualised return, information ratio and maximum drawdown (qlib:
contrib/evaluate.py risk_analysis). Two things of that convention surprise people and are kept,
because published tables rest on them: returns add up ("sum" is the default, "product" compounds),
and a year of daily data has 238 sessions, the Chinese count, whatever the market. The count is
therefore an argument that can be named: `"qlib_day"` is 238, `"us"` is 252.
The drawdown starts from the first return: a loss on the first session is no drawdown yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import pandas as pd

from rnn_core.panel.frames import one_column
from rnn_core.panel.session_labels import session_labels

Accumulation = Literal["sum", "product"]

PERIODS_PER_YEAR: Mapping[str, int] = MappingProxyType({"qlib_day": 238, "us": 252})
"""Sessions of a year: qlib's for "day" (contrib/evaluate.py), and the usual count of NYSE.

Examples:
    >>> dict(PERIODS_PER_YEAR)
    {'qlib_day': 238, 'us': 252}
"""


def sessions_per_year(periods_per_year: float | str) -> float:
    """Return the number behind a name, or the number itself.

    Args:
        periods_per_year: a positive number, or a key of `PERIODS_PER_YEAR`.

    Returns:
        Periods in a year.

    Raises:
        ValueError: an unknown name, or a number that is not positive and finite.
    """
    if isinstance(periods_per_year, str):
        if periods_per_year not in PERIODS_PER_YEAR:
            raise ValueError(
                f"periods_per_year={periods_per_year!r} is unknown, expected a number or one of "
                f"{sorted(PERIODS_PER_YEAR)}"
            )
        return float(PERIODS_PER_YEAR[periods_per_year])
    if not (math.isfinite(periods_per_year) and periods_per_year > 0):
        raise ValueError(f"periods_per_year={periods_per_year}: expected a positive number")
    return float(periods_per_year)


def risk_analysis(
    returns: pd.Series,
    *,
    periods_per_year: float | str = 238,
    mode: Accumulation = "sum",
) -> pd.Series:
    """Compute mean, deviation, annualised return, information ratio and maximum drawdown.

    With r the returns, n their number and N the periods of a year:
    mode "sum": mean = avg(r), std = std(r, ddof=1), annualised = mean * N,
    drawdown = min(C - running max of C) with C = cumsum(r).
    mode "product": W = cumprod(1 + r), mean = W_n^(1/n) - 1, std = std(log(1 + r), ddof=1),
    annualised = W_n^(N/n) - 1, drawdown = min(W / running max of W - 1).
    Both: information ratio = mean / std * sqrt(N). Source: qlib contrib/evaluate.py.

    Args:
        returns: simple returns in time order, no NaN: a Series or a frame of one column.
        periods_per_year: N as a number, or "qlib_day" (238), or "us" (252).
        mode: of accumulation.

    Returns:
        A Series named `risk` with mean, std, annualized_return, information_ratio, max_drawdown.
        With one return std and information_ratio are NaN; without variation the ratio is NaN.

    Raises:
        TypeError: a frame of several columns, or neither a Series nor a frame.
        ValueError: no returns, dates that are no session labels, out of order or repeated,
            a NaN or infinite one, an unknown mode or count, or, with
            "product", a return of -1 or below (nothing is left to compound).

    Examples:
        >>> figures = risk_analysis(pd.Series([0.01, -0.02, 0.03]), periods_per_year="us")
        >>> round(float(figures["annualized_return"]), 2)
        1.68
    """
    scale = sessions_per_year(periods_per_year)
    if mode not in get_args(Accumulation):
        raise ValueError(f"mode={mode!r}: expected one of {list(get_args(Accumulation))}")
    returns = one_column(returns, "returns")
    if isinstance(returns.index, pd.DatetimeIndex):
        days = session_labels(returns.index, "the index of returns")
        if not (days.is_monotonic_increasing and days.is_unique):
            raise ValueError("returns must be in time order, each session once: use sort_index()")
    r = returns.to_numpy(dtype=np.float64, na_value=np.nan)
    _check(returns, r, mode)
    n = len(r)
    # The deviation is that of the returns that add up: logarithms if returns are compounded.
    if mode == "sum":
        mean = float(r.mean())
        spread = r
        annualized = mean * scale
        curve = np.cumsum(r)
        drawdown = float((curve - np.maximum.accumulate(curve)).min())
    else:
        curve = np.cumprod(1 + r)
        mean = float(curve[-1] ** (1 / n) - 1)
        spread = np.log(1 + r)
        annualized = float(curve[-1] ** (scale / n) - 1)
        drawdown = float((curve / np.maximum.accumulate(curve) - 1).min())
    std = float(spread.std(ddof=1)) if n > 1 else math.nan
    varies = n > 1 and float(np.ptp(spread)) > 0
    values = {
        "mean": mean,
        "std": std,
        "annualized_return": annualized,
        "information_ratio": mean / std * math.sqrt(scale) if varies else math.nan,
        "max_drawdown": drawdown,
    }
    return pd.Series(values, name="risk")


def _check(returns: pd.Series, r: np.ndarray, mode: str) -> None:
    if not len(r):
        raise ValueError("returns is empty, expected one simple return or more")
    bad = ~np.isfinite(r)
    if bad.any():
        label = returns.index[int(np.argmax(bad))]
        raise ValueError(
            f"returns has {int(bad.sum())} NaN or infinite values of {len(r)}, the first at "
            f"{label}: drop them, or fill them if they mean no return"
        )
    if mode == "product" and (r <= -1).any():
        label = returns.index[int(np.argmax(r <= -1))]
        raise ValueError(
            f"a return of -100% or less at {label} cannot be compounded: use mode='sum'"
        )
