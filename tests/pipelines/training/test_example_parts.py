"""The package of `examples/own_parts`, installed, in a market that names its parts by entry point.

Oracles: quantiles by hand, the bars that were put on the server, pandas.
"""

from __future__ import annotations

import functools
import http.server
import importlib
import shutil
import subprocess
import sys
import threading
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import SourceError
from pipelines.market.market import Market
from pipelines.sources.fetch import fetch_bars
from pipelines.training.processors import load_state
from pipelines.training.registry import find_bundle
from rnn_core import own_parts as registry
from rnn_core.features.reach import reach_problems
from rnn_core.own_parts import load_part
from tests.pipelines.conftest import COLUMNS, TINY, make_market, materialize, merged, model_assets
from tests.pipelines.own_parts_package import OWN_PARTS


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that pip has installed the package into, as into an environment, offline."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(OWN_PARTS, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, str(folder / "site"), "./source"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def package(installed, monkeypatch):
    """The installed package on the path; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(installed)
    importlib.invalidate_caches()
    registry._distributions.cache_clear()
    yield installed
    registry._distributions.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server of the tiny market's bars, its folder, and the answers it gave."""
    folder, answers = tmp_path_factory.mktemp("server"), []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            answers.append((int(code), self.headers.get("Authorization")))

    plain = make_market(folder / "plain")
    bars = plain.source.fetch(plain.sessions.keys)
    bars.to_csv(folder / "bars.csv", index=False)
    bars.drop(columns=["amount", "adj_ratio"]).to_csv(folder / "few.csv", index=False)
    bars.drop(columns=["close"]).to_csv(folder / "broken.csv", index=False)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder, answers
        httpd.shutdown()


def config(server, file="bars.csv", **access):
    source = {
        "kind": "csv_over_http",
        "options": {"file": file},
        "access": {"address": server[0], **access},
    }
    raw = merged(TINY, {})
    raw["market"]["source"] = source
    raw["features"] = {"set": {"set": "alpha158", "features": {"MOM": "momentum"}}}
    steps = raw["dataset"]["infer_processors"]
    steps[0] = {"FilterCol": {"col_list": [*COLUMNS, "MOM"]}}
    steps.insert(1, {"Winsorize": {"at": 0.1}})
    raw["portfolio"] = {"strategy": "Band", "options": {"enter": 1, "leave": 2}}
    short = {"n_epochs": 2, "batch_size": 64}
    raw["models"] = {
        "alstm": {"hidden_size": 4, "num_layers": 1, **short},
        "transformer": {"d_model": 4, "num_layers": 1, **short},
    }
    return raw


def test_its_entry_points_name_its_classes(own_parts):
    project = tomllib.loads((OWN_PARTS / "pyproject.toml").read_text())["project"]
    for group, points in project["entry-points"].items():
        for name, place in points.items():
            assert load_part(place, group).value.__name__.lower() == name.lower().replace("_", "")


def test_a_market_runs_with_all_of_it_by_entry_point(package, server, tmp_path, instance):
    market = Market(parse_config(config(server)), root=tmp_path / "tiny")
    origin = load_part("Winsorize", "rnn_core.processors").origin
    assert origin["distribution"] == "own-parts 0.1"
    assert reach_problems(market.datasets[0].feature_set) == []
    first = market.plan.first_trained
    week = market.sessions.between("2020-04-06", "2020-04-09")
    data = [s.name for s in stages(market) if s.tables and s.first is None]
    materialize(market, [*data, "processors"], market.sessions.first, week[-1], instance)
    materialize(market, model_assets(market), first, week[-1], instance)
    # The state of the winsoriser: quantiles of members' rows of the fit window.
    clip = load_state(market, market.datasets[0]).infer.processors[1]
    keys = market.datasets[0].fit_sessions()
    raw = market.warehouse.read("alpha158", keys, needed_by="the test").frame.query("member")
    for name, bounds in clip.bounds.items():
        np.testing.assert_allclose(bounds, raw[name].quantile([0.1, 0.9]), rtol=1e-6)
    for name in ("alstm", "transformer"):
        bundle = find_bundle(market, name, first)
        (order,) = market.warehouse.read_one(f"{name}_orders", first, needed_by="the test")[
            0
        ].to_pylist()
        assert (order["side"], order["rank"], order["share_of"]) == ("buy", 1, 1)
        rows = market.warehouse.read(f"{name}_prediction", [first], needed_by="the test").frame
        assert np.ptp(rows["score"]) > 0
        window = torch.zeros(1, 5, len(bundle.columns))
        later = window.clone()
        later[:, 0] = 1.0  # the first step counts
        with torch.no_grad():
            assert bundle.network(window) != bundle.network(later)
    # The weekly report of the package, over the sessions of Easter's week.
    weekly = importlib.import_module("own_parts.weekly")
    report = weekly.weekly_definitions(market, "alstm").resolve_job_def("weekly")
    assert report.execute_in_process(instance=instance, partition_key="2020-04-06").success
    scores = market.warehouse.read("alstm_prediction", week, needed_by="the test").frame
    ranks = scores.pivot_table("score", "instrument", "date").rank(pct=True)
    found = weekly.read_report(market, "2020-04-06")
    assert found.to_dict() == pytest.approx(ranks.mean(axis=1).to_dict())


def test_bars_over_http_are_those_of_the_file(package, server, tmp_path):
    answers = server[2]
    market = Market(parse_config(config(server, token="t0ken")), root=tmp_path / "tiny")  # noqa: S106
    plain = make_market(tmp_path / "plain")
    keys = market.sessions.keys[:5]
    pd.testing.assert_frame_equal(fetch_bars(market.source, keys), fetch_bars(plain.source, keys))
    answers.clear()
    assert list(market.source.days("2020-05-14").index) == ["2020-05-14", "2020-05-15"]
    assert answers == [(304, "Bearer t0ken")]  # not sent a second time
    few = Market(parse_config(config(server, file="few.csv")), root=tmp_path / "few")
    assert set(few.source.fetch(keys)["adj_ratio"]) == {1.0}
    assert few.source.fetch(keys)["amount"].isna().all()
    assert "t0ken" not in str(market.warehouse.record.__dict__)


@pytest.mark.parametrize(
    ("file", "message"),
    [("broken.csv", "broken.csv lacks close; it has date, instrument"), ("no.csv", "404")],
)
def test_a_file_that_is_not_as_it_should_be_is_an_error(package, server, tmp_path, file, message):
    market = Market(parse_config(config(server, file=file)), root=tmp_path / "tiny")
    with pytest.raises(SourceError, match=message):
        fetch_bars(market.source, market.sessions.keys[:2])
