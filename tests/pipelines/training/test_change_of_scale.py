"""A planted signal whose scale changes: what a fixed and a moving fit window make of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.market.market import Market
from tests.pipelines.conftest import (
    market_of,
    materialize,
)
from tests.pipelines.moving_markets import (
    NO_BOUNDS,
)


class TurnoverSignal:
    """Bars whose volume orders the next returns, and is ten times as large from one session on.

    The score of decision t is the log of the volume of t: its correlation with the return from
    t+1 to t+2 is `RHO` by construction.
    """

    RHO, NAMES = 0.5, 30

    def __init__(self, sessions, switch):
        rng = np.random.default_rng(11)
        shape = (len(sessions.keys), self.NAMES)
        signal, noise = rng.normal(size=shape), rng.normal(size=shape)
        returns = np.zeros(shape)  # of the close of t on the close before
        returns[2:] = 0.01 * (self.RHO * signal[:-2] + np.sqrt(1 - self.RHO**2) * noise[2:])
        base = np.where(np.arange(shape[0]) < sessions.position(switch), 1e6, 1e7)[:, None]
        self._close = 100 * np.exp(np.cumsum(returns, axis=0))
        self._volume = np.round(base * np.exp(0.1 * signal))
        self._keys = sessions.keys

    def fetch(self, keys):
        """The bars of some sessions."""
        at = [self._keys.index(key) for key in keys]
        close, volume = self._close[at].ravel(), self._volume[at].ravel()
        return pd.DataFrame(
            {
                "date": np.repeat(list(keys), self.NAMES),
                "instrument": np.tile([f"N{i:02d}" for i in range(self.NAMES)], len(at)),
                "open": close,
                "high": close,
                "low": close,
                "close": close,
                "volume": volume,
                "amount": close * volume,
                "adj_ratio": 1.0,
            }
        )


@pytest.mark.thorough
@pytest.mark.parametrize("fit", ["fixed", "rolling"])
def test_a_change_of_scale_costs_a_fixed_window_the_signal(tmp_path, instance, fit):
    """Volumes become tenfold: a fixed window clips all of them to one value from then on."""
    processors = [{"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"]
    bounds = {"fit_start": "2020-01-03", "fit_end": "2020-03-02"}
    dataset = {"fit": {"rolling": {"window_sessions": 20}}, **NO_BOUNDS}
    if fit == "fixed":
        dataset = {"fit": "fixed", **bounds}
    changes = {
        "market": {"end": "2020-07-31"},
        "features": {"set": {"features": {"V": "$volume"}}},
        "dataset": {**dataset, "infer_processors": processors, "step_len": 2},
        "training": {
            "first_trained": "2020-06-26",
            "window_sessions": 60,
            "valid_sessions": 10,
            "retrain_every": 60,
        },
        "models": {"gru": {"lr": 0.02, "n_epochs": 20, "early_stop": 20}},
        "checks": {
            "model": {"varied": "warn"},
            "predictions": {"varied": "warn"},
            "features": {"nan_share": "warn"},
        },
        "evaluation": {"quantiles": 2},
    }
    plain = market_of(tmp_path / "tiny", "gru", changes)
    source = TurnoverSignal(plain.sessions, switch="2020-03-16")
    market = Market(plain.config, root=plain.paths.root, source=source)
    assets = [s.name for s in stages(market) if s.tables and s.first is None]
    assets += [] if fit == "rolling" else ["processors"]
    materialize(market, assets, market.sessions.first, market.sessions.keys[-1], instance)
    later = [s.name for s in stages(market) if s.tables and s.first is not None]
    first = market.plan.first_trained
    materialize(market, later, first, market.sessions.keys[-1], instance)
    keys = market.sessions.between(first, market.sessions.keys[-1])
    rows = market.warehouse.read("gru_evaluation", keys, needed_by="the test").frame
    ic = rows["ic"].dropna()
    if fit == "fixed":
        assert rows["ic"].isna().all() or abs(ic.mean()) < 0.1
    else:
        assert len(ic) >= 20
        error = ic.std(ddof=1) / np.sqrt(len(ic))
        assert abs(ic.mean() - TurnoverSignal.RHO) < 3 * error
