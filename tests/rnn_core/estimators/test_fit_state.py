"""Reading an attribute changes no fit, and an interrupted fit changes nothing.

Oracle: an estimator that nobody looked at or interrupted.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import DataHandlerLP, DatasetH, DropnaLabel
from rnn_core.models import KRNN, LSTM
from rnn_core.training import EpochReport
from tests.rnn_core.estimators.estimator_cases import FAMILIES, SEGMENTS, TRAINING

SHORT = {**TRAINING, "n_epochs": 2, "seed": 0}
SIZES = FAMILIES["LSTM"][1]


def scores(dataset: Any, **arguments: Any) -> pd.Series:
    return LSTM(**SIZES, **{**SHORT, **arguments}).fit(dataset).predict(dataset)


def stop(report: EpochReport) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["lstm_model", "train_optimizer"])
@pytest.mark.parametrize("changed", [{"lr": 0.05}, {"seed": 7}, {"optimizer": "gd"}])
def test_arguments_that_change_after_a_look_count(
    name: str, changed: dict[str, Any], datasets: dict
) -> None:
    dataset = datasets["series"]()
    model = LSTM(**SIZES, **SHORT)
    seen = getattr(model, name)
    for argument, value in changed.items():
        setattr(model, argument, value)
    assert model.fit(dataset).predict(dataset).equals(scores(dataset, **changed))
    if name == "lstm_model":
        assert seen is model.lstm_model, "the network that was asked for is the one that is trained"


def test_loaded_weights_stay_under_another_seed() -> None:
    """The seed decides weights that nobody loaded; those that were loaded are the user's."""
    model, other = (LSTM(**SIZES, **{**SHORT, "seed": seed}) for seed in (0, 5))
    model.lstm_model.load_state_dict(other.lstm_model.state_dict())
    model.seed = 1
    loaded = model.lstm_model.state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in other.lstm_model.state_dict().items())


def test_an_optimizer_read_after_a_fit_is_not_of_the_next(datasets: dict) -> None:
    dataset = datasets["series"]()
    model = LSTM(**SIZES, **SHORT).fit(dataset)
    assert model.train_optimizer is model.train_optimizer
    assert model.fit(dataset).predict(dataset).equals(scores(dataset))


def test_several_networks_have_no_optimizer_to_read(datasets: dict) -> None:
    dataset = datasets["series"]()
    model = LSTM(**SIZES, **SHORT, seeds=2)
    with pytest.raises(TypeError, match="train_optimizer belongs to one network and there are 2"):
        _ = model.train_optimizer
    assert model.fit(dataset).predict(dataset).equals(scores(dataset, seeds=2))
    model.train_optimizer = torch.optim.SGD(model.lstm_model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="there are 2: give seeds=1"):
        model.fit(dataset)


@pytest.mark.parametrize("looks", [False, True])
def test_an_interrupted_fit_begins_anew(looks: bool, datasets: dict) -> None:
    dataset = datasets["series"]()
    model = LSTM(**SIZES, **SHORT)
    if looks:
        _ = model.lstm_model, model.train_optimizer
    with pytest.raises(KeyboardInterrupt):
        model.fit(dataset, callback=stop)
    assert not model.fitted
    assert model.fit(dataset).predict(dataset).equals(scores(dataset))


def test_an_interrupted_fit_keeps_loaded_weights_and_optimizer(datasets: dict) -> None:
    dataset = datasets["series"]()
    source = LSTM(**SIZES, **{**SHORT, "seed": 9}).lstm_model.state_dict()
    begun = {}
    for interrupted in (False, True):
        model = LSTM(**SIZES, **SHORT)
        model.lstm_model.load_state_dict(source)
        model.fitted = True
        model.train_optimizer = torch.optim.Adam(model.lstm_model.parameters(), lr=0.02)
        before = model.predict(dataset)
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                model.fit(dataset, callback=stop)
        assert model.predict(dataset).equals(before)
        begun[interrupted] = model.fit(dataset).predict(dataset)
    assert begun[True].equals(begun[False])


def test_the_files_have_the_arguments_of_the_fit(datasets: dict, tmp_path: Path) -> None:
    dataset = datasets["series"]()
    model = LSTM(**SIZES, **SHORT).fit(dataset)
    model.lr, model.seed, model.n_epochs = 0.5, 99, 300
    model.save(tmp_path / "model")
    loaded = LSTM.load(tmp_path / "model")
    assert (loaded.lr, loaded.seed, loaded.n_epochs) == (SHORT["lr"], 0, 2)
    assert loaded.predict(dataset).equals(model.predict(dataset))


def test_a_fit_that_is_forgotten_leaves_nothing(frame: pd.DataFrame, datasets: dict) -> None:
    """Weights are then loaded for the other kind of dataset, with columns of other names."""
    model = LSTM(**SIZES, **SHORT).fit(datasets["tabular"]())
    weights = copy.deepcopy(model.lstm_model.state_dict())
    model.fitted = False
    model.lstm_model.load_state_dict(weights)
    model.fitted = True
    with pytest.raises(RuntimeError, match="loaded weights and does not know its features"):
        model.save("nowhere")
    assert np.isfinite(model.predict(datasets["series"]())).all()


def test_the_layout_may_be_set_on_the_object(flat_rows: pd.DataFrame, tmp_path: Path) -> None:
    """Oracle: the same choice in the constructor; None leaves it to the handler of each fit."""

    def dataset(semantics: Any) -> DatasetH:
        handler = DataHandlerLP(flat_rows, learn_processors=[DropnaLabel()], semantics=semantics)
        return DatasetH(handler, SEGMENTS)

    sizes, strict, qlib = FAMILIES["KRNN"][1], dataset("strict"), dataset("qlib")
    short = {**SHORT, "n_epochs": 1}
    want = {
        layout: KRNN(**sizes, **short, legacy_layout=layout).fit(strict).predict(strict)
        for layout in (False, True)
    }
    assert not want[False].equals(want[True])
    model = KRNN(**sizes, **short)
    model.legacy_layout = True
    assert model.fit(strict).predict(strict).equals(want[True])
    model.save(tmp_path / "model")
    model.legacy_layout = None
    assert model.predict(strict).equals(want[True]), "the fit has its layout"
    assert KRNN.load(tmp_path / "model").legacy_layout is True
    with pytest.warns(UserWarning, match="cuts the flat rows as qlib's does"):
        model.fit(qlib)
    assert model.predict(qlib).equals(want[True])
    assert model.fit(strict).predict(strict).equals(want[False])
    with pytest.raises(ValueError, match="legacy_layout is 'yes'"):
        KRNN(legacy_layout="yes")
