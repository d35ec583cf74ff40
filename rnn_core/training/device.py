"""The device of a training: its choice, the reason, and repeatable kernels.

On an accelerator three things decide whether a second run gives the same bits: the choice of
kernels by timing, kernels that add in no fixed order, and TF32, which keeps 10 bits of a factor's
mantissa. `repeatable` turns all three off for a block and then restores the settings. On the CPU
there is nothing to turn off; only the number of threads cuts sums there, see `workers.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

_WORKSPACES = (":4096:8", ":16:8")


class DeviceChoice(NamedTuple):
    """A device, and the reason for it in words for the log.

    Examples:
        >>> resolve_device("cpu").device
        device(type='cpu')
    """

    device: torch.device
    reason: str


def resolve_device(wanted: str) -> DeviceChoice:
    """Choose the device to run on.

    Args:
        wanted: "auto", "cpu", "cuda" or "cuda:K".

    Returns:
        The device, and the reason for it.

    Raises:
        ValueError: the accelerator is not there, or `wanted` is another word.

    Examples:
        >>> resolve_device("cpu").reason
        'cpu, as configured'
    """
    if wanted == "cpu":
        return DeviceChoice(torch.device("cpu"), "cpu, as configured")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        if n_devices:
            name = torch.cuda.get_device_name(0)
            return DeviceChoice(torch.device("cuda:0"), f"cuda:0, the first of {n_devices}: {name}")
        return DeviceChoice(torch.device("cpu"), "cpu, no CUDA device is visible")
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or not (number.isdigit() or wanted == "cuda"):
        raise ValueError(f'device is {wanted!r}, expected "auto", "cpu", "cuda" or "cuda:K"')
    if int(number or 0) >= n_devices:
        raise ValueError(
            f"device {wanted!r} was asked for and {n_devices} CUDA devices are visible; "
            f"set device: cpu or auto, or check the driver and CUDA_VISIBLE_DEVICES"
        )
    device = torch.device("cuda", int(number or 0))
    return DeviceChoice(device, f"{device}, as configured: {torch.cuda.get_device_name(device)}")


class PeakMemory:
    """Peak memory since the start of the measurement, as far as the system tells.

    Args:
        device: for an accelerator its own counter is read; for the CPU the process's peak, which
            cannot be reset.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int:
        """Return the bytes, 0 if the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if sys.platform == "win32":
            return 0  # not told without another package
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak) * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def repeatable(device: torch.device, wanted: bool) -> Iterator[None]:
    """Allow only kernels that repeat their bits inside the block, if `wanted`.

    Args:
        device: where the network runs. For the CPU nothing is changed.
        wanted: False leaves everything as it is.

    Yields:
        Nothing.

    Raises:
        ValueError: cuBLAS was not told to be repeatable before the process used it.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in _WORKSPACES:
        raise ValueError(
            "deterministic training on CUDA needs CUBLAS_WORKSPACE_CONFIG=:4096:8 in the "
            "environment before the process starts; set it, or set deterministic: false"
        )
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
