"""Libraries that commands load. Oracle: sys.modules of one process that runs them in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.pipelines.conftest import TINY

MODELS = {"torch", "numba", "lightgbm"}
PICTURES = {"matplotlib", "bokeh"}
RECORD = {"dagster", "sqlalchemy", "alembic"}
TABLES = {"numpy", "pandas", "pyarrow", "duckdb", "pydantic", "exchange_calendars"}
SPARED = {
    "--help": MODELS | PICTURES | RECORD | TABLES,
    "sql": MODELS | PICTURES | RECORD,
    "signal": MODELS | PICTURES | RECORD,
    "orders": MODELS | PICTURES | RECORD,
    "status": MODELS | PICTURES | RECORD,
}
"""The modules that each command does without, in the order in which the process runs them."""

PROGRAM = """
import json, sys
from pipelines.cli.main import main

for words in json.loads(sys.argv[1]):
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    print(json.dumps([status or 0, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def environment(finished, tmp_path_factory):
    """The environment of a process that asks the finished market."""
    config = tmp_path_factory.mktemp("start_up") / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    data = str(finished.paths.root.parent)
    return {**os.environ, "RNN_DATA_DIR": data, "RNN_CONFIG": str(config)}


@pytest.fixture(scope="module")
def ended(environment):
    """By command its exit status and the modules that are loaded when it ends."""
    words = [["--help"], ["sql", "FROM evaluations"], ["signal"], ["orders"], ["status"]]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(lines) == len(words), done.stderr
    return {name: json.loads(line) for name, line in zip(SPARED, lines, strict=True)}


@pytest.mark.parametrize("command", SPARED)
def test_a_command_loads_no_library_that_it_does_without(ended, command):
    status, modules = ended[command]
    # `status` finds partitions that are on no record.
    assert status == 0 or (command, status) == ("status", 3)
    assert SPARED[command].intersection(modules) == set()


@pytest.mark.parametrize("words", [["sql", "FROM evaluations"], ["signal"]])
def test_no_library_complains_as_a_process_ends(environment, words):
    """DuckDB's binding names what of it was not collected, and part of the modules never is."""
    script = (
        "import gc, sys; from pipelines.cli.main import main; main(); print(gc.get_freeze_count())"
    )
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    assert int(done.stdout.splitlines()[-1]) > 10_000
    assert "leak" not in done.stderr


def test_a_backfill_is_compared_without_dagster():
    """Until it has something to run; `tests/pipelines/operations/test_backfill.py` runs it."""
    script = "import json, sys, pipelines.operations.backfill; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (MODELS | PICTURES | RECORD).intersection(json.loads(done.stdout)) == set()
