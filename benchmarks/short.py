"""The speed that is kept: this library beside the plain implementations of `reference.py`.

    make bench SHORT=1                        # a minute of CPU; exit status 1 at a fall of 40 %
    python benchmarks/short.py --record       # record this kind of processor: medians of three

A pair is one piece of work done by both sides in this process on one thread; their results are
compared first. The sides take turns within a second of each other, five times, each going first in
every other turn, and CPU time is counted, so that whatever else runs meets both alike. A pair's
figure is the ratio of the two least times. `short_ratios.json` has the recorded ratios by kind of
processor. A pair whose ratio is below 0.6 of the recorded one is measured once more, and has fallen
if it is below again.

Ratios differ among processors by their caches and vector units, so both sides of a pair do the same
kind of arithmetic: rolling windows in compiled loops, copies of rows, products of matrices by the
same library in float32, sums over names. On a kind of processor without a recorded ratio the lowest
of the recorded ones counts, less another quarter. The output says which floor was used.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import reference
import torch

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

import market  # noqa: E402
from contest import watched  # noqa: E402
from features_report import table  # noqa: E402

from rnn_core.data import TSDataSampler  # noqa: E402
from rnn_core.evaluation import calc_ic  # noqa: E402
from rnn_core.features import compute_features  # noqa: E402
from rnn_core.models.families import build_network  # noqa: E402
from rnn_core.training import Trainer, TrainerConfig, seeded_network  # noqa: E402

RECORDED = HERE / "short_ratios.json"
TURNS = 5
TURN_S = 0.25  # CPU seconds of a side in a turn, at least
KEPT = 0.6  # of the recorded ratio
ELSEWHERE = 0.75  # of that, on a kind of processor without a recorded ratio
NAMES, SESSIONS = 60, 400


@dataclass(frozen=True)
class Pair:
    """One piece of work, done by both sides.

    Attributes:
        name: as in `short_ratios.json`.
        here: this library.
        peer: the reference.
        same: raises AssertionError if the two results differ.
    """

    name: str
    here: Callable[[], object]
    peer: Callable[[], object]
    same: Callable[[object, object], None]


@dataclass(frozen=True)
class Measured:
    """CPU seconds of a call, of both sides in every turn."""

    here: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times less CPU time this library takes: of the least times."""
        return min(self.peer) / min(self.here)

    @property
    def turns(self) -> list[float]:
        """The ratio of every turn, in order of size."""
        return sorted(b / a for a, b in zip(self.here, self.peer, strict=True))


@dataclass(frozen=True)
class Floors:
    """The ratios below which a pair has fallen.

    Attributes:
        recorded: by pair.
        share: of a recorded ratio that a pair must keep.
        source: the processor on which the ratios were recorded, in words.
    """

    recorded: Mapping[str, float]
    share: float
    source: str

    def of(self, pair: str) -> float | None:
        """The floor of a pair; None if there is no recorded ratio."""
        return self.recorded[pair] * self.share if pair in self.recorded else None


def processor(cpuinfo: str) -> str:
    """The kind of a processor: vendor, family and model, as the text of /proc/cpuinfo has them."""
    fields = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (.+)$", cpuinfo, re.MULTILINE))
    if len(fields) < 3:
        return platform.processor() or platform.machine()
    return f"{fields['vendor_id']} family {fields['cpu family']} model {fields['model']}"


def floors_of(recorded: Mapping[str, Mapping[str, float]], kind: str) -> Floors:
    """The floors of a kind of processor.

    Args:
        recorded: ratios by pair, by kind of processor.
        kind: as `processor` says it.
    """
    if kind in recorded:
        return Floors(recorded[kind], KEPT, f"ratios recorded on this kind of processor, {kind}")
    pairs = sorted({pair for ratios in recorded.values() for pair in ratios})
    lowest = {p: min(ratios[p] for ratios in recorded.values() if p in ratios) for p in pairs}
    words = f"no ratios of {kind}: the lowest of {', '.join(recorded) or 'none'} less a quarter"
    return Floors(lowest, KEPT * ELSEWHERE, words)


def cpu_s(call: Callable[[], object], times: int) -> float:
    """CPU seconds of a call, of all threads, over some calls."""
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def measure(pair: Pair, turns: int = TURNS) -> Measured:
    """Let both sides take turns; both have run before."""
    sides = {"here": pair.here, "peer": pair.peer}
    times = {name: max(1, round(TURN_S / cpu_s(call, 1))) for name, call in sides.items()}
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in sides if turn % 2 == 0 else reversed(sides):
            took[name].append(cpu_s(sides[name], times[name]))
    return Measured(tuple(took["here"]), tuple(took["peer"]))


def judge(pair: Pair, floor: float | None) -> tuple[Measured, bool]:
    """Measure a pair, once more if it is below its floor.

    Returns:
        The figures of the last measurement, and True if it has fallen.
    """
    first = measure(pair)
    if floor is None or first.ratio >= floor:
        return first, False
    print(f"{pair.name}: {first.ratio:.2f} is below {floor:.2f}, once more ...", flush=True)
    again = measure(pair)
    return again, again.ratio < floor


def pairs() -> list[Pair]:
    """All pairs, with the data of each."""
    return [_features(), _windows(), _epoch("lstm"), _epoch("gru"), _correlations()]


def _features() -> Pair:
    """Eight features of Alpha158, long frame to long frame; rows are missing."""
    data = market.simulate(NAMES, SESSIONS)
    name, day = np.nonzero(data["present"])
    keys = {
        "date": pd.DatetimeIndex(data["sessions"])[day],
        "instrument": data["instruments"][name],
    }
    bars = pd.DataFrame(keys | {field: data[field][name, day] for field in market.FIELDS})
    wanted = {feature: text for feature, (text, _) in reference.FEATURES.items()}

    def same(here: pd.DataFrame, peer: pd.DataFrame) -> None:
        # Windows count sessions here and rows there: equal where no session is missing.
        whole = {data["instruments"][i] for i in np.flatnonzero(data["present"].all(axis=1))}
        rows = here.index.get_level_values("instrument").isin(whole)
        assert rows.any()
        a, b = here[rows], peer.loc[here.index[rows]]
        late = a.groupby(level="instrument").cumcount() >= 30  # both have whole windows
        np.testing.assert_allclose(a[late], b[late], rtol=1e-3, atol=1e-4)

    return Pair(
        f"features: {len(wanted)} of Alpha158",
        lambda: compute_features(bars, wanted, threads=1),
        lambda: reference.features(bars),
        same,
    )


def noise(features: int) -> pd.DataFrame:
    """A frame of noise, the label last, of which a tenth of the rows are missing."""
    rng = np.random.default_rng(0)
    keys = [pd.bdate_range("2020-01-01", periods=120), [f"N{k:02d}" for k in range(40)]]
    index = pd.MultiIndex.from_product(keys, names=["datetime", "instrument"])
    values = rng.normal(size=(len(index), features + 1)).astype("f4")
    return pd.DataFrame(values, index=index)[rng.random(len(index)) > 0.1]


def sampler_of(frame: pd.DataFrame, first: int, last: int) -> TSDataSampler:
    """Windows of 20 sessions, of the sessions from one place to another."""
    days = frame.index.get_level_values(0).unique()
    return TSDataSampler(frame, days[first], days[last], 20, fillna_type="ffill+bfill")


def _windows() -> Pair:
    """A batch of 800 windows in random order, as a training draws it."""
    frame = noise(20)
    here, peer = sampler_of(frame, 0, -1), reference.Sampler(frame, 20)
    places = frame.index.get_indexer(here.get_index().reorder_levels(frame.index.names))
    chosen = np.random.default_rng(1).permutation(len(here))[:800]

    def same(ours: torch.Tensor, theirs: np.ndarray) -> None:
        np.testing.assert_array_equal(ours.numpy(), theirs)

    numbers = torch.from_numpy(chosen)
    return Pair(
        "windows: a batch of 800",
        lambda: here.batch(numbers),
        lambda: peer.batch(places[chosen]),
        same,
    )


def _epoch(model: str) -> Pair:
    """An epoch with its validation, in float32; the peer has its windows ready."""
    frame = noise(20)
    train, valid = sampler_of(frame, 0, 84), sampler_of(frame, 85, -1)
    windows = [source.batch(np.arange(len(source))) for source in (train, valid)]
    config = TrainerConfig.for_family(model, n_epochs=1, device="cpu", seed=0)
    network = seeded_network(lambda: build_network(model, 20, {}), 0)

    def here() -> float:
        fresh = seeded_network(lambda: build_network(model, 20, {}), 0)
        return -Trainer(config).fit(fresh, train, valid).history["valid_score"].iloc[0]

    def same(ours: float, theirs: float) -> None:
        assert abs(ours - theirs) < 0.02, f"{model}: losses of {ours} and {theirs}"

    return Pair(
        f"training: an epoch of {model.upper()}",
        here,
        lambda: reference.epoch(network, *windows, config.batch_size, config.lr),
        same,
    )


def _correlations() -> Pair:
    """IC and rank IC of 150 sessions of 200 names."""
    keys = [pd.bdate_range("2020-01-01", periods=150), [f"N{k:03d}" for k in range(200)]]
    index = pd.MultiIndex.from_product(keys, names=["datetime", "instrument"])
    rng = np.random.default_rng(2)
    scores, labels = (pd.Series(rng.normal(size=len(index)), index) for _ in range(2))

    def same(ours: tuple[pd.Series, ...], theirs: tuple[pd.Series, ...]) -> None:
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)

    return Pair(
        "evaluation: daily IC and rank IC",
        lambda: calc_ic(scores, labels),
        lambda: reference.daily_correlations(scores, labels),
        same,
    )


def lines(got: Mapping[str, tuple[Measured, bool]], floors: Floors) -> str:
    """The table, the ratio first."""
    rows = []
    for name, (took, fell) in got.items():
        floor, turns = floors.of(name), took.turns
        rows.append(
            [
                f"{took.ratio:.2f}",
                None if floor is None else f"{floor:.2f}{' FELL' if fell else ''}",
                name,
                f"{min(took.here) * 1e3:.2f}",
                f"{min(took.peer) * 1e3:.1f}",
                f"{turns[0]:.2f} to {turns[-1]:.2f}, median {statistics.median(turns):.2f}",
            ]
        )
    header = ("times less CPU", "floor", "pair", "here, ms", "reference, ms", "of the turns")
    return table(header, rows)


def record(kind: str, got: Mapping[str, tuple[Measured, bool]]) -> None:
    """Put the measured ratios of a kind of processor into `short_ratios.json`."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    recorded[kind] = {name: round(took.ratio, 2) for name, (took, _) in got.items()}
    RECORDED.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="record the ratios; nothing fails")
    parser.add_argument("--only", nargs="+", help="pairs whose name begins so")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    info = Path("/proc/cpuinfo")
    kind = processor(info.read_text() if info.exists() else "")
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    floors = Floors({}, KEPT, "none, they are recorded") if args.record else None
    floors = floors or floors_of(recorded, kind)
    load, got = os.getloadavg()[0], {}

    def everything() -> None:
        for pair in pairs():
            if args.only and not pair.name.startswith(tuple(args.only)):
                continue
            pair.same(pair.here(), pair.peer())  # also compiles
            if args.record:
                runs = sorted((measure(pair) for _ in range(3)), key=lambda one: one.ratio)
                got[pair.name] = runs[1], False
            else:
                got[pair.name] = judge(pair, floors.of(pair.name))

    took = watched(everything)
    print(lines(got, floors))
    print(
        f"\n{datetime.date.today()}, {kind}, {os.cpu_count()} CPUs, load {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; {took['fit_s']:.0f} s, of it {took['cpu_s']:.0f} s of "
        f"CPU here, others kept {took['others']:.1f} cores busy. Floors: {floors.share:g} of "
        f"{floors.source}."
    )
    if args.record:
        record(kind, got)
        return 0
    fallen = [name for name, (_, fell) in got.items() if fell]
    if fallen:
        print(f"speed has fallen, twice in a row: {'; '.join(fallen)}")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
