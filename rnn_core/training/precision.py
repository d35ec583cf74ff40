"""The precision of a training's products, by name, never by the library's default.

    float32    every product in IEEE single precision
    tf32       products of matrices keep 10 bits of a factor's mantissa, sums are float32
    bfloat16   factors in bfloat16; sums, weights, loss and optimizer float32

bfloat16 has float32's range, so no loss scaling is needed. On CUDA it is torch's mixed precision,
of recurrent and linear layers. On the CPU it is the products of the compiled recurrent layers
(`rnn_core/models/bfloat16_layer.py`), on a processor that has tiles for it (AMX), where they are
three to five times as fast; other processors gain nothing and compute in float32, and so does a
network without such a layer. tf32 is of CUDA alone. `resolve_precision` returns the precision in
use, which is recorded, and the reason.

Validation and prediction are always computed without the mix, so that the score that is served is
that of the weights. torch's own default is tf32 for cuDNN's layers and float32 for other products;
here all products have one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnn_core.models.bfloat16_layer import FEWEST_UNITS, bfloat16_layers
from rnn_core.models.blas import has_fast_bfloat16
from rnn_core.training.seeding import draws_random_numbers


class PrecisionChoice(NamedTuple):
    """A precision, and the reason for it in words for the log."""

    precision: str
    reason: str


def resolve_precision(
    device: torch.device, wanted: str, network: nn.Module, example: Tensor
) -> PrecisionChoice:
    """Choose the precision that a training has in fact.

    Args:
        device: where it runs.
        wanted: "float32", "tf32" or "bfloat16".
        network: in training mode, on `device`; left as it is.
        example: one row of its input, [1, L, F], on `device`.

    Returns:
        The precision, and the reason for it.

    Raises:
        ValueError: bfloat16 on a CUDA device that does not have it.
    """
    as_configured = PrecisionChoice(wanted, f"{wanted}, as configured")
    if device.type == "cuda":
        if wanted == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(
                f"precision is 'bfloat16', and {torch.cuda.get_device_name(device)} does not have "
                f"it; set precision: tf32 or float32"
            )
        return as_configured
    if wanted == "float32":
        return as_configured
    if wanted == "tf32":
        return PrecisionChoice("float32", "float32, since tf32 is a format of CUDA devices")
    if not has_fast_bfloat16():
        return PrecisionChoice(
            "float32", "float32, since this processor has no tiles for bfloat16 (AMX)"
        )
    if not _has_bfloat16_layers(network, example):
        return PrecisionChoice(
            "float32",
            f"float32, since no layer of {type(network).__name__} computes in bfloat16: that takes "
            f"a recurrent layer of {FEWEST_UNITS} units or more without dropout",
        )
    return as_configured


def _has_bfloat16_layers(network: nn.Module, example: Tensor) -> bool:
    """True if a forward pass computes a layer in bfloat16, tried on a copy."""
    if not any(isinstance(module, (nn.GRU, nn.LSTM)) for module in network.modules()):
        return False
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad(), bfloat16_layers() as use:
        try:
            draws_random_numbers(lambda: network(torch.cat([example, example])))
        finally:  # a pass may change buffers
            for name, value in network.named_buffers():
                value.copy_(buffers[name])
    return use.layers > 0


@contextmanager
def product_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Compute products of float32 matrices in the named precision inside the block.

    Args:
        device: for the CPU nothing is changed.
        precision: of `resolve_precision`.

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
        precision: of `resolve_precision`.

    Returns:
        For bfloat16 torch's autocast, on the CPU `bfloat16_layers`; else a context that does
        nothing.
    """
    if precision != "bfloat16":
        return nullcontext()
    if device.type == "cpu":
        return bfloat16_layers()
    return torch.autocast(device.type, dtype=torch.bfloat16)
