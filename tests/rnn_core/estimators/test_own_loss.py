"""Losses, metrics and hooks that a subclass of a model overrides, as qlib's users do.

Oracles: a training loop written out as qlib's, and the same estimator without the override.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from rnn_core.models import GRU, LSTM, build_network
from rnn_core.qlib_hooks import MODEL_HOOKS
from rnn_core.training import Trainer, TrainerConfig, predict, seeded_network
from rnn_core.training.gradients import batch_gradient
from rnn_core.training.seeding import epoch_order
from rnn_core.training.workers import Workers
from tests.rnn_core.estimators.estimator_cases import FAMILIES, SEGMENTS, TRAINING

SHORT = {**TRAINING, "n_epochs": 2, "seed": 0}
CPU = torch.device("cpu")


def huber(pred: Tensor, label: Tensor) -> Tensor:
    mask = ~torch.isnan(label)
    return torch.nn.functional.huber_loss(pred[mask], label[mask], delta=0.5)


def loop(model: Any, dataset: Any, n_epochs: int, loss_fn: Any) -> list[Tensor]:
    """Train as qlib's `train_epoch` does, on the rows and in the order of the estimator."""
    source = model._windows(dataset, "train", False, learn=True).source
    network = model._fresh_network(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=model.lr)
    for epoch in range(n_epochs):
        order = epoch_order(len(source), 0, epoch)
        for first in range(0, len(source) - model.batch_size + 1, model.batch_size):
            batch = source.batch(order[first : first + model.batch_size], CPU)
            loss = loss_fn(network(batch[:, :, :-1].float()), batch[:, -1, -1].float())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(network.parameters(), 3.0)
            optimizer.step()
    return [p.detach() for p in network.parameters()]


@pytest.mark.parametrize("shape", ["series", "tabular"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_overridden_loss_is_trained_on(family: str, shape: str, datasets: dict) -> None:
    """Oracle: the loop above, for a loss that is no sum of squares."""
    kind, sizes = FAMILIES[family]

    class Mine(kind):  # type: ignore[misc, valid-type]
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            return huber(pred, label)

    dataset = datasets[shape]()
    dataset.segments = {"train": SEGMENTS["train"], "test": SEGMENTS["test"]}
    model = Mine(**sizes, **SHORT).fit(dataset)
    for got, want in zip(model.network.parameters(), loop(model, dataset, 2, huber), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    plain = kind(**sizes, **SHORT).fit(dataset)
    assert not model.predict(dataset).equals(plain.predict(dataset))


def test_a_loss_of_a_whole_batch_is_not_cut_into_shards(datasets: dict) -> None:
    """The spread of the errors is no sum over rows. Batches of 600 rows would be three shards."""
    sizes = FAMILIES["LSTM"][1]
    seen = []

    class Mine(LSTM):
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            seen.append(len(pred))
            mask = ~torch.isnan(label)
            errors = pred[mask] - label[mask]
            return errors.std() + errors.mean() ** 2

    dataset = datasets["series"]()
    dataset.segments = {"train": SEGMENTS["train"]}
    settings = {**SHORT, "batch_size": 600, "threads": 2}
    model = Mine(**sizes, **settings).fit(dataset)
    assert set(seen) == {600}
    want = loop(model, dataset, 2, Mine(**sizes, **settings).loss_fn)
    for got, expected in zip(model.network.parameters(), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_qlibs_own_loss_written_out_changes_nothing(datasets: dict) -> None:
    class Mine(GRU):
        def loss_fn(self, pred: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
            assert weight is not None and (weight == 1).all()  # as qlib's *_ts classes pass them
            return super().loss_fn(pred, label, weight)

        def metric_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            mask = torch.isfinite(label)
            return -self.loss_fn(pred[mask], label[mask], torch.ones_like(label[mask]))

    sizes = FAMILIES["GRU"][1]
    mine, plain = (kind(**sizes, **SHORT).fit(datasets["series"]()) for kind in (Mine, GRU))
    pd.testing.assert_frame_equal(mine.history, plain.history, rtol=1e-5)


def test_an_overridden_metric_selects_the_epoch(datasets: dict) -> None:
    """A metric that falls from epoch to epoch keeps the first one; its word is the user's own."""
    sizes, calls = FAMILIES["LSTM"][1], []

    class Mine(LSTM):
        def metric_fn(self, pred: Tensor, label: Tensor) -> float:
            assert self.metric == "falling"
            calls.append((len(pred), int(torch.isnan(label).sum()), pred.requires_grad))
            return -float(len(calls))

    dataset = datasets["series"]()
    evals: dict[str, list[float]] = {}
    model = Mine(**sizes, **{**SHORT, "n_epochs": 3}, metric="falling")
    model.fit(dataset, evals_result=evals)
    valid = dataset.prepare("valid", ["feature", "label"], "learn")
    assert calls == [(len(valid), 0, False)] * 3
    assert evals["valid"] == [-1.0, -2.0, -3.0]
    assert model.history["best"].tolist() == [True, False, False]
    one = LSTM(**sizes, **{**SHORT, "n_epochs": 1}).fit(dataset)
    assert model.predict(dataset).equals(one.predict(dataset))
    with pytest.raises(ValueError, match="metric is 'falling', expected one of 'loss', 'ic'"):
        LSTM(metric="falling")


def test_without_a_metric_of_its_own_minus_the_loss_selects(datasets: dict) -> None:
    class Mine(GRU):
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            assert self.loss == "huber"
            return huber(pred, label)

    dataset = datasets["series"]()
    model = Mine(**FAMILIES["GRU"][1], **SHORT, loss="huber").fit(dataset)
    valid = model._windows(dataset, "valid", False, learn=True)
    labels = torch.tensor([float(w[-1, -1]) for w in valid.data])
    scores = torch.from_numpy(predict(model.network, valid.source, device="cpu", has_label=True))
    assert model.member_scores[0] == pytest.approx(-float(huber(scores, labels)), rel=1e-5)
    with pytest.raises(ValueError, match="loss is 'huber', expected one of 'mse'"):
        GRU(loss="huber")


def test_functions_of_the_object_count_too(datasets: dict) -> None:
    """qlib looks up `self.loss_fn`, so a function set on the object is called."""
    dataset, sizes = datasets["tabular"](), FAMILIES["LSTM"][1]

    class Mine(LSTM):
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            return huber(pred, label)

    bound = LSTM(**sizes, **SHORT)
    bound.loss_fn = types.MethodType(lambda self, pred, label: huber(pred, label), bound)  # type: ignore[method-assign]
    free = LSTM(**sizes, **SHORT)
    free.loss_fn = huber  # type: ignore[method-assign, assignment]
    want = Mine(**sizes, **SHORT).fit(dataset).predict(dataset)
    assert bound.fit(dataset).predict(dataset).equals(want)
    assert free.fit(dataset).predict(dataset).equals(want)
    module = LSTM(**sizes, **SHORT)
    module.loss_fn = torch.nn.HuberLoss(delta=0.5)  # type: ignore[method-assign, assignment]
    assert module.fit(dataset).predict(dataset).equals(want)


class _Late:
    def reweight(self, data: Any) -> Any:
        index = data.index if isinstance(data, pd.DataFrame) else data.get_index()
        return (index.get_level_values("datetime") >= "2020-06-01").astype(float)


def test_weights_reach_a_loss_that_takes_them(datasets: dict) -> None:
    """Oracle: the estimator's own weighted loss."""

    class Weighted(GRU):
        def loss_fn(self, pred: Tensor, label: Tensor, weight: Tensor) -> Tensor:
            mask = ~torch.isnan(label)
            return (weight[mask] * (pred[mask] - label[mask]) ** 2).mean()

    class Plain(GRU):
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            return huber(pred, label)

    dataset, sizes = datasets["tabular"](), FAMILIES["GRU"][1]
    del dataset.segments
    dataset.segments = {"train": SEGMENTS["train"], "test": SEGMENTS["test"]}
    got = Weighted(**sizes, **SHORT).fit(dataset, reweighter=_Late())
    want = GRU(**sizes, **SHORT).fit(dataset, reweighter=_Late())
    np.testing.assert_allclose(got.predict(dataset), want.predict(dataset), rtol=1e-3, atol=1e-5)
    with pytest.raises(TypeError, match=r"define loss_fn\(self, pred, label, weight=None\)"):
        Plain(**sizes, **SHORT).fit(dataset, reweighter=_Late())


def test_answers_that_are_no_number_are_refused(datasets: dict) -> None:
    class Rows(LSTM):
        def loss_fn(self, pred: Tensor, label: Tensor) -> Tensor:
            return (pred - label) ** 2

    class Nothing(LSTM):
        def metric_fn(self, pred: Tensor, label: Tensor) -> float:
            return float("nan")

    sizes, dataset = FAMILIES["LSTM"][1], datasets["tabular"]()
    with pytest.raises(TypeError, match=r"loss_fn returned .*\(256,\).*a tensor of one number"):
        Rows(**sizes, **SHORT).fit(dataset)
    with pytest.raises(ValueError, match="metric_fn returned nan"):
        Nothing(**sizes, **SHORT).fit(dataset)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", sorted(MODEL_HOOKS))
def test_hooks_that_are_never_called_are_refused(hook: str, family: str) -> None:
    kind, sizes = FAMILIES[family]
    mine = type("Mine", (kind,), {hook: lambda self, *args, **kwargs: None})
    mixed = type("Mixed", (type("Mixin", (), {hook: lambda self: None}), kind), {})
    for cls in (mine, mixed):
        with pytest.raises(TypeError, match=f"overrides {hook}, which qlib calls and this"):
            cls(**sizes)


def test_a_hook_set_on_the_object_is_refused_by_fit(datasets: dict) -> None:
    model = LSTM(**FAMILIES["LSTM"][1], **SHORT)
    model.train_epoch = lambda x, y: None  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"overrides train_epoch.*override loss_fn and metric_fn"):
        model.fit(datasets["series"]())


def test_a_checkpoint_is_refused_for_functions_that_it_cannot_tell_apart(tmp_path: Any) -> None:
    network = seeded_network(lambda: build_network("gru", 2), 0)
    trainer = Trainer(TrainerConfig(device="cpu"), loss_fn=lambda p, y, w: huber(p, y))
    with pytest.raises(ValueError, match="leave checkpoint_dir out"):
        trainer.fit(network, [0], None, checkpoint_dir=tmp_path)  # type: ignore[arg-type]


def test_a_batch_with_a_loss_of_its_own_counts_the_known_rows() -> None:
    """Oracle: by hand; the loss of an epoch is weighted by rows with a label."""
    network = seeded_network(lambda: build_network("gru", 2), 0)
    windows = torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(0))
    windows[4:, -1, -1] = torch.nan

    class Source:
        def __len__(self) -> int:
            return 6

        def batch(self, indices: Tensor, device: torch.device) -> Tensor:
            return windows[indices]

    with Workers(CPU) as workers:
        sums = batch_gradient(
            network, Source(), torch.arange(6), sharded=False, workers=workers,
            loss_fn=lambda pred, label, weight: huber(pred, label),
        )  # fmt: skip
    loss = huber(network(windows[..., :-1]), windows[:, -1, -1])
    assert sums.rows == 4
    assert float(sums.squares / 4) == pytest.approx(float(loss.detach()))
    for got, want in zip(
        sums.gradients, torch.autograd.grad(loss, network.parameters()), strict=True
    ):
        torch.testing.assert_close(got / 4, want)
