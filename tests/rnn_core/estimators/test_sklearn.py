"""Estimators among those of scikit-learn. Oracles: `sklearn.base.clone`, and the arguments."""

from __future__ import annotations

import pytest

from rnn_core.estimators import GRU, KRNN, LSTM, LightGBM, Linear

base = pytest.importorskip("sklearn.base")


@pytest.mark.parametrize("kind", [LSTM, GRU, KRNN])
def test_a_clone_has_the_arguments_and_no_fit(kind) -> None:
    model = kind(n_epochs=3, optimizer="Adam", seed=4, lr=0.01)
    other = base.clone(model)
    assert type(other) is kind and other is not model
    assert other.get_params() == model.get_params() and not other.fitted
    assert other.get_params()["optimizer"] == "adam"
    (twice,) = base.clone([model])
    assert repr(twice) == repr(model)


def test_a_subclass_is_cloned_as_itself() -> None:
    class Own(LSTM):
        def loss_fn(self, pred, label):
            return ((pred - label) ** 2).mean()

    assert type(base.clone(Own(hidden_size=3))) is Own


def test_parameters_are_set_and_a_begun_network_is_forgotten() -> None:
    model = LSTM(hidden_size=3, num_layers=1)
    begun = model.network
    assert model.set_params(hidden_size=5, n_epochs=7) is model
    assert (model.hidden_size, model.n_epochs, model.num_layers) == (5, 7, 1)
    assert model.network is not begun and model.network.rnn.hidden_size == 5
    assert model.set_params() is model


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hiden_size": 5}, "LSTM has no argument 'hiden_size'; did you mean 'hidden_size'"),
        ({"seeds": 0}, "seeds is 0, expected 1 or more"),
        ({"dropout": 2.0}, "dropout"),
    ],
)
def test_what_cannot_be_set_changes_nothing(params, message) -> None:
    model = LSTM(hidden_size=3)
    before = model.get_params()
    with pytest.raises(ValueError, match=message):
        model.set_params(**params)
    assert model.get_params() == before


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (Linear, {"flatten": "window"}, "flaten.*did you mean 'flatten'"),
        (LightGBM, {"num_leaves": 7, "seeds": 2}, "flaten"),
    ],
)
def test_estimators_that_are_no_networks_are_cloned_and_set_alike(kind, changed, message) -> None:
    model = kind(seed=3)
    other = base.clone(model.set_params(**changed))
    assert type(other) is kind and other is not model
    assert other.get_params() == {**kind(seed=3).get_params(), **changed}
    assert repr(other) == repr(model) and "seed=3" in repr(model)
    with pytest.raises(ValueError, match=message):
        model.set_params(flaten="last")
    assert model.get_params() == other.get_params()
