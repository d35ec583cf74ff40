"""A metric of another package selects the best epoch; one that breaks the contract is named."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.training import Trainer, TrainerConfig, predict
from rnn_core.training.own_metric import own_metric
from rnn_core.training.scoring import Validator

MODULE = '''
import numpy as np

def top_spread(scores, labels):
    """Mean label of the better half of each session, less that of the other."""
    frame = scores.to_frame("score").assign(label=labels)
    half = frame.groupby("datetime")["score"].rank(pct=True) > 0.5
    return frame["label"][half].mean() - frame["label"][~half].mean()

class Correlation:
    def __call__(self, scores, labels):
        return np.corrcoef(scores, labels)[0, 1]

class Needs:
    def __init__(self, level): ...
    def __call__(self, scores, labels): return 0.0

class Mute: pass
def lonely(scores): return 0.0
def wordy(scores, labels): return "good"
def empty(scores, labels): return float("nan")
value = 3.0
'''


@pytest.fixture
def metrics(tmp_path, monkeypatch):
    """The module `house_metrics` on the path."""
    (tmp_path / "house_metrics.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "house_metrics"
    sys.modules.pop("house_metrics", None)


def test_its_score_is_that_of_the_function_on_rows_with_a_label(metrics, make_source, make_network):
    """Oracle: the function called by hand on the same rows."""
    source, network = make_source(55), make_network()
    source.windows[[0, 12], -1, -1] = torch.nan
    scores = predict(network, source, device="cpu", has_label=True).astype(float)
    labels = source.windows[:, -1, -1].numpy().astype(float)
    known = np.isfinite(labels)
    index = source.get_index()[known]
    expected = sys.modules  # imported by the validator below
    validator = Validator(source, f"{metrics}:top_spread")
    by_hand = expected[metrics].top_spread(
        pd.Series(scores[known], index=index), pd.Series(labels[known], index=index)
    )
    assert validator.score_of(scores, labels) == by_hand


def test_a_training_selects_its_epoch_by_it(metrics, make_source, make_network, tmp_path):
    """The best epoch has the highest of all scores, and an interrupted training finds the same."""
    config = TrainerConfig(
        n_epochs=6, batch_size=16, early_stop=6, metric=f"{metrics}:Correlation", device="cpu"
    )
    train, valid = make_source(120), make_source(40)
    result = Trainer(config).fit(make_network(), train, valid)
    scores = result.history["valid_score"]
    assert result.best_epoch == int(scores.idxmax())
    assert result.best_score == scores.max()
    again = Trainer(config).fit(make_network(), train, valid, checkpoint_dir=tmp_path / "c")
    pd.testing.assert_frame_equal(
        result.history[["epoch", "valid_score"]], again.history[["epoch", "valid_score"]]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lonely", r"house_metrics:lonely: too many positional arguments; expected a function of"),
        ("Needs", r"house_metrics:Needs: .*missing 1 required positional argument: 'level'"),
        ("Mute", r"house_metrics:Mute: an instance has no __call__; expected a function of"),
        ("wordy", r"house_metrics:wordy fails on 15 scores and labels: ValueError"),
        ("empty", r"house_metrics:empty gives nan for the scores of five names"),
        (
            "value",
            r"house_metrics has float under the name 'value', expected a class or",
        ),
        ("top_spred", r"did you mean 'top_spread'"),
    ],
)
def test_a_broken_one_is_refused_when_the_settings_are_read(metrics, name, message):
    with pytest.raises(ValueError, match=message):
        TrainerConfig(metric=f"{metrics}:{name}")


def test_its_code_is_part_of_what_a_model_is_made_of(metrics, tmp_path):
    """Changed code has another digest, so that the models that it selected are stale."""
    before = own_metric(f"{metrics}:top_spread").origin
    assert before["module"] == metrics
    sys.modules.pop(metrics)
    (tmp_path / "house_metrics.py").write_text(MODULE.replace("> 0.5", "> 0.8"))
    after = own_metric(f"{metrics}:top_spread").origin
    assert {**before, "digest": ""} == {**after, "digest": ""}
    assert before["digest"] != after["digest"]


def test_it_needs_the_sessions_of_the_rows(metrics, array_source, make_source):
    source = array_source(make_source(10).windows)
    with pytest.raises(ValueError, match=r'metric "house_metrics:top_spread" needs a validation'):
        Validator(source, f"{metrics}:top_spread")
