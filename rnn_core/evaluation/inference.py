"""Tests of a mean: standard errors and intervals for series with memory.

The module has the plain standard error, that of Newey & West (1987) for autocorrelated series, and
a circular block bootstrap (Politis & Romano 1992) for the mean of a daily series.
Daily ICs of overlapping labels, or of a slow signal, are correlated; plain errors are then too
small. The bootstrap assumes no normal distribution and checks the Newey-West error.
Sessions without a value are left out and their neighbours count as adjacent, which understates a
gap; a long gap is rare and reported with the day count.

Shapes: `T` values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import FloatArray

Z95 = 1.959963984540054
"""Half-width of a 95% interval of a normal distribution, in standard errors."""
_CHUNK = 1 << 21  # cells of bootstrap draws held at a time


def lag_length(count: int) -> int:
    """Compute Newey and West's automatic lag length floor(4 (T / 100)^(2/9)), at most T - 1.

    Args:
        count: T.

    Returns:
        Lags, 0 for fewer than two values (Newey & West 1994; the rule of thumb without their
        data-driven factor).
    """
    if count < 2:
        return 0
    return min(int(4 * (count / 100) ** (2 / 9)), count - 1)


def newey_west_error(values: FloatArray, lags: int) -> float:
    """Compute the standard error of a mean, robust to autocorrelation up to some lag.

    se² = (γ₀ + 2 Σ_{l=1..L} (1 - l / (L + 1)) γ_l) / (T - 1), γ_l = 1/T Σ_t (x_t - x̄)(x_{t-l} - x̄)
    (Newey & West 1987, Bartlett weights; T - 1 for T makes L = 0 the plain std(ddof=1) / √T).

    Args:
        values: [T] without NaN.
        lags: L; at most T - 1 are used.

    Returns:
        The error, NaN for fewer than two values or values that are all equal.

    Raises:
        ValueError: negative lags.

    Examples:
        >>> values = np.array([1.0, 2.0, 3.0, 4.0])
        >>> round(newey_west_error(values, 0), 4) == round(float(values.std(ddof=1)) / 2, 4)
        True
    """
    if lags < 0:
        raise ValueError(f"lags={lags}: expected 0 or more, or None for the automatic length")
    count = len(values)
    if count < 2 or not np.ptp(values) > 0:
        return math.nan
    centred = values - values.mean()
    n_lags = min(lags, count - 1)
    total = float(centred @ centred)
    for lag in range(1, n_lags + 1):
        total += 2 * (1 - lag / (n_lags + 1)) * float(centred[lag:] @ centred[:-lag])
    return math.sqrt(total / count / (count - 1)) if total > 0 else math.nan


def mean_test(
    values: pd.Series | FloatArray, *, lags: int | None = None, horizon: int = 1
) -> dict[str, float | int]:
    """Compute a mean with its errors and tests.

    Args:
        values: [T] one number a session; NaN is left out.
        lags: of the Newey-West error; None for `lag_length` of the values that are there.
        horizon: sessions that each value looks ahead. Values of h sessions overlap, so at least
            h - 1 lags are taken.

    Returns:
        days; mean; std (ddof=1); ir, mean / std, not annualised; se, std / √days; t, mean / se;
        lags; se_nw; t_nw; p_nw, two-sided, of a normal distribution; ci_low and ci_high, mean ±
        1.96 se_nw. NaN where undefined: no day, one day, or no variation.

    Raises:
        ValueError: negative lags, or a horizon below 1.

    Examples:
        >>> test = mean_test(np.array([1.0, 2.0, 3.0, 4.0]), lags=0)
        >>> test["mean"], round(test["t"], 3), test["days"]
        (2.5, 3.873, 4)
    """
    if horizon < 1:
        raise ValueError(f"horizon={horizon}: expected the sessions of the label, 1 or more")
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    days = len(x)
    n_lags = lag_length(days) if lags is None else lags
    if n_lags >= 0:  # a negative one is refused below
        n_lags = max(n_lags, horizon - 1)
    error_nw = newey_west_error(x, n_lags)
    mean = float(x.mean()) if days else math.nan
    std = float(x.std(ddof=1)) if days > 1 and np.ptp(x) > 0 else math.nan
    error = std / math.sqrt(days) if days else math.nan
    t_nw = mean / error_nw
    return {
        "days": days,
        "mean": mean,
        "std": std,
        "ir": mean / std,
        "se": error,
        "t": mean / error,
        "lags": min(n_lags, max(days - 1, 0)),
        "se_nw": error_nw,
        "t_nw": t_nw,
        "p_nw": math.erfc(abs(t_nw) / math.sqrt(2)),
        "ci_low": mean - Z95 * error_nw,
        "ci_high": mean + Z95 * error_nw,
    }


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Correct p values for their number.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎ the i-th becomes max_{j ≤ i} min(1, (m − j + 1) p₍ⱼ₎): the chance that any
    true hypothesis is among those below a level stays below it, however the tests depend on each
    other (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        p_values: [m]; NaN is no test, counts for none and stays NaN.

    Returns:
        [m] corrected values, in the order given.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return corrected


def block_length(count: int, lags: int = 0) -> int:
    """Choose a bootstrap block, 1 to T sessions: T^(1/3) rounded up, and longer than the lags."""
    root = math.ceil(math.pow(count, 1 / 3))
    return max(min(max(root, lags + 1), count), 1)


def bootstrap_interval(
    values: pd.Series | FloatArray,
    *,
    draws: int = 2000,
    block: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the percentile interval of a mean from a circular block bootstrap.

    Each draw strings blocks together that begin anywhere, wrapping from the last value to the
    first, and cuts the string at T; the interval holds the middle `level` of the draws' means
    (Politis & Romano 1992).

    Args:
        values: [T] one number a session; NaN is left out.
        draws: number of resamples.
        block: length of a block; None for `block_length`.
        level: share of the draws inside, in (0, 1).
        seed: same seed, same values: same interval.

    Returns:
        (low, high), NaN for fewer than two values.

    Raises:
        ValueError: draws, block or level outside their range.

    Examples:
        >>> low, high = bootstrap_interval(np.random.default_rng(0).normal(1, 1, 200), draws=200)
        >>> low < 1 < high
        True
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected 1 or more, 2000 give two digits")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a share in (0, 1), such as 0.95")
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    count = len(x)
    if block is not None and block < 1:
        raise ValueError(f"block={block}: expected 1 session or more, or None for T^(1/3)")
    if count < 2:
        return math.nan, math.nan
    # Whole blocks, and a shorter last one, fill a string of T values.
    size = min(block if block is not None else block_length(count), count)
    sizes = [size] * (count // size) + ([count % size] if count % size else [])
    means = _resampled_means(x, sizes, draws, np.random.default_rng(seed))
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_means(
    x: FloatArray, sizes: Sequence[int], draws: int, rng: np.random.Generator
) -> FloatArray:
    """Draw means of strings of blocks; a block's sum is a difference of running sums."""
    shift = x.mean()  # sums of deviations stay small
    running = np.r_[0.0, np.cumsum(np.r_[x, x] - shift)]  # (2T + 1,)
    length = np.asarray(sizes)
    out = np.empty(draws)
    step = max(_CHUNK // len(length), 1)
    for k in range(0, draws, step):
        begin = rng.integers(0, len(x), (min(step, draws - k), len(length)))
        out[k : k + step] = (running[begin + length] - running[begin]).sum(axis=1)
    return np.asarray(out / len(x) + shift)
