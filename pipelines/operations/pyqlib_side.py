"""pyqlib's side of a parity certificate: `PYTHON pyqlib_side.py versions MODULE|score FOLDER`.

`parity.py` copies this file into a folder of its own and runs it there with a Python that has
pyqlib. It imports nothing of this project, keeps to the syntax of Python 3.8, and reads and writes
plain files, all in FOLDER:

    request.json         the workflow's dataset, model and backtest, as its file has them
    weights_0.npz ...    the state dict of each network, by pyqlib's names
    ours.parquet         datetime, instrument, score: what the run scored
    scores.parquet       written: datetime, instrument, score and label of pyqlib
    daily_theirs.parquet written: ic, rank_ic and the columns of pyqlib's report by datetime, of
                         pyqlib's scores
    daily_ours.parquet   written: the same of the scores in ours.parquet, the backtest of their
                         order with equal scores by name

A line that begins with `pyqlib: ` says what is done.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

KEYS = ["datetime", "instrument"]


def versions(module: str) -> dict[str, str]:
    """Import what is needed and return the versions of it."""
    import qlib
    import torch

    import_module(module)
    return {
        "pyqlib": qlib.__version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "pandas": pd.__version__,
        "numpy": np.__version__,
    }


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stdout.write(f"pyqlib: {text}\n")
    sys.stdout.flush()


def score(folder: Path) -> None:
    """Build pyqlib's dataset and network, score the segment "test", analyse the scores."""
    import qlib
    from qlib.utils import init_instance_by_config

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    qlib.init(
        provider_uri=request["provider_uri"],
        region=request["region"],
        expression_cache=None,
        dataset_cache=None,
        logging_level=logging.ERROR,
    )
    say("builds its dataset")
    dataset = init_instance_by_config(request["dataset"])
    say("scores the segment test")
    theirs = scores_of(request, folder, dataset)
    bounds = slice(*dataset.segments["test"])
    label = dataset.handler.fetch(bounds, col_set="label", data_key="raw").iloc[:, 0]
    table = pd.DataFrame({"score": theirs, "label": label.reindex(theirs.index)})
    table.reset_index().to_parquet(folder / "scores.parquet")
    ours = pd.read_parquet(folder / "ours.parquet").set_index(KEYS)["score"]
    for name, scores in (("theirs", theirs), ("ours", ours)):
        daily = analysed(scores, label, request, name)
        daily.reset_index().to_parquet(folder / f"daily_{name}.parquet")


def scores_of(request: Any, folder: Path, dataset: Any) -> pd.Series:
    """Average the scores of pyqlib's networks with the weights that are given."""
    import torch
    from qlib.utils import init_instance_by_config

    model = init_instance_by_config(request["model"])
    (network,) = [part for part in vars(model).values() if isinstance(part, torch.nn.Module)]
    # A batch of one row is a score without an axis, which pyqlib cannot put among the others.
    rows = len(dataset.handler.fetch(slice(*dataset.segments["test"]), col_set="label"))
    while rows % model.batch_size == 1:
        model.batch_size += 1
    parts = []
    for number in range(request["networks"]):
        weights = dict(np.load(folder / f"weights_{number}.npz"))
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        model.fitted = True
        if request["time_major"]:
            parts.append(time_major_scores(model, network, dataset, request["features"]))
        else:
            parts.append(model.predict(dataset))
    scores = pd.concat(parts, axis=1).astype("float64").mean(axis=1)
    return scores.rename_axis(KEYS).sort_index()


def time_major_scores(model: Any, network: Any, dataset: Any, features: int) -> pd.Series:
    """Score windows by pyqlib's KRNN, which takes rows whose columns lie session by session."""
    import torch

    data = dataset.prepare("test", col_set=["feature", "label"], data_key="infer")
    if isinstance(data, pd.DataFrame):
        index, flat = data.index, data["feature"].to_numpy()  # [S, F * L], field by field
    else:
        data.config(fillna_type="ffill+bfill")
        index, flat = data.get_index(), None
    network.eval()
    parts = []
    for begin in range(0, len(index), model.batch_size):
        end = min(begin + model.batch_size, len(index))
        if flat is None:
            windows = data[list(range(begin, end))][:, :, :features]  # [B, L, F]
        else:
            windows = flat[begin:end].reshape(end - begin, features, -1).transpose(0, 2, 1)
        rows = np.ascontiguousarray(windows).reshape(end - begin, -1)  # [B, L * F]
        with torch.no_grad():
            parts.append(network(torch.from_numpy(rows).float()).numpy())
    return pd.Series(np.concatenate(parts), index=index)


def analysed(scores: pd.Series, label: pd.Series, request: Any, name: str) -> pd.DataFrame:
    """Compute pyqlib's daily IC and rank IC of scores, and the report of its backtest."""
    from qlib.contrib.eva.alpha import calc_ic

    ic, rank_ic = calc_ic(scores, label.reindex(scores.index))
    daily = pd.DataFrame({"ic": ic, "rank_ic": rank_ic})
    if request["portfolio"] is not None:
        say("runs its backtest of " + ("its scores" if name == "theirs" else "the run's scores"))
        signal = scores if name == "theirs" else in_order(scores)
        daily = daily.join(backtested(signal, request), how="outer")
    return daily.astype("float64").rename_axis("datetime")


def in_order(scores: pd.Series) -> pd.Series:
    """Replace scores by their order in each session, best highest, equal ones by name.

    TopkDropout reads the order alone. Of equal scores pyqlib leaves it to a sort that is not
    stable, whose answer depends on the processor.
    """
    by_session = scores.sort_index().groupby(level="datetime")
    return -by_session.rank(method="first", ascending=False)


def backtested(scores: pd.Series, request: Any) -> pd.DataFrame:
    """Backtest scores as PortAnaRecord does, whose defaults are read from the class itself."""
    from qlib.backtest import backtest
    from qlib.utils import get_date_by_shift
    from qlib.workflow.record_temp import PortAnaRecord

    record = PortAnaRecord(recorder=None, config=request["portfolio"].get("config"))
    strategy, settings = copy.deepcopy(record.strategy_config), dict(record.backtest_config)
    kwargs = strategy["kwargs"]
    for placeholder in ("model", "dataset"):
        kwargs.pop(placeholder, None)
    kwargs["signal"] = scores.to_frame("score")
    days = scores.index.get_level_values("datetime")
    settings["start_time"] = settings.get("start_time") or days.min()
    settings["end_time"] = (
        request["backtest_end"] or settings.get("end_time") or get_date_by_shift(days.max(), 1)
    )
    metrics, _ = backtest(executor=record.executor_config, strategy=strategy, **settings)
    report: pd.DataFrame = next(iter(metrics.values()))[0]
    return report[["return", "cost", "turnover", "bench"]]


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        sys.stdout.write(f"{json.dumps(versions(sys.argv[2]))}\n")
    else:
        score(Path(sys.argv[2]))
