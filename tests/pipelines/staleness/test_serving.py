"""The page of what is served today. Oracles: the market's partitions, and changes by hand."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from pipelines.assets.stages import stages
from pipelines.staleness import up_to_date_check
from pipelines.staleness.serving import _schedule, service, stability
from pipelines.staleness.serving_page import serving_html, serving_markdown
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import copy_of, put_on_record
from tests.pipelines.ticks import switched

RECENT = 20
NOW = dt.datetime(2020, 5, 16, 12, 0, tzinfo=dt.UTC)
GOES_ON = {"market": {"end": None}, "schedule": {"enabled": True, "cron": "30 0 * * *"}}


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def served(market, instance, now=NOW):
    table = stages(market)
    status = status_report(market, table, instance, recent=RECENT)
    return service(market, table, instance, status, now)


def states(found):
    return {state.model: state for state in found.models}


def test_a_finished_market_serves_its_newest_session(copy, instance):
    found = served(copy, instance)
    key = copy.sessions.keys[-1]
    assert found.newest == key
    assert found.open_points == ()
    for model, state in states(found).items():
        scores = copy.warehouse.read(f"{model}_prediction", [key], needed_by="test").frame
        pointers = copy.warehouse.read(
            f"{model}_model", copy.warehouse.sessions(f"{model}_model"), needed_by="test"
        ).frame
        assert (state.session, state.behind, state.names) == (key, 0, len(scores))
        anchor = f"{pointers['as_of'].iloc[-1]:%Y-%m-%d}"
        assert state.as_of == anchor == f"{scores['as_of'].iloc[-1]:%Y-%m-%d}"
        assert state.age == copy.sessions.position(key) - copy.sessions.position(anchor)
        assert state.since == anchor  # no model of a newer session was passed over
        assert state.psi is None  # six names have no distribution
        assert state.passed_over == ()
    text = serving_markdown(copy, found)
    assert f"The newest closed session is {key}: every model has scored it." in text
    assert "Made at 2020-05-16 08:00 EDT." in text
    assert f"the market ends with {key}: no session follows" in text


def test_features_are_measured_in_the_scales_of_their_fit(copy, instance):
    """The oracle reads the normalised features of the newest session itself."""
    (shift,) = served(copy, instance).shifts
    rows = copy.warehouse.read(
        "dataset_infer", copy.warehouse.sessions("dataset_infer")[-1:], needed_by="test"
    ).frame
    medians = rows[list(copy.datasets[0].columns)].median().abs()
    assert (shift.column, shift.scales) == (medians.idxmax(), medians.max())


def test_a_session_that_was_not_scored_is_behind_and_open(copy, instance):
    key = copy.sessions.keys[-1]
    shutil.rmtree(copy.paths.warehouse / "gru_prediction" / f"date={key}")
    found = served(copy, instance)
    state = states(found)["gru"]
    assert (state.session, state.behind) == (copy.sessions.keys[-2], 1)
    assert f"gru_prediction: {key} (1) absent" in found.open_points
    text = serving_markdown(copy, found)
    assert f"{copy.sessions.keys[-2]} (1 behind)" in text
    assert "2 of 3 models have scored it" in text


def test_models_that_are_passed_over_say_why(copy, instance):
    """A bar that no model of two epochs clears, and a bundle that cannot be read."""
    changes = {"checks": {"model": {"rank_ic": "block", "min_rank_ic": 0.99}}}
    market = make_market(copy.paths.root, changes)
    anchor = market.plan_of("lstm").anchor(market.sessions.keys[-1])
    bundle = market.paths.models / "krnn" / str(anchor) / "manifest.json"
    bundle.write_text("{")
    found = states(served(market, instance))
    assert found["lstm"].passed_over[0].startswith(f"{anchor}: rank_ic: ")
    assert found["krnn"].passed_over[0].startswith(f"{anchor}: its bundle cannot be read")
    page = serving_html(market, served(market, instance))
    assert f"lstm: the model of {anchor}: rank_ic" in page


def test_a_damaged_file_hides_no_other_model(copy, instance):
    key = copy.sessions.keys[-1]
    (path,) = (copy.paths.warehouse / "lstm_prediction" / f"date={key}").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-50] + bytes(50))
    found = states(served(copy, instance))
    assert found["lstm"].session is None
    assert key in found["lstm"].reason
    assert found["gru"].session == key


def test_the_page_says_when_it_is_old(copy, instance):
    """Only with a schedule that will look: the browser compares the moment of the next tick."""
    found = served(copy, instance)
    assert "<script" not in serving_html(copy, found)
    tick = dt.datetime(2020, 5, 19, 4, 30, tzinfo=dt.UTC)
    page = serving_html(copy, replace(found, next_tick=tick, schedule="cron <30 0>"))
    assert '"2020-05-19T04:30:00+00:00"' in page
    assert "the next session was due at 2020-05-19 00:30 EDT" in page
    assert "cron &lt;30 0&gt;" in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("scored", "tick"),
    [
        ("2020-05-14", "2020-05-17 00:30"),  # Friday has closed by now: at the next look
        ("2020-05-15", "2020-05-19 00:30"),  # Monday's, and no session of the weekend
        ("2020-05-22", "2020-05-27 00:30"),  # Tuesday's, after Memorial Day
        (None, "2020-05-17 00:30"),  # a model has not scored the newest one: at the next look
    ],
)
def test_the_next_session_is_asked_for_once_it_is_over(tmp_path, instance, scored, tick):
    """The page calls itself old an hour after that moment. The days are counted by hand."""
    found, words = _schedule(make_market(tmp_path, GOES_ON), instance, scored, NOW)
    assert f"{found:%Y-%m-%d %H:%M}" == tick
    assert words == "cron 30 0 * * *, America/New_York"


def test_the_switch_in_the_ui_decides_whether_a_session_is_looked_for(tmp_path, instance):
    market = make_market(tmp_path, GOES_ON)
    switched(instance, "tiny_daily_retraining", InstigatorStatus.STOPPED)
    assert _schedule(market, instance, "2020-05-15", NOW)[0] is None


def test_a_market_whose_end_is_ahead_goes_on(tmp_path, instance):
    market = make_market(tmp_path, {"schedule": GOES_ON["schedule"]})
    last, before = market.sessions.keys[-1], market.sessions.keys[-2]
    assert _schedule(market, instance, before, NOW)[0] is not None
    assert _schedule(market, instance, last, NOW) == (
        None,
        f"the market ends with {last}: no session follows",
    )


def test_stability_is_the_formula_over_deciles():
    rng = np.random.default_rng(2)
    old, new = rng.normal(size=5000), rng.normal(0.5, 1.0, size=400)
    edges = np.quantile(old, np.linspace(0.1, 0.9, 9))
    p, q = (
        (np.histogram(v, np.r_[-np.inf, edges, np.inf])[0] + 0.5) / (len(v) + 5) for v in (new, old)
    )
    index, chance = stability(new, old)
    np.testing.assert_allclose(index, np.sum((p - q) * np.log(p / q)), rtol=1e-12)
    np.testing.assert_allclose(chance, 9 * (1 / 400 + 1 / 5000))
    assert index > 0.15
    drawn = [stability(rng.normal(size=400), old)[0] for _ in range(200)]
    assert np.mean(drawn) == pytest.approx(chance, rel=0.15)  # the value by chance is that


def test_the_check_writes_the_page_and_shows_its_text(copy, instance):
    result = up_to_date_check.serve_and_check(copy, stages(copy), instance)
    assert result.passed
    text = result.metadata["served"].value
    assert text.startswith("Made at ")
    page = copy.paths.served_page.read_text(encoding="utf-8")
    assert copy.paths.served_page.name == "copy.served.html"
    assert "tiny: what is served" in page
    assert json.dumps(copy.sessions.keys[-1])[1:-1] in page
