"""Element-wise halves of a recurrent step, one pass over memory each, forward and backward.

A step of a recurrent layer is a product of matrices, which BLAS does, and a dozen element-wise
operations, which torch runs one by one on the CPU, each with its own dispatch and its own trip
through the cache. Here they are one loop that the compiler turns into vector instructions.

tanh is the rational function that Eigen uses for float32 (odd polynomial of degree 13 over even one
of degree 6, input clipped to where the result rounds to 1): no branch and no table, so it can be a
vector instruction, within a few units of the last place. sigma(x) = (1 + tanh(x / 2)) / 2.

Shapes: `B` rows, `H` units. Gates lie beside each other in torch's order: r z n.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_F = np.float32
_CLIP = _F(7.90531110763549805)
_A1, _A3, _A5, _A7 = (
    _F(4.89352455891786e-03),
    _F(6.37261928875436e-04),
    _F(1.48572235717979e-05),
    _F(5.12229709037114e-08),
)
_A9, _A11, _A13 = _F(-8.60467152213735e-11), _F(2.00018790482477e-13), _F(-2.76076847742355e-16)
_B0, _B2, _B4, _B6 = (
    _F(4.89352518554385e-03),
    _F(2.26843463243900e-03),
    _F(1.18534705686654e-04),
    _F(1.19825839466702e-06),
)
_HALF, _ONE = _F(0.5), _F(1.0)
# A check of divisors (numba's "python" error model) would keep the loops from vector instructions.
_compiled = numba.njit(
    cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy"
)


@numba.njit(inline="always")
def _tanh(x):  # type: ignore[no-untyped-def]
    x = _CLIP if x > _CLIP else x  # written so that NaN stays NaN
    x = -_CLIP if x < -_CLIP else x
    s = x * x
    p = x * (_A1 + s * (_A3 + s * (_A5 + s * (_A7 + s * (_A9 + s * (_A11 + s * _A13))))))
    return p / (_B0 + s * (_B2 + s * (_B4 + s * _B6)))


@numba.njit(inline="always")
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return _HALF + _HALF * _tanh(_HALF * x)


@_compiled
def gru_forward(of_input: Array, of_state: Array, before: Array, after: Array, kept: Array) -> None:
    """h' = (1 - z) n + z h with r = s(i_r + h_r), z = s(i_z + h_z), n = tanh(i_n + r h_n).

    Args:
        of_input: W_i x + b_i, [B, 3H].
        of_state: W_h h + b_h, [B, 3H].
        before: h, [B, H].
        after: h', [B, H], written.
        kept: r, z, n, h_n for the way back, [B, 4H], written.
    """
    units = before.shape[1]
    for b in range(before.shape[0]):
        x, s, h, out, keep = of_input[b], of_state[b], before[b], after[b], kept[b]
        for j in range(2 * units):  # r and z
            keep[j] = _sigmoid(x[j] + s[j])
        xn, sn = x[2 * units :], s[2 * units :]
        r, z, n, hn = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :]
        for j in range(units):
            hn[j] = sn[j]
        for j in range(units):
            n[j] = _tanh(xn[j] + r[j] * sn[j])
        for j in range(units):
            out[j] = n[j] + z[j] * (h[j] - n[j])


@_compiled
def gru_backward(
    gradient: Array,
    before: Array,
    kept: Array,
    to_input: Array,
    to_state: Array,
    to_before: Array,
) -> None:
    """From the gradient of h' to those of the gates' two summands, and the direct part of h's.

    Args:
        gradient: of h', [B, H].
        before: h, [B, H].
        kept: by `gru_forward`, [B, 4H].
        to_input: gradient of `of_input`, [B, 3H], written.
        to_state: gradient of `of_state`, [B, 3H], written.
        to_before: gradient of h that does not pass through `of_state`, [B, H], written.
    """
    units = before.shape[1]
    for b in range(before.shape[0]):
        g, h, keep = gradient[b], before[b], kept[b]
        x, s, out = to_input[b], to_state[b], to_before[b]
        r, z, n, hn = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :]
        xz, xn, sn = x[units:], x[2 * units :], s[2 * units :]
        for j in range(units):
            xn[j] = g[j] * (_ONE - z[j]) * (_ONE - n[j] * n[j])
        for j in range(units):
            xz[j] = g[j] * (h[j] - n[j]) * z[j] * (_ONE - z[j])
        for j in range(units):
            x[j] = xn[j] * hn[j] * r[j] * (_ONE - r[j])
        for j in range(units):
            sn[j] = xn[j] * r[j]
        for j in range(2 * units):
            s[j] = x[j]
        for j in range(units):
            out[j] = g[j] * z[j]
