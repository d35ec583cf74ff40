"""The models are used as users of qlib use them: overrides, arguments, attributes.

Oracles: a training loop written out as qlib's, the same estimator without the override, and the
constructors of pyqlib 0.9.7.
"""

from __future__ import annotations

import copy
import inspect
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from rnn_core.data import DataHandlerLP, DatasetH, DropnaLabel, TSDatasetH
from rnn_core.models import GRU, KRNN, LSTM, build_network
from rnn_core.qlib_hooks import MODEL_HOOKS
from rnn_core.training import Trainer, TrainerConfig, predict, seeded_network
from rnn_core.training.gradients import batch_gradient
from rnn_core.training.seeding import epoch_order
from rnn_core.training.workers import Workers
from tests.rnn_core.estimators.estimator_cases import FAMILIES, SEGMENTS, STEPS, TRAINING

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


def test_the_attributes_of_qlibs_models(datasets: dict) -> None:
    names = {LSTM: ("lstm_model", "LSTM_model"), GRU: ("gru_model", "GRU_model")}
    for kind, sizes in FAMILIES.values():
        model = kind(**sizes, **SHORT)
        for name, value in {**sizes, **SHORT}.items():
            assert getattr(model, name) == value
        assert (model.loss, model.metric, model.optimizer) == ("mse", "", "adam")
        assert (model.device, model.use_gpu, model.fitted) == (CPU, False, False)
        for alias in names.get(kind, ("krnn_model",)):
            assert getattr(model, alias) is model.network
        assert isinstance(model.train_optimizer, torch.optim.Adam)
        assert model.train_optimizer.param_groups[0]["lr"] == model.lr
        assert len(model.train_optimizer.param_groups[0]["params"]) == len(
            list(model.network.parameters())
        )
        shown = model.network.state_dict()
        assert all(
            torch.equal(v, shown[k]) for k, v in model._fresh_network(0).state_dict().items()
        )
        model.fit(datasets["tabular"]())
        assert model.fitted and model.network is model._members[0].network
    assert isinstance(LSTM(optimizer="GD", GPU=-1).train_optimizer, torch.optim.SGD)


def test_looking_at_the_network_changes_no_bit(datasets: dict) -> None:
    dataset, sizes = datasets["series"](), FAMILIES["LSTM"][1]
    plain = LSTM(**sizes, **SHORT).fit(dataset)
    looked = LSTM(**sizes, **SHORT)
    _ = looked.lstm_model, looked.train_optimizer
    assert looked.fit(dataset).predict(dataset).equals(plain.predict(dataset))
    drawn = LSTM(**sizes, **{**SHORT, "seed": None})
    begun = copy.deepcopy(drawn.lstm_model.state_dict())
    seed = int(drawn.fit(dataset).history["seed"].iloc[0])
    want = LSTM(**sizes, **{**SHORT, "seed": seed})._fresh_network(seed).state_dict()
    assert all(torch.equal(value, want[name]) for name, value in begun.items())


def test_loaded_weights_are_trained_on_and_predicted_with(datasets: dict, tmp_path: Any) -> None:
    """qlib's way to predict with weights: load them, say `fitted`, predict."""
    dataset, sizes = datasets["tabular"](), FAMILIES["GRU"][1]
    trained = GRU(**sizes, **SHORT).fit(dataset)
    model = GRU(**sizes, **{**SHORT, "seed": 9})
    model.gru_model.load_state_dict(trained.gru_model.state_dict())
    with pytest.raises(RuntimeError, match="not fitted"):
        model.predict(dataset)
    model.fitted = True
    assert model.predict(dataset).equals(trained.predict(dataset))
    with pytest.raises(RuntimeError, match="does not know its features"):
        model.save(tmp_path / "model")
    before = copy.deepcopy(model.gru_model)
    model.lr = 1e-9
    model.fit(dataset)  # from these weights, and hardly away from them
    for got, want in zip(model.gru_model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    model.fitted = False
    with pytest.raises(RuntimeError, match="not fitted"):
        model.predict(dataset)


def test_an_optimizer_of_the_users_own_trains(datasets: dict) -> None:
    dataset, sizes = datasets["series"](), FAMILIES["LSTM"][1]
    plain = LSTM(**sizes, **SHORT, optimizer="gd").fit(dataset)
    mine = LSTM(**sizes, **SHORT)
    mine.train_optimizer = torch.optim.SGD(mine.lstm_model.parameters(), lr=SHORT["lr"])
    assert mine.fit(dataset).predict(dataset).equals(plain.predict(dataset))
    slow = LSTM(**sizes, **SHORT)
    slow.train_optimizer.param_groups[0]["lr"] = 0.0
    begun = copy.deepcopy(slow.lstm_model.state_dict())
    slow.fit(dataset)
    assert all(torch.equal(v, begun[k]) for k, v in slow.lstm_model.state_dict().items())
    other = LSTM(**sizes, **SHORT)
    other.train_optimizer = torch.optim.SGD(LSTM(**sizes, GPU=-1).lstm_model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match="parameters of another network, and would train nothing"):
        other.fit(dataset)
    several = LSTM(**sizes, **SHORT, seeds=2)
    _ = several.train_optimizer
    with pytest.raises(TypeError, match="train_optimizer belongs to one network and there are 2"):
        several.fit(dataset)


def test_arguments_changed_on_the_object_count(datasets: dict) -> None:
    """A fit reads them anew, as qlib's does; sizes belong to the network that was made."""
    dataset, sizes = datasets["series"](), FAMILIES["LSTM"][1]
    model = LSTM(**sizes, **SHORT)
    model.n_epochs = 1
    assert len(model.fit(dataset).history) == 1
    model.n_epochs = 0
    with pytest.raises(ValueError, match="n_epochs is 0"):
        model.fit(dataset)
    model.n_epochs, model.hidden_size = 1, 16
    with pytest.raises(ValueError, match="sizes of the network were changed after it was made"):
        model.fit(dataset)
    with pytest.raises(TypeError, match="network of LSTM cannot be replaced by Linear"):
        model.lstm_model = torch.nn.Linear(3, 1)


TRAINED = "n_epochs lr metric batch_size early_stop loss optimizer"
POSITIONS = {
    LSTM: f"d_feat hidden_size num_layers dropout {TRAINED}",
    GRU: f"d_feat hidden_size num_layers dropout {TRAINED}",
    KRNN: f"fea_dim cnn_dim cnn_kernel_size rnn_dim rnn_dups rnn_layers dropout {TRAINED}",
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_arguments_by_position(kind: Any) -> None:
    """Oracle: the order of pyqlib 0.9.7's constructors, up to where its classes part."""
    names = POSITIONS[kind].split()
    parameters = inspect.signature(kind).parameters
    by_place = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == names
    values = [parameters[name].default for name in names]
    values[0], values[names.index("n_epochs")] = 4, 7
    model = kind(*values, GPU=-1)
    assert [getattr(model, name) for name in names] == values
    with pytest.raises(TypeError, match=r"by position.*name n_jobs, GPU and seed"):
        kind(*values, -1)
    with pytest.raises(TypeError, match=f"was given {names[0]} twice"):
        kind(4, **{names[0]: 4})


def test_unknown_arguments_are_named_in_a_warning() -> None:
    with pytest.warns(UserWarning, match="LSTM has no argument 'hiden_size' and ignores 3.*'hidd"):
        model = LSTM(hiden_size=3)
    assert model.hidden_size == 64
    with pytest.warns(UserWarning, match="KRNN has no argument 'd_feat'"):
        KRNN(d_feat=6)


@pytest.mark.parametrize("chosen", [None, True, False])
@pytest.mark.parametrize("semantics", ["qlib", "strict"])
def test_krnn_cuts_rows_as_the_semantics_of_the_handler_says(
    semantics: Any, chosen: bool | None, flat_rows: pd.DataFrame, tmp_path: Any
) -> None:
    """Q16. Oracle: the layout named in the constructor, over a handler of strict semantics."""

    def dataset(semantics: Any) -> DatasetH:
        handler = DataHandlerLP(flat_rows, learn_processors=[DropnaLabel()], semantics=semantics)
        return DatasetH(handler, SEGMENTS)

    sizes = FAMILIES["KRNN"][1]
    short = {**SHORT, "n_epochs": 1}
    given = {} if chosen is None else {"legacy_layout": chosen}
    legacy = semantics == "qlib" if chosen is None else chosen
    model = KRNN(**sizes, **short, **given)
    if semantics == "qlib" and chosen is None:
        with pytest.warns(UserWarning, match="cuts the flat rows as qlib's does"):
            model.fit(dataset(semantics))
    else:
        model.fit(dataset(semantics))
    assert model.arguments.legacy_layout is legacy  # type: ignore[attr-defined]
    want = KRNN(**sizes, **short, legacy_layout=legacy).fit(dataset("strict"))
    assert model.predict(dataset(semantics)).equals(want.predict(dataset("strict")))
    model.save(tmp_path / "model")
    loaded = KRNN.load(tmp_path / "model")
    assert loaded.predict(dataset(semantics)).equals(want.predict(dataset("strict")))


def test_krnn_on_windows_has_no_layout_to_choose(frame: pd.DataFrame) -> None:
    handler = DataHandlerLP(frame, learn_processors=[DropnaLabel()], semantics="qlib")
    dataset = TSDatasetH(handler, SEGMENTS, STEPS)
    model = KRNN(**FAMILIES["KRNN"][1], **{**SHORT, "n_epochs": 1}).fit(dataset)
    assert model.legacy_layout is False


@pytest.fixture(scope="module")
def recorded(fixtures_dir: Any) -> dict[str, Any]:
    """pyqlib's networks and trainer; see tests/fixtures/make_models.py."""
    with np.load(fixtures_dir / "models.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
def test_attributes_and_functions_have_pyqlibs_values(optimizer: str, recorded: dict) -> None:
    """Oracle: pyqlib's seeded weights, and its scores after each of three epochs of one batch.

    The loop is that of qlib's users: network, loss, optimizer and metric of the object.
    """
    model = LSTM(4, 5, 2, lr=0.01, optimizer=optimizer, GPU=-1, seed=3)
    for name, value in model.LSTM_model.state_dict().items():
        np.testing.assert_array_equal(value, recorded[f"seeded/{name}"])
    windows, valid = (torch.from_numpy(recorded[f"train/{name}"]) for name in ("windows", "valid"))
    scores = []
    for _ in range(3):
        pred = model.lstm_model(windows[:, :, :-1])
        loss = model.loss_fn(pred, windows[:, -1, -1], torch.ones(len(windows)))
        assert torch.equal(loss, model.loss_fn(pred, windows[:, -1, -1]))
        model.train_optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.lstm_model.parameters(), 3.0)
        model.train_optimizer.step()
        with torch.no_grad():
            pred = model.lstm_model(valid[:, :, :-1])
            scores.append(float(model.metric_fn(pred, valid[:, -1, -1])))
    np.testing.assert_allclose(scores, recorded[f"train/{optimizer}/scores"], rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_pyqlibs_weights_give_pyqlibs_scores(family: str, recorded: dict) -> None:
    """Oracle: the outputs of pyqlib's networks for the same weights."""
    kind, name = FAMILIES[family][0], family.lower()
    sizes: tuple[Any, ...] = (4, 3, 3, 5, 2, 2) if family == "KRNN" else (4, 5, 2)
    model = kind(*sizes, GPU=-1)
    prefix = f"{name}/state/"
    weights = {k[len(prefix) :]: torch.from_numpy(v) for k, v in recorded.items() if prefix in k}
    getattr(model, f"{name}_model").load_state_dict(weights)
    model.fitted = True
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=6), ["A"]], names=["datetime", "instrument"]
    )
    # A row of a table lies feature by feature, oldest session first.
    values = recorded["input"].transpose(0, 2, 1).reshape(6, -1)
    rows = pd.DataFrame(values, index=index)
    rows.columns = pd.MultiIndex.from_product([["feature"], [f"F{k}" for k in range(28)]])
    dataset = DatasetH(DataHandlerLP.from_df(rows), {"test": (None, None)})
    np.testing.assert_allclose(
        model.predict(dataset), recorded[f"{name}/output"], rtol=1e-5, atol=1e-6
    )
