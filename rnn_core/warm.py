"""Fill numba's compile cache, so that no first call waits for the compiler.

    python -m rnn_core.warm

It compiles the feature kernels (`features/precompile.py`) and the recurrent layers. The cache lies
next to the sources, or under NUMBA_CACHE_DIR. numba writes each file beside its place and moves it
there, so several processes may fill the cache at the same time.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext

import torch

from rnn_core.features.precompile import warm as warm_features
from rnn_core.models.bfloat16_layer import FEWEST_UNITS, bfloat16_layers
from rnn_core.models.blas import bfloat16_address
from rnn_core.models.gru import GRUModel
from rnn_core.models.lstm import LSTMModel


def warm() -> float:
    """Compile the kernels, or load them if they are compiled.

    Returns:
        Seconds taken.
    """
    began = time.perf_counter()
    warm_features()
    for context in (nullcontext, bfloat16_layers) if bfloat16_address() else (nullcontext,):
        for network in (GRUModel(2, FEWEST_UNITS), LSTMModel(2, FEWEST_UNITS)):
            with context():
                network(torch.zeros(1, 2, 2)).sum().backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(f"compile cache ready in {warm():.1f} s\n")
