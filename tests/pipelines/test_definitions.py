"""The code location: keys, groups, policies, jobs; nothing deprecated; quick to import."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from pipelines.assets.partitions import partitions_definition
from pipelines.build import build_definitions

FAMILIES = ("lstm", "gru", "krnn")
GROUPS = {
    "market": {"ohlcv"},
    "features": {"alpha158", "label"},
    "dataset": {"processors", "dataset_infer", "dataset_learn"},
    "models": {f"{f}_model" for f in FAMILIES},
    "predictions": {f"{f}_prediction" for f in FAMILIES},
    "portfolio": {f"{f}_portfolio" for f in FAMILIES},
    "evaluation": {f"{f}_evaluation" for f in FAMILIES} | {"signal_report", "portfolio_report"},
}
UNPARTITIONED = {"processors", "signal_report", "portfolio_report"}
PARENTS = {
    "ohlcv": set(),
    "alpha158": {"ohlcv"},
    "label": {"ohlcv"},
    "processors": {"alpha158", "label"},
    "dataset_infer": {"alpha158", "processors"},
    "dataset_learn": {"dataset_infer", "label", "processors"},
    "gru_model": {"dataset_infer", "dataset_learn"},
    "gru_prediction": {"gru_model", "dataset_infer"},
    "gru_evaluation": {"gru_prediction", "label"},
    "gru_portfolio": {"gru_prediction", "ohlcv"},
    "signal_report": {
        "ohlcv",
        *(f"{f}_{kind}" for f in FAMILIES for kind in ("evaluation", "portfolio")),
    },
    "portfolio_report": {
        "ohlcv",
        *(f"{f}_{kind}" for f in FAMILIES for kind in ("prediction", "portfolio")),
    },
}


@pytest.fixture
def defs(market):
    return build_definitions(market)


def nodes(defs):
    graph = defs.resolve_asset_graph()
    return {key.path[-1]: graph.get(key) for key in graph.get_all_asset_keys()}


def test_assets_stand_in_their_groups(defs):
    found: dict[str, set[str]] = {}
    for name, node in nodes(defs).items():
        found.setdefault(node.group_name, set()).add(name)
    assert found == GROUPS


def test_dependencies_are_those_of_the_design(defs):
    graph = nodes(defs)
    for name, parents in PARENTS.items():
        assert {k.path[-1] for k in graph[name].parent_keys} == parents, name


def test_every_asset_is_backfilled_in_one_run_over_the_same_sessions(defs, market):
    days = partitions_definition(market.sessions, closed=True)
    for name, node in nodes(defs).items():
        assert node.backfill_policy == dg.BackfillPolicy.single_run(), name
        assert node.code_version, name
        assert node.description, name
        assert (node.partitions_def is None) == (name in UNPARTITIONED)
        if node.partitions_def is not None:
            assert node.partitions_def == days
            for parent in node.parent_keys:
                mapping = node.partition_mappings.get(parent)
                assert mapping is None or isinstance(mapping, dg.IdentityPartitionMapping)


def test_training_waits_for_the_gpu_pool(defs):
    graph = nodes(defs)
    for name, node in graph.items():
        assert node.pools == ({"gpu"} if name.endswith("_model") else set()), name


def test_checks_that_stop_a_session_are_called_blocking(defs, tmp_path):
    from tests.pipelines.conftest import make_market

    def blocking(defs):
        specs = [spec for asset in defs.assets for spec in asset.check_specs]
        return {(s.asset_key.path[-1], s.name) for s in specs if s.blocking}

    found = blocking(defs)
    assert ("ohlcv", "coverage") in found
    assert ("alpha158", "finite") in found
    assert ("gru_prediction", "look_ahead") in found
    assert not {("ohlcv", "quarantined"), ("gru_model", "age"), ("gru_model", "in_force")} & found
    warned = {"checks": {"features": {"finite": "warn"}}}
    assert ("alpha158", "finite") not in blocking(build_definitions(make_market(tmp_path, warned)))


def test_jobs(defs):
    everything = set(nodes(defs))
    selected = {
        job: {
            key.path[-1]
            for key in defs.resolve_job_def(f"tiny_{job}").asset_layer.selected_asset_keys
        }
        for job in ("daily", "reports", "refit", "backfill")
    }
    assert selected == {
        "daily": everything - UNPARTITIONED,
        "reports": {"signal_report", "portfolio_report"},
        "refit": {"processors"},
        "backfill": everything,
    }


def test_columns_are_described(defs):
    for name, node in nodes(defs).items():
        if name in UNPARTITIONED:
            continue
        columns = node.metadata["dagster/column_schema"].columns
        assert all(c.description for c in columns), name
    features = nodes(defs)["alpha158"].metadata["dagster/column_schema"].columns
    described = {c.name: c.description for c in features}
    assert len(described) == 160
    assert described["MA5"] == "Mean($close, 5)/$close"


def test_without_vwap_the_feature_is_left_out(tmp_path):
    from tests.pipelines.conftest import make_market

    market = make_market(tmp_path, {"market": {"vwap": "none"}})
    columns = nodes(build_definitions(market))["alpha158"].metadata["dagster/column_schema"]
    names = [c.name for c in columns.columns]
    assert "VWAP0" not in names
    assert len(names) == 159


def test_another_set_keeps_the_assets_name_and_describes_its_columns(tmp_path):
    from tests.pipelines.conftest import make_market

    own = {"set": "alpha158", "rolling": {"windows": [7]}, "features": {"GAP": "$open-$close"}}
    changes = {"features": {"set": own}, "dataset": {"infer_processors": ["Fillna"]}}
    node = nodes(build_definitions(make_market(tmp_path, changes)))["alpha158"]
    described = {c.name: c.description for c in node.metadata["dagster/column_schema"].columns}
    assert len(described) == 2 + 9 + 4 + 29 + 1
    assert described["MA7"] == "Mean($close, 7)/$close"
    assert described["GAP"] == "$open-$close"
    assert "43 features of the configured set" in node.description
    assert "keeps this name whatever the set" in node.description


def test_nothing_deprecated_or_superseded_is_used():
    """The shipped location imports and resolves with those warnings as errors."""
    code = (
        "import warnings\n"
        "for name in ('DeprecationWarning', 'PendingDeprecationWarning', 'FutureWarning'):\n"
        "    warnings.filterwarnings('error', category=getattr(__builtins__, name),"
        " module=r'(pipelines|rnn_core)(\\.|$)')\n"
        "import dagster as dg\n"
        "for category in (dg.SupersessionWarning, dg.PreviewWarning):\n"
        "    warnings.filterwarnings('error', category=category)\n"
        "warnings.filterwarnings('error', category=DeprecationWarning, message='.*dagster.*')\n"
        "from pipelines.definitions import defs\n"
        "print(len(defs.resolve_all_job_defs()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "5"


def test_importing_the_location_loads_no_torch():
    """The daemon imports it every time it evaluates a schedule."""
    code = (
        "import sys, pipelines.definitions; "
        "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
