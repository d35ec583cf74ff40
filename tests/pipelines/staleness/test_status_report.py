"""`status` and the reasons that it names. Oracle: each case changes one thing, by hand."""

from __future__ import annotations

import json
import shutil

import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.cli.main import main
from pipelines.cli.status import STALE, status_lines, status_table
from pipelines.operations.runs import run_assets
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.staleness.survey import survey
from tests.pipelines.conftest import DATA_STAGE, REPORTS, TINY, make_market, model_assets
from tests.pipelines.finished_markets import (
    copy_of,
    made_on_the_evening,
    part_of,
    put_on_record,
    restated,
)
from tests.pipelines.records import on_both_records

pytestmark = on_both_records


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


def findings(market, instance, **kwargs):
    """(cause, detail, count) by asset, of the assets that are not current."""
    report = status_report(market, stages(market), instance, **kwargs)
    return {
        a.asset: [(f.cause, f.detail, len(f.keys)) for f in a.findings]
        for a in report.assets
        if a.findings
    }


def test_a_finished_market_is_current(copy, instance):
    report = status_report(copy, stages(copy), instance)
    assert report.is_current
    counted = {a.asset: (a.sessions, a.current) for a in report.assets}
    n, trained = len(copy.sessions), len([k for k in copy.sessions.keys if k >= "2020-04-01"])
    assert counted["ohlcv"] == (n, n)
    assert counted["krnn_evaluation"] == (trained, trained)
    assert set(counted) == {*DATA_STAGE, *model_assets(copy), *REPORTS}
    assert report.predictions["lstm"] == {"served": 0, "backfilled": trained}
    assert "everything is current" in status_lines(copy, report)


def test_an_absent_label_and_exactly_what_was_made_from_it(copy, instance):
    """The label of D: learning rows of D, models that learn from them, and the evaluation of D."""
    key = copy.sessions.keys[-3]
    shutil.rmtree(copy.paths.warehouse / "label" / f"date={key}")
    found = findings(copy, instance)
    assert found["label"] == [(Cause.ABSENT, "", 1)]
    assert found["dataset_learn"] == [(Cause.INPUTS, "label", 1)]
    assert found["gru_evaluation"] == [(Cause.INPUTS, "label", 1)]
    assert not {"alpha158", "processors", "dataset_infer", "gru_model"} & set(found)


def test_an_evaluation_without_its_prediction_says_so(finished, tmp_path, instance):
    """No model passes its checks, so no session has a score; nothing is stale, and it is named."""
    checks = {"checks": {"model": {"beats_constant": "block"}}}
    market = part_of(finished, tmp_path / "copy", "gru", checks)
    keys = [k for k in market.sessions.keys if k >= market.plan.first_trained]
    for table in model_assets(market):
        shutil.rmtree(market.paths.warehouse / table)
    run_assets(build_definitions(market), instance, model_assets(market), (keys[0], keys[-1]))
    put_on_record(market, instance)
    scores = market.warehouse.read("gru_prediction", keys, needed_by="t").frame
    assert scores.empty, "two epochs on six names learn nothing"
    found, due = findings(market, instance), len(keys) - market.datasets[0].label_lag
    why = "no model in force has passed its checks"
    assert found["gru_prediction"] == [(Cause.EMPTY, why, len(keys))]
    why = "no prediction was made for the decision"
    assert found["gru_evaluation"] == [(Cause.EMPTY, why, due)]


def test_damage_is_named(copy, instance):
    key = copy.sessions.keys[-1]
    path = copy.paths.warehouse / "krnn_prediction" / f"date={key}" / "part-0.parquet"
    raw = bytearray(path.read_bytes())
    raw[20] ^= 4
    path.write_bytes(raw)
    assert findings(copy, instance) == {
        "krnn_prediction": [(Cause.DAMAGED, "", 1)],
        "krnn_portfolio": [(Cause.INPUTS, "krnn_prediction", 1)],
        **{name: [(Cause.INPUTS, "krnn_portfolio, krnn_prediction", 1)] for name in REPORTS},
    }


def test_what_dagster_does_not_know_is_named(finished, tmp_path, instance):
    market = copy_of(finished, tmp_path / "lost")
    report = status_report(market, stages(market), instance)
    causes = {f.cause for a in report.assets for f in a.findings}
    assert causes == {Cause.UNRECORDED}
    assert not report.is_current
    assert "`rnn-pipelines sync` puts it on Dagster's record" in status_lines(market, report)[-1]


def test_code_configuration_and_bundles_are_told_apart(copy, instance, monkeypatch):
    anchor = copy.plan.first_trained
    weights = copy.paths.models / "lstm" / anchor / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    other = make_market(copy.paths.root, {"models": {"gru": {"lr": 0.01}}})
    monkeypatch.setattr("pipelines.assets.evaluation.CODE_VERSION", "99")
    found = findings(other, instance)
    trained = len([k for k in copy.sessions.keys if k >= anchor])
    held = other.plan.retrain_every  # sessions until the next anchor
    assert found["gru_model"] == [(Cause.CONFIGURATION, "", trained)]
    assert found["gru_prediction"] == [(Cause.INPUTS, "gru_model", trained)]
    why = f"the lstm bundle of {anchor} is damaged or of another place"
    assert found["lstm_model"] == [(Cause.INPUTS, why, held)]
    assert found["krnn_evaluation"][0][:2] == (Cause.CODE, "2, now 99")
    assert "krnn_model" not in found


def test_a_changed_universe_reaches_the_sessions_that_it_touches(finished, tmp_path, instance):
    """A name leaves on a day: its bars stay, the membership of its later sessions changes."""
    spans, keys = tmp_path / "universe.txt", finished.sessions.keys[:40]
    frame = finished.warehouse.read("ohlcv", keys, needed_by="t").frame
    names = sorted(set(frame["instrument"]))

    def market(leaves):
        lines = [f"{n} 2020-01-01 {leaves if n == names[0] else '2020-12-31'}" for n in names]
        spans.write_text("\n".join(lines))
        return make_market(tmp_path / "spans", {"market": {"universe": {"spans": str(spans)}}})

    def reasons(of):
        wanted = {"ohlcv": keys, "label": keys}
        return survey(of, stages(of), instance, wanted, served=None).reasons

    first = market("2020-12-31")
    run_assets(build_definitions(first), instance, ["ohlcv", "label"], (keys[0], keys[-1]))
    assert reasons(first) == {"ohlcv": {}, "label": {}}
    days = frame.loc[frame["instrument"] == names[0], "date"].dt.strftime("%Y-%m-%d")
    touched = [day for day in days if day > keys[20]]
    assert len(touched) > 10
    found = reasons(market(keys[20]))
    assert sorted(found["ohlcv"]) == touched
    assert {str(why) for why in found["ohlcv"].values()} == {"inputs: universe"}
    assert set(found["label"]) >= set(touched)
    assert reasons(market("2020-12-31"))["ohlcv"] == {}


def test_restated_bars_are_found_only_by_asking_the_source(copy, instance):
    key = copy.sessions.keys[40]
    other = restated(copy, key)
    assert findings(other, instance) == {}
    found = findings(other, instance, check_source=True)
    assert found["ohlcv"] == [(Cause.RESTATED, "", 1)]
    look_back = copy.datasets[0].feature_set.look_back
    affected = min(look_back + 1, len(copy.sessions) - 40)
    assert found["alpha158"] == [(Cause.INPUTS, "ohlcv", affected)]
    assert found["processors"] == [(Cause.INPUTS, "alpha158, label", 1)]
    report = status_report(other, stages(other), instance, check_source=True)
    assert report.restated == (key,)
    assert f"`rnn-pipelines refresh --since {key}`" in "\n".join(status_lines(other, report))
    assert status_report(copy, stages(copy), instance, check_source=True).restated == ()


def test_what_was_served_is_shown_and_is_nothing_to_do(finished, tmp_path, instance):
    market = copy_of(finished, tmp_path / "served")
    served = market.sessions.keys[-8:]
    made_on_the_evening(market, ["gru"], served)
    put_on_record(market, instance)
    # The pointers of the served sessions stay, so their predictions are what they should be; the
    # newest anchor, one of them, owes the sessions to come a model of the new configuration.
    other = make_market(market.paths.root, {"models": {"gru": {"lr": 0.01}}})
    report = status_report(other, stages(other), instance)
    assert report.predictions["gru"]["served"] == len(served)
    found = findings(other, instance)
    assert other.plan_of("gru").anchor(served[-1]) == served[0]
    earlier = len([k for k in market.sessions.keys if "2020-04-01" <= k < served[0]])
    assert found["gru_model"] == [
        (Cause.CONFIGURATION, "", earlier + 1),
        (Cause.SERVED, "", len(served) - 1),
    ]
    assert found["gru_prediction"] == [
        (Cause.INPUTS, "gru_model", earlier),
        (Cause.SERVED, "", 1),  # of the anchor
    ]
    assert "lstm_prediction" not in found
    assert not report.is_current  # the backfilled sessions of gru
    text = str(list(status_table(report).columns[3].cells))
    assert f"{served[1]} … {served[-1]} (7)" in text


@pytest.fixture
def tiny_yaml(finished, tmp_path, monkeypatch):
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    shutil.copytree(finished.paths.root, tmp_path / "data" / "tiny")
    return file


def test_exit_statuses_and_json(tiny_yaml, capsys):
    config = ["--config", str(tiny_yaml)]
    assert main(["status", *config]) == STALE
    assert "not in Dagster's record" in capsys.readouterr().out
    assert main(["sync", *config]) == 0
    assert "put on record: ohlcv 94, alpha158 94" in capsys.readouterr().out
    assert main(["sync", *config]) == 0
    assert "are in step" in capsys.readouterr().out
    assert main(["status", "--check-source", *config]) == 0
    assert "the source gives the bars that are stored" in capsys.readouterr().out
    shutil.rmtree(tiny_yaml.parent / "data" / "tiny" / "warehouse" / "label" / "date=2020-05-12")
    assert main(["status", "--json", *config]) == STALE
    said = json.loads(capsys.readouterr().out)
    assert said["current"] is False
    (label,) = (a for a in said["assets"] if a["asset"] == "label")
    assert label["findings"][0] == {
        "cause": "absent",
        "detail": "",
        "stale": True,
        "count": 1,
        "ranges": [["2020-05-12", "2020-05-12"]],
    }
    assert main(["status", "--config", "nothing"]) == 1
