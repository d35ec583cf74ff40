"""What is tried again: errors that pass by themselves, and no others."""

from __future__ import annotations

import errno

import dagster as dg
import pytest

from pipelines.assets import retries
from pipelines.assets.retries import TRANSIENT_POLICY
from pipelines.build import build_definitions
from pipelines.errors import SourceError
from pipelines.operations.runs import RunFailedError, run_assets
from tests.pipelines.conftest import ChangedBars, key_of, make_market


def test_waits_double_and_differ():
    for attempt, seconds in ((1, 5), (2, 15), (3, 35)):
        waits = {TRANSIENT_POLICY.calculate_delay(attempt) for _ in range(50)}
        assert len(waits) == 50
        assert all(seconds - 5 <= wait <= seconds + 5 for wait in waits)


class Unsteady:
    """Raises errors, one a call, before it gives bars."""

    def __init__(self, tmp_path, *errors):
        self.calls = 0
        self._errors = list(errors)
        source = make_market(tmp_path / "steady").source
        self.source = ChangedBars(source, self._now)

    def _now(self, bars):
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return bars


@pytest.fixture
def at_once(monkeypatch):
    """No waits."""
    policy = dg.RetryPolicy(max_retries=3, delay=0)
    monkeypatch.setattr(retries, "TRANSIENT_POLICY", policy)


def run_bars(tmp_path, instance, *errors):
    unsteady = Unsteady(tmp_path, *errors)
    market = make_market(tmp_path / "tiny", source=unsteady.source)
    key = market.sessions.first
    try:
        run_assets(build_definitions(market), instance, ["ohlcv"], (key, key))
    finally:
        calls = unsteady.calls
    return calls, instance.get_materialized_partitions(key_of("ohlcv")) == {key}


def test_a_step_goes_on_after_the_network_came_back(tmp_path, instance, at_once):
    errors = TimeoutError("timed out"), OSError(errno.EIO, "Input/output error")
    assert run_bars(tmp_path, instance, *errors) == (3, True)


def test_it_gives_up_after_three_retries_and_says_why(tmp_path, instance, at_once):
    with pytest.raises(RunFailedError, match="the vendor hangs") as caught:
        run_bars(tmp_path, instance, *[TimeoutError("the vendor hangs")] * 9)
    assert "RetryRequested" not in str(caught.value).splitlines()[0]
    events = instance.all_logs(instance.get_runs()[0].run_id)
    restarts = [e for e in events if e.is_dagster_event and e.dagster_event.is_step_restarted]
    assert len(restarts) == 3


@pytest.mark.parametrize(
    "error", [SourceError("the file is spoilt"), ZeroDivisionError("nobody foresaw this")]
)
def test_other_errors_are_not_tried_again(tmp_path, instance, at_once, error):
    with pytest.raises(RunFailedError, match=str(error)):
        run_bars(tmp_path, instance, error)
    events = instance.all_logs(instance.get_runs()[0].run_id)
    assert not [e for e in events if e.is_dagster_event and e.dagster_event.is_step_restarted]
