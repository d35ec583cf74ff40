"""Threads that each run whole pieces of a batch, instead of threads inside every operation.

Small recurrent networks gain little from threads inside an operation: 40 dependent steps of a
fraction of a millisecond, with a barrier after each. Cutting the batch into shards of at most 256
rows (512 for a KRNN, whose operations are shorter), each computed by one thread from gather to
gradient, does the same sums with one barrier.
Measured in rows a second on one and on two cores (LSTM 64x2, 20 sessions of 20 features, batch
800): torch's own threads 5,100 and 7,300; shards 8,500 and 13,900, half of the gain on one core
being caches, the other half `malloc.py`. Shards of 200 to 400 rows are equal within noise, shards
of 100 and fewer are slower.

It also takes the number of threads out of the result. A shard is computed by one thread whatever
their number, the shards depend on the batch alone, and their results are added in order: the same
bits on one core and on sixteen. For a KRNN with 2 x 8 units, batch 2,000 on two cores: shards of
250, 500 and 1,000 rows 8,800, 11,900 and 12,600 rows a second; 500 leaves work for four cores.

A shard stands for itself, so a network that mixes rows (batch normalisation) or draws random
numbers (dropout) is not cut: see `can_shard`.

Shapes: `B` batch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch
from torch import Tensor, nn

from rnn_core.training.malloc import keep_freed_memory
from rnn_core.training.seeding import draws_random_numbers

Item = TypeVar("Item")
Result = TypeVar("Result")

_SHARD_ROWS = 256


class Workers:
    """As many threads as torch uses on this process's CPU, with one intra-op thread each.

    Use as a context manager. On an accelerator, or if torch is set to one thread, everything
    runs in the calling thread.

    Args:
        device: where the network runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._n_threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._device.type == "cpu":
            keep_freed_memory()
        if self._n_threads > 1:
            barrier = threading.Barrier(self._n_threads)
            self._pool = ThreadPoolExecutor(
                self._n_threads, "rnn-shard", initializer=_use_one_thread
            )
            list(self._pool.map(lambda _: barrier.wait(), range(self._n_threads)))
            # The setting is a thread's own, but threads that start later copy the last one made.
            torch.set_num_threads(self._n_threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Apply a function to every item.

        Args:
            function: called from several threads at once; torch's gradient mode is a thread's
                own, so `function` must set that mode itself.
            items: the arguments of the calls; the results have their order.

        Raises:
            Exception: that of `function`, for the first item that raised one.
        """
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


def _use_one_thread() -> None:
    """Set the calling thread to one intra-op thread."""
    torch.get_num_threads()  # the first call of a thread copies the process's setting
    torch.set_num_threads(1)


def can_shard(network: nn.Module, example: Tensor) -> bool:
    """True if a batch's gradient is the sum of its shards' gradients, in any thread order.

    It is not if rows share statistics (a module with buffers, such as batch normalisation) or if
    the network draws random numbers (dropout in training mode).

    Args:
        network: in training mode.
        example: one row, [1, L, F], on the network's device.

    Returns:
        False for a network on an accelerator too, which has no use for shards.
    """
    if example.device.type != "cpu" or any(True for _ in network.buffers()):
        return False
    with torch.no_grad():
        return not draws_random_numbers(lambda: network(example))


def shard_rows(network: nn.Module) -> int:
    """Return the most rows of one call of a network on the CPU: its own `shard_rows`, or 256."""
    return int(getattr(network, "shard_rows", _SHARD_ROWS))


def shards(indices: Tensor, rows: int, unit: int = 1) -> list[Tensor]:
    """Cut a batch into equal shards.

    Args:
        indices: [B], B of 1 or more.
        rows: most rows of a shard.
        unit: all shards but the last are a multiple of so many rows, if `rows` is one.

    Returns:
        ceil(B / rows) pieces whose sizes differ by at most one unit.
    """
    unit = unit if rows % unit == 0 else 1
    count, units = math.ceil(len(indices) / rows), math.ceil(len(indices) / unit)
    ends = [unit * (units // count * k + min(k, units % count)) for k in range(1, count)]
    return list(torch.tensor_split(indices, ends))
