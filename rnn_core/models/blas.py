"""Products of matrices inside compiled code, by the BLAS that torch itself uses.

A product called from Python costs some microseconds of the interpreter, and its lock, which the
threads of a training share; a recurrent layer makes a few hundred of them on small matrices.
torch's library exports the standard Fortran entry `sgemm_` of the BLAS that it was built with (MKL
on x86), and MKL's `gemm_bf16bf16f32_`; compiled code calls those addresses. numba's own `np.dot`
would bring SciPy and another BLAS with threads of its own.

If there is no such entry, or it fails a trial product, the address is 0 and callers compute another
way.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import llvmlite.binding
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[np.float32]
Factor: TypeAlias = NDArray[np.float32] | NDArray[np.int16]
_ARCH_PRCTL, _GET_PERMISSION, _TILE_DATA = 158, 0x1022, 18  # of Linux on x86-64


@intrinsic
def _sgemm(  # type: ignore[no-untyped-def]
    typing_context, address, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc
):
    """The call: integers, pointers as integers, beta; alpha is 1. Everything goes by reference.

    Integers are passed in eight bytes, which a BLAS of either width reads on a little-endian
    machine.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, single, byte = ir.IntType(64), ir.FloatType(), ir.IntType(8)

        def slot(value: Any, kind: Any) -> Any:
            place = cgutils.alloca_once(builder, kind)  # type: ignore[no-untyped-call]
            builder.store(value, place)
            return builder.bitcast(place, byte.as_pointer())

        def letter(flag: Any) -> Any:
            chosen = builder.icmp_signed("!=", flag, ir.Constant(word, 0))
            return slot(
                builder.select(chosen, ir.Constant(byte, ord("T")), ir.Constant(byte, ord("N"))),
                byte,
            )

        def pointer(value: Any) -> Any:
            return builder.inttoptr(value, byte.as_pointer())

        # Fortran takes every argument by reference: each value gets a slot, matrices their address.
        at, ta, tb, rows, columns, depth, pa, la, pb, lb, scale, pc, lc = args
        operands = [
            letter(ta),
            letter(tb),
            *(slot(size, word) for size in (rows, columns, depth)),
            slot(ir.Constant(single, 1.0), single),
            pointer(pa),
            slot(la, word),
            pointer(pb),
            slot(lb, word),
            slot(scale, single),
            pointer(pc),
            slot(lc, word),
        ]
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer()] * len(operands))
        builder.call(builder.inttoptr(at, kind.as_pointer()), operands)
        return context.get_dummy_value()

    word = types.int64
    signature = types.void(
        *(word,) * 10, types.float32, word, word
    )  # address, two flags, three sizes, a, lda, b, ldb | beta | c, ldc
    return signature, code


@numba.njit(nogil=True, error_model="numpy")
def product(
    address: int, a: Factor, turn_a: int, b: Factor, turn_b: int, add: float, c: Array
) -> None:
    """c = op(a) op(b) + add * c.

    Args:
        address: of `sgemm_`, or of `gemm_bf16bf16f32_` for factors by their bits.
        a: [M, K], or [K, M] to be transposed; like all of them C-contiguous.
        turn_a: 1 to transpose it.
        b: [K, N], or [N, K] to be transposed.
        turn_b: 1 to transpose it.
        add: 1 to add to c, 0 to write it.
        c: [M, N].
    """
    depth = a.shape[0] if turn_a else a.shape[1]
    # The Fortran side sees every matrix transposed: c' = op(b)' op(a)'.
    _sgemm(  # type: ignore[call-arg]
        address,
        turn_b,
        turn_a,
        c.shape[1],
        c.shape[0],
        depth,
        b.ctypes.data,
        b.shape[1],
        a.ctypes.data,
        a.shape[1],
        np.float32(add),
        c.ctypes.data,
        c.shape[1],
    )


@cache
def sgemm_address() -> int:
    """Find the address of `sgemm_`, tried on a small product.

    Returns:
        The address; 0 if torch's library exports no entry that computes the product.
    """
    return _entry("sgemm_", lambda values: values)


@cache
def bfloat16_address() -> int:
    """Find the address of `gemm_bf16bf16f32_`, tried on a small product.

    Its factors are bfloat16, given by their bits; sums and result are float32.

    Returns:
        The address; 0 if torch's library exports no entry that computes the product.
    """
    return _entry("gemm_bf16bf16f32_", _bfloat16_bits)


@cache
def has_fast_bfloat16() -> bool:
    """True if the library multiplies bfloat16 in the tiles of the processor (AMX).

    Only there it is much faster than `sgemm_`. The processor decides and no stopwatch, whose answer
    could be another one tomorrow, and with it the bits of a training. MKL asks the system for the
    tiles with its first product; where it was refused or told not to by `MKL_ENABLE_INSTRUCTIONS`,
    it computes to other bits without them.
    """
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("amx-bf16")) and bfloat16_address() != 0 and _may_use_tiles()


def _may_use_tiles() -> bool:
    """True if this process has been given the tiles' data: `arch_prctl(ARCH_GET_XCOMP_PERM)`."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    given = ctypes.c_uint64()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_ARCH_PRCTL, _GET_PERMISSION, ctypes.byref(given)) != 0:
        return False
    return bool(given.value >> _TILE_DATA & 1)


def _bfloat16_bits(values: Array) -> Any:
    return torch.from_numpy(values).bfloat16().view(torch.int16).numpy()


def _entry(name: str, factor: Callable[[Array], Any]) -> int:
    """The address of an entry that computes products, 0 if there is none."""
    for file in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            entry = getattr(ctypes.CDLL(str(file)), name)
        except (OSError, AttributeError):
            continue
        address = ctypes.cast(entry, ctypes.c_void_p).value or 0
        if address and _computes(address, factor):
            return address
    return 0


def _computes(address: int, factor: Callable[[Array], Any]) -> bool:
    """True if each kind of product comes out right; products of small whole numbers are exact.

    The small one adds to what is there; the large one, wider than a tile, writes over it.
    """
    for (m, k, n), add, there in (((2, 3, 4), 1.0, 1.0), ((40, 70, 33), 0.0, np.nan)):
        a = (np.arange(m * k, dtype="f4") % 7 - 3).reshape(m, k)
        b = (np.arange(k * n, dtype="f4") % 5 - 2).reshape(k, n)
        for turn_a, turn_b in ((0, 0), (1, 0), (0, 1)):
            c = np.full((m, n), there, "f4")
            left = np.ascontiguousarray(a.T) if turn_a else a
            right = np.ascontiguousarray(b.T) if turn_b else b
            product(address, factor(left), turn_a, factor(right), turn_b, add, c)
            if not np.array_equal(c, a @ b + add):
                return False
    return True
