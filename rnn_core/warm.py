"""Fill the compile cache, so that no first call waits for the compiler.

    python -m rnn_core.warm

Compiles the feature kernels (`features/warm.py`) and the recurrent layers. The machine code goes to
numba's cache: next to the sources, or under NUMBA_CACHE_DIR. Files of the cache are written beside
their place and moved into it, so processes that fill it at the same time do the work twice and harm
nothing.
"""

from __future__ import annotations

import sys
import time

import torch

from rnn_core.features.precompile import warm as warm_features
from rnn_core.models import GRUModel, LSTMModel


def warm() -> float:
    """Compile the kernels, or load them if they are compiled.

    Returns:
        Seconds taken.
    """
    began = time.perf_counter()
    warm_features()
    for network in (GRUModel(2, 3), LSTMModel(2, 3)):
        network(torch.zeros(1, 2, 2)).sum().backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(f"compile cache ready in {warm():.1f} s\n")
