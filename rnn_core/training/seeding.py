"""The random numbers of a training, all from one seed.

For one seed, one kind of CPU and one version of torch a training gives the same bits, in any
process and after any number of trainings, and it neither draws from the process's own generators
nor changes them.

* Initial weights: torch's CPU generator, seeded with `seed` itself inside a fork of its state.
  A network thus starts from the weights that qlib gives it for that seed.
* Row order and dropout of epoch e: generators seeded from (seed, purpose, e). An epoch is a pure
  function of the seed and its number, so a resumed training needs no generator state.

torch's modules draw from the process's one generator, so every use of that generator here holds a
lock: trainings in several threads of a process do not mix.

qlib seeds numpy's and torch's global generators in the model's constructor and nothing else
(quirk Q18), so its second training in a process differs from the first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_ORDER, _DROPOUT = 1, 2
_GENERATOR_LOCK = threading.RLock()


def seeded_network(build: Callable[[], Network], seed: int) -> Network:
    """Build a network whose initial weights are a function of the seed.

    Args:
        build: builds the network, on the CPU.
        seed: whole number of 0 or more.

    Returns:
        The network. The process's generator is as it was before the call.

    Examples:
        >>> one, two = seeded_network(make, 7), seeded_network(make, 7)
        >>> all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
        True
    """
    with _forked_generators([]):
        torch.default_generator.manual_seed(seed)
        return build()


def epoch_order(n_samples: int, seed: int, epoch: int) -> Tensor:
    """Draw the order in which an epoch, counted from 0, visits the training rows: int64 [S]."""
    generator = torch.Generator().manual_seed(_derived(seed, _ORDER, epoch))
    return torch.randperm(n_samples, generator=generator)


@contextmanager
def seeded_dropout(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Make dropout masks a function of seed and epoch inside the block.

    Args:
        device: where the network runs; only its generator and the CPU's are touched.
        seed: of the training.
        epoch: its number, from 0.

    Yields:
        Nothing.
    """
    cuda = device.type == "cuda"
    with _forked_generators([device] if cuda else []):
        epoch_seed = _derived(seed, _DROPOUT, epoch)
        torch.default_generator.manual_seed(epoch_seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(epoch_seed)
        yield


def draws_random_numbers(run: Callable[[], object]) -> bool:
    """True if a call draws from torch's CPU generator, whose state is restored.

    Args:
        run: the call.

    Returns:
        True if the generator moved.
    """
    with _forked_generators([]):
        state = torch.default_generator.get_state()
        run()
        return not torch.equal(state, torch.default_generator.get_state())


@contextmanager
def _forked_generators(devices: list[torch.device]) -> Iterator[None]:
    """Lend this thread the generators of the CPU and of `devices`, and restore their states."""
    with _GENERATOR_LOCK, torch.random.fork_rng(devices=devices):
        yield


def _derived(seed: int, purpose: int, epoch: int) -> int:
    """Mix the three numbers into a seed below 2**63."""
    return int(np.random.SeedSequence([seed, purpose, epoch]).generate_state(1, np.uint64)[0] >> 1)
