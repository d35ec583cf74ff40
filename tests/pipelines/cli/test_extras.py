"""An installation without extras: the library works, and the command says which extra it needs.

Oracle: `pyproject.toml`, whose plain dependencies are all that the processes here may import.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLAIN = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
REQUIRED = {
    "backfill": ["--start", "2020-05-11", "--end", "2020-05-12"],
    "refresh": ["--since", "2020-05-11"],
    "sql": ["FROM latest_signal"],
    "qrun": ["some.yaml"],
    "compare": ["a", "b"],
    "export-qlib": ["folder"],
    "init": ["--path", "x.csv"],
    "backup": ["folder"],
    "restore": ["folder"],
}


def absent() -> set[str]:
    """The packages that extras alone bring; torch brings fsspec and filelock as well."""
    extras = PROJECT["project"]["optional-dependencies"]
    names = {re.split(r"[\s\[<>=~]", text)[0] for texts in extras.values() for text in texts}
    modules = {name.replace("-", "_") for name in names}
    return modules - {"rnn_signal_factory", "filelock", "fsspec"} | {"sqlalchemy"}


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that cannot import what the extras bring."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"ABSENT = {absent()!r}\n{PLAIN}\n{code}", *words],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RNN_CONFIG": ""},
    )  # fmt: skip


def test_the_extras_are_absent():
    assert {"dagster", "duckdb", "pydantic", "rich", "matplotlib", "exchange_calendars"} <= absent()
    assert "No module named 'dagster'" in python("import dagster").stderr


COMMAND = "from pipelines.cli.main import main; sys.exit(main())"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_extra_in_one_line(name):
    done = python(COMMAND, name, *REQUIRED.get(name, []))
    assert done.returncode == 1
    assert re.fullmatch(
        rf"error: {name} needs the package \w+, which is not installed: "
        rf"pip install 'rnn-signal-factory\[pipelines\]'\n",
        done.stderr,
    )


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["demo", "--help"]])
def test_version_and_help_need_no_extra(words):
    done = python(COMMAND, *words)
    assert (done.returncode, done.stderr) == (0, "")
    if words == ["--version"]:
        assert re.fullmatch(r"rnn-signal-factory \d+\.\d+\.\d+\n", done.stdout)


def test_an_error_of_the_project_itself_is_no_extra():
    broken = "import pipelines.cli.status as s\ns.run = lambda args: __import__('pipelines.gone')"
    done = python(f"{broken}\n{COMMAND}", "status")
    assert "ModuleNotFoundError: No module named 'pipelines.gone'" in done.stderr


def test_the_library_works():
    """Every public name but the plots, and a training from bars to scores."""
    done = python(
        """
import importlib, pkgutil
import numpy as np, pandas as pd
import rnn_core
for module in pkgutil.walk_packages(rnn_core.__path__, "rnn_core."):
    if not any(word in module.name for word in ("plots", "render", "report", "warm")):
        loaded = importlib.import_module(module.name)
        for name in getattr(loaded, "__all__", ()):
            if not name.startswith(("plot", "png", "html", "signal_html")):
                try:
                    getattr(loaded, name)
                except ModuleNotFoundError as error:
                    if error.name.partition(".")[0] != "matplotlib":
                        raise
from rnn_core.features import compute_features
days = pd.bdate_range("2020-01-01", periods=30)
bars = pd.DataFrame({"date": days, "instrument": "A", "close": np.arange(30.0) + 1})
for field in ("open", "high", "low", "vwap"):
    bars[field] = bars["close"]
bars["volume"] = 1.0
print(compute_features(bars, [("R", "Ref($close, 1) / $close")])["R"].iloc[-1])
"""
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(29 / 30)
