"""The market of the faults, its states at rest, and what two states of it have in common.

Two folders hold the same if every file below `data/` has the same bytes, but for these: the catalog
(its views are compared), the page of what is served (it names the moment), the record of what was
verified (times and inodes; `status` says of how many files), Dagster's record (ids
and times; `status` compares it with the files, and no run in it may be unfinished), the files of
locks (none may be held). The path of the folder itself is no difference.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import yaml

from tests.faults.commands import good, run
from tests.pipelines.conftest import TINY, merged

LAST, BEFORE_LAST, NEXT = "2020-05-15", "2020-05-12", "2020-05-13"
SERVED = "2020-05-14"
MODELS = {"gru": {"hidden_size": 4, "num_layers": 1, "n_epochs": 1, "batch_size": 64}}
REPORTS = "signal_report,portfolio_report"
DATA = "ohlcv,alpha158,label,processors,dataset_infer,dataset_learn"
MODEL = "gru_model,gru_prediction,gru_evaluation,gru_portfolio"
WORDS = ("backfill", "--start", NEXT, "--end", LAST, "--select", f"{DATA},{MODEL}")
"""The command that makes the last sessions of `until/`, without the reports."""
LEFT_OUT = re.compile(
    r"dagster/(history|schedules)/.*|dagster/\.ui\.lock|\.locks/.*|reports/tiny\.served\.html|tiny/verified\.parquet"
)
CATALOG = "tiny/warehouse.duckdb"
_PLACE = re.compile(rb"(?:/[\w.-]+){1,12}/(?=data/|tiny\.yaml)")  # where a folder lies


def config() -> dict[str, Any]:
    """The YAML: one network of one epoch, which trains at the last session but one."""
    out = merged(TINY, {"training": {"retrain_every": 10}})
    out["models"] = MODELS
    return out


def put(built: Path, folder: Path) -> Path:
    """A copy of a state at rest."""
    shutil.copytree(built, folder)
    return folder


def build(folder: Path) -> None:
    """Make the states at rest that the tests begin with.

    `until/` lacks the last three sessions and the reports, `whole/` lacks nothing.
    """
    until = folder / "until"
    until.mkdir(parents=True)
    (until / "tiny.yaml").write_text(yaml.safe_dump(config()))
    good(until, "backfill", "--start", "2020-01-02", "--end", BEFORE_LAST, "--select", DATA)
    good(until, "backfill", "--start", "2020-04-01", "--end", BEFORE_LAST, "--select", MODEL)
    whole = put(until, folder / "whole")
    good(whole, "backfill", "--start", NEXT, "--end", LAST)
    good(whole, "status")
    for said in folder.glob("*/said-*"):
        said.unlink()


def contents(folder: Path) -> dict[str, str]:
    """A digest of every compared file below `data/`, by its path."""
    data, found = folder / "data", {}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        if not path.is_file() or LEFT_OUT.fullmatch(name):
            continue
        if name == CATALOG:
            with duckdb.connect(str(path), read_only=True) as catalog:
                raw = repr(sorted(catalog.sql("SELECT * FROM _views").fetchall())).encode()
        else:
            raw = path.read_bytes()
        found[name] = hashlib.sha256(_PLACE.sub(b"", raw)).hexdigest()
    return found


def differences(folder: Path, undisturbed: Path) -> list[str]:
    """List differences from the undisturbed state, and what a process left behind."""
    ours, theirs = contents(folder), contents(undisturbed)
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            found.append(f"{name}: not there undisturbed")
        elif ours.get(name) != theirs[name]:
            found.append(f"{name}: {'other bytes' if name in ours else 'absent'}")
    return [*found, *leftovers(folder)]


def leftovers(folder: Path) -> list[str]:
    """Temporary files, held locks and unfinished runs."""
    data = folder / "data"
    found = [f"left over: {p.relative_to(data)}" for p in data.rglob("*") if _is_temporary(p)]
    for path in data.glob(".locks/**/*.lock"):
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found.append(f"held: {path.relative_to(data)}")
    return found + [f"run {status}" for status in statuses(folder) if status not in ENDED]


ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def statuses(folder: Path) -> list[str]:
    """The statuses of the runs on record."""
    path = folder / "data" / "dagster" / "history" / "runs.db"
    if not path.is_file():
        return []
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT status FROM runs")]
    finally:
        connection.close()


def _is_temporary(path: Path) -> bool:
    return path.name.endswith((".tmp", "-journal")) or path.name.endswith((".wal", ".lock.tmp"))


def status(folder: Path) -> str:
    """The output of `status` without the sizes of files and the path of the folder."""
    command = run(folder, "status")
    said = re.sub(r"verification of \S+Z", "verification of TIME", command.said())
    lines = said.replace(str(folder), "FOLDER").splitlines()
    return "\n".join(line.rstrip() for line in lines if not line.startswith("state: "))


def serve(folder: Path) -> None:
    """Date the predictions of the last sessions to their evening, as if they had been served."""
    for key in (SERVED, LAST):
        when = pd.Timestamp(f"{key} 22:00", tz="UTC").timestamp()
        (path,) = (folder / "data/tiny/warehouse/gru_prediction").glob(f"date={key}/*.parquet")
        os.utime(path, (when, when))
