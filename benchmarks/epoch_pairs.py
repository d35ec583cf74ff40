"""CPU time of an epoch by precision and number of features, one thread, in turns.

    python benchmarks/epoch_pairs.py [--models lstm gru] [--features 20 158] [--repeats 5]

A quiet machine is not needed: the sides take turns within seconds of each other, CPU time of the
one thread is counted, and the best of the repeats and the median of the turns' ratios are shown. An
epoch is the training pass and the validation, 0.29 of its rows, as on the CSI300; networks and
batch are those of qlib's benchmark files. `training.py` measures the same beside pyqlib.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import pandas as pd
import torch

from rnn_core.data import TSDataSampler
from rnn_core.models.blas import has_fast_bfloat16
from rnn_core.models.families import build_network
from rnn_core.training import Trainer, TrainerConfig, seeded_network

NAMES, SESSIONS, TRAINED, STEP = 60, 260, 201, 20


def sources(features: int) -> tuple[TSDataSampler, TSDataSampler]:
    """Windows of noise, for training and validation."""
    days = pd.bdate_range("2020-01-01", periods=SESSIONS)
    keys = [days, [f"N{k:03d}" for k in range(NAMES)]]
    index = pd.MultiIndex.from_product(keys, names=["datetime", "instrument"])
    values = np.random.default_rng(0).normal(size=(len(index), features + 1)).astype("f4")
    frame = pd.DataFrame(values, index=index)
    train = TSDataSampler(frame, days[0], days[TRAINED - 1], STEP, fillna_type="ffill+bfill")
    return train, train.between(days[TRAINED], None)


def epoch_us(model: str, precision: str, train: TSDataSampler, valid: TSDataSampler) -> float:
    """CPU microseconds of an epoch a training row, of two epochs."""
    network = seeded_network(lambda: build_network(model, len(train.columns) - 1, {}), 0)
    config = TrainerConfig.for_family(model, n_epochs=2, device="cpu", precision=precision)
    began = time.thread_time()
    Trainer(config).fit(network, train, valid)
    return (time.thread_time() - began) / 2 / len(train) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--features", type=int, nargs="+", default=[20, 158])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not has_fast_bfloat16():
        print("this processor has no tiles for bfloat16 (AMX): both sides are float32")
    sides = ("float32", "bfloat16")
    print("| model | features | float32, us a row | bfloat16 | times as fast, best | median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for features in args.features:
        train, valid = sources(features)
        for model in args.models:
            took: dict[str, list[float]] = {side: [] for side in sides}
            for side in sides:
                epoch_us(model, side, train, valid)  # compiles
            for turn in range(args.repeats):
                for side in sides if turn % 2 == 0 else reversed(sides):
                    took[side].append(epoch_us(model, side, train, valid))
            single, half = took.values()
            median = statistics.median(a / b for a, b in zip(single, half, strict=True))
            print(
                f"| {model.upper()} | {features} | {min(single):.1f} | {min(half):.1f} "
                f"| {min(single) / min(half):.2f} | {median:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
