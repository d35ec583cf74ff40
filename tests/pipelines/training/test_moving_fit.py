"""Processors whose fit window moves. Oracle: fits made by hand on the raw partitions.

The tiny market trains at its first trained session and every 12 sessions after it.
"""

from __future__ import annotations

import io
import os
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
from pipelines.training.processors import ProcessorState
from pipelines.training.registry import find_bundle
from pipelines.training.windows import training_data
from tests.pipelines.conftest import (
    ChangedBars,
    key_of,
    make_market,
    market_of,
    materialize,
    model_assets,
    own_record,
    partition_bytes,
)
from tests.pipelines.finished_markets import put_on_record
from tests.pipelines.moving_markets import (
    DATA,
    FITTED,
    NO_BOUNDS,
    ROLLING,
    fitting,
    norm_of,
    run_all,
    state_of,
)


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


@pytest.mark.parametrize("position", [0, 5, 12, 20])
def test_the_state_is_that_of_the_newest_anchor(rolled, position):
    """Fitted on members' rows of the 30 sessions that end with the anchor."""
    keys = rolled.sessions.keys
    first = keys.index(rolled.plan.first_trained)
    anchor = first + position // 12 * 12
    norm = norm_of(state_of(rolled, keys[first + position]))
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
        assert own.hash == state_of(rolled, anchor).hash
        data = training_data(rolled, rolled.datasets[0], anchor, "the test")
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
    norm = norm_of(state_of(rolled, key))
    raw = rolled.warehouse.read("alpha158", [key], needed_by="the test").frame
    made = rolled.warehouse.read("dataset_infer", [key], needed_by="the test").frame
    names = [name for _, name in norm.columns]
    expected = ((raw[names] - norm.centre) / norm.scale).clip(-3, 3).fillna(0)
    np.testing.assert_allclose(made[names], expected, atol=1e-6)


@pytest.mark.parametrize(
    "after", [12, *(pytest.param(n, marks=pytest.mark.thorough) for n in (0, 7, 17))]
)
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


@pytest.mark.thorough
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
    assert market.datasets[0].fit_plan.retrain_every == 4
    slower = market.plan_of("gru")
    anchors = [key for key in market.sessions.keys if slower.trains(key)]
    fits = [market.datasets[0].fit_plan.anchor(key) for key in anchors]
    assert all(fit <= key for fit, key in zip(fits, anchors, strict=True))


@pytest.mark.thorough
def test_each_rhythm_has_its_own_models_with_the_states_of_their_anchors(tmp_path, instance):
    """Run: the state of a model is that in force at its anchor, whichever model set the rhythm."""
    entries = {"lstm": {"retrain_every": 4}, "gru": {"retrain_every": 6}}
    market = make_market(tmp_path / "tiny", {**ROLLING, "models": entries})
    first = market.sessions.position(market.plan.first_trained)
    keys = market.sessions.keys[first : first + 9]
    materialize(market, DATA, market.sessions.first, keys[-1], instance)
    assets = [f"{name}_{kind}" for kind in ("model", "prediction") for name in ("lstm", "gru")]
    materialize(market, (*FITTED, *assets), keys[0], keys[-1], instance)
    made = {
        (name, path.name): ProcessorState.from_json(
            find_bundle(market, name, path.name).processors_json
        ).hash
        for name in ("lstm", "gru")
        for path in (market.paths.models / name).glob("2*")
    }
    fits = {key: state_of(market, key).hash for key in keys}
    assert len(set(fits.values())) == 3  # at 0, 4 and 8
    assert made == {
        ("lstm", keys[0]): fits[keys[0]],
        ("lstm", keys[4]): fits[keys[4]],
        ("lstm", keys[8]): fits[keys[8]],
        ("gru", keys[0]): fits[keys[0]],
        ("gru", keys[6]): fits[keys[4]],
    }


@pytest.mark.thorough
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
    # A market that never trained again has that model and no other.
    changes = fitting(
        {"rolling": {"window_sessions": 30, "every": 12}}, training={"retrain_every": 60}
    )
    once = market_of(tmp_path / "once" / "tiny", "gru", changes)
    materialize(once, DATA, once.sessions.first, span[1], instance)
    materialize(once, (*FITTED, *model_assets(once)), keys[first], span[1], instance)
    expected = once.warehouse.read("gru_prediction", span, needed_by="the test").frame
    columns = ["date", "instrument", "score"]
    pd.testing.assert_frame_equal(rows[columns], expected[columns])
    served = rolled.warehouse.read("gru_prediction", span, needed_by="the test").frame
    assert not np.array_equal(rows["score"], served["score"])


def test_the_last_good_model_serves_with_its_own_state(rolled, tmp_path, instance):
    """The third model orders its validation the wrong way round: the second stays in force."""
    keys = rolled.sessions.keys
    first = rolled.sessions.position(rolled.plan.first_trained)
    second, span = keys[first + 12], (keys[first + 24], keys[first + 25])
    scores = []
    for name, changes in (
        ("judged", {"checks": {"model": {"rank_ic": "block"}}}),
        ("pinned", {"training": {"pin": {"from": span[0], "as_of": second}}}),
    ):
        shutil.copytree(rolled.paths.root, tmp_path / name / "tiny")
        market = market_of(tmp_path / name / "tiny", "gru", {**ROLLING, **changes})
        put_on_record(market, instance)
        materialize(market, model_assets(market), *span, instance)
        rows = market.warehouse.read("gru_prediction", span, needed_by="the test").frame
        assert {f"{day:%Y-%m-%d}" for day in rows["as_of"]} == {second}
        scores.append(rows[["date", "instrument", "score"]])
    pd.testing.assert_frame_equal(*scores)


@pytest.mark.thorough
def test_sessions_of_a_warm_up_do_not_stop_the_first_fit(tmp_path, instance):
    """Empty partitions before the first fit hold no state to compare it with."""
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    keys = market.sessions.keys
    first = market.sessions.position(market.plan.first_trained)
    materialize(market, DATA, keys[0], keys[first], instance)
    # As a backfill in the UI does that begins before the first fit, by more than a rhythm.
    materialize(market, FITTED, keys[first - 14], keys[first], instance)
    assert market.warehouse.info("processors", keys[first - 1]).rows == 0
    assert norm_of(state_of(market, keys[first])).centre is not None


def _outdated(market, instance):
    """Assets with stored partitions that are not current; the market is made in part only."""
    causes = {a: c - {Cause.ABSENT} for a, c in not_current(market, instance).items()}
    return {asset: cause for asset, cause in causes.items() if cause}


@pytest.mark.thorough
def test_a_market_goes_from_one_kind_of_window_to_another_and_back(tmp_path, instance):
    """Partitions of one kind of window are stale under the other, and current after a run."""
    root = tmp_path / "tiny"
    fixed = market_of(root, "gru")
    first = fixed.plan.first_trained
    last = fixed.sessions.keys[fixed.sessions.position(first) + 2]
    materialize(fixed, (*DATA, *FITTED), fixed.sessions.first, last, instance)
    materialize(fixed, model_assets(fixed), first, last, instance)
    before = partition_bytes(fixed)
    moving = market_of(root, "gru", ROLLING)
    report = not_current(moving, instance)
    assert Cause.ABSENT in report["processors"]
    stale = _outdated(moving, instance)
    assert set(stale) >= {"dataset_infer", "dataset_learn", "gru_model", "gru_prediction"}
    materialize(moving, (*FITTED, *model_assets(moving)), first, last, instance)
    # The partitions of the fixed window before the first fit stay and are not compared.
    assert tuple(moving.warehouse.sessions("processors")) == moving.sessions.between(first, last)
    assert _outdated(moving, instance) == {}
    again = market_of(root, "gru")
    materialize(again, FITTED, again.sessions.first, last, instance)
    materialize(again, model_assets(again), first, last, instance)
    assert _outdated(again, instance) == {}
    tables = ("dataset_infer", "dataset_learn", "gru_prediction", "gru_evaluation")
    after = partition_bytes(again)
    assert {n: d for n, d in after.items() if n.startswith(tables)} == {
        n: d for n, d in before.items() if n.startswith(tables)
    }


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


@pytest.mark.thorough
def test_refit_makes_all_states_anew(rolled, tmp_path):
    shutil.copytree(rolled.paths.root, tmp_path / "tiny")
    market = market_of(tmp_path / "tiny", "gru", ROLLING)
    before = partition_bytes(market)
    # Damage a state, and date all of them back: each is made anew.
    paths = sorted((market.paths.warehouse / "processors").glob("*/*.parquet"))
    paths[3].write_bytes(paths[3].read_bytes()[:-9])
    for path in paths:
        os.utime(path, (0, 0))
    out = io.StringIO()
    run_refit(market, Console(file=out, width=300))
    assert partition_bytes(market) == before
    assert all(path.stat().st_mtime > 0 for path in paths)
    assert f"fitted for {market.plan.first_trained}" in out.getvalue()


@pytest.mark.thorough
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
    data = training_data(market, market.datasets[0], market.plan.first_trained, "the test")
    days = data.train.get_index().get_level_values("datetime").strftime("%Y-%m-%d")
    position = np.array([market.sessions.position(day) for day in days])
    expected = 0.5 ** ((position.max() - position) / 10)
    np.testing.assert_allclose(data.weights, expected / expected.mean(), rtol=1e-12)
    assert (
        training_data(rolled, rolled.datasets[0], market.plan.first_trained, "the test").weights
        is None
    )


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
        (
            {
                "fit": "expanding",
                "infer_processors": [{"RobustZScoreNorm": {"fit_end_time": "2020-02-02"}}],
                **NO_BOUNDS,
            },
            "fit_end_time would fix the window of one processor",
        ),
    ],
)
def test_a_fit_that_cannot_be_is_refused(tmp_path, dataset, message):
    with pytest.raises(ConfigError, match=message):
        make_market(tmp_path / "tiny", {"dataset": dataset})


def test_a_fixed_window_is_what_an_absent_fit_means(tmp_path):
    market = make_market(tmp_path / "tiny")
    assert market.datasets[0].fit_plan is None
    said = make_market(tmp_path / "tiny", {"dataset": {"fit": "fixed"}})
    assert [s.config_hash for s in stages(market)] == [s.config_hash for s in stages(said)]


@pytest.mark.parametrize(("most", "passed"), [(0.01, False), (100, True)])
def test_the_check_of_a_fit_warns_of_a_shift(rolled, tmp_path, instance, most, passed):
    """The second fit is compared with the state before it."""
    changes = {**ROLLING, "checks": {"dataset": {"max_drift": most}}}
    shutil.copytree(rolled.paths.root, tmp_path / "tiny")
    market = market_of(tmp_path / "tiny", "gru", changes)
    keys = market.sessions.keys
    anchor = keys[market.sessions.position(market.plan.first_trained) + 12]
    materialize(market, ["processors"], anchor, anchor, instance)
    key = dg.AssetCheckKey(key_of("processors"), "drift")
    check = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert check.event.dagster_event.asset_check_evaluation_data.passed is passed
