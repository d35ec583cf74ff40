"""Stages that a test adds by one line of the table: every reader sees them, none is told of them.

`{model}_rank` has one table and reads the predictions; `{model}_streak` has two tables and reads
its own partition of the session before. Oracle: what the added functions compute, and the names of
the stages.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.assets import stages as table_of_stages
from pipelines.assets.stages import stages
from pipelines.automation.next_session import look
from pipelines.build import build_definitions
from pipelines.instance.home import dagster_instance
from pipelines.market.stage import Kind, Stage, by_model, last_stages
from pipelines.operations.demo import run_demo
from pipelines.operations.refresh import run_refresh
from pipelines.operations.sync import sync_record
from pipelines.staleness.causes import Cause
from pipelines.staleness.status_report import status_report
from pipelines.warehouse.schemas import Column, Table
from tests.pipelines.conftest import REPORTS, key_of, market_of, own_record, partition_bytes
from tests.pipelines.finished_markets import backfill, restated
from tests.pipelines.ticks import NEW_YORK

RANKS = (
    Column("instrument", pa.string(), "code"),
    Column("rank", pa.int32(), "1 = best"),
)
COUNTS = (
    Column("instrument", pa.string(), "code"),
    Column("best", pa.int32(), "sessions in a row"),
)
ADDED = ("lstm_rank", "lstm_streak")


def rank_stage(market, spec):
    """The rank of every score of a session."""
    name, read = f"{spec.name}_rank", f"{spec.name}_prediction"

    def make(run):
        scores = market.warehouse.read(read, run.keys, needed_by=name)
        for key in run.keys:
            rows = scores.frame[scores.frame["date"] == pd.Timestamp(key)]
            rank = rows["score"].rank(ascending=False, method="first").astype("int32")
            frame = pd.DataFrame({"instrument": rows["instrument"], "rank": rank})
            made = run.provenance(key, {read: scores.digests})
            run.done(key, market.warehouse.write(run.stage.tables[0], name, key, frame, made))

    return Stage(
        name=name,
        kind=Kind.PORTFOLIO,
        model=spec.name,
        dataset=None,
        tables=(Table(name, "ranks", RANKS),),
        deps=(read,),
        previous=False,
        first=market.plan.first_trained,
        code_version="1",
        config={},
        inputs=lambda key, versions: {"prediction": versions[read][key]},
        make=make,
    )


def streak_stage(market, spec):
    """For how many sessions in a row the best name was the best, from the session before on."""
    name, read = f"{spec.name}_streak", f"{spec.name}_rank"
    first = market.plan.first_trained

    def before(key):
        return market.sessions.back(key, 1) if key > first else None

    def inputs(key, versions):
        made = {"rank": versions[read][key]}
        if before(key) is not None:
            made["previous"] = versions[name][before(key)]
        return made

    def make(run):
        for key in run.keys:
            ranks = market.warehouse.read(read, [key], needed_by=name)
            versions = {read: ranks.digests, name: {}}
            best = list(ranks.frame.loc[ranks.frame["rank"] == 1, "instrument"])
            length = 1
            if before(key) is not None:
                earlier = market.warehouse.read(name, [before(key)], needed_by=name)
                versions[name] = earlier.digests
                if list(earlier.frame["instrument"]) == best and len(earlier.frame):
                    length = int(earlier.frame["best"].iloc[0]) + 1
            rows = pd.DataFrame({"instrument": best, "best": [length] * len(best)})
            made = run.provenance(key, versions)
            market.warehouse.write(run.stage.tables[1], f"{name}_log", key, rows, made)
            run.done(key, market.warehouse.write(run.stage.tables[0], name, key, rows, made))

    return Stage(
        name=name,
        kind=Kind.PORTFOLIO,
        model=spec.name,
        tables=(Table(name, "streaks", COUNTS), Table(f"{name}_log", "their log", COUNTS)),
        deps=(read,),
        previous=True,
        first=first,
        code_version="1",
        inputs=inputs,
        make=make,
    )


def report_stage(market, before):
    """A report over the ranks, of which only Dagster's record tells that it was made."""
    return Stage(
        name="rank_report",
        kind=Kind.REPORT,
        make=lambda run: run.publish("1"),
        code_version="1",
        deps=tuple(stage.name for stage in before if stage.name.endswith("_rank")),
    )


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """The lines that whoever adds an asset writes."""
    made = (*table_of_stages.MODEL_STAGES, rank_stage, streak_stage)
    monkeypatch.setattr(table_of_stages, "MODEL_STAGES", made)
    monkeypatch.setattr(table_of_stages, "REPORTS", (*table_of_stages.REPORTS, report_stage))


@pytest.fixture
def market(finished, tmp_path: Path):
    """A finished market of one model, made before the stages were added."""
    shutil.copytree(finished.paths.root, tmp_path / "tiny")
    market = market_of(tmp_path / "tiny", "lstm")
    with dagster_instance(market) as instance:
        sync_record(market, stages(market), instance)
    return market


def trained(market):
    return [key for key in market.sessions.keys if key >= market.plan.first_trained]


def report_of(market):
    with dagster_instance(market) as instance:
        report = status_report(market, stages(market), instance)
    return {asset.asset: asset for asset in report.assets}, report


def make_added(market):
    keys = market.sessions.keys
    return backfill(market, start=keys[0], end=keys[-1])


def test_the_definitions_are_the_stages(market):
    """Every asset of Dagster's is a stage and every stage is an asset."""
    names = {stage.name for stage in stages(market)}
    graph = build_definitions(market).resolve_asset_graph()
    assert {key.path[-1] for key in graph.get_all_asset_keys()} == names
    assert names >= set(ADDED)
    daily = build_definitions(market).resolve_job_def("tiny_daily").asset_layer.selected_asset_keys
    assert {key_of(name) for name in ADDED} <= daily


def test_status_backfill_and_demo_make_them_once(market):
    """With none of their partitions nothing is current; after one run everything is."""
    found, report = report_of(market)
    assert not report.is_current
    for name in ADDED:
        (finding,) = found[name].findings
        assert (finding.cause, list(finding.keys)) == (Cause.ABSENT, trained(market))
    before = partition_bytes(market)
    work, said = make_added(market)
    assert work.assets == (*ADDED, *REPORTS), f"they were of three models; {said}"
    after = partition_bytes(market)
    made = after.keys() - before.keys()
    assert {path.split("/")[0] for path in made} == {*ADDED, "lstm_streak_log"}
    assert {path: after[path] for path in before} == before

    assert report_of(market)[1].is_current
    assert make_added(market)[0] is None, "nothing is made again"
    assert backfill(market, start="2020-04-01", end="2020-05-15", select="lstm_rank")[0] is None
    counts = []
    for _ in range(2):
        console = Console(file=io.StringIO(), width=400)
        run_demo(market, console)
        said = console.file.getvalue()
        assert "already there" in said
        assert all(name in said for name in ADDED)
        with dagster_instance(market) as instance:
            assert instance.get_latest_materialization_event(key_of("rank_report"))
            counts.append(instance.get_runs_count())
    assert counts[0] == counts[1], "the added report is made once"


@pytest.mark.thorough
def test_a_gap_makes_everything_after_it_stale_and_comes_back_byte_by_byte(market):
    """`lstm_streak` builds on its own session before; `lstm_rank` does not."""
    make_added(market)
    before, key = partition_bytes(market), trained(market)[5]
    shutil.rmtree(market.paths.warehouse / "lstm_streak" / f"date={key}")
    found, _ = report_of(market)
    assert not found["lstm_rank"].findings
    stale = {k for finding in found["lstm_streak"].findings for k in finding.keys}
    assert stale == {k for k in trained(market) if k >= key}
    make_added(market)
    assert partition_bytes(market) == before
    shutil.rmtree(market.paths.warehouse / "lstm_streak_log" / f"date={key}")
    found, _ = report_of(market)
    assert found["lstm_streak"].findings[0].detail == "lstm_streak_log"


def test_the_catalog_and_an_empty_record_have_them(market):
    """Their tables are views; a record that was lost gets every partition again."""
    keys = trained(market)
    backfill(market, start=keys[0], end=keys[-1], select=",".join(ADDED))
    with duckdb.connect(str(market.paths.catalog), read_only=True) as catalog:
        for table in (*ADDED, "lstm_streak_log"):
            (count,) = catalog.execute(
                f"SELECT count(DISTINCT date) FROM {table}"  # noqa: S608 - names of this file
            ).fetchone()
            assert count == len(trained(market))
    with own_record() as instance:
        synced = sync_record(market, stages(market), instance)
    for name in ADDED:
        assert list(synced.recorded[name]) == trained(market)


@pytest.mark.thorough
def test_restated_bars_reach_them(market):
    """`refresh` counts them among what is stale, and `backfill` makes them again."""
    make_added(market)
    key = trained(market)[-4]
    console = Console(file=io.StringIO(), width=400)
    other = restated_market(market, key)
    run_refresh(other, console, since=key)
    found, _ = report_of(other)
    counts = {name: sum(len(f.keys) for f in asset.findings) for name, asset in found.items()}
    assert counts["lstm_streak"] >= counts["lstm_rank"] == counts["lstm_prediction"] > 0
    partitions = sum(count for name, count in counts.items() if name not in REPORTS)
    said = console.file.getvalue()
    assert f"{partitions} backfilled partitions" in said
    assert f"{', '.join(REPORTS)} are stale now" in said
    make_added(other)
    assert report_of(other)[1].is_current


def restated_market(market, key):
    """The market with a source that today gives other bars of one session."""
    source = restated(market, key).source
    changed = market_of(market.paths.root, "lstm")
    changed.source = source
    return changed


def test_the_schedule_waits_for_them_and_they_hold_nothing_back(market):
    """A stage without a session on record joins as an added model does."""
    table, keys = stages(market), trained(market)
    last = ["lstm_evaluation", "lstm_portfolio", "lstm_streak"]
    assert [stage.name for stage in last_stages(table)] == last
    night = pd.Timestamp("2020-05-16 00:30").tz_localize(NEW_YORK).to_pydatetime()
    with dagster_instance(market) as instance:
        seen = look(market, table, instance, "tiny_daily", night)
        assert seen.missing == ()
        assert "lstm_streak has no session yet" in seen.newcomers.note(keys[-1], market.command)
        make_event(instance, "lstm_streak", keys[-2])
        assert look(market, table, instance, "tiny_daily", night).missing == (keys[-1],)


def make_event(instance, asset, key):
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key=key_of(asset), partition=key)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deps": ("nothing",)}, "reads nothing, which does not come before it"),
        ({"name": "lstm_rank"}, "is taken"),
        ({"kind": Kind.PREDICTION}, "a second stage of the kind predictions"),
        ({"tables": (Table("other", "", RANKS),)}, "expected the stage's own name"),
        (
            {"tables": (Table("own", "", RANKS),), "deps": ("lstm_prediction",)},
            "own begins with the market, and what it reads with 2020-04-01",
        ),
    ],
)
def test_a_stage_that_the_readers_could_not_know_is_refused(market, monkeypatch, change, said):
    """A table of stages with a contradiction in it is an error before anything runs."""
    made = {"name": "own", "kind": Kind.DATA, "make": pytest.fail, "code_version": "1"} | change
    own = Stage(**made, model="lstm")
    monkeypatch.setattr(
        table_of_stages,
        "REPORTS",
        (lambda market, before: own, *table_of_stages.REPORTS),
    )
    with pytest.raises(ValueError, match=said):
        stages(market)


def test_a_stage_cannot_be_changed(market):
    stage = by_model(stages(market), Kind.MODEL)["lstm"]
    with pytest.raises(AttributeError):
        stage.first = "2020-01-01"
