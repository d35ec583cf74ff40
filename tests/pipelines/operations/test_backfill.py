"""`backfill`: exactly the asked range, once. Oracle: an unbroken market's files."""

from __future__ import annotations

import io
import shutil

import pandas as pd
import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.instance.made_keys import made_keys
from pipelines.instance.warm_up_records import forget_warm_up, warm_up_keys
from pipelines.operations.demo import run_demo
from pipelines.operations.runs import RunFailedError
from pipelines.operations.selection import selected_assets
from pipelines.operations.sync import sync_record
from pipelines.staleness.status_report import status_report
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import key_of, make_market, market_of, partition_bytes
from tests.pipelines.finished_markets import (
    backfill,
    made_on_the_evening,
    part_of,
    put_on_record,
    recorded_copy_of,
    stamps,
)
from tests.pipelines.late_bars import LateBars, bad_bars, cut_before, files_of, with_source
from tests.pipelines.processes import start_python, wait_until
from tests.pipelines.verified_market import LATE, place, verified


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of a finished market, on record in its own home."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return recorded_copy_of(finished, tmp_path / "copy")


def gru_of(finished, tmp_path, monkeypatch, served=()):
    """The same of its GRU alone, with sessions that were served."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = part_of(finished, tmp_path / "gru", "gru")
    made_on_the_evening(market, ["gru"], served)
    with dagster_instance(market) as instance:
        return put_on_record(market, instance)


WHOLE = {"start": "2020-01-02", "end": "2020-05-15"}


@pytest.fixture
def unbroken(finished):
    """The files of the whole span, of one model, made without an interruption."""
    others = ("lstm_", "gru_")
    return {p: h for p, h in partition_bytes(finished).items() if not p.startswith(others)}


def runs_of(market):
    with dagster_instance(market) as instance:
        return instance.get_runs()


def test_nothing_runs_where_everything_is_current(copy, monkeypatch):
    before = stamps(copy)
    # Definitions are for runs: a finished backfill makes none.
    monkeypatch.setattr("pipelines.operations.backfill_run.build_definitions", pytest.fail)
    work, said = backfill(copy, start=copy.plan.first_trained, end="2020-05-15")
    assert work is None
    assert "nothing to run" in said
    assert stamps(copy) == before
    assert runs_of(copy) == []


def test_dagster_is_left_out_until_something_is_to_be_recorded(copy, monkeypatch):
    """Oracle: Dagster's record and settings, and who was called to write them."""
    whole = {"start": copy.sessions.first, "end": "2020-05-15"}
    first, settings = copy.sessions.first, copy.paths.dagster / "dagster.yaml"
    leftover = copy.paths.warehouse / ".catalog.999999999.00000000.tmp"  # of a process that is gone

    def warm_up():
        with dagster_instance(copy) as instance:
            return warm_up_keys(instance, key_of("lstm_model"))

    def forget():
        with dagster_instance(copy) as instance:
            forget_warm_up(instance, key_of("lstm_model"), [first])

    assert warm_up() == set()
    assert backfill(copy, **whole)[0] is None
    assert first in warm_up()
    for change in (forget, settings.unlink):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipelines.operations.backfill_run.run_compared", pytest.fail)
            leftover.touch()
            assert backfill(copy, **whole)[0] is None
            assert not leftover.exists()
        change()
        work, said = backfill(copy, **whole)
        assert work is None
        assert said.count("nothing to run") == 1
        assert first in warm_up()
        assert settings.is_file()


def test_a_file_is_hashed_again_only_if_it_changed_since_it_was_verified(copy, monkeypatch):
    """Oracle: the reads of partitions. From the session of a file with another time on all is."""
    reads: list[tuple[str, ...]] = []
    read = LocalStore.read

    def noted(self, *parts):
        if parts[-1] == PART:
            reads.append(parts)
        return read(self, *parts)

    def idle() -> list[tuple[str, ...]]:
        reads.clear()
        work, said = backfill(copy, start=copy.sessions.first, end="2020-05-15")
        assert work is None
        assert "nothing to run" in said
        assert ("were not hashed again" in said) == copy.paths.verified.exists()
        return list(reads)

    monkeypatch.setattr(LocalStore, "read", noted)
    assert len(idle()) > 1000  # nothing was verified before
    verified(copy)
    assert idle() == []
    place(copy, "label", LATE).touch()
    days = sorted({day for _, day, _ in idle()})  # and the one before, which bars are made from
    assert days == ["date=2020-05-13", f"date={LATE}", "date=2020-05-15"]
    # A command of named assets may be the repair that an error asked for.
    backfill(copy, start=copy.sessions.first, end="2020-05-15", select="alpha158")
    assert f"date={copy.sessions.first}" in {day for _, day, _ in reads}


def test_one_run_makes_what_is_left_of_the_range(finished, tmp_path, monkeypatch):
    """Holes inside and outside the asked range: those inside are made, in one run."""
    copy = gru_of(finished, tmp_path, monkeypatch)
    expected = partition_bytes(copy)
    keys = copy.sessions.keys
    inside = [("label", keys[70]), ("alpha158", keys[80]), ("gru_prediction", keys[85])]
    outside = ("label", keys[90])
    for table, key in (*inside, outside):
        shutil.rmtree(copy.paths.warehouse / table / f"date={key}")
    before = stamps(copy)
    work, said = backfill(copy, start=keys[65], end=keys[86])
    assert (work.first, work.last) == (keys[70], keys[86])
    assert f"{keys[65]} … {keys[86]} (22 sessions)" in said
    (run,) = runs_of(copy)
    assert run.tags["dagster/asset_partition_range_start"] == keys[70]
    assert run.tags["rnn/run"] == f"tiny backfill {keys[70]} … {keys[86]}"
    written = {p for p, stamp in stamps(copy).items() if before.get(p) != stamp}
    assert {f"{table}/date={key}/part-0.parquet" for table, key in inside} <= written
    # What was made from a hole is made again; it has the bytes that it had.
    of_other_tables = {p.split("/")[0] for p in written} - {"label", "alpha158", "gru_prediction"}
    assert "ohlcv" not in of_other_tables
    del expected[f"label/date={outside[1]}/part-0.parquet"]
    assert partition_bytes(copy) == expected


def test_force_makes_the_range_again_and_only_that(copy, finished):
    keys = copy.sessions.keys[-6:-2]
    before = stamps(copy)
    work, said = backfill(
        copy, start=keys[0], end=keys[-1], select="label dataset_learn", force=True
    )
    assert work.assets == ("label", "dataset_learn")
    assert "is made again" in said
    written = {p for p, stamp in stamps(copy).items() if before[p] != stamp}
    assert written == {f"{t}/date={k}/part-0.parquet" for t in work.assets for k in keys}
    assert partition_bytes(copy) == partition_bytes(finished)


def test_what_was_served_is_not_made_again_by_a_backfill(finished, tmp_path, monkeypatch):
    """Another learning rate: backfilled sessions are made again, served ones with --republish."""
    keys = finished.sessions.keys
    at = [k for k in keys if finished.plan.trains(k)][-1]  # the last anchor: served from it on
    served = [k for k in keys if k >= at]
    market = gru_of(finished, tmp_path, monkeypatch, served)
    other = market_of(market.paths.root, "gru", {"models": {"gru": {"lr": 0.01}}})
    before = partition_bytes(other)
    range_ = {"start": market.plan.first_trained, "end": keys[-1], "select": "gru_model+"}
    _, said = backfill(other, **range_)
    assert "served partitions stay as they are" in said
    changed = {p for p, h in partition_bytes(other).items() if before[p] != h}
    sessions = {p.split("date=")[1][:10] for p in changed if "evaluation" not in p}
    assert sessions == {k for k in keys if market.plan.first_trained <= k < at}
    work, said = backfill(other, **range_)
    assert work is None
    backfill(other, **range_, republish=True)
    changed = {p for p, h in partition_bytes(other).items() if before[p] != h}
    assert {f"gru_prediction/date={k}/part-0.parquet" for k in served} <= changed
    kept = list((other.paths.models / ".revisions" / "gru" / at).iterdir())
    assert len(kept) == 1
    assert (kept[0] / "weights.safetensors").is_file()


def test_selections_read_as_dagsters(finished):
    defs = build_definitions(finished)

    def chosen(text):
        return selected_assets(defs, text)

    assert chosen("label, alpha158") == ("alpha158", "label")
    assert chosen("label alpha158") == chosen("alpha158,label")
    assert set(chosen("+dataset_infer")) == {"ohlcv", "alpha158", "label", "dataset_infer"}
    assert set(chosen("1+dataset_infer")) == {"alpha158", "dataset_infer"}
    assert chosen("*_model") == ("gru_model", "krnn_model", "lstm_model")
    kinds = ("model", "prediction", "evaluation", "portfolio")
    assert set(chosen("gru_model+")) == {f"gru_{kind}" for kind in kinds}
    assert "processors" not in chosen("ohlcv+")
    assert "signal_report" not in chosen("ohlcv+")
    assert chosen("processors") == ("processors",)
    assert set(chosen("group:features")) == {"alpha158", "label"}
    with pytest.raises(PipelineError, match=r"unknown asset 'lable' in --select.*'label'"):
        chosen("ohlcv,lable")
    with pytest.raises(PipelineError, match=r"cannot read 'colour:blue'|names no asset"):
        chosen("colour:blue")


def test_a_report_that_is_gone_is_made_again(copy):
    (copy.paths.reports / "signal.csv").unlink()
    work, said = backfill(copy, **WHOLE, select="signal_report,portfolio_report")
    assert work.assets == ("signal_report",)
    assert said.rstrip().split("to run: ")[1].splitlines()[0] == "signal_report"
    assert (copy.paths.reports / "signal.csv").is_file()
    work, _ = backfill(copy, **WHOLE, select="signal_report,portfolio_report", force=True)
    assert work.assets == ("signal_report", "portfolio_report")


def pinned(market):
    """The market with a rollback of its last sessions, as its YAML would have it."""
    keys, anchors = market.sessions.keys, [k for k in market.sessions.keys if market.plan.trains(k)]
    pin = {"from": keys[-6], "as_of": anchors[0]}
    return make_market(market.paths.root, {"training": {"pin": pin}}), keys[-6]


def reported(market):
    """True if everything is current, and the reports that are not."""
    with dagster_instance(market) as instance:
        report = status_report(market, stages(market), instance)
    stale = {a.asset for a in report.assets for f in a.findings if f.is_stale}
    return report.is_current, stale & {"signal_report", "portfolio_report"}


@pytest.mark.thorough
def test_reports_follow_the_backfill_of_a_pin(copy):
    """Other models serve the last sessions: both reports are stale with them, and made last."""
    market, since = pinned(copy)
    before = (market.paths.reports / "signal.csv").read_bytes()
    assert reported(market) == (False, {"signal_report", "portfolio_report"})
    work, said = backfill(market, start=since, end="2020-05-15")
    assert {"gru_prediction", "signal_report", "portfolio_report"} <= set(work.assets)
    assert ", signal_report, portfolio_report" in said
    assert reported(market) == (True, set())
    assert (market.paths.reports / "signal.csv").read_bytes() != before
    page = (market.paths.reports / "report.html").read_bytes()
    assert page == market.paths.page.read_bytes()
    assert backfill(market, start=since, end="2020-05-15")[0] is None


@pytest.mark.thorough
def test_a_backfill_of_selected_assets_names_the_reports_that_it_leaves(copy):
    market, since = pinned(copy)
    _, said = backfill(market, start=since, end="2020-05-15", select="gru_model+")
    assert "signal_report and portfolio_report show what was there before; `rnn-pip" in said
    assert "--select signal_report,portfolio_report` makes them again" in said


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"portfolio": {"topk": 3}}, {"signal_report", "portfolio_report"}),
        ({"evaluation": {"quantiles": 4}}, {"signal_report"}),
        ({"schedule": {"enabled": True}}, set()),
    ],
)
def test_reports_follow_the_settings_of_their_figures(copy, change, stale):
    assert reported(make_market(copy.paths.root, change))[1] == stale


@pytest.mark.thorough
def test_what_waits_is_named_and_everything_else_is_made(finished, tmp_path, monkeypatch):
    """Bars, models and reports up to the newest session that the source has, by both commands."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    keys = finished.sessions.keys[-6:]
    market = cut_before(finished, tmp_path / "tiny", keys[0])
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
    late = with_source(market, LateBars(market, keys[2]))
    _, said = backfill(late, **WHOLE)
    assert (
        "waiting for bars, everything before them is made: LateBars has no bar at all for" in said
    )
    assert ", ".join(keys[2:]) in said
    assert partition_bytes(late) == files_of(finished, market, keys[2])
    table = pd.read_csv(late.paths.reports / "signal.csv", index_col="model")
    before = pd.read_csv(finished.paths.reports / "signal.csv", index_col="model")
    assert set((before["days"] - table["days"]).dropna()) == {4}
    later = with_source(market, LateBars(market, keys[4]))
    console = Console(file=io.StringIO(), width=400)
    run_demo(later, console)
    said = console.file.getvalue()
    assert f"no bar at all for {keys[4]}, {keys[5]}" in said
    assert "rank ICIR" in said
    assert later.warehouse.sessions("lstm_evaluation")[-1] == keys[3]
    table = pd.read_csv(late.paths.reports / "signal.csv", index_col="model")
    assert set((before["days"] - table["days"]).dropna()) == {2}


@pytest.mark.thorough
def test_a_bad_session_holds_back_no_model_before_it(finished, tmp_path, monkeypatch):
    """The models have a run of their own; it makes the sessions before the bad one."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    keys = finished.sessions.keys[-6:]
    market = cut_before(finished, tmp_path / "tiny", keys[0])
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
    bad = with_source(market, bad_bars(market, keys[3]))
    with pytest.raises(RunFailedError, match=f"every bar of {keys[3]} breaks a rule"):
        run_demo(bad, Console(file=io.StringIO(), width=400))
    assert partition_bytes(bad) == files_of(finished, market, keys[3])
    table = pd.read_csv(bad.paths.reports / "portfolio.csv", index_col="model")
    before = pd.read_csv(finished.paths.reports / "portfolio.csv", index_col="model")
    assert set((before["sessions"] - table["sessions"]).dropna()) == {3}


KILLED = """
import sys
from pathlib import Path
from rich.console import Console
from tests.pipelines.conftest import market_of
from pipelines.operations.backfill import run_backfill
run_backfill(market_of(Path(sys.argv[1]), "krnn"), Console(), start="2020-01-02", end="2020-05-15")
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("table", "files"),
    [("alpha158", 30), pytest.param("dataset_infer", 1, marks=pytest.mark.thorough)],
)
def test_a_killed_backfill_goes_on_where_it_was(unbroken, tmp_path, monkeypatch, table, files):
    """kill -9 half-way; the same command again leaves the first half's files alone."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    root = tmp_path / "tiny"
    process = start_python(KILLED, root)
    folder = root / "warehouse" / table
    wait_until(
        process,
        f"{files} partitions of {table}",
        lambda: len(list(folder.glob("date=*/*.parquet"))) >= files,
    )
    process.kill()
    process.wait()
    market = market_of(root, "krnn")
    before = stamps(market)
    assert 0 < len(before) < len(unbroken)
    work, said = backfill(market, **WHOLE)
    assert "was cut off earlier" in said
    assert work is not None
    after = stamps(market)
    assert {p: s for p, s in after.items() if p in before} == before, "nothing was made twice"
    assert partition_bytes(market) == unbroken
    with dagster_instance(market) as instance:
        done = made_keys(instance, key_of("krnn_evaluation"))
    assert done == {key for key in market.sessions.keys if key >= market.plan.first_trained}
    assert backfill(market, **WHOLE)[0] is None
