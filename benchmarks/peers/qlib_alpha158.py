"""pyqlib's side of the contest: `PYTHON qlib_alpha158.py BARS.npz OUT.npy [--processes 2]`.

Run in an interpreter that has pyqlib (requirements in qlib.txt). The bars become a provider folder
of float32 files as pyqlib's own dump script lays it out: an instrument's file runs from its first
to its last session, a suspended session inside is NaN. Writing it is not timed.

Timed is `D.features` of the 158 expressions that pyqlib itself lists, in worker processes as its
users run it, disk caches off: reading the files, computing, gathering one frame. The expression
cache in memory lives in the workers and dies with them, so every repeat is cold. The re-sorting by
session that its data loader adds is timed apart, for the comparison from frame to frame.

Peak memory is the main process's; the workers' is not counted. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from memory import growth_mb

FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def provide(market: dict[str, np.ndarray], root: Path) -> None:
    """Write a provider folder: calendar, instruments with their spans, one file a field."""
    for folder in ("calendars", "instruments", "features"):
        (root / folder).mkdir(parents=True)
    days = market["sessions"].astype(str)
    (root / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    lines = []
    for i, name in enumerate(market["instruments"]):
        rows = np.flatnonzero(market["present"][i])
        first, last = rows[0], rows[-1]
        folder = root / "features" / name.lower()
        folder.mkdir()
        for field in FIELDS:
            values = market[field][i, first : last + 1]
            np.r_[np.float32(first), values].astype("<f4").tofile(folder / f"{field}.day.bin")
        lines.append(f"{name}\t{days[first]}\t{days[last]}")
    (root / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")


def spread(frame: pd.DataFrame, market: dict[str, np.ndarray]) -> np.ndarray:
    """The frame as [158, N, T], NaN where it has no row."""
    name = pd.Index(market["instruments"]).get_indexer(frame.index.get_level_values("instrument"))
    sessions = pd.DatetimeIndex(market["sessions"])
    day = sessions.get_indexer(frame.index.get_level_values("datetime"))
    shape = (frame.shape[1], len(market["instruments"]), len(sessions))
    values = np.full(shape, np.nan, dtype=np.float32)  # [158, N, T]
    for f, column in enumerate(frame):
        values[f, name, day] = frame[column].to_numpy(np.float32)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()

    import qlib
    from qlib.contrib.data.loader import Alpha158DL
    from qlib.data import D

    market = dict(np.load(args.bars))
    expressions, names = Alpha158DL.get_feature_config()
    assert list(market["names"]) == names, "pyqlib lists other features"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "provider"
        provide(market, root)
        qlib.init(
            provider_uri=str(root),
            region="cn",
            kernels=args.processes,
            expression_cache=None,
            dataset_cache=None,
            logging_level="ERROR",
        )
        frames, seconds, sorting, peaks = [], [], [], []

        def features() -> None:
            began = time.perf_counter()
            frames.append(D.features(D.instruments("all"), expressions, disk_cache=0))
            seconds.append(time.perf_counter() - began)

        for _ in range(args.repeats):
            frames.clear()
            peaks.append(growth_mb(features))
            began = time.perf_counter()
            frames[0].swaplevel().sort_index()
            sorting.append(time.perf_counter() - began)
    np.save(args.out, spread(frames[0], market))
    what = {"seconds": min(seconds), "sorting_s": min(sorting), "peak_mb": min(peaks)}
    versions = f"pyqlib {qlib.__version__}, pandas {pd.__version__}, numpy {np.__version__}"
    print(json.dumps(what | {"versions": versions}))


if __name__ == "__main__":
    main()
