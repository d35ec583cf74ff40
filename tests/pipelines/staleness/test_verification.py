"""`verify` and its repairs. Oracle: files that were damaged on purpose, one at a time."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.operations.verify import repairs_of, run_verify
from pipelines.staleness.data_versions import StoredVersions
from pipelines.staleness.market_files import Damage, MarketFiles
from pipelines.staleness.served import Served
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART
from tests.pipelines.conftest import make_market
from tests.pipelines.verified_market import EARLY, LATE, flip, place, verified, words


@pytest.fixture
def market(recorded_market):
    """The market on record, as it was before the test."""
    return recorded_market


def test_every_file_is_counted_read_once_and_intact(market, monkeypatch):
    read, reads = LocalStore.read, Counter[str]()

    def counted(self, *parts):
        reads[self.path(*parts)] += 1
        return read(self, *parts)

    monkeypatch.setattr(LocalStore, "read", counted)
    found = verified(market)
    monkeypatch.undo()
    assert not found.damages
    files = {p for p in market.paths.root.rglob("*") if p.is_file()} - {market.paths.verified}
    pages = sum(Path(page.store.path(*page.parts)).is_file() for page in _pages(market))
    assert sum(count.files for count in found.counts.values()) == len(files) + pages
    partitions = {str(p) for p in market.paths.warehouse.rglob("*.parquet")}
    # Rows of bars are read besides, for the state that enters each session.
    bars = {path for path in partitions if "/ohlcv" in path}
    assert {reads[path] for path in partitions - bars} == {1}
    assert {reads[path] for path in bars} <= {1, 2}
    assert found.counts["alpha158"].stale == 0


def _pages(market: Market):
    return market.page, market.served_page


DAMAGES: dict[str, tuple[Callable[[Market], Path], str]] = {}


def damage(repair: str):
    """Register a way to damage a file; it returns the path that has to be named."""

    def register(function):
        DAMAGES[function.__name__] = (function, repair)
        return function

    return register


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select alpha158")
def a_flipped_byte(market: Market) -> Path:
    flip(path := place(market, "alpha158", EARLY), 40)
    return path


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select lstm_portfolio")
def an_empty_file(market: Market) -> Path:
    (path := place(market, "lstm_trades", EARLY)).write_bytes(b"")
    return path


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select label")
def zeros(market: Market) -> Path:
    path = place(market, "label", EARLY)
    path.write_bytes(bytes(path.stat().st_size))
    return path


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select ohlcv")
def a_file_of_another_session(market: Market) -> Path:
    shutil.copy2(place(market, "ohlcv", LATE), path := place(market, "ohlcv", EARLY))
    return path


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select gru_prediction")
def a_file_of_another_table(market: Market) -> Path:
    shutil.copy2(
        place(market, "lstm_prediction", EARLY), p := place(market, "gru_prediction", EARLY)
    )
    return p


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select dataset_learn")
def a_file_that_is_gone(market: Market) -> Path:
    (path := place(market, "dataset_learn", EARLY)).unlink()
    return path


@damage("backfill --start 2020-04-15 --end 2020-04-15 --select ohlcv")
def a_table_beside_that_is_gone(market: Market) -> Path:
    (path := place(market, "ohlcv_quarantine", EARLY)).unlink()
    return path


@damage("backfill --start 2020-04-20 --end 2020-04-20 --select krnn_model")
def weights_of_a_bundle(market: Market) -> Path:
    flip(market.paths.models / "krnn" / "2020-04-20" / "weights.safetensors")
    return market.paths.models / "krnn" / "2020-04-20"


@damage("backfill --start 2020-04-20 --end 2020-04-20 --select krnn_model")
def a_file_too_many_in_a_bundle(market: Market) -> Path:
    folder = market.paths.models / "krnn" / "2020-04-20"
    (folder / "run.py").write_text("print()")
    return folder


@damage("")
def a_revision(market: Market) -> Path:
    (path,) = (market.paths.warehouse / ".revisions").rglob("*.parquet")
    flip(path)
    return path


@damage("")
def a_served_prediction(market: Market) -> Path:
    flip(path := place(market, "gru_prediction", LATE))
    return path


@damage("refit")
def the_fitted_state(market: Market) -> Path:
    path = market.paths.warehouse / "processors.json"
    before, name, state = path.read_text().partition('"infer"')
    path.write_text(before + name + state.replace("1", "2", 1))
    return path


@damage("backfill --start 2020-05-15 --end 2020-05-15 --select signal_report")
def a_table_of_a_report(market: Market) -> Path:
    flip(market.paths.reports / "signal.csv")
    return market.paths.reports / "signal_report.json"


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_its_path_and_its_repair(market, name):
    make, repair = DAMAGES[name]
    path = make(market)
    found = verified(market)
    assert [damage.path for damage in found.damages] == [str(path)]
    expected = [f"rnn-pipelines {repair}"] if repair else []
    assert words(market, found) == expected


@pytest.mark.thorough
def test_the_commands_that_it_names_repair_it_to_the_same_bytes(market):
    damaged = [zeros(market), a_file_that_is_gone(market), a_flipped_byte(market)]
    report = a_table_of_a_report(market)
    console = Console(file=io.StringIO(), width=500)
    assert run_verify(market, console, repair=True), console.file.getvalue()
    assert all(path.is_file() for path in [*damaged, report])
    assert not verified(make_market(market.paths.root)).damages


def test_what_was_served_is_named_and_left_alone(market):
    path = a_served_prediction(market)
    before = path.read_bytes()
    console = Console(file=io.StringIO(), width=500)
    assert not run_verify(market, console, repair=True)
    said = console.file.getvalue()
    assert path.read_bytes() == before
    assert "`rnn-pipelines restore DIR` brings them back from a backup" in said
    assert "--select gru_prediction` makes them anew, from then on as backfilled" in said


@pytest.mark.thorough
def test_what_may_come_out_otherwise_names_the_backup_first(market):
    """Bars: a source restates. `--repair` says what it does before it does it."""
    path = place(market, "ohlcv", EARLY)
    before = path.read_bytes()
    flip(path, 40)
    console = Console(file=io.StringIO(), width=500)
    assert run_verify(market, console, repair=True)
    said = console.file.getvalue()
    assert path.read_bytes() == before  # this source gives what it gave
    backup = said.index("`rnn-pipelines restore DIR` brings back those that a backup has")
    words = "rnn-pipelines backfill --start 2020-04-15 --end 2020-04-15 --select ohlcv"
    assert backup < said.index(f"then `{words}` repairs it: it asks the source for the bars again")
    assert f"repairing: `{words}` asks the source for the bars again" in said


def test_a_bundle_that_served_is_left_alone_whatever_the_plan_says_today(market):
    """The pin names another one for the served sessions; their pointers and scores name it."""
    *_, first, _, last = market.sessions.keys
    as_of = market.plan.anchor(last)
    pin = {"from": first, "as_of": market.plan.first_trained}
    pinned = make_market(market.paths.root, {"training": {"pin": pin}})
    assert pinned.plan.anchor(last) != as_of
    flip(market.paths.models / "gru" / as_of / "weights.safetensors")
    flip(market.paths.models / "krnn" / as_of / "weights.safetensors")
    of_all = stages(pinned)
    with dagster_instance(pinned) as instance:
        served = Served(pinned, of_all, instance)
        files = MarketFiles(pinned, of_all, served, StoredVersions(pinned, of_all, served))
        groups = [g for g in files.of_bundles() if g.check and f"/{as_of}/" in g.names[0]]
        damages = {d.stage: d for g in groups if (d := g.check())}
    assert damages["gru_model"].history
    assert not damages["krnn_model"].history  # nothing was served from it
    assert damages["krnn_model"].may_differ


def test_a_repair_passes_by_what_is_left_alone(market):
    damages = [
        Damage("a", "why", "label", "label", "2020-04-15"),
        Damage("b", "why", "label", "label", "2020-04-16"),
        Damage("c", "why", "gru_prediction", "gru_prediction", "2020-04-17", history=True),
        Damage("d", "why", "gru_prediction", "gru_prediction", "2020-04-21"),
    ]
    assert backfills(market, damages) == [
        "--start 2020-04-15 --end 2020-04-16 --select label",
        "--start 2020-04-21 --end 2020-04-21 --select gru_prediction",
    ]


def backfills(market: Market, damages: list[Damage]) -> list[str]:
    """The arguments of the backfills that repair some damages."""
    made = repairs_of(market, stages(market), Console(file=io.StringIO()), damages)
    return [repair.words.removeprefix("rnn-pipelines backfill ") for repair in made]


def test_a_repair_selects_no_stage_where_that_stage_was_served(market):
    """Damage of another stage there, and of the same stage beside it, bring no command over it."""
    label, prediction = "label", "lstm_prediction"
    damages = [
        Damage("a", "why", label, label, "2020-04-15"),
        Damage("b", "why", prediction, prediction, "2020-04-15", history=True),
        Damage("c", "why", prediction, prediction, "2020-04-16"),
    ]
    assert backfills(market, damages) == [
        "--start 2020-04-15 --end 2020-04-15 --select label",
        "--start 2020-04-16 --end 2020-04-16 --select lstm_prediction",
    ]
    damages[2] = Damage("c", "why", prediction, prediction, "2020-04-15")  # of a table beside
    assert backfills(market, damages) == ["--start 2020-04-15 --end 2020-04-15 --select label"]


def test_a_repair_trains_no_bundle_that_served(market):
    """A pointer beside is damaged too: to make it again would train what it points to."""
    last = market.sessions.keys[-1]
    as_of = market.plan.anchor(last)
    model = "gru_model"
    early = next(
        key for key in market.sessions.keys if market.plan.anchor(key) not in (None, as_of)
    )
    damages = [
        Damage("a", "why", model, model, as_of, history=True, may_differ=True),
        Damage("b", "why", model, model, last),
        Damage("c", "why", model, model, early),
    ]
    assert backfills(market, damages) == [f"--start {early} --end {early} --select {model}"]
    assert backfills(market, damages[1:]) == [f"--start {early} --end {last} --select {model}"]


def test_sessions_that_were_never_made_are_no_damage(market, tmp_path):
    root = tmp_path / "tiny"
    shutil.copytree(market.paths.root, root)
    last = market.sessions.keys[-1]
    for path in root.glob(f"warehouse/*/date={last}/{PART}"):
        path.unlink()
    found = verified(make_market(root))
    assert not found.damages
    assert found.counts["ohlcv"].stale == 1
