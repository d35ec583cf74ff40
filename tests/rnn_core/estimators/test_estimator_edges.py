"""Weights, layouts, and what the estimators refuse.

Oracles: formulas and cells written out by hand, and the messages.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.estimators.estimator_data import FrameWindows
from rnn_core.models import GRU, KRNN, LSTM, build_network
from rnn_core.training import (
    Trainer,
    TrainerConfig,
    TrainingDivergedError,
    seeded_network,
)
from tests.rnn_core.estimators.estimator_cases import (
    FAMILIES,
    SEGMENTS,
    TRAINING,
    rank_ic,
)


class _Recent:
    """Weights 0 for the rows before June; shuffled where a series is given."""

    def __init__(self, *, series: bool) -> None:
        self.series = series

    def reweight(self, data: Any) -> Any:
        index = data.index if isinstance(data, pd.DataFrame) else data.get_index()
        late = index.get_level_values("datetime") >= "2020-06-01"
        weights = pd.Series(late.astype(float), index=index)
        return weights.sample(frac=1.0, random_state=0) if self.series else weights.to_numpy()


@pytest.mark.parametrize("shape", ["series", "tabular"])
def test_sample_weights(shape: str, datasets: dict, frame: pd.DataFrame) -> None:
    """Labels before June are turned round: only a model that leaves them out ranks rightly."""
    kind, sizes = FAMILIES["GRU"]
    dataset = datasets[shape]()
    dataset.frame = dataset.frame.copy()
    early = dataset.frame.index.get_level_values("datetime") < "2020-06-01"
    label = dataset.frame[("label", "LABEL0")]
    dataset.frame[("label", "LABEL0")] = label.where(~early, -5 * label)
    short = {**TRAINING, "n_epochs": 3}
    plain = kind(**sizes, **short, seed=0).fit(dataset).predict(dataset)
    array, series = (
        kind(**sizes, **short, seed=0).fit(dataset, reweighter=_Recent(series=s)).predict(dataset)
        for s in (False, True)
    )
    assert array.equals(series)
    assert rank_ic(array, frame) > 0.15 > 0 > rank_ic(plain, frame)


def test_weights_of_one_change_no_bit_and_bad_ones_are_refused(datasets: dict) -> None:
    kind, sizes = FAMILIES["GRU"]
    dataset = datasets["series"]()
    model = kind(**sizes, **{**TRAINING, "n_epochs": 1}, seed=0)

    class Given:
        def __init__(self, give: Callable[[int], Any]) -> None:
            self.give = give

        def reweight(self, data: Any) -> Any:
            return self.give(len(data))

    plain = model.fit(dataset).predict(dataset)
    assert model.fit(dataset, reweighter=Given(np.ones)).predict(dataset).equals(plain)
    for give, message in (
        (lambda n: np.ones(n - 1), "one for each training row"),
        (lambda n: -np.ones(n), "weights are negative or not finite"),
        (np.zeros, "0 are above 0"),
        (lambda n: pd.Series(np.full(n, np.nan)), "rows no weight"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(dataset, reweighter=Given(give))
    assert model.predict(dataset).equals(plain)  # a failed fit leaves the estimator as it was


def test_the_weighted_loss() -> None:
    """Oracle: by hand, sum(w * error^2) / rows; so weights of 2 at one rate step as 1 at twice."""
    windows, weights = _toy(), np.linspace(0.0, 2.0, 40)
    settings = {"n_epochs": 1, "batch_size": 40, "optimizer": "gd", "device": "cpu"}

    def run(lr: float, given: Any) -> Any:
        network = seeded_network(lambda: build_network("gru", 2), 0)
        config = TrainerConfig(lr=lr, **settings)
        return Trainer(config).fit(network, windows, None, weights=given)

    fresh = seeded_network(lambda: build_network("gru", 2), 0)
    batch = windows.batch(torch.arange(40), torch.device("cpu"))
    with torch.no_grad():
        errors = (fresh(batch[..., :2]) - batch[:, -1, 2]).square().numpy()
    loss = run(0.01, weights).history["train_loss"].iloc[0]
    assert loss == pytest.approx((weights * errors).sum() / 40, rel=1e-5)
    doubled, twice = run(0.01, np.full(40, 2.0)), run(0.02, None)
    for name, value in doubled.network.state_dict().items():
        torch.testing.assert_close(value, twice.network.state_dict()[name])


def test_a_checkpoint_knows_its_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without validation rows too: interrupted and gone on from, against in one go."""
    windows, weights = _toy(), np.linspace(0.0, 2.0, 40)

    def run(given: Any, stop: int | None = None) -> Any:
        def callback(report: Any) -> None:
            if report.epoch == stop:
                raise InterruptedError

        network = seeded_network(lambda: build_network("gru", 2), 0)
        trainer = Trainer(TrainerConfig(n_epochs=4, batch_size=8, device="cpu"), callback=callback)
        return trainer.fit(
            network, windows, None, weights=given, checkpoint_dir=tmp_path / str(given is None)
        )

    with pytest.raises(InterruptedError):
        run(weights, stop=1)
    resumed = run(weights)
    whole = run(weights)
    assert resumed.history.equals(whole.history) and whole.best_epoch == 3
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, whole.network.state_dict()[name])
    with pytest.raises(InterruptedError):
        run(weights, stop=1)
    with caplog.at_level(logging.WARNING):
        run(weights * 2)
    assert "is of another training (row weights differ)" in caplog.text


def _toy() -> FrameWindows:
    """40 rows of two features over three sessions."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2024-01-01", periods=10), list("ABCD")], names=["datetime", "instrument"]
    )
    rows = pd.DataFrame(rng.normal(size=(40, 6)), index=index)
    return FrameWindows(rows, rows.mean(axis=1), 2)


def test_legacy_layout_is_qlibs(tmp_path: Path) -> None:
    """Oracle: the cells of one row of two fields over three sessions, placed by hand.

    qlib views the row as [T, F], so neighbouring days of one field pass for fields of one day.
    """
    index = pd.MultiIndex.from_tuples(
        [(pd.Timestamp("2024-01-02"), "A")], names=["datetime", "instrument"]
    )
    names = ["CLOSE2", "CLOSE1", "CLOSE0", "OPEN2", "OPEN1", "OPEN0"]
    row = pd.DataFrame([[12.0, 11.0, 10.0, 22.0, 21.0, 20.0]], index=index, columns=names)
    one, cpu = torch.tensor([0]), torch.device("cpu")
    right = FrameWindows(row, None, 2).batch(one, cpu)[0].tolist()
    legacy = FrameWindows(row, None, 2, legacy=True).batch(one, cpu)[0].tolist()
    assert right == [[12, 22], [11, 21], [10, 20]]
    assert legacy == [[12, 11], [10, 22], [21, 20]]
    viewed = torch.tensor(row.to_numpy()).view(1, -1, 2)  # qlib contrib/model/pytorch_krnn.py:67
    assert legacy == viewed[0].tolist()


def test_legacy_layout_changes_the_scores_of_flat_rows_only(datasets: dict) -> None:
    kind, sizes = FAMILIES["KRNN"]
    short = {**TRAINING, "n_epochs": 1, "seed": 0}
    flat = datasets["tabular"]()
    right = kind(**sizes, **short).fit(flat).predict(flat)
    legacy = kind(**sizes, **short, legacy_layout=True).fit(flat).predict(flat)
    assert not right.equals(legacy)
    with pytest.raises(ValueError, match="legacy_layout is about the flat rows of a DatasetH"):
        kind(**sizes, **short, legacy_layout=True).fit(datasets["series"]())


@pytest.mark.parametrize("shape", ["series", "tabular"])
def test_a_feature_that_is_not_finite_is_named(shape: str, datasets: dict) -> None:
    kind, sizes = FAMILIES["LSTM"]
    dataset = datasets[shape]()
    model = kind(**sizes, **{**TRAINING, "n_epochs": 1}, seed=0).fit(dataset)
    column = dataset.frame.columns[1]
    for segment, day in (("train", "2020-03-02"), ("valid", "2020-09-15")):
        bad = datasets[shape]()
        bad.frame = bad.frame.copy()
        bad.frame.loc[pd.IndexSlice[day, "S0001":"S0009"], column] = np.nan
        with pytest.raises(ValueError, match=f"segment '{segment}'.*{column[1]}.*{day}"):
            kind(**sizes, **TRAINING).fit(bad)
    dataset.frame = dataset.frame.copy()
    dataset.frame.loc[pd.IndexSlice["2020-12-01", :], column] = np.inf
    with pytest.raises(ValueError, match=f"segment 'test'.*{column[1]}.*infinite.*2020-12-01"):
        model.predict(dataset)


def test_divergence_names_epoch_and_cause(datasets: dict) -> None:
    kind, sizes = FAMILIES["LSTM"]
    dataset = datasets["series"]()
    dataset.segments = {"train": SEGMENTS["train"]}
    dataset.frame = dataset.frame.copy()
    dataset.frame[("label", "LABEL0")] *= 1e30
    with pytest.raises(TrainingDivergedError, match="epoch 0, batch 0, first in the loss"):
        kind(**sizes, **TRAINING, seed=0).fit(dataset)


def test_what_does_not_fit_is_refused(datasets: dict) -> None:
    dataset = datasets["series"]()
    model = LSTM(**FAMILIES["LSTM"][1], **{**TRAINING, "n_epochs": 1}, seed=0)
    with pytest.raises(RuntimeError, match=r"not fitted: call fit\(dataset\) first"):
        model.predict(dataset)
    with pytest.raises(RuntimeError, match="not fitted"):
        _ = model.history
    with pytest.raises(ValueError, match="d_feat is 6 and the windows of 'train' have 3 features"):
        LSTM(GPU=-1).fit(dataset)
    with pytest.raises(ValueError, match="12 feature columns cannot be cut into sessions of 5"):
        KRNN(fea_dim=5, GPU=-1).fit(datasets["tabular"]())
    model.fit(dataset)
    with pytest.raises(ValueError, match="fitted on one kind of dataset"):
        model.predict(datasets["tabular"]())
    other = datasets["series"]()
    other.frame = other.frame.rename(columns={"ROC20": "ROC60"})
    with pytest.raises(ValueError, match="feature 1 of 'test' is 'ROC60', and was 'ROC20'"):
        model.predict(other)
    other.prepare = lambda *_, **__: [1, 2]
    with pytest.raises(TypeError, match="returned list, expected a TSDataSampler"):
        model.predict(other)
    unlabelled = datasets["tabular"]()
    unlabelled.frame[("label", "LABEL1")] = 0.0
    with pytest.raises(ValueError, match="2 of 'label'"):
        KRNN(fea_dim=3, GPU=-1).fit(unlabelled)
    del unlabelled.frame[("label", "LABEL1")]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"lr": "1e-3"}, ValueError, "lr is '1e-3' of type str, expected float"),
        ({"metric": "mse"}, ValueError, "metric is 'mse', expected one of 'loss', 'ic'"),
        ({"optimizer": "sgd"}, ValueError, "expected one of 'adam', 'gd'"),
        ({"seeds": 0}, ValueError, "seeds is 0, expected 1 or more"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"GPU": None}, ValueError, "GPU is None"),
        ({"hidden_size": 0}, ValueError, "hidden_size is 0"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0"),
    ],
)
def test_wrong_arguments(given: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LSTM(**given)


def test_defaults_are_qlibs() -> None:
    """Oracle: the constructors of qlib 0.9.7's classes."""
    shared = {
        "n_epochs": 200,
        "lr": 0.001,
        "metric": "",
        "batch_size": 2000,
        "early_stop": 20,
        "loss": "mse",
        "optimizer": "adam",
        "GPU": 0,
        "seed": None,
        "dropout": 0.0,
    }
    recurrent = {**shared, "d_feat": 6, "hidden_size": 64, "num_layers": 2}
    krnn = {"fea_dim": 6, "cnn_dim": 64, "cnn_kernel_size": 3, "rnn_dim": 64, "rnn_dups": 3}
    for kind, expected in (
        (LSTM, recurrent),
        (GRU, recurrent),
        (KRNN, {**shared, **krnn, "rnn_layers": 2, "legacy_layout": None}),
    ):
        parameters = inspect.signature(kind).parameters
        assert {name: parameters[name].default for name in expected} == expected
    assert repr(GRU(seed=4)).startswith("GRU(n_epochs=200")
