"""The compile cache: filled by several processes at once, and stale only when it should be."""

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
import hashlib, time
from rnn_core.data.simulate import simulate_market
from rnn_core.features import alpha158
import pandas as pd
bars = simulate_market(3, pd.bdate_range("2020-01-01", periods=90), 0).drop(columns="adj_ratio")
bars = bars.assign(vwap=bars["close"])
began = time.perf_counter()
frame = alpha158(bars)
print(time.perf_counter() - began, hashlib.sha256(frame.to_numpy().tobytes()).hexdigest())
"""


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_fill_it_at_once_and_a_third_starts_warm(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    outputs = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    third = start(tmp_path)
    seconds, digest = third.communicate()[0].split()
    assert {output[1] for output in outputs} == {digest}
    assert float(seconds) < float(outputs[0][0]) / 5


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
