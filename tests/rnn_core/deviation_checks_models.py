"""Checks of docs/deviations.md: the models and their training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnn_core.data import (
    DataHandlerLP,
    TSDatasetH,
)
from rnn_core.models import GRU, KRNN, KRNNModel
from rnn_core.training import predict
from tests.rnn_core.deviation_cases import (
    SEGMENTS,
    SHORT,
    SIZES,
    S,
    Two,
    fitted,
    shows,
)


@shows("the-device")
def _():
    model = GRU(**SIZES)
    with pytest.raises(TypeError, match="set GPU, the number"):
        model.device = torch.device("cpu")
    with pytest.raises(TypeError, match="device"):
        KRNNModel(2, 4, 3, 4, 2, 1, 0.0, device="cpu")


@shows("arguments-by-position")
def _():
    with pytest.raises(TypeError, match="name n_jobs, GPU and seed"):
        GRU(2, 4, 1, 0.0, 2, 0.01, "", 50, 20, "mse", "adam", -1)


@shows("changed-arguments")
def _(dataset):
    model = GRU(**SHORT)
    model.seed, model.lr = 3, 0.05
    want = fitted(dataset, seed=3, lr=0.05).predict(dataset)
    assert model.fit(dataset).predict(dataset).equals(want)
    model.hidden_size = 8
    with pytest.raises(ValueError, match="sizes of the network were changed"):
        model.fit(dataset)


@shows("argument-ranges")
def _():
    for kind, given in (
        (GRU, {"lr": 0.0}),
        (GRU, {"dropout": 1.0}),
        (KRNN, {"cnn_kernel_size": 2}),
    ):
        with pytest.raises(ValueError, match="expected"):
            kind(**given)


@shows("one-label")
def _(bars):
    handler = Two(bars=bars, semantics="qlib", label=["$close/$open", "$high/$open"])
    with pytest.raises(ValueError, match="2 of 'label'"):
        fitted(TSDatasetH(handler, SEGMENTS, step_len=3))


@shows("hooks")
def _(bars, dataset):
    for kind, hook, given in (
        (GRU, "train_epoch", {}),
        (Two, "process_data", {"bars": bars}),
        (TSDatasetH, "_extend_slice", {"handler": dataset.handler, "segments": SEGMENTS}),
    ):
        mine = type("Mine", (kind,), {hook: lambda self, *args: None})
        with pytest.raises(TypeError, match=f"overrides {hook}"):
            mine(**given)


@shows("the-network")
def _():
    model = GRU(**SIZES)
    with pytest.raises(TypeError, match="cannot be replaced"):
        model.gru_model = torch.nn.Linear(2, 1)
    model.gru_model.load_state_dict(GRU(**{**SIZES, "seed": 1}).gru_model.state_dict())


@shows("last-batch")
def _(dataset):
    model = fitted(dataset, n_epochs=1, batch_size=79)  # no multiple of it is the number of rows
    windows = dataset.prepare("valid", ["feature", "label"], "learn")
    windows.config(fillna_type="ffill+bfill")
    labels = np.array([window[-1, -1] for window in windows])
    assert len(labels) % 79
    scores = predict(model.network, windows, device="cpu", has_label=True)
    known = np.isfinite(labels)
    want = -np.mean(np.square(scores[known] - labels[known]))
    assert model.member_scores[0] == pytest.approx(want, rel=1e-5)


@shows("small-training-set")
def _(dataset):
    rows = fitted(dataset, batch_size=10**6).history["samples"]
    assert (rows == len(dataset.prepare("train", ["feature", "label"], "learn"))).all()


@shows("train-score")
def _(dataset):
    evals: dict[str, list[float]] = {}
    model = GRU(**SHORT)
    model.fit(dataset, evals_result=evals)
    assert evals["train"] == (-model.history["train_loss"]).tolist()


@shows("seed")
def _(dataset):
    drawn = {**SHORT, "seed": None}
    scores = {}
    for seed in (0, None):
        for run in (0, 1):
            torch.manual_seed(4)
            scores[seed, run] = GRU(**{**drawn, "seed": seed}).fit(dataset).predict(dataset)
    assert scores[0, 0].equals(scores[0, 1])
    assert not scores[None, 0].equals(scores[None, 1])


@shows("finite-features")
def _(bars):
    broken = bars.copy()
    broken.loc[broken["date"] == S[20], "high"] = np.inf
    dataset = TSDatasetH(Two(bars=broken, semantics="qlib"), SEGMENTS, step_len=3)
    with pytest.raises(ValueError, match="RANGE"):
        fitted(dataset)


@shows("infinite-label")
def _(handler):
    data = handler.fetch(col_set="__raw", data_key="learn")
    data.loc[(S[20], "S0001"), ("label", "LABEL0")] = np.inf
    dataset = TSDatasetH(DataHandlerLP(data, semantics="qlib"), SEGMENTS, step_len=3)
    model = fitted(dataset, batch_size=10**6)
    known = len(dataset.prepare("train", ["feature", "label"], "learn")) - 1
    assert (model.history["samples"] == known).all()
    assert np.isfinite(model.history["train_loss"]).all()


@shows("test-segment")
def _(dataset):
    asked = []
    prepare = dataset.prepare
    dataset.prepare = lambda name, *args, **kwargs: (
        asked.append(name) or prepare(name, *args, **kwargs)
    )
    fitted(dataset)
    assert asked == ["train", "valid"]


@shows("no-valid-segment")
def _(dataset):
    del dataset.segments["valid"]
    assert len(fitted(dataset, n_epochs=3, early_stop=1).history) == 3


@shows("second-fit")
def _(dataset):
    model = fitted(dataset)
    once = model.predict(dataset)
    assert model.fit(dataset).predict(dataset).equals(once)


@shows("sorted-scores")
def _(dataset):
    scores = fitted(dataset).predict(dataset)
    assert scores.name == "score" and scores.index.is_monotonic_increasing
    assert scores.index.names == ["datetime", "instrument"]


@shows("metric-of-all-rows")
def _(dataset):
    sizes = []

    class Mine(GRU):
        def metric_fn(self, pred, label):
            sizes.append(len(pred))
            return 0.0

    Mine(**{**SHORT, "batch_size": 20}).fit(dataset)
    assert sizes == [len(dataset.prepare("valid", ["feature", "label"], "learn"))] * 2


@shows("no-pickle")
def _(dataset, tmp_path):
    fitted(dataset).save(tmp_path / "model")
    dataset.handler.save(tmp_path / "handler.json")
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".yaml", ".parquet", ".safetensors"}
    assert not hasattr(DataHandlerLP, "to_pickle") and not hasattr(GRU, "to_pickle")
