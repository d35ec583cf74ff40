"""Measure the cost of a daily run, of a tick of the schedule and of `status` by length of history.

    python benchmarks/history.py --folder /tmp/history [--sessions 250 10000] [--names 8] [--runs 5]

Makes a market of few names whose newest session lies a few sessions back, with the assets of the
default graph (bars, features, label, processors, datasets; a ridge regression and a small GRU with
their scores, evaluations and books). One of 250 sessions is made by runs over ranges, as `backfill`
makes them. Of a longer one only the newest sessions are, and those before them are partitions,
bundles and events that repeat the short one's, in files with the identity of their place. Every
score is dated to its evening, as if it had been served, and every session has runs of `daily` and
`reports` on record. 10,000 sessions take five minutes of one core and 1.5 GB, once: the markets
stay in the folder.

The figures are CPU milliseconds (user and system, all threads) of a process that has imported
everything: the job `daily` of the next sessions with the tags of the schedule, medians of `--runs`;
a tick that finds every session done, one that asks for a session, a look of each sensor, by the
longest way through it; and `status` after a verification. Each length is measured in a process of
its own, and the sessions that it made are taken back first, so that a second call measures the
same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

SPARE = 12  # closed sessions after the history: those that are measured, and days until it is
FIRST_TRAINED = 140  # number of the session
EVERY = 63  # sessions between two trainings
LEARNED = 70  # sessions before a training of which it reads anything
TEMPLATE = 250  # sessions of the market whose partitions a longer one repeats


def configuration(folder: Path, first: str, trained: str) -> dict[str, Any]:
    """The market's YAML."""
    features = {f"ROC{n}": f"Ref($close, {n})/$close" for n in (1, 5, 10, 20)}
    features |= {f"STD{n}": f"Std($close, {n})/$close" for n in (5, 20, 60)}
    source = {"kind": "files", "path": str(folder / "bars"), "basis": {"ratio": "adj_ratio"}}
    return {
        "name": "history",
        "market": {
            "source": source,
            "calendar": "XNYS",
            "start": first,
            "vwap": "typical",
            "quarantine": {"jump": "accept"},
        },
        "features": {"set": {"features": features}},
        "dataset": {
            "fit": {"rolling": {"window_sessions": 60}},
            "step_len": 5,
            "infer_processors": [{"RobustZScoreNorm": {"clip_outlier": True}}, "Fillna"],
            "learn_processors": ["DropnaLabel", "CSRankNorm"],
        },
        "training": {
            "first_trained": trained,
            "window_sessions": 60,
            "valid_sessions": 10,
            "retrain_every": EVERY,
            "device": "cpu",
            "threads": 1,
            "executor": "inline",
        },
        "models": {
            "linear": {},
            "gru": {"hidden_size": 4, "num_layers": 1, "n_epochs": 1, "batch_size": 800},
        },
        "checks": {
            "bars": {"min_coverage": 0.3},  # of eight names some are suspended
            "model": {"varied": "warn"},
            "predictions": {"varied": "warn", "coverage": "warn"},
        },
        "portfolio": {"topk": 2, "n_drop": 1},
        "schedule": {"enabled": True, "drop_folder": str(folder / "bars")},
    }


def simulate(folder: Path, names: int, sessions: int) -> None:
    """Put the bars into a file a year, and the configuration beside them."""
    import pandas as pd

    from pipelines.calendar.sessions import Sessions
    from rnn_core.data.simulate import simulate_market

    keys = Sessions.of("XNYS", dt.date(1980, 1, 2), dt.date.today() - dt.timedelta(days=2)).keys
    keys = keys[-sessions - SPARE :]
    days = pd.DatetimeIndex([*keys, *pd.bdate_range(keys[-1], periods=400)[1:]])
    bars = simulate_market(names, days, 0)
    (folder / "bars").mkdir(parents=True, exist_ok=True)
    for year, part in bars.groupby(bars["date"].dt.year):
        part.to_parquet(folder / "bars" / f"{year}.parquet", index=False)
    raw = configuration(folder, keys[0], keys[FIRST_TRAINED])
    (folder / "market.json").write_text(json.dumps(raw))


def market_of(folder: Path) -> Any:
    """The market of a folder."""
    from pipelines.config.loader import parse_config
    from pipelines.market.market import Market

    raw = json.loads((folder / "market.json").read_text())
    return Market(parse_config(raw), root=folder / "data" / "history")


def make(folder: Path, names: int, sessions: int) -> None:
    """Make the history of a market, as far as it is not there."""
    from pipelines.assets.stages import stages
    from pipelines.build import build_definitions
    from pipelines.instance.home import dagster_instance
    from pipelines.market.stage import Kind
    from pipelines.operations.runs import run_assets

    if not (folder / "market.json").exists():
        simulate(folder, names, sessions)
    market = market_of(folder)
    definitions, keys = build_definitions(market), market.sessions.keys[:sessions]
    late = (Kind.MODEL, Kind.PREDICTION, Kind.EVALUATION, Kind.PORTFOLIO)
    data = [s.name for s in stages(market) if s.kind not in (*late, Kind.REPORT)]
    models = [s.name for s in stages(market) if s.kind in late]
    with dagster_instance(market) as instance:
        first = 0
        if sessions > TEMPLATE:
            # The last training but one begins the part that is made by runs.
            first = FIRST_TRAINED + EVERY * ((sessions - FIRST_TRAINED - EVERY) // EVERY)
            if not (folder / "repeated").exists():
                repeat(market, stages(market), instance, first, folder.parent / str(TEMPLATE))
                (folder / "repeated").touch()
        # The rows that the first training learns from name their decisions, so they are made.
        run_assets(definitions, instance, data, (keys[max(0, first - LEARNED)], keys[-1]))
        trained = max(keys[first], market.plan.first_trained)
        run_assets(definitions, instance, models, (trained, keys[-1]))
        put_as_served(market, stages(market), instance)
        add_runs(market, instance, [key for key in keys if key >= market.plan.first_trained])
    (folder / "history").write_text(json.dumps(keys[-1]))


def repeat(market: Any, stages: Sequence[Any], instance: Any, count: int, template: Path) -> None:
    """Put partitions and bundles of a short market in the place of a long one's first sessions.

    Files keep their rows and digests and are given the identity of their new place. A session takes
    the files of one that is as far from a training, and was written on its evening.
    """
    from pipelines.instance.materializations import put_on_record
    from pipelines.instance.names import asset_key
    from pipelines.warehouse.partition_file import read_info
    from pipelines.warehouse.store import PART

    short = market_of(template)
    keys, old = market.sessions.keys[:count], short.sessions.keys
    like = [old[i if i < FIRST_TRAINED else FIRST_TRAINED + (i - FIRST_TRAINED) % EVERY]
            for i in range(count)]  # fmt: skip
    market.warehouse.record.claim()
    for stage in stages:
        infos = {}
        for table in reversed(stage.tables):  # the first one's are put on record
            there = set(short.warehouse.sessions(table.name)) & set(like)
            raws = {key: short.tables.read(table.name, f"date={key}", PART) for key in there}
            of_old = {key: read_info(pa.BufferReader(raw)) for key, raw in raws.items()}
            pairs = [pair for pair in zip(keys, like, strict=True) if pair[1] in there]
            infos = {key: of_old[other] for key, other in pairs}
            for key, other in pairs:
                before = short.warehouse.identity(table.name, other).to_json().encode()
                now = market.warehouse.identity(table.name, key).to_json().encode()
                path = Path(market.tables.path(table.name, f"date={key}", PART))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raws[other].replace(before, now))
                evening = dt.datetime.fromisoformat(f"{key} 23:00+00:00").timestamp()
                os.utime(path, (evening, evening))
        asset = asset_key(market, stage.name)
        put_on_record(market.warehouse.store, instance, asset, infos, lambda key: "")
        print(f"{stage.name}: {len(infos)} sessions", flush=True)
    for model in (spec.name for spec in market.models):
        for key in keys[FIRST_TRAINED::EVERY]:
            shutil.copytree(
                short.bundles.path(model, old[FIRST_TRAINED]), market.bundles.path(model, key)
            )


def put_as_served(market: Any, stages: Sequence[Any], instance: Any) -> None:
    """Date the first materialization of every score to the evening of its session."""
    import sqlalchemy as db

    from pipelines.instance.materializations import sql_storage
    from pipelines.instance.names import asset_key
    from pipelines.market.stage import Kind

    names = [asset_key(market, s.name).to_string() for s in stages if s.kind is Kind.PREDICTION]
    with sql_storage(instance).index_connection() as connection:
        log = db.Table("event_logs", db.MetaData(), autoload_with=connection)
        rows = connection.execute(
            db.select(log.c.id, log.c.partition)
            .where(log.c.asset_key.in_(names))
            .where(log.c.dagster_event_type == "ASSET_MATERIALIZATION")
            .where(log.c.partition.is_not(None))
        ).fetchall()
        evening = db.update(log).where(log.c.id == db.bindparam("row"))
        times = [{"row": i, "timestamp": dt.datetime.fromisoformat(f"{k} 23:00")} for i, k in rows]
        connection.execute(evening, times)


def add_runs(market: Any, instance: Any, keys: Sequence[str]) -> None:
    """Put a run of `daily` and one of `reports` on record for each session, ended well."""
    import dagster as dg

    from pipelines.instance.names import DAILY, MARKET_TAG, REPORTS, own_name
    from pipelines.instance.run_history import PARTITION

    for i, key in enumerate(keys):
        for number, job in enumerate((DAILY, REPORTS)):
            run_id = f"{i:08x}-{number:04}-4000-8000-000000000000"
            if not instance.has_run(run_id):
                tags = {MARKET_TAG: market.config.name} | ({PARTITION: key} if job == DAILY else {})
                status = dg.DagsterRunStatus.SUCCESS
                instance.add_run(
                    dg.DagsterRun(own_name(market, job), run_id, status=status, tags=tags)
                )


def take_back(market: Any, stages: Sequence[Any], instance: Any, last: str) -> None:
    """Take the sessions after the history away, from the warehouse and off the record."""
    import dagster as dg

    from pipelines.instance.materializations import forget
    from pipelines.instance.names import asset_key
    from pipelines.instance.run_history import PARTITION

    keys = [key for key in market.sessions.keys if key > last][: SPARE + 50]
    for run in instance.get_runs(dg.RunsFilter(tags={PARTITION: keys})):
        instance.delete_run(run.run_id)
    for stage in stages:
        for table in stage.tables:
            for key in keys:
                shutil.rmtree(market.tables.path(table.name, f"date={key}"), ignore_errors=True)
        if stage.tables:
            forget(instance, asset_key(market, stage.name), keys)


def keep_as_verified(market: Any, stages: Sequence[Any], instance: Any) -> None:
    """Write the record that `verify` writes where it finds every partition current."""
    from pipelines.staleness.data_versions import StoredVersions
    from pipelines.staleness.served import Served
    from pipelines.staleness.survey import Survey
    from pipelines.staleness.verified_record import VerifiedRecord

    served = Served(market, stages, instance)
    now = StoredVersions(market, stages, served)
    closed = market.sessions.closed(dt.datetime.now(dt.UTC))
    newest = market.warehouse.sessions("ohlcv")[-1]
    made = [key for key in closed if key <= newest]
    wanted = {stage.name: tuple(stage.due(made)) for stage in stages if stage.is_compared}
    found = Survey(wanted, {name: {} for name in wanted})
    VerifiedRecord(market, stages, served).keep(found, now, full=True)


def measure(folder: Path, runs: int) -> dict[str, float]:
    """CPU seconds of each thing that is measured."""
    import dagster as dg

    from pipelines.assets.stages import stages as stages_of
    from pipelines.automation.drop_folder import Watch, look_at
    from pipelines.build import build_definitions
    from pipelines.instance.home import dagster_instance
    from pipelines.instance.names import DAILY, FILES_SENSOR, SCHEDULE, own_name
    from pipelines.staleness.state_bytes import state_bytes
    from pipelines.staleness.status_report import status_report
    from rnn_core.warm import warm

    warm()
    figures: dict[str, float] = {}

    def timed(what: str, work: Callable[[], Any], count: int = runs) -> Any:
        took = []
        for _ in range(count + 1):  # the first one warms up what a process keeps
            before = time.process_time()
            result = work()
            took.append(time.process_time() - before)
        figures[what] = statistics.median(took[1:])
        return result

    market = timed("market", lambda: market_of(folder))
    stages = stages_of(market)
    definitions = timed("definitions", lambda: build_definitions(market))
    last = json.loads((folder / "history").read_text())
    daily = definitions.resolve_job_def(own_name(market, DAILY))
    schedule = definitions.resolve_schedule_def(own_name(market, SCHEDULE))
    number = market.sessions.position(last) + 1
    with dagster_instance(market) as instance:
        take_back(market, stages, instance, last)

        def tick(now: dt.datetime) -> Any:
            with dg.build_schedule_context(
                instance=instance, scheduled_execution_time=now
            ) as context:
                return schedule(context)

        def morning(i: int) -> dt.datetime:
            """The first tick after a session was due."""
            day = dt.date.fromisoformat(market.sessions.keys[i]) + dt.timedelta(days=1)
            return dt.datetime.combine(day, dt.time(12), dt.UTC)

        def look(sensor: Any, cursor: str | None) -> tuple[Any, str | None]:
            with dg.build_sensor_context(instance, cursor, definitions=definitions) as context:
                seen = sensor.evaluate_tick(context)
                return seen, seen.cursor

        idle = timed("tick, all done", lambda: tick(morning(number - 1)))
        assert isinstance(idle, dg.SkipReason), idle
        (asked,) = timed("tick, one asked for", lambda: tick(morning(number)))
        assert asked.partition_key == market.sessions.keys[number], asked
        todo = iter(market.sessions.keys[number : number + runs + 1])

        def run() -> None:
            result = daily.execute_in_process(
                partition_key=next(todo),
                instance=instance,
                tags=dict(asked.tags),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert result.success

        timed("daily run", run)
        # The reports of that run are due, the next session is too, and the folder has changed.
        for sensor in definitions.sensors:
            _, cursor = look(sensor, None)
            if sensor.name == own_name(market, FILES_SENSOR):
                cursor = Watch(look_at(market.config.schedule.drop_folder)).cursor()
            seen, _ = timed(f"sensor {sensor.name}", lambda s=sensor, c=cursor: look(s, c))
            assert not seen.run_requests, seen
        keep_as_verified(market, stages, instance)

        def status() -> Any:
            return status_report(market, stages, instance), state_bytes(market, instance)

        report, _ = timed("status", status)
        assert report.verified is not None
        figures["files"] = report.verified[1]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sessions", type=int, nargs="+", default=[250, 10_000])
    parser.add_argument("--names", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=("make", "measure"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        (sessions,) = args.sessions
        folder = args.folder / str(sessions)
        if args.only == "make":
            make(folder, args.names, sessions)
        else:
            figures = measure(folder, args.runs)
            (folder / "figures.json").write_text(json.dumps(figures))
        return
    columns = []
    for sessions in args.sessions:
        folder = args.folder / str(sessions)
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--folder", str(args.folder), "--names"]
        command += [str(args.names), "--runs", str(args.runs), "--sessions", str(sessions)]
        for only in ("measure",) if (folder / "history").exists() else ("make", "measure"):
            subprocess.run([*command, "--only", only], check=True)  # noqa: S603 - this very file
        columns.append(json.loads((folder / "figures.json").read_text()))
    print(table(args.sessions, columns))


def table(sessions: Sequence[int], columns: Sequence[dict[str, float]]) -> str:
    """The figures as a table, the last column being the ratio of the last length to the first."""
    heads = (f"{count:,} sessions" for count in sessions)
    lines = [f"| CPU, ms | {' | '.join(heads)} | ratio |", "|---" * (len(columns) + 2) + "|"]
    for what, first in columns[0].items():
        scale, form = (1, ",.0f") if what.startswith("files") else (1e3, ",.1f")
        cells = " | ".join(f"{scale * column[what]:{form}}" for column in columns)
        lines.append(f"| {what} | {cells} | {columns[-1][what] / first:.2f} |")
    few, many = columns[0], columns[-1]
    if len(columns) > 1:
        slope = (many["status"] - few["status"]) / (many["files"] - few["files"])
        lines.append(f"\nstatus: {1e6 * slope:.1f} µs a file beyond its fixed part")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
