"""This library's side of the contest: `python engine_alpha158.py time|first|memory BARS.npz ...`.

    time    both semantics, on each number of threads, into a given array and into a new one, and
            long frame to long frame; best of the repeats; saves the values to compare
    first   import, and the first call, in seconds; the caller chooses NUMBA_CACHE_DIR
    memory  growth of resident memory during one call

Each mode is a process of its own, so that none finds memory or code left warm by another. Prints
one line of JSON. Imports stand inside the functions because `first` times them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from rnn_core.panel.panel import Panel

SEMANTICS = ("strict", "qlib")


def load(path: Path) -> Panel:
    """The market as a panel."""
    import numpy as np
    import pandas as pd

    from rnn_core.features import ALPHA158_FIELDS
    from rnn_core.panel.panel import Panel

    with np.load(path) as file:
        return Panel(
            pd.DatetimeIndex(file["sessions"].astype("datetime64[ns]"), name="datetime"),
            pd.Index(file["instruments"].astype(object), name="instrument"),
            {name: file[name] for name in ALPHA158_FIELDS},
            file["present"],
        )


def long_frame(panel: Panel) -> pd.DataFrame:
    """The rows that exist, one instrument after another, as vendors deliver them."""
    import numpy as np
    import pandas as pd

    name, day = np.nonzero(panel.present)
    keys = {"date": panel.sessions[day], "instrument": panel.instruments[name]}
    return pd.DataFrame(keys | {k: v[name, day] for k, v in panel.fields.items()})


def best(call: Callable[[], object], repeats: int) -> float:
    """Shortest of the repeats, seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        kept = call()
        seconds.append(time.perf_counter() - began)
        del kept
    return min(seconds)


def timed(panel: Panel, threads: list[int], repeats: int, folder: Path) -> dict[str, object]:
    """Warm seconds of every run, and where the values lie."""
    import numpy as np

    from rnn_core.features import ALPHA158_NAMES, alpha158, alpha158_panel

    out = np.zeros((len(ALPHA158_NAMES), *panel.shape), dtype=np.float32)  # [158, N, T]
    bars = long_frame(panel)
    runs, results = [], {}
    for semantics in SEMANTICS:
        for count in threads:
            settings = {"semantics": semantics, "threads": count}
            calls = {
                "given array": lambda s=settings: alpha158_panel(panel, out=out, **s),
                "new array": lambda s=settings: alpha158_panel(panel, **s),
                "long frame": lambda s=settings: alpha158(bars, **s),
            }
            calls["given array"]()
            for what, call in calls.items():
                runs.append(settings | {"what": what, "seconds": best(call, repeats)})
        results[semantics] = str(folder / f"engine_{semantics}.npy")
        np.save(results[semantics], alpha158_panel(panel, semantics=semantics, out=out))
    return {"runs": runs, "results": results}


def first(path: Path, semantics: str) -> dict[str, float]:
    """Seconds to import the library, and of its first call, in this process."""
    began = time.perf_counter()
    from rnn_core.features import alpha158_panel

    imported = time.perf_counter()
    panel = load(path)
    ready = time.perf_counter()
    alpha158_panel(panel, semantics=semantics, threads=1)
    return {"import_s": imported - began, "first_s": time.perf_counter() - ready}


def memory(panel: Panel, semantics: str, what: str, threads: int) -> dict[str, float]:
    """Growth of resident memory during one call, after a call on a small panel."""
    import numpy as np
    from memory import growth_mb

    from rnn_core.features import ALPHA158_NAMES, alpha158, alpha158_panel
    from rnn_core.panel.panel import Panel

    small = Panel(
        panel.sessions,
        panel.instruments[:2],
        {k: v[:2] for k, v in panel.fields.items()},
        panel.present[:2],
    )
    settings = {"semantics": semantics, "threads": threads}
    alpha158(long_frame(small), **settings)
    if what == "long frame":
        bars = long_frame(panel)
        return {"peak_mb": growth_mb(lambda: alpha158(bars, **settings))}
    out = None
    if what == "given array":
        out = np.ones((len(ALPHA158_NAMES), *panel.shape), dtype=np.float32)
    return {"peak_mb": growth_mb(lambda: alpha158_panel(panel, out=out, **settings))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["time", "first", "memory"])
    parser.add_argument("bars", type=Path)
    parser.add_argument("--folder", type=Path, help="time: where the values go")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--semantics", choices=SEMANTICS, default="strict")
    parser.add_argument("--what", choices=["given array", "new array", "long frame"])
    args = parser.parse_args()
    if args.mode == "first":
        got = first(args.bars, args.semantics)
    elif args.mode == "time":
        got = timed(load(args.bars), args.threads, args.repeats, args.folder)
    else:
        got = memory(load(args.bars), args.semantics, args.what, max(args.threads))
    print(json.dumps(got))


if __name__ == "__main__":
    main()
