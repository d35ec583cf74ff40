"""Models learn nothing from labels that tell nothing, unless something leaks.

The returns of every session are those of a market, dealt out to its names anew, so that no feature
has to do with a label. Oracle: the mean IC lies in its interval around zero, by the spread of the
sessions' own ICs. The same graph with a planted leak, or without the shuffle, lies far outside.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from pipelines.market.market import Market
from tests.pipelines.conftest import make_market, run_everything
from tests.pipelines.records import own_record

NAMES, RHO = 30, 0.5
LEAK = '''
import numpy as np


def Tomorrow(panel):
    """The return that the label is made of: it is not known before two sessions are over."""
    close = panel.fields["close"]
    ahead = np.full(close.shape, np.nan)
    ahead[:, :-2] = close[:, 2:] / close[:, 1:-1] - 1
    return np.nan_to_num(ahead)


Tomorrow.fields, Tomorrow.look_back = ("close",), 0
'''


class Shuffled:
    """Bars whose volume orders the next returns, dealt out anew among the names of a session.

    Args:
        sessions: of the market.
        seed: of the market and of the shuffle.
        shuffle: False leaves the returns with their names.
    """

    def __init__(self, sessions, seed, shuffle=True):
        rng = np.random.default_rng(seed)
        shape = (len(sessions.keys), NAMES)
        signal, noise = rng.normal(size=shape), rng.normal(size=shape)
        returns = np.zeros(shape)
        returns[2:] = 0.01 * (RHO * signal[:-2] + np.sqrt(1 - RHO**2) * noise[2:])
        if shuffle:
            returns = rng.permuted(returns, axis=1)
        self._close = 100 * np.exp(np.cumsum(returns, axis=0))
        self._volume = np.round(1e6 * np.exp(0.1 * signal))
        self._keys = list(sessions.keys)

    def fetch(self, keys):
        """The bars of some sessions."""
        at = [self._keys.index(key) for key in keys]
        close, volume = self._close[at].ravel(), self._volume[at].ravel()
        prices = dict.fromkeys(("open", "high", "low", "close"), close)
        names = np.tile([f"N{i:02d}" for i in range(NAMES)], len(at))
        rows = {"date": np.repeat(list(keys), NAMES), "instrument": names, **prices}
        return pd.DataFrame({**rows, "volume": volume, "amount": close * volume, "adj_ratio": 1.0})


def ics(root, seed, *, shuffle=True, features=None) -> dict[str, np.ndarray]:
    """The IC of every evaluated session, by model, after a run of the whole graph."""
    own = {"V": "$volume/Mean($volume, 5) - 1", "RET": "$close/Ref($close, 1) - 1"}
    changes = {
        "features": {"set": {"features": {**own, **(features or {})}}},
        "dataset": {
            "infer_processors": [{"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"],
            "step_len": 3,
        },
        "training": {"retrain_every": 40, "seed": seed},
        "checks": {
            "model": {"varied": "warn", "rank_ic": "warn"},
            "predictions": {"varied": "warn"},
            "features": {"nan_share": "warn"},
        },
    }
    plain = make_market(root, changes)
    gru = {"hidden_size": 8, "num_layers": 1, "n_epochs": 1, "batch_size": 64, "lr": 0.02}
    config = plain.config.model_copy(update={"models": {"linear": {}, "gru": gru}})
    market = Market(config, root=root, source=Shuffled(plain.sessions, seed, shuffle))
    with own_record() as record:
        run_everything(market, record)
    keys = market.sessions.between(market.plan.first_trained, market.sessions.keys[-1])
    read = market.warehouse.read
    return {
        model: read(f"{model}_evaluation", keys, needed_by="test").frame["ic"].dropna().to_numpy()
        for model in ("linear", "gru")
    }


def t_of(values: np.ndarray) -> float:
    """The mean in its own standard errors; that of a session's IC is at least that of chance."""
    spread = max(values.std(ddof=1), 1 / np.sqrt(NAMES - 1))
    return float(values.mean() / (spread / np.sqrt(len(values))))


@pytest.fixture
def leak(tmp_path, monkeypatch):
    (tmp_path / "leaking.py").write_text(LEAK)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield {"LEAK": "leaking:Tomorrow"}
    sys.modules.pop("leaking", None)


@pytest.mark.thorough
def test_shuffled_labels_teach_nothing(tmp_path):
    """Three seeds: each within 3.5 standard errors, all together within 3."""
    runs = [ics(tmp_path / str(seed), seed) for seed in range(3)]
    for model in ("linear", "gru"):
        assert all(len(run[model]) >= 20 for run in runs)
        assert max(abs(t_of(run[model])) for run in runs) < 3.5
        assert abs(t_of(np.concatenate([run[model] for run in runs]))) < 3


@pytest.mark.thorough
def test_labels_that_are_not_shuffled_teach(tmp_path):
    """The same market, the same graph: the test above has the power to see what is there."""
    run = ics(tmp_path, 0, shuffle=False)
    assert t_of(run["linear"]) > 5
    assert run["linear"].mean() == pytest.approx(RHO, abs=0.15)


@pytest.mark.thorough
def test_a_planted_leak_is_seen(tmp_path, leak):
    """Shuffled labels and a feature that looks ahead, which `validate` would have named."""
    run = ics(tmp_path / "m", 0, features=leak)
    assert t_of(run["linear"]) > 5
