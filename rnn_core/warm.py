"""Fill numba's compile cache, so that no first call waits for the compiler.

    python -m rnn_core.warm

It compiles the feature kernels (`features/precompile.py`) and the recurrent layers. The cache lies
next to the sources, or under NUMBA_CACHE_DIR. numba writes each file beside its place and moves it
there, so several processes may fill the cache at the same time.
"""

from __future__ import annotations

import sys
import time

import torch

from rnn_core.features.precompile import warm as warm_features
from rnn_core.models.gru import GRUModel
from rnn_core.models.lstm import LSTMModel


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
