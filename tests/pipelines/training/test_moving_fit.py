"""Processors whose fit window moves. Oracle: fits made by hand on the raw partitions.

The tiny market trains at its first trained session and every 12 sessions after it.
"""

from __future__ import annotations

import io
import shutil

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.operations.refit import run_refit
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.training.processors import ProcessorState, state_in_force
from pipelines.training.registry import find_bundle
from pipelines.training.windows import training_data
from tests.pipelines.conftest import (
    ChangedBars,
    make_market,
    market_of,
    materialize,
    model_assets,
    own_record,
    partition_bytes,
)
from tests.pipelines.finished_markets import put_on_record

DATA = ("ohlcv", "alpha158", "label")
FITTED = ("processors", "dataset_infer", "dataset_learn")
NO_BOUNDS = {"fit_start": None, "fit_end": None}


def fitting(fit, **changes):
    """Changes that give the tiny market a moving fit window; `fit` as the YAML has it."""
    return {"dataset": {"fit": fit, **NO_BOUNDS}, **changes}


ROLLING = fitting({"rolling": {"window_sessions": 30}})


def run_all(market, instance, last=None):
    """Every partitioned stage up to a session."""
    end = last or market.sessions.keys[-1]
    materialize(market, DATA, market.sessions.first, end, instance)
    materialize(market, FITTED, market.plan.first_trained, end, instance)
    materialize(market, model_assets(market), market.plan.first_trained, end, instance)


def not_current(market, instance):
    """Assets with partitions that are not current, with their causes."""
    report = status_report(market, stages(market), instance)
    return {
        a.asset: {f.cause for f in a.findings}
        for a in report.assets
        if a.findings and not a.asset.endswith("_report")
    }


@pytest.fixture(scope="module")
def rolled(tmp_path_factory):
    """The tiny market with one model and a rolling window, run over its whole span."""
    market = market_of(tmp_path_factory.mktemp("rolled") / "tiny", "gru", ROLLING)
    with own_record() as record:
        run_all(market, record)
        assert not_current(market, record) == {}
    return market


def opened(rolled, changes):
    """The same state under another configuration of one model."""
    return market_of(rolled.paths.root, "gru", changes)


def norm_of(state):
    """The fitted processor of the tiny market's features."""
    return state.infer.processors[1]


@pytest.mark.parametrize("position", [0, 5, 12, 20])
def test_the_state_is_that_of_the_newest_anchor(rolled, position):
    """Fitted on members' rows of the 30 sessions that end with the anchor."""
    keys = rolled.sessions.keys
    first = keys.index(rolled.plan.first_trained)
    anchor = first + position // 12 * 12
    norm = norm_of(state_in_force(rolled, keys[first + position], "the test"))
    window = keys[anchor - 29 : anchor + 1]
    raw = rolled.warehouse.read("alpha158", window, needed_by="the test").frame
    values = raw.loc[raw["member"], [name for _, name in norm.columns]].to_numpy()
    centre = np.nanmedian(values, axis=0)
    np.testing.assert_array_equal(norm.centre, centre)
    scale = np.nanmedian(np.abs(values - centre), axis=0) * 1.4826
    np.testing.assert_allclose(norm.scale, scale, rtol=1e-6)


def test_a_model_is_trained_and_served_with_its_own_state(rolled):
    """The bundle carries the state of its anchor, and training rows are normalised by it."""
    anchors = sorted(path.name for path in (rolled.paths.models / "gru").glob("2*"))
    assert len(anchors) == 3
    for anchor in anchors:
        own = ProcessorState.from_json(find_bundle(rolled, "gru", anchor).processors_json)
        assert own.hash == state_in_force(rolled, anchor, "the test").hash
        data = training_data(rolled, anchor, "the test")
        norm, window = norm_of(own), data.window.context
        raw = rolled.warehouse.read("alpha158", window, needed_by="the test").frame
        names = [name for _, name in norm.columns]
        expected = ((raw[names] - norm.centre) / norm.scale).clip(-3, 3).fillna(0)
        last = data.valid[len(data.valid) - 1][-1, :-1]
        rows = expected[(raw["date"] == window[-1]).to_numpy()].to_numpy(dtype="float32")
        assert np.isclose(rows, last, atol=1e-6).all(axis=1).any()


def test_the_datasets_of_a_session_are_made_with_its_state(rolled):
    keys = rolled.sessions.keys
    key = keys[keys.index(rolled.plan.first_trained) + 14]
    norm = norm_of(state_in_force(rolled, key, "the test"))
    raw = rolled.warehouse.read("alpha158", [key], needed_by="the test").frame
    made = rolled.warehouse.read("dataset_infer", [key], needed_by="the test").frame
    names = [name for _, name in norm.columns]
    expected = ((raw[names] - norm.centre) / norm.scale).clip(-3, 3).fillna(0)
    np.testing.assert_allclose(made[names], expected, atol=1e-6)


@pytest.mark.parametrize("after", [0, 7, 12, 17])
def test_nothing_depends_on_a_later_session(rolled, tmp_path, instance, after):
    """Every file up to D is the same whatever follows; D before, at and between anchors."""
    keys = rolled.sessions.keys
    last = keys[keys.index(rolled.plan.first_trained) + after]
    cut = market_of(tmp_path / "tiny", "gru", ROLLING)
    run_all(cut, instance, last)
    whole = partition_bytes(rolled)
    part = partition_bytes(cut)
    assert any(name.startswith("gru_prediction") for name in part)
    assert part == {name: whole[name] for name in part}


def test_the_window_may_grow_instead(tmp_path, instance):
    """An expanding window begins with the market and has a rhythm of its own."""
    market = market_of(tmp_path / "tiny", "gru", fitting({"expanding": {"every": 5}}))
    keys = market.sessions.keys
    first = keys.index(market.plan.first_trained)
    last = keys[first + 6]
    run_all(market, instance, last)
    rows = market.warehouse.read("processors", keys[first : first + 7], needed_by="the test").frame
    assert [f"{day:%Y-%m-%d}" for day in rows["as_of"]] == [keys[first]] * 5 + [keys[first + 5]] * 2
    assert {f"{day:%Y-%m-%d}" for day in rows["fit_start"]} == {keys[0]}
    assert rows["hash"].nunique() == 2


def test_models_of_two_rhythms_share_the_states_of_the_faster_one(tmp_path):
    entries = {"lstm": {"retrain_every": 4}, "gru": {"retrain_every": 6}}
    market = make_market(tmp_path / "tiny", {**ROLLING, "models": entries})
    assert market.fit_plan.retrain_every == 4
    slower = market.plan_of("gru")
    anchors = [key for key in market.sessions.keys if slower.trains(key)]
    fits = [market.fit_plan.anchor(key) for key in anchors]
    assert all(fit <= key for fit, key in zip(fits, anchors, strict=True))


def test_a_pin_serves_the_old_model_with_its_own_state(rolled, tmp_path, instance):
    """The scores of a pinned model equal those that its own sessions would have had."""
    keys = rolled.sessions.keys
    first = keys.index(rolled.plan.first_trained)
    shutil.copytree(rolled.paths.root, tmp_path / "tiny")
    pin = {"from": keys[first + 14], "as_of": keys[first]}
    market = market_of(tmp_path / "tiny", "gru", {**ROLLING, "training": {"pin": pin}})
    put_on_record(market, instance)
    assert not_current(market, instance)["gru_model"] == {Cause.INPUTS}
    span = (keys[first + 14], keys[first + 15])
    materialize(market, model_assets(market), *span, instance)
    rows = market.warehouse.read("gru_prediction", span, needed_by="the test").frame
    assert {f"{day:%Y-%m-%d}" for day in rows["as_of"]} == {keys[first]}
    assert "processors" not in not_current(market, instance)


def test_restated_bars_make_stale_the_states_that_were_fitted_on_them(rolled, tmp_path, instance):
    """And the sessions between two anchors with them."""
    keys = rolled.sessions.keys
    first = keys.index(rolled.plan.first_trained)
    shutil.copytree(rolled.paths.root, tmp_path / "tiny")
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    put_on_record(market, instance)
    changed = keys[first + 5]

    def double(bars):
        bars.loc[bars["date"] == changed, "volume"] *= 2
        return bars

    source = ChangedBars(market.source, double)
    other = Market(market.config, root=market.paths.root, source=source)
    materialize(other, ("ohlcv", "alpha158", "label"), changed, keys[-1], instance)
    report = status_report(other, stages(other), instance)
    stale = next(a for a in report.assets if a.asset == "processors")
    sessions = sorted(key for f in stale.findings for key in f.keys)
    assert sessions == list(keys[first + 12 :])


def test_refit_makes_all_states_anew(rolled, tmp_path):
    shutil.copytree(rolled.paths.root, tmp_path / "tiny")
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    before = partition_bytes(market)
    out = io.StringIO()
    run_refit(market, Console(file=out, width=300))
    assert partition_bytes(market) == before
    assert f"fitted for {market.plan.first_trained}" in out.getvalue()


def test_sessions_before_the_first_fit_are_empty_if_they_are_asked_for(tmp_path, instance):
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    keys = market.sessions.keys
    before = keys[keys.index(market.plan.first_trained) - 1]
    materialize(market, DATA, market.sessions.first, before, instance)
    materialize(market, FITTED, before, before, instance)
    for table in FITTED:
        info = market.warehouse.info(table, before)
        assert info.rows == 0
        assert "first fitted at" in info.provenance.status


def test_newer_samples_weigh_more(rolled):
    """Weights halve every ten sessions and have mean one."""
    market = opened(rolled, {**ROLLING, "training": {"half_life_sessions": 10}})
    data = training_data(market, market.plan.first_trained, "the test")
    days = data.train.get_index().get_level_values("datetime").strftime("%Y-%m-%d")
    position = np.array([market.sessions.position(day) for day in days])
    expected = 0.5 ** ((position.max() - position) / 10)
    np.testing.assert_allclose(data.weights, expected / expected.mean(), rtol=1e-12)
    assert training_data(rolled, market.plan.first_trained, "the test").weights is None


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"fit": "rolling", **NO_BOUNDS}, "expected fixed, expanding"),
        ({"fit": {"rolling": {}}, **NO_BOUNDS}, "rolling needs window_sessions"),
        ({"fit": {"expanding": {"window_sessions": 3}}, **NO_BOUNDS}, "takes no window_sessions"),
        ({"fit": {"rolling": {"window_sessions": 0}}, **NO_BOUNDS}, "greater than"),
        ({"fit": "expanding"}, "belong to `fit: fixed`"),
        ({"fit": "fixed", "fit_end": None}, "fit_start and fit_end are missing"),
        ({"fit": {"rolling": {"window": 3}}, **NO_BOUNDS}, "rolling needs window_sessions"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(tmp_path, dataset, message):
    with pytest.raises(ConfigError, match=message):
        make_market(tmp_path / "tiny", {"dataset": dataset})


def test_a_fixed_window_is_what_an_absent_fit_means(tmp_path):
    market = make_market(tmp_path / "tiny")
    assert market.fit_plan is None
    said = make_market(tmp_path / "tiny", {"dataset": {"fit": "fixed"}})
    assert [s.config_hash for s in stages(market)] == [s.config_hash for s in stages(said)]


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
        assert abs(ic.mean() - TurnoverSignal.RHO) < 3 * error + 0.03


def test_the_page_of_a_fit_has_its_figures(tmp_path, instance):
    """The first fit has no shift yet; a missing number is a dash, which JSON can hold."""
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    first = market.plan.first_trained
    materialize(market, DATA, market.sessions.first, first, instance)
    materialize(market, ("processors",), first, first, instance)
    event = instance.get_latest_materialization_event(dg.AssetKey("processors"))
    records = event.asset_materialization.metadata["columns"].records
    norm = norm_of(state_in_force(market, first, "the test"))
    assert [r.data["column"] for r in records] == [name for _, name in norm.columns]
    assert [r.data["centre"] for r in records] == [f"{c:.6g}" for c in norm.centre]
    assert {r.data["shift"] for r in records} == {"–"}
