"""Statistics that take a pass over the lags of every window, one instrument at a time.

Mean absolute deviation, skewness, kurtosis and the weighted means are rare and have no short merge,
so each window is walked from its newest lag to its oldest, once for the mean and once about the
mean. The inner loops run over sessions; the order depends on the window alone.

Sources: Joanes & Gill (1998) for the unbiased skewness G1 and kurtosis G2 (pandas' skew and kurt);
qlib: ops.py Mad, WMA and EMA with N = 0 for the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rnn_core.features.strict import codes

Array = NDArray[Any]

FLAT = 1e-7
"""A window whose deviation is at most this share of its mean is constant: above the rounding of
float32 bars (6e-8), below one tick of any quoted price, and free of the scale of the series."""


@njit(nogil=True, error_model="numpy")
def _means(x: Array, length: int, n: Array, mean: Array) -> None:
    """Compute number and mean of the values of every window."""
    for t in range(x.shape[0]):
        n[t] = 0.0
        mean[t] = 0.0
    for lag in range(min(length, x.shape[0])):
        count, total = n[lag:], mean[lag:]
        for t in range(count.shape[0]):
            count[t] += 1.0 if x[t] == x[t] else 0.0
            total[t] += x[t] if x[t] == x[t] else 0.0
    for t in range(x.shape[0]):
        mean[t] /= n[t]


@njit(nogil=True, error_model="numpy")
def _deviation(x: Array, length: int, least: int, pad: Array, out: Array) -> None:
    """Compute the mean absolute deviation from the mean."""
    n, mean = pad[0, : x.shape[0]], pad[1, : x.shape[0]]
    _means(x, length, n, mean)
    for t in range(x.shape[0]):
        out[t] = 0.0
    for lag in range(min(length, x.shape[0])):
        centre, total = mean[lag:], out[lag:]
        for t in range(total.shape[0]):
            d = abs(x[t] - centre[t])
            total[t] += d if d == d else 0.0
    for t in range(x.shape[0]):
        out[t] = out[t] / n[t] if n[t] >= least else np.nan


@njit(nogil=True, error_model="numpy")
def _shape(x: Array, length: int, power: int, least: int, pad: Array, out: Array) -> None:
    """Compute unbiased skewness (power 3) or excess kurtosis (power 4); a constant has none."""
    sessions = x.shape[0]
    n, mean, square = pad[0, :sessions], pad[1, :sessions], pad[2, :sessions]
    _means(x, length, n, mean)
    for t in range(x.shape[0]):
        square[t] = 0.0
        out[t] = 0.0
    for lag in range(min(length, sessions)):
        centre, second, total = mean[lag:], square[lag:], out[lag:]
        for t in range(total.shape[0]):
            d = x[t] - centre[t]
            d = d if d == d else 0.0
            second[t] += d * d
            total[t] += d * d * (d if power == 3 else d * d)
    for t in range(sessions):
        k = n[t]
        flat = square[t] <= FLAT * FLAT * mean[t] * mean[t] * (k - 1.0)
        m2, m = square[t] / k, out[t] / k
        if power == 3:
            value = m / (m2 * np.sqrt(m2)) * np.sqrt(k * (k - 1.0)) / (k - 2.0)
        else:
            value = ((k + 1.0) * m / (m2 * m2) - 3.0 * (k - 1.0)) * (k - 1.0)
            value /= (k - 2.0) * (k - 3.0)
        enough = k >= max(power, least) and not flat and abs(value) < np.inf
        out[t] = value if enough else np.nan


@njit(nogil=True, error_model="numpy")
def _weighted(x: Array, window: Array, length: int, least: int, pad: Array, out: Array) -> None:
    """Compute the mean with weights 1, 2, .. from the oldest session of the window to the newest.

    `window` [T] gives its number of sessions.
    """
    sessions = x.shape[0]
    n, weights = pad[0, :sessions], pad[1, :sessions]
    for t in range(x.shape[0]):
        n[t] = 0.0
        weights[t] = 0.0
        out[t] = 0.0
    for lag in range(min(length, sessions)):
        count, weight, total, most = n[lag:], weights[lag:], out[lag:], window[lag:]
        for t in range(total.shape[0]):
            one = most[t] - lag if x[t] == x[t] else 0.0
            count[t] += 1.0 if x[t] == x[t] else 0.0
            weight[t] += one
            total[t] += one * x[t] if x[t] == x[t] else 0.0
    for t in range(sessions):
        out[t] = out[t] / weights[t] if n[t] >= least else np.nan


@njit(nogil=True, error_model="numpy")
def _growing_ema(x: Array, window: Array, least: int, pad: Array, out: Array) -> None:
    """Compute the mean of all history with weights a^lag, a = 1 - 2/(1 + sessions so far)."""
    sessions = x.shape[0]
    n, weights = pad[0, :sessions], pad[1, :sessions]
    for t in range(x.shape[0]):
        n[t] = 0.0
        weights[t] = 0.0
        out[t] = 0.0
    for t in range(sessions):
        a = 1.0 - 2.0 / (window[t] + 1.0)
        weight = 1.0
        for lag in range(int(window[t])):
            if x[t - lag] == x[t - lag]:
                n[t] += 1.0
                weights[t] += weight
                out[t] += weight * x[t - lag]
            weight *= a
    for t in range(sessions):
        out[t] = out[t] / weights[t] if n[t] >= least and weights[t] > 0.0 else np.nan


@njit(nogil=True, error_model="numpy")
def lagged(
    stat: int, x: Array, window: Array, length: int, least: int, pad: Array, out: Array
) -> None:
    """Compute a statistic of this module.

    Args:
        stat: MAD, SKEW, KURT, WMA or GROWING_EMA.
        x: [T] float64, NaN where missing.
        window: [T] sessions of each window, from `merged.slots`.
        length: window in sessions.
        least: fewest values for a result.
        pad: [3, at least T] scratch.
        out: [T].
    """
    if stat == codes.MAD:
        _deviation(x, length, least, pad, out)
    elif stat in (codes.SKEW, codes.KURT):
        _shape(x, length, 3 if stat == codes.SKEW else 4, least, pad, out)
    elif stat == codes.WMA:
        _weighted(x, window, length, least, pad, out)
    elif stat == codes.GROWING_EMA:
        _growing_ema(x, window, least, pad, out)
