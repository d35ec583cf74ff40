"""`export-qlib`: the folder for those who go on in qlib.

Oracle: the market's own tables, read back through the readers of qlib folders; and pyqlib itself,
run by the Python that `RNN_PYQLIB` names (skipped without).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from rich.console import Console

from pipelines.config.sources import QlibBinSource
from pipelines.errors import PipelineError
from pipelines.operations.export_qlib import run_export
from pipelines.sources.qlib_bin import QlibBars
from pipelines.training.registry import require_bundle
from rnn_core.data import QlibProvider
from rnn_core.host import host_id
from rnn_core.models.ensemble import MeanEnsemble
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import copy_of

PYQLIB = os.environ.get("RNN_PYQLIB", "")
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "factor", "change")


def export(market, folder, session=None) -> str:
    console = Console(file=io.StringIO(), width=200)
    run_export(market, console, str(folder), session)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "qlib"
    return folder, export(finished, folder)


def bars_of(market):
    keys = market.warehouse.sessions("ohlcv")
    return market.warehouse.read("ohlcv", keys, needed_by="a test").frame


def test_the_source_of_qlib_folders_gives_the_bars_back(finished, exported):
    """As traded, with their splits: to the seven digits of float32."""
    want = bars_of(finished).sort_values(["instrument", "date"], ignore_index=True)
    keys = sorted({f"{day:%Y-%m-%d}" for day in want["date"]})
    settings = QlibBinSource.model_validate({"kind": "qlib_bin", "path": str(exported[0])})
    got = QlibBars(settings, needs_amount=True).fetch(keys)
    got = got.sort_values(["instrument", "date"], ignore_index=True)
    assert len(got) == len(want) > 400
    assert got["instrument"].tolist() == want["instrument"].tolist()
    assert got["date"].tolist() == [f"{day:%Y-%m-%d}" for day in want["date"]]
    for name in ("open", "high", "low", "close", "volume", "amount"):
        np.testing.assert_allclose(got[name], want[name], rtol=5e-7, err_msg=name)
    factor = got["adj_ratio"].groupby(got["instrument"]).cumprod()
    np.testing.assert_allclose(factor, want["adj_factor"], rtol=1e-6)
    assert (factor != 1.0).any()  # the market has splits


def test_the_provider_holds_what_features_are_made_of(finished, exported):
    provider = QlibProvider(exported[0])
    bars = bars_of(finished)
    assert [f"{day:%Y-%m-%d}" for day in provider.calendar] == list(finished.sessions.keys)
    spans = provider.instruments("all").spans.set_index("instrument")
    for name, rows in bars.groupby("instrument"):
        assert tuple(spans.loc[name, ["start", "end"]]) == (rows["date"].min(), rows["date"].max())
    got = provider.bars(fields=FIELDS)
    merged = got.merge(bars, on=["date", "instrument"], suffixes=("", "_raw"))
    assert len(merged) == len(got) == len(bars)
    adjusted = merged["close_raw"] * merged["adj_factor"]
    np.testing.assert_array_equal(merged["close"], adjusted.astype("float32"))
    change = adjusted.groupby(merged["instrument"]).pct_change(fill_method=None)
    np.testing.assert_allclose(merged["change"], change, rtol=1e-5, atol=1e-7)


def test_chunks_of_sessions_give_the_same_bytes(finished, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.market.chunks.SESSIONS_AT_ONCE", 7)
    export(finished, tmp_path / "again")
    files = [path for path in exported[0].rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        assert (tmp_path / "again" / path.relative_to(exported[0])).read_bytes() == (
            path.read_bytes()
        ), path


def test_weights_and_scores_are_those_of_the_market(finished, exported):
    folder, text = exported
    assert "written to" in text
    readme = (folder / "README.txt").read_text()
    for spec in finished.models:
        described = json.loads((folder / "models" / spec.name / "model.json").read_text())
        bundle = finished.paths.models / spec.name / described["as_of"]
        stored = safetensors.numpy.load_file(bundle / "weights.safetensors")
        given = safetensors.numpy.load_file(folder / "models" / spec.name / "weights.safetensors")
        assert given.keys() == stored.keys()
        assert all(np.array_equal(given[name], stored[name]) for name in stored)
        table = f"{spec.name}_prediction"
        keys = finished.warehouse.sessions(table)
        want = finished.warehouse.read(table, keys, needed_by="a test").frame
        got = pd.read_parquet(folder / "predictions" / f"{spec.name}.parquet")
        assert got.index.names == ["datetime", "instrument"]
        assert got.columns.tolist() == ["score"]
        want = want.set_index(["date", "instrument"])["score"].sort_index()
        np.testing.assert_array_equal(got["score"], want)
        assert f"models/{spec.name}/weights.safetensors" in readme


def test_seeds_are_a_file_each_and_what_is_no_network_has_none(finished, tmp_path, monkeypatch):
    """A bundle of two networks, and one of another family in the place of the trained ones."""

    def other(market, model, as_of, needed_by):
        bundle = require_bundle(market, model, as_of, needed_by)
        if model == "gru":
            return replace(bundle, network=MeanEnsemble([bundle.network, bundle.network]))
        return replace(bundle, network=None, family="linear") if model == "lstm" else bundle

    monkeypatch.setattr("pipelines.operations.export_qlib.require_bundle", other)
    text = export(finished, tmp_path / "qlib")
    assert "lstm: no network but of the family linear: scores are written" in text
    models = tmp_path / "qlib" / "models"
    assert sorted(path.name for path in models.iterdir()) == ["gru", "krnn"]
    assert (tmp_path / "qlib" / "predictions" / "lstm.parquet").exists()
    files = ["weights_0.safetensors", "weights_1.safetensors"]
    assert json.loads((models / "gru" / "model.json").read_text())["weights"] == files
    one, two = (safetensors.numpy.load_file(models / "gru" / name) for name in files)
    assert one.keys() == two.keys()
    assert {"rnn.weight_ih_l0", "fc_out.weight"} < set(one)
    assert "the mean of 2 such networks" in (tmp_path / "qlib" / "README.txt").read_text()


def test_what_a_killed_export_left_is_removed(finished, tmp_path):
    left = tmp_path / f".qlib.{host_id()}-999999999.0123abcd.tmp"
    (left / "features").mkdir(parents=True)
    export(finished, tmp_path / "qlib")
    assert [path.name for path in tmp_path.iterdir()] == ["qlib"]


def test_a_session_cuts_all_of_it(finished, tmp_path):
    key = finished.sessions.keys[-10]
    export(finished, tmp_path / "qlib", key)
    assert f"{QlibProvider(tmp_path / 'qlib').calendar[-1]:%Y-%m-%d}" == key
    scores = pd.read_parquet(tmp_path / "qlib" / "predictions" / "gru.parquet")
    assert f"{scores.index.get_level_values('datetime').max():%Y-%m-%d}" == key
    described = json.loads((tmp_path / "qlib" / "models" / "gru" / "model.json").read_text())
    assert described["as_of"] <= key


def test_an_export_replaces_its_own_folder_and_no_other(finished, tmp_path):
    folder = tmp_path / "qlib"
    export(finished, folder, finished.sessions.keys[-10])
    export(finished, folder)
    assert f"{QlibProvider(folder).calendar[-1]:%Y-%m-%d}" == finished.sessions.keys[-1]
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(PipelineError, match=r"holds mine\.txt, which no export has written"):
        export(finished, folder)
    (tmp_path / "other" / "features").mkdir(parents=True)
    with pytest.raises(PipelineError, match="holds features, which no export has written"):
        export(finished, tmp_path / "other")
    with pytest.raises(PipelineError, match="is no folder but a file"):
        export(finished, folder / "mine.txt")
    with pytest.raises(PipelineError, match="the market's state"):
        export(finished, finished.paths.root / "qlib")
    with pytest.raises(PipelineError, match="is a URL"):
        export(finished, "s3://bucket/qlib")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "qlib"]


def test_a_failure_leaves_the_earlier_export(finished, tmp_path, monkeypatch):
    folder = tmp_path / "qlib"
    export(finished, folder, finished.sessions.keys[-10])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    market = copy_of(finished, tmp_path / "market")
    gone = market.paths.warehouse / "ohlcv" / f"date={market.sessions.keys[40]}"
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    with pytest.raises(PipelineError, match=f"{market.sessions.keys[40]}"):
        export(market, folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.operations.export_qlib._write_scores", full)
    with pytest.raises(PipelineError, match=r"cannot write .* No space left on device"):
        export(finished, folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["market", "qlib"]


def test_sessions_and_markets_without_bars_are_named(finished, tmp_path):
    with pytest.raises(PipelineError, match="ohlcv has no session 2019-01-02, it has"):
        export(finished, tmp_path / "qlib", "2019-01-02")
    with pytest.raises(PipelineError, match="ohlcv has no session yet; run"):
        export(make_market(tmp_path / "new"), tmp_path / "qlib")
    assert not (tmp_path / "qlib").exists()


QLIB = """
import json, sys
import numpy as np, pandas as pd, qlib, torch
from qlib.data import D
from safetensors.numpy import load_file
root, window = sys.argv[1], np.load(sys.argv[2])
qlib.init(provider_uri=root, region="us", expression_cache=None, dataset_cache=None)
fields = json.loads(sys.argv[3])
frame = D.features(D.instruments("all"), [f"${f}" for f in fields])
frame.columns = fields
frame.reset_index().to_parquet(sys.argv[4])
scores = {}
for name in ("lstm", "gru", "krnn"):
    m = json.loads(open(f"{root}/models/{name}/model.json").read())
    kind = getattr(__import__(m["module"], fromlist=["x"]), m["class"])
    device = {"device": torch.device("cpu")} if name == "krnn" else {}
    network = kind(**m["arguments"], **device)
    weights = load_file(f"{root}/models/{name}/{m['weights'][0]}")
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    x = torch.from_numpy(window)
    with torch.no_grad():
        scores[name] = network.eval()(x.flatten(1) if name == "krnn" else x).tolist()
print(json.dumps(scores))
"""


@pytest.mark.skipif(not PYQLIB, reason="set RNN_PYQLIB to a Python that has pyqlib and torch")
def test_pyqlib_reads_the_bars_and_loads_the_weights(finished, exported, tmp_path):
    import torch

    from rnn_core.training import load_bundle

    window = np.random.default_rng(0).normal(size=(9, 5, 6)).astype("float32")
    np.save(tmp_path / "window.npy", window)
    (tmp_path / "side.py").write_text(QLIB)
    words = ["side.py", exported[0], "window.npy", json.dumps(FIELDS), "features.parquet"]
    done = subprocess.run(
        [PYQLIB, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    got = pd.read_parquet(tmp_path / "features.parquet")
    got = got.dropna(subset=["close"]).sort_values(["datetime", "instrument"])
    want = QlibProvider(exported[0]).bars(fields=FIELDS).sort_values(["date", "instrument"])
    assert got["instrument"].tolist() == want["instrument"].tolist()
    assert got["datetime"].tolist() == want["date"].tolist()
    np.testing.assert_array_equal(got[list(FIELDS)].to_numpy(), want[list(FIELDS)].to_numpy())
    for name, scores in json.loads(done.stdout.splitlines()[-1]).items():
        described = json.loads((exported[0] / "models" / name / "model.json").read_text())
        network = load_bundle(finished.paths.models / name / described["as_of"]).network
        with torch.no_grad():
            np.testing.assert_allclose(scores, network(torch.from_numpy(window)), atol=1e-6)
