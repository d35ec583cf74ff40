"""What every asset shares. Oracle: Dagster's public way of adding metadata, key by key."""

import dagster as dg
import pytest

from pipelines.assets.partitions import partitions_definition
from pipelines.assets.run import Results
from pipelines.instance.run_history import RANGE_END, RANGE_START
from pipelines.market.stage import Kind, Stage
from pipelines.warehouse.partition_file import PartitionInfo, Provenance
from tests.pipelines.conftest import key_of, materialize


def metadata_of(instance: dg.DagsterInstance, asset: str) -> dict[str, dict[str, object]]:
    records = instance.fetch_materializations(key_of(asset), limit=1000).records
    return {
        str(r.partition_key): {k: v.value for k, v in r.asset_materialization.metadata.items()}
        for r in records
    }


def test_metadata_is_what_dagster_would_have_been_given_key_by_key(market, instance):
    """Each partition has its own, none has another's."""
    days = partitions_definition(market.sessions, closed=True)
    keys = market.sessions.keys[:5]

    @dg.asset(
        key_prefix="tiny", partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run()
    )
    def handed_over(context: dg.AssetExecutionContext) -> None:
        context.add_asset_metadata({"before": 1}, partition_key=keys[0])
        stage = Stage("handed_over", Kind.DATA, make=pytest.fail, code_version="1")
        results = Results(context, stage, tuple(context.partition_keys))
        for rows, key in enumerate(context.partition_keys):
            info = PartitionInfo(rows, key * 7, Provenance("x", "1", "c"))
            results.done(key, info, {"share": rows / 8})
        results.hand_over(None)

    @dg.asset(
        key_prefix="tiny", partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run()
    )
    def one_by_one(context: dg.AssetExecutionContext) -> None:
        context.add_asset_metadata({"before": 1}, partition_key=keys[0])
        for rows, key in enumerate(context.partition_keys):
            values = {"dagster/row_count": rows, "session": key, "status": "ok"}
            values |= {"digest": (key * 7)[:16], "share": rows / 8}
            context.add_asset_metadata(values, partition_key=key)

    tags = {RANGE_START: keys[0], RANGE_END: keys[-1]}
    assert dg.materialize([handed_over, one_by_one], instance=instance, tags=tags).success
    found = metadata_of(instance, "handed_over")
    assert sorted(found) == list(keys)
    assert found == metadata_of(instance, "one_by_one")


def test_a_run_of_the_graph_records_rows_and_digests(market, instance):
    keys = market.sessions.keys[:3]
    materialize(market, ["ohlcv"], keys[0], keys[-1], instance)
    for key, values in metadata_of(instance, "ohlcv").items():
        info = market.warehouse.info("ohlcv", key)
        assert values["dagster/row_count"] == info.rows
        assert values["digest"] == info.digest[:16]
        assert (values["session"], values["quarantined"]) == (key, 0)
