"""The compile cache: filled by several processes at once, and stale only when it should be.

Oracles: numba's own record of what it compiles, and the cache's files.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_core.features import strict
from rnn_core.features.strict import machine

SCRIPT = """
import hashlib
from numba.core import event
from rnn_core.data.simulate import simulate_market
from rnn_core.features import alpha158
import pandas as pd
bars = simulate_market(3, pd.bdate_range("2020-01-01", periods=90), 0).drop(columns="adj_ratio")
bars = bars.assign(vwap=bars["close"])
with event.install_recorder("numba:compile") as compiled:
    frame = alpha158(bars)
print(len(compiled.buffer), hashlib.sha256(frame.to_numpy().tobytes()).hexdigest())
"""


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )


def files(cache: Path) -> dict[Path, tuple[int, int]]:
    """The files of a cache, each with what changes when it is written."""
    stats = {path: path.stat() for path in cache.rglob("*.nb[ic]")}
    return {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in stats.items()}


@pytest.mark.slow
@pytest.mark.thorough
def test_two_processes_fill_it_at_once_and_a_third_starts_warm(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    outputs = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(int(compiled) > 0 for compiled, _ in outputs)
    filled = files(tmp_path)
    assert filled
    third = start(tmp_path)
    compiled, digest = third.communicate()[0].split()
    assert {output[1] for output in outputs} == {digest}
    assert compiled == "0"
    assert files(tmp_path) == filled


def test_the_key_covers_every_source_that_is_compiled_in() -> None:
    """Every module of the engine with kernels, and what they take constants from."""
    covered = {Path(str(module.__file__)).name for module in machine.SOURCES}
    names = [m.name for m in pkgutil.iter_modules(strict.__path__)]
    modules = [importlib.import_module(f"{strict.__name__}.{name}") for name in names]
    kernels = {
        f"{name}.py"
        for name, module in zip(names, modules, strict=True)
        if any(hasattr(x, "targetoptions") for x in vars(module).values())
    }
    assert kernels - {"machine.py", "engine.py"} <= covered
    assert {"codes.py", "operators.py"} <= covered
