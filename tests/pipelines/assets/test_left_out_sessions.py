"""Sessions that a run leaves out: those that wait for their bars, and what follows a bad one.

Oracle: the files of a market that was made without a hitch.
"""

from __future__ import annotations

import dagster as dg
import pytest

from pipelines.assets import models
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.errors import PipelineError
from pipelines.instance.run_history import (
    WAITS_TAG,
    failed_attempts,
    failure_reason,
    waiting_reason,
)
from pipelines.instance.waiting import LAST_TAG
from pipelines.operations.runs import RunFailedError, run_assets
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import DATA_ASSETS, key_of, model_assets, partition_bytes
from tests.pipelines.finished_markets import put_on_record
from tests.pipelines.late_bars import LateBars, bad_bars, cut_before, files_of, with_source

CUT = -6  # the position of the first session that is not made yet


def cut(finished, root, instance, models=("lstm",)):
    """A market that lacks its last six sessions, on record, and these sessions."""
    keys = finished.sessions.keys[CUT:]
    return put_on_record(cut_before(finished, root, keys[0], models), instance), keys


def run_all(market, instance, keys):
    """Every partitioned asset over some sessions, as a command runs them; the run's id."""
    assets = [*DATA_ASSETS, *model_assets(market)]
    return run_assets(build_definitions(market), instance, assets, (keys[0], keys[-1]))


def on_record(instance, asset):
    return max(instance.get_materialized_partitions(key_of(asset)))


def steps(instance, run_id):
    return {
        s.step_key.removeprefix("tiny__"): s.status.value
        for s in instance.get_run_step_stats(run_id)
    }


@pytest.mark.thorough
def test_sessions_that_wait_hold_back_none_before_them(finished, tmp_path, instance):
    market, keys = cut(finished, tmp_path / "tiny", instance)
    late = with_source(market, LateBars(market, keys[3]))
    run_id = run_all(late, instance, keys)
    assert partition_bytes(late) == files_of(finished, market, keys[3])
    for asset in ("ohlcv", "label", "dataset_learn", "lstm_model", "lstm_evaluation"):
        assert on_record(instance, asset) == keys[2], asset
    assert set(steps(instance, run_id).values()) == {"SUCCESS"}
    assert f"the newest session that it has is {keys[2]}" in waiting_reason(instance, run_id)
    run_all(market, instance, keys)
    assert partition_bytes(market) == files_of(finished, market)


@pytest.mark.thorough
def test_a_session_that_waits_alone_is_skipped_and_nothing_fails(finished, tmp_path, instance):
    market, keys = cut(finished, tmp_path / "tiny", instance)
    late = with_source(market, LateBars(market, keys[0]))
    job = build_definitions(late).resolve_job_def("tiny_daily")
    before = partition_bytes(late)
    result = job.execute_in_process(instance=instance, partition_key=keys[0])
    assert result.success
    status = steps(instance, result.run_id)
    assert status.pop("ohlcv") == "SUCCESS"
    assert set(status.values()) == {"SKIPPED"}
    assert partition_bytes(late) == before
    assert on_record(instance, "ohlcv") < keys[0]
    assert instance.get_run_by_id(result.run_id).tags[WAITS_TAG] == f"bars ({result.run_id[:8]})"
    attempts = failed_attempts(instance, "tiny_daily", keys[0])
    assert (attempts.count, attempts.late) == (0, 1)
    assert f"the newest session that it has is {finished.sessions.keys[CUT - 1]}" in attempts.reason
    # The bars arrive, and the session is made and done with.
    assert build_definitions(market).resolve_job_def("tiny_daily").execute_in_process(
        instance=instance, partition_key=keys[0]
    ).success  # fmt: skip
    assert failed_attempts(instance, "tiny_daily", keys[0]) is None
    assert partition_bytes(market) == files_of(finished, market, keys[1])


def test_the_last_time_that_bars_are_asked_for_is_a_failure(finished, tmp_path, instance):
    market, keys = cut(finished, tmp_path / "tiny", instance)
    late = with_source(market, LateBars(market, keys[0]))
    job = build_definitions(late).resolve_job_def("tiny_daily")
    result = job.execute_in_process(
        instance=instance, partition_key=keys[0], tags={LAST_TAG: "true"}, raise_on_error=False
    )
    assert not result.success
    assert "the data has not arrived yet" in failure_reason(instance, result.run_id)
    assert failed_attempts(instance, "tiny_daily", keys[0]).late == 1


def test_a_session_that_the_source_has_lost_is_no_session_that_waits(finished, tmp_path, instance):
    """Its bars are stored: the source gives less than it gave."""
    market, _ = cut(finished, tmp_path / "tiny", instance)
    late = with_source(market, LateBars(market, finished.sessions.keys[CUT - 1]))
    with pytest.raises(RunFailedError, match="no bar at all"):
        run_all(late, instance, finished.sessions.keys[CUT - 1 : CUT])


def test_status_tells_what_waits_from_what_is_missing(finished, tmp_path, instance):
    market, keys = cut(finished, tmp_path / "tiny", instance)

    def causes(asset):
        report = status_report(market, stages(market), instance)
        (status,) = (a for a in report.assets if a.asset == asset)
        return {str(f.cause): f.keys for f in status.findings}

    assert causes("ohlcv") == {Cause.ABSENT: keys}
    late = with_source(market, LateBars(market, keys[0]))
    run_all(late, instance, keys[:2])
    for asset in ("ohlcv", "label", "lstm_prediction"):
        assert causes(asset) == {Cause.WAITS: keys}, asset
    assert causes("signal_report") == {Cause.WAITS: ("all",)}
    # The bars come and are bad: the session does not wait any more.
    bad = with_source(market, bad_bars(market, keys[0]))
    with pytest.raises(RunFailedError, match=f"every bar of {keys[0]} breaks a rule"):
        run_all(bad, instance, keys[:2])
    assert causes("ohlcv") == {Cause.ABSENT: keys}


@pytest.mark.thorough
def test_a_bad_session_holds_back_none_before_it(finished, tmp_path, instance):
    market, keys = cut(finished, tmp_path / "tiny", instance)
    bad = with_source(market, bad_bars(market, keys[3]))
    said = f"ohlcv: every bar of {keys[3]} breaks a rule .* left out: {', '.join(keys[3:])}, made"
    with pytest.raises(RunFailedError, match=said):
        run_all(bad, instance, keys)
    assert partition_bytes(bad) == files_of(finished, market, keys[3])
    assert on_record(instance, "lstm_evaluation") == keys[2]
    status = steps(instance, instance.get_runs(limit=1)[0].run_id)
    assert [step for step, how in status.items() if how != "SUCCESS"] == ["ohlcv"]
    run_all(market, instance, keys)
    assert partition_bytes(market) == files_of(finished, market)


def test_bad_bars_in_front_of_stored_ones_replace_nothing(finished, tmp_path, instance):
    """Stored sessions after it build on what would be replaced."""
    market, _ = cut(finished, tmp_path / "tiny", instance)
    earlier = finished.sessions.keys[CUT - 6 : CUT]
    bad = with_source(market, bad_bars(market, earlier[3]))
    before = partition_bytes(market)
    with pytest.raises(RunFailedError, match=f"every bar of {earlier[3]} breaks a rule"):
        run_all(bad, instance, earlier)
    assert partition_bytes(bad) == before


def test_a_blocking_check_holds_back_none_before_it(finished, tmp_path, instance):
    """Fewer names than usual at one session: `coverage` blocks it, in the middle of a range."""
    market, keys = cut(finished, tmp_path / "tiny", instance)

    class Few(type(bad_bars(market, keys[3]))):
        """A source with two names at one session."""

    few = Few(
        market.source,
        lambda bars: bars[(bars["date"] != keys[3]) | bars["instrument"].isin(["S0001", "S0002"])],
    )
    strict = {"checks": {"bars": {"min_coverage": 0.6}}}
    other = with_source(market, few, strict)
    with pytest.raises(RunFailedError, match=f"{keys[3]} did not pass coverage"):
        run_all(other, instance, keys)
    assert partition_bytes(other) == files_of(finished, market, keys[3])
    assert on_record(instance, "lstm_evaluation") == keys[2]
    result = instance.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(key_of("ohlcv"), "coverage")
    )
    assert not result.event.dagster_event.asset_check_evaluation_data.passed


def test_one_model_that_fails_holds_back_no_other(finished, tmp_path, instance, monkeypatch):
    """The pointer of one session of one model; its scores before are made, the others' all."""
    market, keys = cut(finished, tmp_path / "tiny", instance, ("lstm", "gru"))
    original = models.in_force

    def failing(market, model, key, *rest):
        if (model, key) == ("gru", keys[2]):
            raise PipelineError("out of luck")
        return original(market, model, key, *rest)

    monkeypatch.setattr(models, "in_force", failing)
    with pytest.raises(RunFailedError, match=f"gru_model: out of luck; left out: {keys[2]}, "):
        run_all(market, instance, keys)
    assert on_record(instance, "gru_evaluation") == keys[1]
    assert on_record(instance, "lstm_evaluation") == keys[-1]
    monkeypatch.setattr(models, "in_force", original)
    run_all(market, instance, keys)
    assert partition_bytes(market) == files_of(finished, market)
