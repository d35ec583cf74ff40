"""Dagster's own cost per asset partition of a range run: the event log as shipped and as here.

    python benchmarks/event_log.py [--partitions 200] [--assets 4] [--postgres URL]

Runs assets that do nothing over a range, on a fresh SQLite home on the disk of the system's
temporary folder (`TMPDIR` chooses another), each storage once a round, rounds alternating. With the
URL of an empty database the same in Postgres, and its commits that changed something; with
`--partitions 1` those of a run of one session.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg
import sqlalchemy as db

warnings.filterwarnings("ignore", category=dg.BetaWarning)

SETTINGS = {
    "as shipped": "telemetry: {enabled: false}\n",
    "LocalEventLogStorage": (
        "telemetry: {enabled: false}\n"
        "event_log_storage:\n"
        "  module: pipelines.instance.event_log\n"
        "  class: LocalEventLogStorage\n"
        "  config: {base_dir: HOME/history/runs}\n"
    ),
}
IN_POSTGRES = {
    "Postgres as shipped": "storage: {postgres: {postgres_url: URL}}\n",
    "PostgresRecord": (
        "storage:\n"
        "  custom:\n"
        "    module: pipelines.instance.postgres_record\n"
        "    class: PostgresRecord\n"
        "    config: {postgres_url: URL}\n"
    ),
}
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"  # our storages set it for their process


def commits(url: str) -> int:
    """The number that Postgres gives to the next transaction that changes something.

    One that only reads has none, and so has this question.
    """
    query = "SELECT txid_snapshot_xmax(txid_current_snapshot())"
    with db.create_engine(url).connect() as connection:
        return int(connection.exec_driver_sql(query).scalar_one())


def make_asset(
    name: str, deps: list[dg.AssetsDefinition], days: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        deps=deps,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def nothing(context) -> None:
        for key in context.partition_keys:
            context.add_asset_metadata({"rows": 5, "nan_share": 0.1}, partition_key=key)

    return nothing


def one_run(settings: str, n_assets: int, n_partitions: int) -> float:
    """Milliseconds per asset partition."""
    days = dg.DailyPartitionsDefinition("2000-01-01")
    keys = days.get_first_partition_key(), days.get_partition_keys()[n_partitions - 1]
    assets: list[dg.AssetsDefinition] = []
    for i in range(n_assets):
        assets.append(make_asset(f"asset_{i}", assets[-1:], days))
    os.environ.pop(_BATCH_SIZE, None)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text(settings.replace("HOME", home))
        os.environ["DAGSTER_HOME"] = home
        with dg.DagsterInstance.from_config(home) as instance:
            began = time.perf_counter()
            done = dg.materialize(
                assets,
                instance=instance,
                tags={
                    "dagster/asset_partition_range_start": keys[0],
                    "dagster/asset_partition_range_end": keys[1],
                },
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            took = time.perf_counter() - began
            recorded = instance.get_materialized_partitions(dg.AssetKey("asset_0"))
            assert done.success
            assert len(recorded) == n_partitions
    return 1e3 * took / (n_assets * n_partitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--assets", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", metavar="URL", help="postgresql+psycopg2://…")
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(args.rounds):
        for name, settings in SETTINGS.items():
            times[name].append(one_run(settings, args.assets, args.partitions))
    for name, values in times.items():
        shown = ", ".join(f"{v:.1f}" for v in values)
        print(f"{name:<22} {statistics.median(values):6.1f} ms per asset partition ({shown})")
    shipped, ours = (statistics.median(times[name]) for name in SETTINGS)
    print(f"ratio {shipped / ours:.1f}")
    for name, settings in IN_POSTGRES.items() if args.postgres else ():
        shown, before = [], commits(args.postgres)
        for _ in range(args.rounds):
            text = settings.replace("URL", f'"{args.postgres}"')
            shown.append(one_run(text, args.assets, args.partitions))
        made = (commits(args.postgres) - before) / (args.rounds * args.assets * args.partitions)
        figures = ", ".join(f"{v:.1f}" for v in shown)
        print(f"{name:<22} {statistics.median(shown):6.1f} ms ({figures}), {made:.2f} commits")


if __name__ == "__main__":
    main()
