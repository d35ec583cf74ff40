"""The short form of `make bench`. Oracles: the reference implementations, and figures made up."""

from __future__ import annotations

import json

import pytest
import torch

INTEL = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon\n"
MILAN = "AuthenticAMD family 25 model 1"
SAPPHIRE = "GenuineIntel family 6 model 143"


@pytest.fixture
def short(load):
    """The module, while torch has one thread, as `main` sets it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load("short")
    torch.set_num_threads(before)


@pytest.mark.parametrize("place", range(5))
def test_the_reference_does_the_same_work(short, place):
    """Each pair compares its two results before it is timed."""
    pair = short.pairs()[place]
    pair.same(pair.here(), pair.peer())


def test_every_pair_has_a_recorded_ratio(short):
    recorded = json.loads(short.RECORDED.read_text())
    assert recorded
    for ratios in recorded.values():
        assert set(ratios) == {pair.name for pair in short.pairs()}


def test_a_processor_is_named_by_vendor_family_and_model(short):
    assert short.processor(INTEL) == SAPPHIRE
    assert short.processor("")  # no /proc/cpuinfo


def test_an_unknown_processor_has_the_lowest_recorded_ratio_less_a_quarter(short):
    recorded = {MILAN: {"a": 10.0, "b": 2.0}, SAPPHIRE: {"a": 8.0, "b": 3.0}}
    known, other = (short.floors_of(recorded, kind) for kind in (SAPPHIRE, "another"))
    assert [known.of(pair) for pair in ("a", "b", "c")] == [8 * 0.6, 3 * 0.6, None]
    assert [other.of(pair) for pair in ("a", "b")] == pytest.approx([8 * 0.45, 2 * 0.45])
    assert SAPPHIRE in known.source
    assert MILAN not in known.source
    assert "another" in other.source


def measured(short, ratio):
    return short.Measured((1.0, 1.2), (ratio, 2 * ratio))


def test_the_ratio_is_that_of_the_least_times(short):
    took = short.Measured(here=(2.0, 1.0), peer=(6.0, 8.0))
    assert (took.ratio, took.turns) == (6.0, [3.0, 8.0])


@pytest.mark.parametrize(
    ("ratios", "status", "times"),
    [((10.0,), 0, 1), ((6.1,), 0, 1), ((5.9, 6.1), 0, 2), ((5.9, 5.8), 1, 2)],
)
def test_a_fall_is_one_that_a_repeat_confirms(
    short, monkeypatch, tmp_path, capsys, ratios, status, times
):
    """Recorded is 10, so the floor is 6."""
    kind = short.processor(INTEL)
    recorded = tmp_path / "ratios.json"
    recorded.write_text(json.dumps({kind: {"work": 10.0}}))
    monkeypatch.setattr(short, "RECORDED", recorded)
    monkeypatch.setattr(short, "processor", lambda _: kind)
    pair = short.Pair("work", lambda: 1, lambda: 1, lambda *_: None)
    monkeypatch.setattr(short, "pairs", lambda: [pair])
    left = [measured(short, ratio) for ratio in ratios]
    monkeypatch.setattr(short, "measure", lambda _: left.pop(0))
    assert short.main([]) == status
    assert len(ratios) - len(left) == times
    said = capsys.readouterr().out
    assert ("twice in a row: work" in said) == bool(status)
    assert f"Floors: 0.6 of ratios recorded on this kind of processor, {kind}" in said


@pytest.mark.thorough  # a neighbour on the machine can change either ratio
def test_work_done_twice_is_seen(short, monkeypatch, tmp_path):
    """The clock is real, the fall made: half of the ratio is left."""
    pair = next(pair for pair in short.pairs() if pair.name.startswith("evaluation"))
    twice = short.Pair(pair.name, lambda: (pair.here(), pair.here()), pair.peer, pair.same)
    once, slower = (short.measure(one, turns=3).ratio for one in (pair, twice))
    assert 0.35 < slower / once < 0.65


def test_figures_of_the_peers_become_one_table(load):
    peers = load("against_peers")
    rounds = [(2.0, 20.0, 0.1), (1.0, 30.0, 1.4), (2.0, 40.0, 0.0)]
    ratios = [
        peers.Ratio("features", "Alpha158", "pyqlib", here, peer, others)
        for here, peer, others in rounds
    ]
    ratios.append(peers.Ratio("training", "epoch of LSTM", "pyqlib, 2 workers", 3.0, 9.0, 0.0))
    rows = [line.strip("| ").split(" | ") for line in peers.lines(ratios).splitlines()[2:]]
    assert rows == [
        ["20", "10 to 30 (3)", "Alpha158", "pyqlib", "2", "40", "1.4, disturbed", "`features`"],
        ["3", "3 to 3 (1)", "epoch of LSTM", "pyqlib", "3", "9", "0.0", "`training`"],
    ]


def test_a_script_gets_its_numbers_at_the_scale_that_was_asked(load):
    peers = load("against_peers")
    assert peers.arguments("features", 1) == ["--instruments=500"]
    assert peers.arguments("features", 0.5) == ["--instruments=250"]
    assert peers.arguments("portfolio", 0.01) == ["--instruments=60"]
    assert peers.arguments("training", 0.1)[:2] == ["--scale=0.1", "--repeats=1"]


def test_a_script_that_fails_is_named(load, monkeypatch, capsys):
    peers = load("against_peers")
    monkeypatch.setitem(peers.SCRIPTS, "features", ["features.py", "--no-such-option"])
    assert peers.main(["--rounds", "1", "--only", "features"]) == 1
    assert "features.py ended with status 2" in capsys.readouterr().out
