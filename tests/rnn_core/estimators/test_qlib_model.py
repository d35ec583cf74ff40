"""Arguments and attributes of the models, used as qlib's users use them.

Oracles: the constructors, networks and scores of pyqlib 0.9.7, and an estimator left alone.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import DataHandlerLP, DatasetH, DropnaLabel, TSDatasetH
from rnn_core.models import GRU, KRNN, LSTM
from tests.rnn_core.estimators.estimator_cases import FAMILIES, SEGMENTS, STEPS, TRAINING

SHORT = {**TRAINING, "n_epochs": 2, "seed": 0}
CPU = torch.device("cpu")


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
        assert model.fitted and model.network is model._fit.members[0].network
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
    assert model.legacy_layout is chosen
    want = KRNN(**sizes, **short, legacy_layout=legacy).fit(dataset("strict"))
    assert model.predict(dataset(semantics)).equals(want.predict(dataset("strict")))
    model.save(tmp_path / "model")
    loaded = KRNN.load(tmp_path / "model")
    assert loaded.legacy_layout is legacy
    assert loaded.predict(dataset(semantics)).equals(want.predict(dataset("strict")))


def test_krnn_on_windows_has_no_layout_to_choose(frame: pd.DataFrame) -> None:
    handler = DataHandlerLP(frame, learn_processors=[DropnaLabel()], semantics="qlib")
    dataset = TSDatasetH(handler, SEGMENTS, STEPS)
    model = KRNN(**FAMILIES["KRNN"][1], **{**SHORT, "n_epochs": 1}).fit(dataset)
    assert model.legacy_layout is None


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
