"""Element-wise halves of a recurrent step, one pass over memory each, forward and backward.

A step of a recurrent layer is products of matrices, which BLAS does, and a dozen element-wise
operations, which torch runs one by one on the CPU, each with its own dispatch and its own trip
through the cache. Here they are loops that the compiler turns into vector instructions, and they
work in place: sums before a gate become the gate, on the way back the gate becomes its gradient.

A unit is a row and the batch lies along it, so that every loop runs over neighbours in memory,
whatever the number of units.

tanh is the rational function that Eigen uses for float32 (odd polynomial of degree 13 over even one
of degree 6, input clipped to where the result rounds to 1): no branch and no table, so it can be a
vector instruction, within a few units of the last place. sigma(x) = (1 + tanh(x / 2)) / 2.

Shapes: `L` window length, `H` units, `B` batch.
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
# A check of divisors (numba's "python" error model) would keep the loops from vector instructions,
# and so would one loop over many rows at once.
_compiled = numba.njit(nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


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
def gru_forward(gates: Array, bias: Array, before: Array, after: Array) -> None:
    """h' = (1 - z) n + z h with r = s(i_r + h_r), z = s(i_z + h_z), n = tanh(i_n + r h_n).

    Args:
        gates: rows i_n, i_r + h_r, i_z + h_z, h_n without their biases, [4H, B]; they become
            n, r, z, h_n.
        bias: of these rows, [4H].
        before: h, [H, B].
        after: h', [H, B], written.
    """
    units = before.shape[0]
    for j in range(units):
        n, r, z, s = gates[j], gates[units + j], gates[2 * units + j], gates[3 * units + j]
        h, out = before[j], after[j]
        of_n, of_r = bias[j], bias[units + j]
        of_z, of_s = bias[2 * units + j], bias[3 * units + j]
        for b in range(r.size):
            r[b] = _sigmoid(r[b] + of_r)
        for b in range(z.size):
            z[b] = _sigmoid(z[b] + of_z)
        for b in range(s.size):
            s[b] = s[b] + of_s
        for b in range(n.size):
            n[b] = _tanh(n[b] + of_n + r[b] * s[b])
        for b in range(out.size):
            out[b] = n[b] + z[b] * (h[b] - n[b])


@_compiled
def gru_backward(carried: Array, gates: Array, before: Array) -> None:
    """From the gradient of h' to those of the gates' sums, and the direct part of h's.

    Args:
        carried: gradient of h', [H, B]; becomes that of h that does not pass through a product.
        gates: left by `gru_forward`, [4H, B]; they become the gradients of their sums.
        before: h, [H, B].
    """
    units = before.shape[0]
    for j in range(units):
        n, r, z, s = gates[j], gates[units + j], gates[2 * units + j], gates[3 * units + j]
        h, g = before[j], carried[j]
        for b in range(g.size):
            difference, out = h[b] - n[b], g[b]
            n[b] = out * (_ONE - z[b]) * (_ONE - n[b] * n[b])
            g[b] = out * z[b]
            z[b] = out * difference * z[b] * (_ONE - z[b])
        for b in range(g.size):
            of_state, of_n = s[b], n[b]
            s[b] = of_n * r[b]
            r[b] = of_n * of_state * r[b] * (_ONE - r[b])


@_compiled
def lstm_forward(gates: Array, bias: Array, cell: Array, new_cell: Array, after: Array) -> None:
    """c' = f c + i g, h' = o tanh(c') with i, f, o = s(sum) and g = tanh(sum).

    Args:
        gates: sums of i, f, g, o without their bias, [4H, B]; they become the gates.
        bias: [4H].
        cell: c, [H, B].
        new_cell: c', [H, B], written.
        after: h', [H, B], written.
    """
    units = cell.shape[0]
    for j in range(units):
        i, f, g, o = gates[j], gates[units + j], gates[2 * units + j], gates[3 * units + j]
        c, new, out = cell[j], new_cell[j], after[j]
        of_i, of_f = bias[j], bias[units + j]
        of_g, of_o = bias[2 * units + j], bias[3 * units + j]
        for b in range(i.size):
            i[b] = _sigmoid(i[b] + of_i)
        for b in range(f.size):
            f[b] = _sigmoid(f[b] + of_f)
        for b in range(g.size):
            g[b] = _tanh(g[b] + of_g)
        for b in range(o.size):
            o[b] = _sigmoid(o[b] + of_o)
        for b in range(new.size):
            new[b] = f[b] * c[b] + i[b] * g[b]
        for b in range(out.size):
            out[b] = o[b] * _tanh(new[b])


@_compiled
def lstm_backward(
    carried: Array, carried_cell: Array, gates: Array, cell: Array, new_cell: Array
) -> None:
    """From the gradients of h' and c' to those of the gates' sums, and to c's.

    Args:
        carried: gradient of h', [H, B]; spoiled.
        carried_cell: gradient of c' that does not pass through h', [H, B]; becomes that of c.
        gates: left by `lstm_forward`, [4H, B]; they become the gradients of their sums.
        cell: c, [H, B].
        new_cell: c', [H, B].
    """
    units = cell.shape[0]
    for j in range(units):
        i, f, g, o = gates[j], gates[units + j], gates[2 * units + j], gates[3 * units + j]
        c, new, to_state, to_cell = cell[j], new_cell[j], carried[j], carried_cell[j]
        for b in range(o.size):
            squashed, out = _tanh(new[b]), o[b]
            o[b] = to_state[b] * squashed * out * (_ONE - out)
            to_cell[b] = to_cell[b] + to_state[b] * out * (_ONE - squashed * squashed)
        for b in range(f.size):
            whole, forget = to_cell[b], f[b]
            f[b] = whole * c[b] * forget * (_ONE - forget)
            to_cell[b] = whole * forget
            to_state[b] = whole
        for b in range(i.size):
            taken, new_part = i[b], g[b]
            i[b] = to_state[b] * new_part * taken * (_ONE - taken)
            g[b] = to_state[b] * taken * (_ONE - new_part * new_part)


@numba.njit(nogil=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def add_rows(values: Array, sums: Array) -> None:
    """Add the sum of each row, in the order that vectors give it.

    Args:
        values: [G, B].
        sums: [G].
    """
    for j in range(values.shape[0]):
        row, total = values[j], _F(0.0)
        for b in range(row.size):
            total += row[b]
        sums[j] += total
