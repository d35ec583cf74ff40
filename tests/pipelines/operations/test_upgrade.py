"""`upgrade` signs what an earlier release made. Oracle: the same market made by this release."""

from __future__ import annotations

import io
import shutil

import pytest
import yaml
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.cli.main import main
from pipelines.errors import NewerStateError, OlderStateError, WarehouseError
from pipelines.instance.home import dagster_instance, reading_instance
from pipelines.instance.materializations import first_made
from pipelines.operations.upgrade import run_upgrade
from pipelines.staleness.served import served_sessions
from pipelines.staleness.status_report import status_report
from pipelines.warehouse import revisions
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.partition_file import sign
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import (
    TINY,
    key_of,
    make_market,
    market_of,
    partition_bytes,
    run_everything,
)
from tests.pipelines.finished_markets import (
    as_of_an_earlier_release,
    backfill,
    copy_of,
    made_on_the_evening,
    put_on_record,
    recorded_copy_of,
    restated,
    stamps,
)
from tests.pipelines.moving_markets import ROLLING
from tests.pipelines.operations.test_refresh import refresh
from tests.pipelines.unsigned_file import without_identity


@pytest.fixture
def signed(finished, tmp_path, monkeypatch):
    """A market of this release, put on record by `sync`."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    return recorded_copy_of(finished, tmp_path / "tiny")


@pytest.fixture
def old(signed):
    """A market of an earlier release, put on record by `sync`."""
    return as_of_an_earlier_release(signed)


def upgrade(market, changes=None, **kwargs):
    """The command: its result, and what it said."""
    console = Console(file=io.StringIO(), width=500)
    upgraded = run_upgrade(make_market(market.paths.root, changes), console, **kwargs)
    return upgraded, console.file.getvalue()


def state_bytes(market):
    """Every file that says what is stored, by path below the market's folder."""
    return {
        path.relative_to(market.paths.root).as_posix(): path.read_bytes()
        for part in (market.paths.warehouse, market.paths.models)
        for path in sorted(part.rglob("*"))
        if path.is_file() and ".checkpoints" not in path.parts
    }


def place(market, table, key):
    return market.paths.warehouse / table / f"date={key}" / PART


def status(market):
    market = make_market(market.paths.root)
    with reading_instance(market) as instance:
        return status_report(market, stages(market), instance)


def test_it_signs_everything_and_computes_nothing_again(old, finished):
    """Every file is the one that this release makes, and keeps its time."""
    with pytest.raises(OlderStateError, match="`rnn-pipelines upgrade` signs them"):
        status(old)
    with pytest.raises(OlderStateError):
        backfill(old, start=old.sessions.first, end=old.sessions.keys[-1])
    times = {name: stamp for name, (stamp, _) in stamps(old).items()}
    upgraded, said = upgrade(old)
    assert not upgraded.unconfirmed
    assert "signed: ohlcv 94, ohlcv_quarantine 94, alpha158 94, label 94, processors 1" in said
    assert state_bytes(old) == state_bytes(finished)
    assert {name: stamp for name, (stamp, _) in stamps(old).items()} == times
    assert status(old).is_current


@pytest.mark.thorough
def test_a_window_that_moves_by_now_confirms_what_a_fixed_one_made(old, finished):
    """The YAML has changed since: files are signed all the same, and what becomes stale is said."""
    upgraded, said = upgrade(old, ROLLING)
    assert upgraded.unconfirmed == {}
    assert state_bytes(old) == state_bytes(finished)
    assert "the fit window of the processors moves in the configuration and was fixed" in said
    assert "dataset_infer" in said.split("it makes stale: ")[1]
    assert "ohlcv" not in said.split("it makes stale: ")[1]
    # With the window of before everything is current, as it says.
    assert not any(f.is_stale for asset in status(old).assets for f in asset.findings)


def test_nothing_is_done_twice(old):
    upgrade(old)
    before = stamps(old)
    upgraded, said = upgrade(old)
    assert "every file carries its identity; nothing to upgrade" in said
    assert not upgraded.signed
    assert stamps(old) == before


def test_a_market_of_this_release_and_an_empty_one_have_nothing_to_upgrade(finished, tmp_path):
    assert "nothing to upgrade" in upgrade(copy_of(finished, tmp_path / "tiny"))[1]
    empty = make_market(tmp_path / "empty")
    assert "nothing to upgrade" in upgrade(empty)[1]
    assert not empty.paths.warehouse.exists()


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (1, None),
        *(pytest.param(n, None, marks=pytest.mark.thorough) for n in (0, 300, 400, 700)),
        *(pytest.param(n, ROLLING, marks=pytest.mark.thorough) for n in (0, 1, 300, 400, 700)),
    ],
)
def test_it_goes_on_where_it_was_killed(old, finished, monkeypatch, after, changes):
    """Half of the files are signed: commands still ask for the upgrade, which does the rest."""
    written = []

    def dies(self, data, *parts, _rewrite=LocalStore.rewrite):
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(parts)
        _rewrite(self, data, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "rewrite", dies)
        with pytest.raises(KeyboardInterrupt):
            upgrade(old, changes)
    with pytest.raises(OlderStateError):
        status(old)
    upgraded, _ = upgrade(old, changes)
    assert not upgraded.unconfirmed
    assert state_bytes(old) == state_bytes(finished)


MISPLACED = [
    (("ohlcv", 60), ("ohlcv", 63)),
    (("ohlcv_quarantine", 64), ("ohlcv", 64)),
    (("ohlcv", 65), ("ohlcv_quarantine", 65)),
    (("alpha158", 66), ("alpha158", 67)),
    (("label", 68), ("label", 69)),
    (("dataset_infer", 70), ("dataset_infer", 71)),
    (("dataset_learn", 72), ("dataset_learn", 73)),
    (("lstm_model", 66), ("lstm_model", 85)),
    (("lstm_prediction", 85), ("lstm_prediction", 86)),
    (("gru_prediction", 87), ("lstm_prediction", 87)),
    (("lstm_evaluation", 88), ("lstm_evaluation", 89)),
]
"""Files copied over others, each a table and a session; all at once, since a backfill is slow."""


@pytest.mark.thorough
@pytest.mark.parametrize("record", [pytest.param("recorded", marks=pytest.mark.thorough), "lost"])
def test_files_in_others_places_are_not_confirmed(old, finished, record):
    """Each is named, its place is made again by a backfill, and everything around it is signed."""
    if record == "lost":
        shutil.rmtree(old.paths.dagster)
    keys = old.sessions.keys
    for source, target in MISPLACED:
        shutil.copy(place(old, source[0], keys[source[1]]), place(old, target[0], keys[target[1]]))
    upgraded, said = upgrade(old)
    for _, (table, position) in MISPLACED:
        named = upgraded.unconfirmed.get(table, []) + upgraded.unconfirmed.get("ohlcv", [])
        assert keys[position] in named, table
        if table in upgraded.unconfirmed:
            assert f"unconfirmed, left without identity: {table}" in said
    with dagster_instance(make_market(old.paths.root)) as instance:
        put_on_record(make_market(old.paths.root), instance)
    backfill(make_market(old.paths.root), start=keys[0], end=keys[-1])
    assert partition_bytes(old) == partition_bytes(finished)
    assert status(old).is_current
    assert not upgrade(old)[0].unconfirmed


@pytest.mark.thorough
def test_a_bundle_in_anothers_place_is_not_confirmed(old, finished):
    first, second, *_ = sorted(path.name for path in (old.paths.models / "lstm").glob("2*"))
    folder = old.paths.models / "lstm"
    shutil.rmtree(folder / second)
    shutil.copytree(folder / first, folder / second)
    upgraded, _ = upgrade(old)
    assert upgraded.unconfirmed["models/lstm"] == [second]
    backfill(make_market(old.paths.root), start=old.sessions.keys[0], end=old.sessions.keys[-1])
    assert state_bytes(old) == state_bytes(finished)


@pytest.mark.thorough
def test_bars_that_the_chain_was_made_from_by_mistake_are_found(signed):
    """All that follows was made from a copied session, as by hand: its own bars were not asked."""
    keys = signed.sessions.keys
    for table in ("ohlcv", "ohlcv_quarantine"):
        shutil.copy(place(signed, table, keys[70]), place(signed, table, keys[73]))
        resign(signed, table, keys[73])
    follows = "alpha158+,label+"
    backfill(make_market(signed.paths.root), start=keys[0], end=keys[-1], select=follows)
    upgraded, _ = upgrade(as_of_an_earlier_release(signed))
    assert keys[73] in upgraded.unconfirmed["ohlcv"]


def resign(market, table, key):
    """Give a file the identity of the place where it lies, as if it had always been there."""
    path = place(market, table, key)
    plain, _ = without_identity(path.read_bytes())
    path.write_bytes(sign(plain, market.warehouse.identity(table, key)))


def test_served_predictions_keep_their_standing(old, instance):
    """The record is lost: only the time of their files tells that they were served."""
    shutil.rmtree(old.paths.dagster)
    keys = old.sessions.keys[-8:-2]
    made_on_the_evening(old, ["lstm"], keys)
    assert served_sessions(old, instance, "lstm_prediction") == set(keys)
    upgrade(old)
    assert served_sessions(old, instance, "lstm_prediction") == set(keys)


@pytest.mark.thorough
def test_what_was_served_and_restated_since_is_confirmed(finished, tmp_path, monkeypatch):
    """Its inputs are no longer there: the evaluations that quote it confirm it.

    Nothing quotes the two newest decisions yet, nor that of the restated session, which was not
    served, since its own label changed with it.
    """
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = copy_of(finished, tmp_path / "tiny")
    keys = market.sessions.keys
    made_on_the_evening(market, ["lstm", "gru", "krnn"], keys[-8:])
    with dagster_instance(market) as instance:
        put_on_record(market, instance)
    refresh(restated(market, keys[-20]), since=keys[-20], republish=False)
    before, old = status(market).to_dict(), as_of_an_earlier_release(market)
    upgraded, _ = upgrade(old)
    found = {key for found in upgraded.unconfirmed.values() for key in found}
    assert found <= {*keys[-2:], keys[-20], keys[-18]}
    assert not upgrade(old, accept=True)[0].unconfirmed
    assert status(old).to_dict() == before


def test_the_record_of_runs_confirms_what_nothing_quotes(tmp_path, monkeypatch):
    """Bars alone: no partition quotes them, and Dagster's record names their digests."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = make_market(tmp_path / "tiny")
    keys = market.sessions.keys
    backfill(market, start=keys[0], end=keys[9], select="ohlcv")
    old = as_of_an_earlier_release(market)
    shutil.copy(place(old, "ohlcv", keys[3]), place(old, "ohlcv", keys[7]))
    upgraded, _ = upgrade(old)
    assert upgraded.signed == {"ohlcv": 9, "ohlcv_quarantine": 9}
    assert upgraded.unconfirmed == {"ohlcv": [keys[7]]}


@pytest.mark.thorough
def test_revisions_are_signed_too(tmp_path, monkeypatch):
    """The record of the run that made them first confirms them: nothing quotes them any more."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = market_of(tmp_path / "tiny", "lstm")
    keys = market.sessions.keys
    with dagster_instance(market) as instance:
        run_everything(market, instance)
    store, names = market.warehouse.store, ("lstm_prediction", "lstm_evaluation")
    for name in names:
        revisions.keep(store, name, keys[-5])
    kept = sorted((market.paths.warehouse / ".revisions").rglob("*.parquet"))
    before = [path.read_bytes() for path in kept]
    assert len(kept) == 2
    as_of_an_earlier_release(market)
    old = market_of(tmp_path / "tiny", "lstm")
    other = store.read(names[0], f"date={keys[-6]}", PART)
    store.write(other, *revisions.part(names[0], keys[-7], 1))
    upgraded = run_upgrade(old, Console(file=io.StringIO()))
    assert upgraded.unconfirmed == {".revisions/lstm_prediction": [keys[-7]]}
    assert [path.read_bytes() for path in kept] == before


@pytest.mark.thorough
def test_a_warehouse_behind_a_url_keeps_its_times_on_record(old, finished):
    """A file there cannot keep its time: predictions are put on record before they are signed."""
    import fsspec

    shutil.rmtree(old.paths.dagster)
    files, url = fsspec.filesystem("memory"), "memory://upgraded"
    files.put(f"{old.paths.warehouse}/", "/upgraded/", recursive=True)
    try:
        market = make_market(old.paths.root, {"warehouse": url})
        keys = market.warehouse.sessions("lstm_prediction")
        before = {
            key: files.modified(f"/upgraded/lstm_prediction/date={key}/{PART}") for key in keys
        }
        assert not run_upgrade(market, Console(file=io.StringIO())).unconfirmed
        with dagster_instance(market) as instance:
            made = first_made(instance, key_of("lstm_prediction"))
        assert {key: when.timestamp() for key, when in made.items()} == {
            key: pytest.approx(when.timestamp()) for key, when in before.items()
        }
        read = market.warehouse.read("lstm_prediction", keys, needed_by="t").digests
        assert read == finished.warehouse.read("lstm_prediction", keys, needed_by="t").digests
    finally:
        files.rm("/upgraded", recursive=True)


@pytest.mark.thorough
def test_a_disk_that_cannot_be_written_is_named(old, finished, monkeypatch):
    def full(self, data, *parts):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "rewrite", full)
        with pytest.raises(WarehouseError, match=r"No space left.*the same command goes on"):
            upgrade(old)
    upgrade(old)
    assert state_bytes(old) == state_bytes(finished)


def test_another_market_is_not_upgraded(old):
    other = make_market(old.paths.root, {"market": {"source": {"seed": 4}}})
    with pytest.raises(WarehouseError, match=r"another market \(source: .*'seed': 3"):
        run_upgrade(other, Console(file=io.StringIO()))


def test_newer_state_is_left_alone(finished, tmp_path):
    market = copy_of(finished, tmp_path / "tiny")
    path = market.paths.warehouse / "market.json"
    path.write_text(path.read_text().replace('"format":2', '"format":3'))
    before = state_bytes(market)
    for command in (lambda: upgrade(market), lambda: status(market)):
        with pytest.raises(NewerStateError, match="newer release, format 3; this program knows"):
            command()
    assert state_bytes(market) == before


@pytest.mark.thorough
def test_tables_of_no_asset_are_named(old):
    shutil.copytree(old.paths.warehouse / "lstm_model", old.paths.warehouse / "old_model")
    assert "of no asset of the configuration, left as they are: old_model" in upgrade(old)[1]


@pytest.mark.thorough
def test_the_command_takes_its_market_by_name_or_option(finished, tmp_path, monkeypatch, capsys):
    """Exit status 3 while a file has no identity, as one of another asset has for good."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(TINY))
    old = as_of_an_earlier_release(copy_of(finished, tmp_path / "tiny"))
    keys = old.sessions.keys
    shutil.copy(place(old, "label", keys[70]), place(old, "label", keys[73]))
    shutil.copy(place(old, "gru_prediction", keys[85]), place(old, "lstm_prediction", keys[85]))
    assert main(["status", "--config", str(file)]) == 1
    assert f"`rnn-pipelines upgrade --config {file}` signs them" in capsys.readouterr().err
    assert main(["upgrade", str(file)]) == 3
    assert f"unconfirmed, left without identity: label {keys[73]}" in capsys.readouterr().out
    assert main(["upgrade", "--accept", "--config", str(file)]) == 3
    said = capsys.readouterr().out
    assert "signed: label 1\n" in said
    assert f"unconfirmed, left without identity: lstm_prediction {keys[85]}" in said
