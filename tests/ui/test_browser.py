"""What a person sees in the Dagster UI, in Chromium: text on the pages, and their pictures.

Oracle: the market's calendar and configuration, and the names of its assets. The pictures land in
`tests/ui/artefacts` (`RNN_SCREENSHOTS` moves them); those of `docs/operations.md` come from there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.assets.stages import stages
from tests.pipelines.conftest import REPORTS, model_assets
from tests.ui.browser import Browser, chromium, missing
from tests.ui.conftest import Sandbox, make_sandbox
from tests.ui.dev import ASKED_FOR, NOT_ASKED_FOR, Dev, running

NEEDED = missing()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not ASKED_FOR, reason=f"{NOT_ASKED_FOR}, `make test-browser` too"),
    pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED)),
]

GROUPS = ("market", "features", "dataset", "models", "predictions", "portfolio", "evaluation")
CHANGES = {  # short trainings, long enough for a curve
    "models": {
        "lstm": {"hidden_size": 16, "n_epochs": 12, "lr": 0.005},
        "gru": {"hidden_size": 16, "n_epochs": 12, "lr": 0.005},
        "krnn": {"n_epochs": 8, "lr": 0.005},
    },
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The sample market, its main job run to the end."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("browser"), CHANGES)
    sandbox.run("demo")
    return sandbox


@pytest.fixture(scope="module")
def dev(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The UI over it."""
    log = tmp_path_factory.mktemp("log") / "dev.log"
    with running(sandbox.config.parent, sandbox.environment, log) as dev:
        yield dev


@pytest.fixture(scope="module")
def browser(dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A window on it."""
    with chromium(dev.url, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def anchor(sandbox: Sandbox) -> str:
    """The second session that trains."""
    trained = sandbox.market.plan.first_trained
    keys = sandbox.market.sessions.keys
    return next(key for key in keys if key > trained and sandbox.market.plan.trains(key))


def test_the_global_lineage_shows_the_groups(browser):
    browser.open("/asset-groups", *GROUPS)
    browser.save("groups")


def test_the_lineage_of_a_report_shows_every_asset_that_it_is_made_from(browser, sandbox):
    upstream = {"signal_report"}
    for stage in reversed(stages(sandbox.market)):
        upstream |= set(stage.deps) if stage.name in upstream else set()
    assert {"ohlcv", *model_assets(sandbox.market)} < upstream
    path = "/assets/sample/signal_report?view=lineage&lineageScope=upstream&lineageDepth=10"
    browser.resize(1600, 1700)  # five models stand below each other
    try:
        browser.open(path, *GROUPS, *map(in_a_box, sorted(upstream)))
        browser.save("lineage")
    finally:
        browser.resize()


def in_a_box(name: str) -> str:
    """A name as the lineage shows it: a long one has its middle left out."""
    return name if len(name) <= 18 else f"{name[:6]}…{name[-11:]}"


@pytest.mark.thorough
def test_the_partitions_of_a_model(browser, sandbox):
    keys = sandbox.market.sessions.keys
    browser.open(
        "/assets/sample/lstm_model?view=partitions",
        f"{len(keys)} Partitions Selected",
        f"Materialized ({len(keys)})",  # before the first trained one there is a warm-up
        "Missing (0)",
        "Failed (0)",
    )
    browser.save("partitions")


def test_a_partition_shows_its_figures_and_opens_its_picture(browser, anchor):
    page = f"/assets/sample/lstm_model?view=partitions&partition={anchor}"
    browser.open(page, "train_range", "valid_score", "loss_curve", "training_seconds")
    assert browser.widths_of_pictures() == []
    browser.press("[Show Markdown]")
    (width,) = browser.until(browser.widths_of_pictures, lambda: "the picture was not decoded")
    assert width > 500
    browser.save("loss_curve")


@pytest.mark.thorough
def test_a_run_shows_its_steps(browser, dev, sandbox, anchor):
    (made,) = dev.made("lstm_model", [anchor])
    reports = ("signal_report", "portfolio_report", "signal_report_up_to_date")
    first = sandbox.market.plan.first_trained  # stages that begin with it share a run
    names = [
        stage.name for stage in stages(sandbox.market) if stage.tables and stage.first == first
    ]
    assert set(model_assets(sandbox.market)) <= set(names)
    steps = [f"sample__{name}" for name in (*names, *reports)]
    browser.open(f"/runs/{made.run}", "Success", f"Succeeded ({len(steps)})")
    browser.see_at_the_end("RUN_SUCCESS")
    browser.press(f"Succeeded ({len(steps)})")
    browser.see(*steps)
    browser.save("run")


@pytest.mark.thorough
def test_the_overview_shows_the_runs_of_commands(browser, dev, sandbox, anchor):
    """Under the job of the location, and without the tags that only the machinery reads."""
    browser.open("/overview", "sample_backfill")
    browser.save("overview")
    browser.open("/runs", "sample_backfill", "rnn/run: sample demo", "View all tags")
    assert "rnn_owner" not in browser.text()
    (made,) = dev.made("lstm_model", [anchor])
    browser.open(f"/runs/{made.run}", "Run of", "sample_backfill")


def test_the_reports_show_models_side_by_side(browser, sandbox):
    for report in REPORTS:
        browser.open(
            f"/assets/sample/{report}", "Latest materialization", "models", "[Show Markdown]"
        )
        names = [spec.name for spec in sandbox.market.models]
        browser.until(
            lambda wanted=names: all(f"\n{name}\t" in browser.text() for name in wanted),
            lambda: f"no line a model:\n{browser.text()}",
        )
        browser.save(report)


@pytest.mark.thorough
def test_the_checks_of_an_asset(browser, dev):
    names = [check["name"] for check in dev.checks("lstm_model")]
    assert names
    browser.open(
        "/assets/sample/lstm_model?view=checks", f"Checks ({len(names)})", *names, "Passed"
    )
    browser.save("checks")


def test_checks_that_stop_a_session_say_so(browser):
    """Of the features one blocks and one warns."""
    browser.open("/assets/sample/alpha158?view=checks&checkDetail=finite", "finite", "nan_share")
    browser.see("This is a blocking asset check.")
    browser.save("blocking")


@pytest.mark.thorough
def test_whether_all_is_current_is_a_check_of_the_report(browser, sandbox):
    last = sandbox.market.sessions.keys[-1]
    browser.open(
        "/assets/sample/signal_report?view=checks",
        "up_to_date",
        f"everything is current up to {last}",
    )
    browser.save("up_to_date")


@pytest.mark.thorough
def test_a_backfill_of_every_asset_is_offered_by_the_job_daily(browser, sandbox):
    keys = sandbox.market.sessions.keys
    browser.open(
        "/locations/sample/jobs/sample_daily/partitions", "Total partitions", str(len(keys))
    )
    browser.press("Materialize…", "button")
    field = browser.element("input[placeholder^='ex: ']")
    field.send_keys(f"[{keys[-20]}...{keys[-1]}]\n")
    partitioned = [stage.name for stage in stages(sandbox.market) if stage.tables]
    browser.see(f"Launch runs to materialize {len(partitioned)} assets", "20 partitions")
    browser.save("backfill")


def test_the_schedule_is_turned_on_and_says_why_it_waits(browser, sandbox):
    """Last of all: from here on the schedule runs, and finds that every session is done."""
    names = ("sample_daily_retraining", "sample_reports_after_daily", "sample_failed_runs")
    browser.open("/automation", *names)
    browser.save("automation")
    browser.open(
        "/locations/sample/schedules/sample_daily_retraining", "America/New_York", "never run"
    )
    browser.switch()
    browser.see("Tick history", "0 runs requested")
    browser.press("0 runs requested", "button")
    last = sandbox.market.sessions.keys[-1]
    browser.see(f"Skip reason: every closed session is done, the newest is {last}")
    browser.save("tick")
