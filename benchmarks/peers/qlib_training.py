"""pyqlib's side of the training contest: `PYTHON qlib_training.py BARS.npz PLAN.json`.

Run in an interpreter that has pyqlib and torch (requirements in qlib.txt). The bars become
a provider folder (`qlib_alpha158.provide`); a handler with the plan's processors and the dataset of
qlib's benchmark files are made for each kind of handler, none of which is timed.

Each request is a training by qlib's own `fit`, as shipped: it takes off only the seconds inside
`dataset.prepare`. So an epoch is the pass over the training rows, its second pass that evaluates
them, and the validation. See `contest` for the protocol. Peak memory is the growth of this process
during `fit`; the loader's workers get theirs for free.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contest import TimedDataset, serve, take_stdout, watched
from memory import growth_mb
from qlib_alpha158 import provide


def main() -> None:
    replies = take_stdout()
    import pandas as pd
    import qlib
    import torch
    from qlib.contrib.data.handler import Alpha158, Alpha360
    from qlib.contrib.model.pytorch_gru_ts import GRU
    from qlib.contrib.model.pytorch_krnn import KRNN
    from qlib.contrib.model.pytorch_lstm_ts import LSTM
    from qlib.data.dataset import DatasetH, TSDatasetH

    models = {"lstm": (LSTM, "LSTM_model"), "gru": (GRU, "GRU_model"), "krnn": (KRNN, "krnn_model")}
    plan = json.loads(Path(sys.argv[2]).read_text())
    segments = {name: tuple(pair) for name, pair in plan["segments"].items()}
    datasets: dict[str, Any] = {}

    def dataset_of(handler: str) -> Any:
        if handler not in datasets:
            datasets.clear()
            start, end = segments["train"]
            held = {"Alpha158": Alpha158, "Alpha360": Alpha360}[handler](
                instruments="all",
                fit_start_time=start,
                fit_end_time=end,
                infer_processors=plan["infer"][handler],
                learn_processors=plan["learn"],
            )
            if handler == "Alpha158":
                made = TSDatasetH(handler=held, segments=segments, step_len=plan["step"])
            else:
                made = DatasetH(handler=held, segments=segments)
            datasets[handler] = made
        return datasets[handler]

    def answer(
        model: str,
        handler: str,
        arguments: dict[str, Any],
        threads: int,
        cuda: bool,
        n_jobs: int | None = None,
    ) -> dict[str, Any]:
        if cuda and not torch.cuda.is_available():
            return {"left_out": f"torch {torch.__version__} of pyqlib's side sees no CUDA device"}
        torch.set_num_threads(threads)
        kind, attribute = models[model]
        extra = {} if n_jobs is None else {"n_jobs": n_jobs}
        dataset = TimedDataset(dataset_of(handler))
        network = kind(**arguments, **extra, GPU=0 if cuda else -1)
        digest = hashlib.sha256()
        for tensor in getattr(network, attribute).state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        evals: dict[str, list[float]] = {}
        took: dict[str, float] = {}

        def fit() -> None:
            with tempfile.NamedTemporaryFile() as file:
                save = {"evals_result": evals, "save_path": file.name}
                took.update(watched(lambda: network.fit(dataset, **save)))

        if cuda:
            torch.cuda.reset_peak_memory_stats()
        peak = growth_mb(fit)
        return took | {
            "prepare_s": dataset.seconds,
            "sizes": dataset.sizes[:2],
            "peak_mb": peak,
            "cuda_mb": torch.cuda.max_memory_allocated() / 1e6 if cuda else None,
            "valid": evals["valid"][0],
            "weights": digest.hexdigest(),
            "versions": f"pyqlib {qlib.__version__}, pandas {pd.__version__}, numpy "
            f"{np.__version__}, torch {torch.__version__}",
        }

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "provider"
        provide(dict(np.load(sys.argv[1])), root)
        qlib.init(
            provider_uri=str(root),
            region="cn",
            kernels=2,
            expression_cache=None,
            dataset_cache=None,
            logging_level="ERROR",
        )
        serve(answer, replies)


if __name__ == "__main__":
    main()
