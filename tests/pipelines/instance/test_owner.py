"""An owner's additions to DAGSTER_HOME outlive every command. Oracle: the bytes added."""

from __future__ import annotations

import dagster as dg
import pytest
import yaml

from pipelines.cli import main as command_line
from pipelines.instance.home import dagster_instance
from pipelines.operations import demo
from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.pipelines.conftest import TINY, key_of, make_market
from tests.pipelines.finished_markets import recorded_copy_of
from tests.rnn_core.workflow.workflow_cases import FILES, SESSIONS, small

RETRIES = "\n# Mine.\nrun_retries: {enabled: true, max_retries: 2}\n"
LOCATION = "load_from:\n  - python_file: {relative_path: mine.py, location_name: mine}\n"
LAST = "2020-05-15"
QRUN = [word for text in small(hidden_size=4, n_epochs=1) for word in ("--set", text)]
COMMANDS = [
    (["demo"], 0),
    (["init", "--path", "bars.parquet", "--out", "init.yaml"], 0),
    (["validate", "mine.yaml"], 0),
    (["backfill", "--start", LAST, "--end", LAST], 0),
    (["refresh", "--since", LAST], 0),
    (["sync"], 0),
    (["status"], 0),
    (["sql", "SHOW TABLES"], 0),
    (["qrun", str(FILES / "gru_alpha158.yaml"), "--provider-uri", "provider", *QRUN], 0),
    (["signal"], 0),
    (["orders"], 0),
    (["compare", "lstm", "gru"], 0),
    (["export-qlib", "exported"], 0),
    (["ui"], 0),
    (["refit"], 0),
    (["upgrade"], 0),
    (["prune"], 0),
    (["verify"], 0),
    (["backup", "kept"], 0),
    (["restore", "kept"], 0),
    (["demo", "--fresh"], 0),  # last: it leaves nothing to read
]
OF_A_MARKET = {
    "demo",
    "backfill",
    "status",
    "refresh",
    "refit",
    "sync",
    "sql",
    "signal",
    "orders",
    "compare",
    "export-qlib",
    "prune",
    "verify",
    "backup",
    "restore",
    "ui",
    "upgrade",
}


def test_every_command_is_among_them():
    assert set(command_line.COMMANDS) == {words[0] for words, _ in COMMANDS}


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A folder with a finished market on record, its YAML, bars and a provider of qlib's."""
    folder = tmp_path_factory.mktemp("owner")
    (folder / "mine.yaml").write_text(yaml.safe_dump(TINY))
    span = {"start": "2018-06-01", "source": {"split_rate": 0.0}}
    long = make_market(folder / "long", {"market": span})
    bars = long.source.fetch(long.sessions.keys).drop(columns="adj_ratio")
    bars.to_parquet(folder / "bars.parquet", index=False)
    dump_provider(
        folder / "provider", adjusted_market(12, SESSIONS, 1, signal=0.3), sessions=SESSIONS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        market = recorded_copy_of(finished, folder / "data" / "tiny")
    with (market.paths.dagster / "dagster.yaml").open("a") as settings:
        settings.write(RETRIES)
    (market.paths.dagster / "workspace.yaml").write_text(LOCATION)
    return folder, market


@pytest.mark.parametrize(
    ("words", "status"), COMMANDS, ids=[" ".join(words[:2]) for words, _ in COMMANDS]
)
def test_a_command_keeps_what_an_owner_added(place, monkeypatch, capsys, words, status):
    folder, market = place
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.setenv("RNN_DATA_DIR", str(folder / "data"))
    for name in ("DAGSTER_HOME", "RNN_CONFIG"):
        monkeypatch.setenv(name, "")
    started = []
    monkeypatch.setattr(
        "pipelines.instance.ui_process.supervise",
        lambda command, *descriptors, **options: started.append(command) or 0,
    )
    if "--fresh" in words:  # what is deleted is the question, not the graph
        monkeypatch.setattr(demo, "_run_stages", lambda *rest: None)
        monkeypatch.setattr(demo, "_verify", lambda *rest: None)
    home = market.paths.dagster
    before = {
        path: path.read_bytes() for path in home.glob("*.yaml") if "generated" not in path.name
    }
    assert {path.name for path in before} == {"dagster.yaml", "workspace.yaml"}
    assert before[home / "dagster.yaml"].endswith(RETRIES.encode())
    assert before[home / "workspace.yaml"] == LOCATION.encode()

    config = ["--config", "mine.yaml"] if words[0] in OF_A_MARKET else []
    assert command_line.main([*words, *config]) == status, capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    if "--fresh" in words:
        assert not market.paths.warehouse.exists()
    for command in started:
        assert str(home / "workspace.yaml") in command
    with dagster_instance(market) as instance:
        assert instance.run_retries_max_retries == 2
        recorded = instance.get_materialized_partitions(key_of("ohlcv"))
        assert bool(recorded) == ("--fresh" not in words)
        assert dg.DagsterInstance.get().run_retries_enabled
