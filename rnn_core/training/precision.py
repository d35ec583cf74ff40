"""The precision of an accelerator's products, by name, never by the library's default.

    float32    every product in IEEE single precision
    tf32       products of matrices keep 10 bits of a factor's mantissa, sums are float32
    bfloat16   mixed: recurrent and linear layers in bfloat16, weights, loss and optimizer float32

bfloat16 has float32's range, so no loss scaling is needed. Validation and prediction are always
computed without the mix, so that the score that is served is that of the weights. torch's own
default is tf32 for cuDNN's layers and float32 for other products; here all products have one.

The CPU always computes in float32. `effective_precision` returns the precision in use, which is
recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def effective_precision(device: torch.device, wanted: str) -> str:
    """Return the precision that a training on a device has in fact.

    Args:
        device: where it runs.
        wanted: "float32", "tf32" or "bfloat16".

    Returns:
        "float32" for anything but CUDA, else `wanted`.

    Raises:
        ValueError: bfloat16 on a CUDA device that does not have it.
    """
    if device.type != "cuda":
        return "float32"
    if wanted == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"precision is 'bfloat16', and {torch.cuda.get_device_name(device)} does not have it; "
            f"set precision: tf32 or float32"
        )
    return wanted


@contextmanager
def product_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Compute products of float32 matrices in the named precision inside the block.

    Args:
        device: for the CPU nothing is changed.
        precision: of `effective_precision`.

    Yields:
        Nothing.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    settings = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = settings


def mixed(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context of a training step's forward pass.

    Args:
        device: where the network runs.
        precision: of `effective_precision`.

    Returns:
        torch's autocast for bfloat16, else a context that does nothing.
    """
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
