"""Rolling statistics of the qlib semantics as functions: kernels, thresholds and masks.

Windows start at the first session of a value's span and count its suspended sessions; one value is
enough (min_periods=1). A length of 0 is all of history, for which the recurrences run with a
window longer than the span. All functions take and return float64.

qlib: ops.py Rolling, PairRolling; pandas 2.3, core/window/rolling.py cov and corr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnn_core.features.qlib import moments, order, recurrences, weighted
from rnn_core.features.qlib.series import Array, Series, meet

FLAT = 2e-5
"""Deviation up to which pyqlib masks R² and correlations, in the units of the series."""


def _window(x: Series, length: int) -> tuple[int, Array]:
    """Return the window in sessions, all of them for 0, and an array for the result."""
    return length or x.values.shape[1] + 1, np.empty(x.values.shape)


def total(x: Series, length: int) -> Series:
    """Compute the sum of each window."""
    window, out = _window(x, length)
    recurrences.running_sum(x.values, x.start, window, False, out)
    return x.like(out)


def mean(x: Series, length: int) -> Series:
    """Compute the mean of each window."""
    window, out = _window(x, length)
    recurrences.running_sum(x.values, x.start, window, True, out)
    return x.like(out)


def variance(x: Series, length: int) -> Series:
    """Compute the sample variance, possibly a hair below 0."""
    window, out = _window(x, length)
    recurrences.running_var(x.values, x.start, window, out)
    return x.like(out)


def root(x: Series) -> Series:
    """Compute the deviation from a variance, 0 for a variance that round-off took below 0."""
    return x.like(np.where(x.values < 0, 0.0, np.sqrt(x.values)))


def skewness(x: Series, length: int) -> Series:
    """Compute the skewness, from running powers of the values."""
    window, out = _window(x, length)
    moments.running_skew(x.values, x.start, window, out)
    return x.like(out)


def kurtosis(x: Series, length: int) -> Series:
    """Compute the excess kurtosis, from running powers of the values."""
    window, out = _window(x, length)
    moments.running_kurt(x.values, x.start, window, out)
    return x.like(out)


def exponential(x: Series, window: float) -> Series:
    """Compute the exponentially weighted mean; `window` is alpha below 1, else a span."""
    centre = (1.0 - window) / window if window < 1 else (window - 1.0) / 2.0
    out = np.empty(x.values.shape)
    moments.exponential_mean(x.values, x.start, centre, out)
    return x.like(out)


def growing_exponential(x: Series) -> Series:
    """Compute the exponential mean over all of history, whose length is the span."""
    out = np.empty(x.values.shape)
    weighted.growing_exponential(x.values, x.start, out)
    return x.like(out)


def linear_weights(x: Series, length: int) -> Series:
    """Compute pyqlib's linearly weighted mean, which is divided by the number of values again."""
    window, out = _window(x, length)
    weighted.linear_mean(x.values, x.start, window, out)
    return x.like(out)


def deviation(x: Series, length: int) -> Series:
    """Compute the mean absolute deviation from the mean."""
    window, out = _window(x, length)
    weighted.mean_deviation(x.values, x.start, window, out)
    return x.like(out)


def extreme(x: Series, length: int, sign: float) -> tuple[Series, Series]:
    """Compute the maximum (sign 1) or minimum (sign -1), and its position."""
    window, value = _window(x, length)
    position = np.empty(x.values.shape)
    recurrences.running_extreme(x.values, x.start, window, sign, value, position)
    return x.like(value), x.like(position)


def line(x: Series, length: int) -> tuple[Series, Series, Series]:
    """Compute slope, r² and residual of the least squares line over the sessions."""
    out = tuple(np.empty(x.values.shape) for _ in range(3))
    if length:
        recurrences.running_line(x.values, x.start, length, *out)
    else:
        recurrences.growing_line(x.values, x.start, *out)
    return x.like(out[0]), x.like(out[1]), x.like(out[2])


def sorted_windows(x: Series, length: int, shares: tuple[float, ...]) -> tuple[Series, ...]:
    """Compute order statistics: shares for quantiles, `order.MEDIAN`, `order.RANK`."""
    window = length or x.values.shape[1] + 1
    out = np.empty((len(shares), *x.values.shape))
    order.statistics(x.values, x.start, window, np.array(shares), out)
    return tuple(x.like(values) for values in out)


def present(x: Series) -> Series:
    """Return 1 for a value (an infinity is one), else 0."""
    return x.like((~np.isnan(x.values)).astype(np.float64))


def unflat(x: Series, *deviations: Series) -> Series:
    """Mask x if a deviation is (nearly) zero; an unknown deviation is not zero."""
    (values, *others), start, stop = meet((x, *deviations))
    flat: Any = False
    for other in others:
        flat = flat | (other <= FLAT)
    return Series(np.where(flat, np.nan, values), start, stop)


def paired(x: Series, y: Series) -> Series:
    """Mask x if y is not finite, in their common dtype."""
    (a, b), start, stop = meet((x, y))
    return Series(a + 0 * b, start, stop)


def product(a: Series, b: Series) -> Series:
    """Return a times b."""
    return a.like(a.values * b.values)


def pairs(a: Series, b: Series) -> Series:
    """Return 1 if both have a value, else 0."""
    return a.like((~np.isnan(a.values + b.values)).astype(np.float64))


def covariance(mean_ab: Series, mean_a: Series, mean_b: Series, n: Series) -> Series:
    """Compute the sample covariance from the means of a window and its number of pairs."""
    spread = mean_ab.values - mean_a.values * mean_b.values
    return n.like(spread * (n.values / (n.values - 1)))


def correlation(cov: Series, var_a: Series, var_b: Series) -> Series:
    """Compute covariance / root(product of variances); round-off may leave [-1, 1]."""
    return cov.like(cov.values / (var_a.values * var_b.values) ** 0.5)
