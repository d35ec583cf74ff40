"""qlib's examples/workflow_by_code.py for this library: handler, model, scores, IC, backtest.

    python examples/workflow_by_code.py [FOLDER]

FOLDER keeps the model and the handler; without it they go to a temporary folder.

The market is simulated, with a planted signal, so the example needs neither data nor network. To
run it on bars of your own, let `market` return them; to run it on a qlib provider folder, let
`market` return `QlibProvider(folder).panel(...)`, or give a workflow file to `rnn-pipelines qrun`.

| there | here |
|---|---|
| `qlib.init(provider_uri=...)` | `bars=` of the handler |
| `init_instance_by_config(task["model"])` | the class itself |
| `SignalRecord`, `SigAnaRecord` | `model.predict`, `calc_ic` |
| `PortAnaRecord` | `topk_dropout`, `risk_analysis` |
| `R.save_objects` | `model.save`, `handler.save` |
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

from rnn_core.data import DatasetH, simulate_market
from rnn_core.evaluation import (
    PortfolioConfig,
    calc_ic,
    equal_weight_benchmark,
    risk_analysis,
    topk_dropout,
)
from rnn_core.models import GRU

SESSIONS = pd.bdate_range("2019-01-01", "2020-12-31", name="date")
SEGMENTS = {
    "train": ("2019-04-01", "2020-03-31"),
    "valid": ("2020-04-01", "2020-06-30"),
    "test": ("2020-07-01", "2020-12-31"),
}


def market(names: int) -> pd.DataFrame:
    """Return adjusted bars: date, instrument, open, high, low, close, volume, vwap."""
    bars = simulate_market(names, SESSIONS, seed=3, signal=0.4)
    factor = bars.groupby("instrument")["adj_ratio"].cumprod()
    bars["vwap"] = bars["amount"] / bars["volume"]
    for price in ("open", "high", "low", "close", "vwap"):
        bars[price] *= factor
    bars["volume"] /= factor
    return bars


def main(folder: Path, names: int = 40, n_epochs: int = 8) -> dict[str, float]:
    """Train, score, analyse and backtest.

    Args:
        folder: of the saved model and handler.
        names: instruments of the market.
        n_epochs: most passes over the training rows.

    Returns:
        Mean IC and rank IC of the test segment, and the annualised excess return.
    """
    bars = market(names)
    of_features = {"fields_group": "feature"}
    data_handler_config = {
        "bars": bars,
        "start_time": SEGMENTS["train"][0],
        "end_time": SEGMENTS["test"][1],
        "fit_start_time": SEGMENTS["train"][0],
        "fit_end_time": SEGMENTS["train"][1],
        "infer_processors": [
            {"class": "ProcessInf", "kwargs": of_features},
            {"class": "RobustZScoreNorm", "kwargs": {**of_features, "clip_outlier": True}},
            {"class": "Fillna", "kwargs": of_features},
        ],
        "learn_processors": [
            {"class": "DropnaLabel"},
            {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
        ],
    }

    # The dataset takes qlib's mapping of a handler, and can be used by itself.
    handler = {
        "class": "Alpha158",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": data_handler_config,
    }
    dataset = DatasetH(handler, SEGMENTS)
    example = dataset.prepare("train")
    print(example.iloc[:3, :5])

    # Flat rows of 158 features are windows of one session; a TSDatasetH has longer ones.
    model = GRU(
        d_feat=158, hidden_size=16, num_layers=1, lr=2e-3, n_epochs=n_epochs, GPU=-1, seed=0
    )
    model.fit(dataset)
    model.save(folder / "model", replace=True)
    dataset.handler.save(folder / "handler.json")

    # Scores and their correlation with the raw label.
    scores = model.predict(dataset, "test")
    label = dataset.prepare("test", col_set="label", data_key="raw")["LABEL0"]
    ic, rank_ic = calc_ic(scores, label)
    print(f"IC {ic.mean():.4f}, rank IC {rank_ic.mean():.4f} over {len(ic)} sessions")

    # The backtest of TopkDropout, after costs, against the mean of all names.
    config = PortfolioConfig(topk=8, n_drop=1, account=1e8, limit_threshold=0.095)
    portfolio = topk_dropout(scores, bars, config)
    daily = portfolio.daily
    excess = daily["return"] - daily["cost"] - equal_weight_benchmark(bars).reindex(daily.index)
    risk = risk_analysis(excess.dropna())
    print(risk)
    return {
        "ic": float(ic.mean()),
        "rank_ic": float(rank_ic.mean()),
        "annualised excess return": float(risk["annualized_return"]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
