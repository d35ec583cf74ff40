"""pyqlib's side of the dataset contest: `PYTHON qlib_dataset.py time|memory BARS.npz PLAN.json`.

Run in an interpreter that has pyqlib (requirements in qlib.txt). The bars become a provider folder
(`qlib_alpha158.provide`), which is not timed. Then what its users write: an Alpha158 handler with
the plan's processors, a TSDatasetH, and the sampler of the segment "train".

    time     seconds of the handler, of `prepare`, of TSDataSampler on the frame that `prepare`
             fetches, of a window, and of a batch: a loop of `__getitem__` and a stack, as its
             DataLoader does in each worker; saves the samples and some windows to compare
    memory   growth of resident memory from the handler to the sampler, in the main process: the
             two workers that compute the features are not counted

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from memory import growth_mb
from qlib_alpha158 import provide


def timed(call: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Shortest of the repeats in seconds, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        result = None
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["time", "memory"])
    parser.add_argument("bars", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()

    import qlib
    from qlib.contrib.data.handler import Alpha158
    from qlib.data.dataset import TSDataSampler, TSDatasetH

    plan = json.loads(args.plan.read_text())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "provider"
        provide(dict(np.load(args.bars)), root)
        qlib.init(
            provider_uri=str(root),
            region="cn",
            kernels=2,
            expression_cache=None,
            dataset_cache=None,
            logging_level="ERROR",
        )
        segments = {name: tuple(pair) for name, pair in plan["segments"].items()}

        def handler() -> Alpha158:
            start, end = segments["train"]
            return Alpha158(
                instruments="all",
                fit_start_time=start,
                fit_end_time=end,
                infer_processors=plan["infer"],
                learn_processors=plan["learn"],
            )

        def prepare(held: Alpha158) -> TSDataSampler:
            data = TSDatasetH(handler=held, segments=segments, step_len=plan["step"])
            sampler = data.prepare("train", col_set=["feature", "label"], data_key="learn")
            sampler.config(fillna_type=plan["fill"])
            return sampler

        if args.mode == "memory":
            kept: list[object] = []  # handler and sampler live on, as in a training

            def whole() -> object:
                kept.append(handler())
                kept.append(prepare(kept[0]))
                return kept

            print(json.dumps({"peak_mb": growth_mb(whole)}))
            return
        handler_s, held = timed(handler, args.repeats)
        prepare_s, sampler = timed(lambda: prepare(held), 3)
        frames = [held.fetch(slice(*segments["train"]), data_key="learn") for _ in range(3)]
        sampler_s, _ = timed(  # it empties the frame it is given
            lambda: TSDataSampler(frames.pop(), *segments["train"], plan["step"]), 3
        )
        order = np.random.default_rng(1).permutation(len(sampler))
        some = order[: plan["batch"]].tolist()
        batch_s, windows = timed(lambda: np.stack([sampler[k] for k in some]), 5)
        window_s, _ = timed(lambda: [sampler[k] for k in some], 5)
        index = sampler.get_index()
        dates = pd.DatetimeIndex([date for date, _ in index]).to_numpy("datetime64[D]")
        names = np.array([name for _, name in index])
        np.savez(args.out, date=dates, instrument=names, windows=windows)
    got = {"handler_s": handler_s, "prepare_s": prepare_s, "sampler_s": sampler_s}
    got |= {"window_s": window_s / len(some), "batch_s": batch_s}
    got["versions"] = f"pyqlib {qlib.__version__}, pandas {pd.__version__}, numpy {np.__version__}"
    print(json.dumps(got))


if __name__ == "__main__":
    main()
