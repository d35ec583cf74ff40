"""Checks in the graph: what blocks stops before anything is written, and the UI is told why."""

from __future__ import annotations

import io
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipelines.assets.check_results import shown_figures
from pipelines.build import build_definitions
from pipelines.market.market import Market
from pipelines.operations.console import LiveProgress
from pipelines.operations.runs import RunFailedError
from tests.pipelines.conftest import (
    ChangedBars,
    key_of,
    make_market,
    materialize,
    model_assets,
    own_record,
)
from tests.pipelines.finished_markets import copy_of, part_of, put_on_record

DATA = ["ohlcv", "alpha158", "label", "dataset_infer", "dataset_learn"]


def _records(instance: dg.DagsterInstance, asset: str, check: str) -> list:
    key = dg.AssetCheckKey(key_of(asset), check)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    found = [r.event.dagster_event.event_specific_data for r in records if r.event is not None]
    return [data for data in found if isinstance(data, dg.AssetCheckEvaluation)]  # not planned ones


def _missing(market: Market, key: str, share: float) -> ChangedBars:
    """The market's bars without a share of the names of one session."""

    def change(bars: pd.DataFrame) -> pd.DataFrame:
        names = sorted(bars["instrument"].unique())
        gone = set(names[: round(share * len(names))])
        return bars[~((bars["date"] == key) & bars["instrument"].isin(gone))]

    return ChangedBars(market.source, change)


def test_a_partial_arrival_is_not_published(tmp_path: Path) -> None:
    """Half of the names are missing on the fifth session: it and what follows is not written."""
    plain = make_market(tmp_path)
    keys = plain.sessions.keys
    market = make_market(
        tmp_path, {"checks": {"bars": {"min_coverage": 0.8}}}, source=_missing(plain, keys[4], 0.5)
    )
    with own_record() as instance:
        materialize(market, ["ohlcv"], keys[0], keys[3], instance)
        with pytest.raises(RunFailedError, match=rf"{keys[4]} did not pass coverage.*of the usual"):
            materialize(market, ["ohlcv"], keys[4], keys[4], instance)
        assert market.warehouse.sessions("ohlcv") == list(keys[:4])
        newest = _records(instance, "ohlcv", "coverage")[0]
        assert not newest.passed
        assert newest.severity == dg.AssetCheckSeverity.ERROR
        assert newest.metadata["session"].value == keys[4]


def test_a_warning_is_recorded_and_lets_the_session_pass(tmp_path: Path) -> None:
    """Whoever watches the run is told it, too."""
    plain = make_market(tmp_path)
    keys = plain.sessions.keys
    market = make_market(
        tmp_path,
        {"checks": {"bars": {"min_coverage": 0.8, "coverage": "warn"}}},
        source=_missing(plain, keys[4], 0.5),
    )
    out = io.StringIO()
    with own_record() as instance, LiveProgress(Console(file=out, width=200)).shown():
        materialize(market, ["ohlcv"], keys[0], keys[9], instance)
        assert f"warning: ohlcv {keys[4]}: " in out.getvalue()
        assert market.warehouse.sessions("ohlcv") == list(keys[:10])
        found = _records(instance, "ohlcv", "coverage")
        assert not any(record.passed for record in found)
        assert {record.severity for record in found} == {dg.AssetCheckSeverity.WARN}
        said = [record.metadata for record in found]
        assert any("session" in m and m["session"].value == keys[4] for m in said)
        assert any("failed" in m and m["failed"].value == keys[4] for m in said)


def test_infinite_features_stop_before_they_are_written(tmp_path: Path) -> None:
    """qlib's semantics keep what a division by zero gives."""
    market = make_market(
        tmp_path,
        {
            "features": {
                "semantics": "qlib",
                "set": {"features": {"BIG": "$close/($open-$open)", "KMID": "$close/$open-1"}},
            },
            "dataset": {"infer_processors": ["ProcessInf", "Fillna"]},
        },
    )
    keys = market.sessions.keys
    with own_record() as instance:
        with pytest.raises(RunFailedError, match=r"did not pass finite.*1 columns hold.*BIG \d"):
            materialize(market, ["ohlcv", "alpha158"], keys[0], keys[4], instance)
        assert market.warehouse.sessions("alpha158") == []


def test_a_column_that_goes_missing_is_named(tmp_path: Path) -> None:
    """From one session on bars open where they close, so the logarithm has no value."""
    plain = make_market(tmp_path, {"market": {"vwap": "typical"}})
    keys = plain.sessions.keys

    def change(bars: pd.DataFrame) -> pd.DataFrame:
        out = bars.copy()
        flat = (out["date"] >= keys[30]).to_numpy()
        out.loc[flat, "open"] = out.loc[flat, "close"]
        return out

    market = make_market(
        tmp_path,
        {
            "market": {"vwap": "typical"},
            "features": {
                "set": {"features": {"A": "Log(Abs($close/$open-1))", "B": "$close/$open"}}
            },
            "dataset": {"infer_processors": ["ProcessInf", "Fillna"]},
        },
        source=ChangedBars(plain.source, change),
    )
    with own_record() as instance:
        materialize(market, ["ohlcv", "alpha158"], keys[0], keys[29], instance)
        assert _records(instance, "alpha158", "nan_share")[0].passed
        materialize(market, ["ohlcv", "alpha158"], keys[30], keys[30], instance)
        found = _records(instance, "alpha158", "nan_share")[0]
        assert not found.passed
        assert "1 of 2 columns miss more values than usual (A " in found.description
        assert market.warehouse.sessions("alpha158")[-1] == keys[30]  # a warning: it was written


@pytest.fixture(scope="module")
def checked(finished: Market, tmp_path_factory: pytest.TempPathFactory):
    """A finished market whose newest sessions were made again, so that its checks are on record."""
    with own_record() as instance:
        market = copy_of(finished, tmp_path_factory.mktemp("checked") / "tiny")
        put_on_record(market, instance)
        keys = market.sessions.keys
        materialize(market, [*DATA, *model_assets(market)], keys[-3], keys[-1], instance)
        yield market, instance


def test_every_check_of_a_finished_market_has_a_result(checked) -> None:
    _, instance = checked
    expected = {
        "ohlcv": {"coverage", "quarantined"},
        "alpha158": {"finite", "nan_share"},
        "dataset_learn": {"cross_section"},
        "lstm_model": {"in_force", "age"},
        "lstm_prediction": {"coverage", "varied", "look_ahead"},
        "lstm_evaluation": {"ic_decay"},
    }
    for asset, checks in expected.items():
        for check in checks:
            found = _records(instance, asset, check)
            assert found, (asset, check)
            if check != "ic_decay":
                assert found[0].passed, (asset, check, found[0].description)


def test_a_run_that_checks_nothing_repeats_the_newest_result(finished, tmp_path) -> None:
    """No model beats a constant by this margin; the second run finds the session current."""
    checks = {"checks": {"model": {"beats_constant": "block", "margin": 10.0}}}
    market = part_of(finished, tmp_path / "tiny", "gru", checks)
    key = market.sessions.keys[-1]
    job = build_definitions(market).resolve_job_def("tiny_daily")
    with own_record() as instance:
        put_on_record(market, instance)
        for _ in range(3):
            job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False)
        found = _records(instance, "gru_model", "in_force")
        assert len({record.description for record in found[:3]}) == 1
        assert "newer models are not in force" in found[0].description
        assert not any(record.passed for record in found)
        assert found[0].severity == found[-1].severity
        assert found[0].metadata["checked in run"] == found[1].metadata["checked in run"]
        assert "checked in run" not in found[-1].metadata


def test_nothing_checked_is_never_passed(finished, tmp_path) -> None:
    """A lost record, restored from the files: no result is on record."""
    market = part_of(finished, tmp_path / "tiny", "gru")
    key = market.sessions.keys[-1]
    job = build_definitions(market).resolve_job_def("tiny_daily")
    with own_record() as instance:
        put_on_record(market, instance)
        assert job.execute_in_process(instance=instance, partition_key=key).success
        (found,) = _records(instance, "alpha158", "finite")  # blocks where a feature is infinite
        assert not found.passed
        assert found.severity == dg.AssetCheckSeverity.WARN
        assert found.description.startswith(f"not checked: nothing of {key} was made by this run")


@pytest.mark.thorough
def test_an_old_failure_does_not_block_a_run_that_made_nothing(finished, tmp_path) -> None:
    market = copy_of(finished, tmp_path / "tiny")
    key = market.sessions.keys[-1]
    job = build_definitions(market).resolve_job_def("tiny_daily")
    with own_record() as instance:
        put_on_record(market, instance)
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key_of("alpha158"),
                check_name="finite",
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description="2 columns hold infinite values",
            )
        )
        assert job.execute_in_process(instance=instance, partition_key=key).success
        newest = _records(instance, "alpha158", "finite")[0]
        assert (newest.passed, newest.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert newest.description == "2 columns hold infinite values"


def test_counts_of_sessions_are_text_and_figures_are_short(checked) -> None:
    """A number is plotted over runs in the UI: only those whose plot says something are numbers."""
    market, instance = checked
    for asset, check in (("ohlcv", "coverage"), ("lstm_evaluation", "ic_decay")):
        assert isinstance(_records(instance, asset, check)[0].metadata["sessions"].value, str)
    made = instance.get_latest_materialization_event(key_of("lstm_evaluation"))
    rank_ic = made.asset_materialization.metadata["rank_ic"].value
    key = made.asset_materialization.partition
    stored = market.warehouse.read("lstm_evaluation", [key], needed_by="t").frame["rank_ic"].iloc[0]
    assert rank_ic == float(f"{stored:.5g}")


def test_figures_have_five_significant_digits() -> None:
    given = {"ic": 0.0123456789, "rate": 123456.78, "none": float("nan"), "far": float("inf")}
    shown = shown_figures({**given, "n": 1234567, "as_of": "2020-04-01"})
    assert shown.pop("none") != 0.0
    assert shown == {
        "ic": 0.012346,
        "rate": 123457.0,
        "far": float("inf"),
        "n": 1234567,
        "as_of": "2020-04-01",
    }


def test_data_versions_and_column_lineage_are_recorded(checked) -> None:
    """A run of one session has its partition's digest for a version."""
    market, instance = checked
    key = market.sessions.keys[-1]
    materialize(market, ["alpha158"], key, key, instance)
    event = instance.get_latest_materialization_event(key_of("alpha158"))
    made = event.asset_materialization
    assert made.tags["dagster/data_version"] == market.warehouse.info("alpha158", key).digest
    lineage = made.metadata["dagster/column_lineage"].value
    assert {d.column_name for d in lineage.deps_by_column["KMID"]} == {
        "open",
        "close",
        "adj_factor",
    }


def test_equal_scores_are_not_published(checked, monkeypatch: pytest.MonkeyPatch) -> None:
    market, instance = checked
    key = market.sessions.keys[-1]
    before = market.warehouse.info("gru_prediction", key)
    monkeypatch.setattr(
        "rnn_core.training.score_members",
        lambda members, source, **_: np.zeros((len(members), len(source)), dtype=np.float32),
    )
    with pytest.raises(RunFailedError, match=r"did not pass varied.*all \d scores are equal"):
        materialize(market, ["gru_prediction"], key, key, instance)
    assert market.warehouse.info("gru_prediction", key) == before
