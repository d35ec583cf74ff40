"""A market whose whole state lies in S3; the oracle is the same market on the local disk."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.market.market import Market
from pipelines.training.registry import bundle_folder, bundles_of
from rnn_core.training.bundle_files import IDENTITY, MANIFEST, read_verified
from tests.cluster.s3_state import (
    BUCKET,
    configuration,
    opened,
    server,  # noqa: F401 - a fixture
    status,
)
from tests.cluster.short_market import built, short_market
from tests.pipelines.conftest import own_record


@pytest.fixture(scope="module")
def remote(tmp_path_factory, server):  # noqa: F811
    return built(opened(tmp_path_factory.mktemp("remote") / "tiny", server))


def contents(market: Market) -> dict[str, bytes]:
    """Every file of the state by its path, those of a bundle as its readers find them."""
    found = {f"warehouse/{name}": market.tables.read(name) for name in market.tables.files()}
    for name in ("signal_analysis.csv", "portfolio_analysis.csv"):
        if name in market.reports.names():
            found[f"reports/{name}"] = market.reports.read(name)
    for model in (spec.name for spec in market.models):
        for as_of in bundles_of(market, model):
            folder = bundle_folder(market, model, as_of)
            manifest, files = read_verified(folder)
            raw = folder.read(MANIFEST)
            files = {**files, MANIFEST: raw, IDENTITY: folder.published(IDENTITY, raw)}
            found |= {f"models/{model}/{as_of}/{name}": data for name, data in files.items()}
            assert manifest["model"] == model
    return found


def test_every_file_has_the_bytes_of_a_local_one(short, remote):
    here, there = contents(short), contents(remote)
    assert sorted(here) == sorted(there)
    assert sum("part-0.parquet" in name for name in here) > 300
    assert sum(name.endswith(MANIFEST) for name in here) >= 4
    assert [name for name in here if here[name] != there[name]] == []
    assert set(short.reports.names()) == set(remote.reports.names())
    assert short.pages.names() == remote.pages.names() == {"tiny.html", "tiny.served.html"}


def test_nothing_of_the_state_lies_on_the_machine(remote):
    left = {path.name for path in remote.paths.root.iterdir()} if remote.paths.root.exists() else {}
    assert not {"warehouse", "models", "reports", "calendar.json", "warehouse.duckdb"} & set(left)


def test_a_second_machine_finds_everything_current(remote, server, tmp_path):  # noqa: F811
    """Its folder is empty and so is its record: what it knows it has from the store."""
    server.asked.clear()
    with own_record() as record:
        report = status(opened(tmp_path / "tiny", server), record)
    assert report.is_current
    listed = Counter(query for _, _, query in server.asked if "list-type" in query)
    assert max(listed.values()) == 1, "one listing a table, over the whole command"
    read = Counter(path for method, path, q in server.asked if method == "GET" and not q)
    assert max(read.values()) == 1, "one request a file"
    assert {a.asset for a in report.assets} >= {"gru_model", "linear_prediction", "signal_report"}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_plain_copy_moves_the_state(short, remote, server, tmp_path, way):  # noqa: F811
    """As by `aws s3 sync`, in both directions."""
    if way == "up":
        server.upload(short.paths.root, "copied/tiny")
        market = opened(tmp_path / "tiny", server, "copied")
    else:
        for name in remote.state.files():
            path = tmp_path / "tiny" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(remote.state.read(name))
        market = short_market(tmp_path / "tiny")
    with own_record() as record:
        assert status(market, record).is_current


def test_sql_asks_the_store_and_loads_no_extension(remote, server, tmp_path, capsys, monkeypatch):  # noqa: F811
    """On a machine without a catalog: it is made for the question."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(configuration(server)))
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))  # where DuckDB would keep what it downloads
    query = "SELECT count(DISTINCT date) AS days FROM ohlcv"
    server.asked.clear()
    assert main(["sql", query, "--csv", "--config", str(path)]) == 0
    assert capsys.readouterr().out.split() == ["days", f"{len(remote.sessions.keys)}"]
    assert not (tmp_path / ".duckdb").exists()
    listings = [query for _, _, query in server.asked if "list-type" in query]
    tables = [q for q in listings if "delimiter=&" in q]
    assert len(tables) == len(set(tables))
    files = [path for method, path, _ in server.asked if method == "GET" and "ohlcv/date" in path]
    assert len(files) == len(set(files))
    assert main(["sql", "FROM latest_signal", "--csv", "--config", str(path)]) == 0
    assert "linear" in capsys.readouterr().out
    elsewhere = f"FROM read_parquet('s3://{BUCKET}/elsewhere.parquet')"
    assert main(["sql", elsewhere, "--config", str(path)]) == 1
    assert "of the market's tables alone" in capsys.readouterr().err
    assert main(["sql", elsewhere, "--unsafe", "--config", str(path)]) == 1
    assert "No files found" in capsys.readouterr().err


def test_signed_bundles_are_those_of_their_place(remote):
    folder = bundle_folder(remote, "gru", bundles_of(remote, "gru")[0])
    signed = json.loads(folder.published(IDENTITY, folder.read(MANIFEST)))
    assert signed["model"] == "gru"
