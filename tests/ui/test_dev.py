"""A day at the UI: backfills launched by click, followed to their end, stopped and taken up again.

Oracle: the calendar. Exactly the sessions that were asked for are materialized, by one run, since
every asset has a single-run backfill policy and every dependency is the identity mapping. The
daemon looks for new backfills every 30 seconds, which is most of the time that this takes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pipelines.warehouse.store import PART
from tests.pipelines.conftest import DATA_ASSETS, REPORTS, model_assets
from tests.ui.conftest import Sandbox, make_sandbox
from tests.ui.dev import ASKED_FOR, NOT_ASKED_FOR, Dev, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(not ASKED_FOR, reason=NOT_ASKED_FOR),
]

BASE = 213  # sessions made by command before: the processors' window and its look-back
LONG, SHORT, STOPPED = 250, 8, 20  # sessions of the backfills, one after the other
ALLOWED_SECONDS = 90.0  # of the long one on a quiet machine of two cores, the wait included
CHECKED = {"SUCCEEDED", "FAILED"}  # evaluated; whether five names pass is not the question
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

CHANGES = {
    "dataset": {"fit": "fixed", "fit_start": "2011-05-26", "fit_end": "2011-12-30"},
    "training": {
        "first_trained": "2013-01-02",  # the first session after the long backfill
        "window_sessions": 120,
        "valid_sessions": 20,
        "retrain_every": 2,
    },
    "models": {
        "lstm": {"hidden_size": 4, "num_layers": 1, "n_epochs": 2},
        "gru": {"hidden_size": 4, "num_layers": 1, "n_epochs": 2},
        "krnn": {"cnn_dim": 4, "rnn_dim": 4, "rnn_layers": 1, "n_epochs": 2},
    },
}


@dataclass(frozen=True)
class Launched:
    """A backfill, and the first run that the daemon has launched for it.

    Attributes:
        backfill: its id.
        run: the run's id.
        assets: that were chosen.
        keys: sessions that were chosen.
        at: when, by the clock of the machine.
    """

    backfill: str
    run: str
    assets: tuple[str, ...]
    keys: tuple[str, ...]
    at: float


def launch(
    dev: Dev, assets: Sequence[str], keys: Sequence[str], job: str | None = None
) -> Launched:
    """Launch a backfill and wait for its run to appear."""
    at = time.time()
    backfill = dev.backfill(assets, keys, job)
    run = dev.first_run_of(backfill)
    return Launched(backfill, run, tuple(assets), tuple(keys), at)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The market with its processors fitted and all the look-back that the rest needs."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("dev"), CHANGES)
    keys = sandbox.market.sessions.keys
    chosen = ",".join([*DATA_ASSETS, "processors"])
    sandbox.run("backfill", "--start", keys[0], "--end", keys[BASE - 1], "--select", chosen)
    return sandbox


@pytest.fixture(scope="module")
def dev(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The UI over it."""
    log = tmp_path_factory.mktemp("log") / "dev.log"
    with running(sandbox.config.parent, sandbox.environment, log) as dev:
        yield dev


@pytest.fixture(scope="module")
def data(dev: Dev, sandbox: Sandbox) -> Launched:
    """The data assets over a year, chosen in the lineage."""
    keys = sandbox.market.sessions.keys[BASE : BASE + LONG]
    launched = launch(dev, DATA_ASSETS, keys)
    dev.succeeded(launched.run)
    return launched


@pytest.fixture(scope="module")
def everything(dev: Dev, sandbox: Sandbox, data: Launched) -> Launched:
    """Every partitioned asset over the sessions after that, on the page of the job `daily`."""
    keys = sandbox.market.sessions.keys[BASE + LONG : BASE + LONG + SHORT]
    launched = launch(dev, (*data.assets, *model_assets(sandbox.market)), keys, job="daily")
    dev.succeeded(launched.run)
    return launched


def only_run_of(dev: Dev, launched: Launched) -> dict[str, Any]:
    """The one run of a backfill, which covers exactly what was asked for."""
    (run,) = dev.runs_of(launched.backfill)
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert [tags[name] for name in RANGE] == [launched.keys[0], launched.keys[-1]]
    return run


def made_by(dev: Dev, run: str, asset: str) -> list[str | None]:
    """The sessions of an asset that a run has made, in order."""
    return sorted(made.partition for made in dev.made(asset) if made.run == run)


def test_a_year_of_data_is_one_run(dev, data, capsys):
    run = only_run_of(dev, data)
    seconds, working = run["endTime"] - data.at, run["endTime"] - run["startTime"]
    load = os.getloadavg()[0]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{LONG} sessions of {len(data.assets)} assets: {seconds:.0f} s from the click, "
            f"{working:.1f} s of them in the run (load {load:.1f})\n"
        )
    for asset in data.assets:
        assert made_by(dev, data.run, asset) == list(data.keys)
    # A loaded machine may take longer than a quiet one, though not without bound.
    assert seconds < ALLOWED_SECONDS * max(1.0, load / (os.cpu_count() or 1))


def test_every_asset_over_a_range_is_one_run_of_exactly_that_range(dev, sandbox, everything):
    only_run_of(dev, everything)
    for asset in everything.assets:
        assert made_by(dev, everything.run, asset) == list(everything.keys)
    for spec in sandbox.market.models:
        in_warehouse = sandbox.market.warehouse.sessions(f"{spec.name}_evaluation")
        assert set(everything.keys) <= set(in_warehouse)


def test_what_the_pages_show_of_a_partition(dev, everything):
    first, last = everything.keys[0], everything.keys[-1]
    (model,) = (m for m in dev.made("lstm_model", [first]) if m.run == everything.run)
    assert model.metadata["dagster/row_count"] == "IntMetadataEntry"
    assert model.metadata["train_range"] == "TextMetadataEntry"  # the first session trains
    (curve,) = model.pictures
    assert curve.startswith("![loss curve](data:image/png;base64,")
    (score,) = (m for m in dev.made("lstm_evaluation", [last]) if m.run == everything.run)
    assert score.metadata["rank_ic"] == "FloatMetadataEntry"


def test_every_check_was_evaluated_by_the_run(dev, everything):
    for asset in ("ohlcv", "lstm_model", "lstm_prediction"):
        checks = dev.checks(asset)
        assert checks, asset
        for check in checks:
            newest = check["executionForLatestMaterialization"]
            assert newest is not None, check
            assert newest["status"] in CHECKED, check


def test_the_job_reports(dev, everything):
    run = dev.launch("reports")
    dev.succeeded(run)
    for asset in REPORTS:
        (made,) = (m for m in dev.made(asset) if m.run == run)
        assert made.metadata["models"] == "MarkdownMetadataEntry"
        assert any("](data:image/png;base64," in text for text in made.pictures)


def test_a_run_that_was_stopped_is_taken_up_where_it_was(dev, sandbox, everything):
    """The first try is stopped while it trains; what it has finished is on record and is kept."""
    market, begin = sandbox.market, BASE + LONG + SHORT
    keys = market.sessions.keys[begin : begin + STOPPED]
    anchors = [key for key in keys if market.plan.trains(key)]

    def pointers() -> dict[str, tuple[int, int]]:
        """Time and inode of each file of an asset that trains: others if it was written."""
        paths = {key: market.paths.warehouse / "lstm_model" / f"date={key}" / PART for key in keys}
        stats = {key: path.stat() for key, path in paths.items() if path.is_file()}
        return {key: (stat.st_mtime_ns, stat.st_ino) for key, stat in stats.items()}

    stopped = launch(dev, everything.assets, keys)
    dev.until(lambda: anchors[1] in pointers(), "second model of the run that is to be stopped")
    dev.terminate(stopped.run)
    assert dev.ended(stopped.run) == "CANCELED"
    finished = made_by(dev, stopped.run, "lstm_model")
    assert anchors[1] in finished
    assert finished == list(keys[: len(finished)])
    assert len(made_by(dev, stopped.run, "lstm_evaluation")) < len(keys)
    before = pointers()

    again = launch(dev, everything.assets, keys)
    dev.succeeded(again.run)
    only_run_of(dev, again)
    for asset in everything.assets:
        assert made_by(dev, again.run, asset) == list(keys)
    now = pointers()
    assert {key: now[key] for key in finished} == {key: before[key] for key in finished}
    assert sorted(now) == list(keys)
    recorded = [made for made in dev.made("lstm_model", finished) if made.run == again.run]
    assert all(made.metadata.get("kept") == "BoolMetadataEntry" for made in recorded)


def test_the_daemon_sees_that_a_backfill_is_complete(dev, data):
    dev.completed(data.backfill)
