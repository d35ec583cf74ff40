"""Runs of the UI that begin before the first training. Oracle: the YAML's first trained session."""

from __future__ import annotations

import pytest

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.instance.run_history import RANGE_END, RANGE_START
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import key_of, model_assets, partition_bytes
from tests.pipelines.finished_markets import copy_of, put_on_record

KINDS = ("model", "prediction", "evaluation", "portfolio")


@pytest.fixture
def copy(finished, tmp_path, instance):
    return put_on_record(copy_of(finished, tmp_path / "copy"), instance)


@pytest.mark.parametrize(
    "names",
    [("lstm_model",), ("lstm_prediction",), ("lstm_evaluation",), ("lstm_portfolio",), None],
    ids=["model", "prediction", "evaluation", "portfolio", "all"],
)
def test_it_records_empty_partitions_that_name_the_first_trained_session(
    copy, finished, instance, names
):
    """Each asset of a model by itself, as from its page, and all together."""
    names = names or model_assets(copy)
    keys, first = copy.sessions.keys, copy.plan.first_trained
    range_ = keys[keys.index(first) - 5 : keys.index(first) + 3]
    result = build_definitions(copy).resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[key_of(name) for name in names],
        tags={RANGE_START: range_[0], RANGE_END: range_[-1]},
    )  # fmt: skip
    assert result.success
    for name in names:
        for key in range_[:5]:
            info = copy.warehouse.info(name, key)
            assert info.rows == 0
            assert info.provenance.status == f"warm-up: the first trained session is {first}"
        assert set(range_) <= instance.get_materialized_partitions(key_of(name))
    # An evaluation names the empty prediction that it now has; nothing else is another file.
    before, after = partition_bytes(finished), partition_bytes(copy)
    changed = {path.split("/")[0] for path in before if after[path] != before[path]}
    assert changed <= {name for name in names if name.endswith("_evaluation")}
    if len(names) > 1:
        report = status_report(copy, stages(copy), instance)
        assert not [a for a in report.assets if a.asset.endswith(KINDS) and a.findings]
