"""Compare two revisions: the bytes that they make, and the older one's state under the newer.

    python benchmarks/compare_revisions.py OLD [NEW] [--state DIR] [--config sample small]
    python benchmarks/compare_revisions.py OLD --config small      # the quick look
    python benchmarks/compare_revisions.py OLD --footers-may-differ
    python benchmarks/compare_revisions.py OLD --assets-may-be-added

OLD and NEW are git revisions; NEW is by default the working tree, as a copy of its files at the
start. It is for changes that must not change a result, such as a restructuring or a faster kernel:
whoever updates keeps a warehouse of years, and none of it may turn stale or come out otherwise.

Each revision is exported to a folder of its own and runs `demo` from there, in a process of its
own and from nothing, for the shipped `sample` market and for `small`, a simulated one of 12 names
and a year whose LSTM is an ensemble. Other shipped markets can be named. Then

1. every file of the warehouse and of the model bundles is compared byte by byte (unfinished
   trainings, `.checkpoints`, and the keys of a bundle's trainings, `units.json`, are left out);
2. NEW's `status` looks at a copy of OLD's state and must find everything current, after `sync` and
   `upgrade` where it asks for them.

The exit status is 0 if both hold for every market, otherwise 1. With --footers-may-differ Parquet
files need only have the same schema, rows, provenance and digest, and what says only where a file
belongs is left out: for a change that signs or labels files anew.

With --assets-may-be-added, for a change that adds assets, tables that OLD lacks are left out of the
comparison, a `backfill` makes them in the copy of OLD's state, and whatever OLD made must have its
bytes after that.

--state DIR keeps what was made, logs included. OLD's state is taken from there again where its
commit, the market's YAML and the packages that decide bytes are the same; NEW is always made anew.
Without it a temporary folder is used. Both sides run with the interpreter that runs this script.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = "small"
COMPARED = ("warehouse", "models")
LEFT_OUT = {".checkpoints", "units.json"}
LABELS = ("market.json", "identity.json")  # they say where files belong, and nothing of the rows
QUOTED = (b"rnn.provenance", b"rnn.digest")  # of a footer: what other files quote
PACKAGES = ("numpy", "pandas", "pyarrow", "numba", "torch", "safetensors", "lightgbm")
SHOWN_PATHS = 3  # of a table
SHOWN_LINES = 25
# The console script of a revision, after confirming that its packages are the ones that run.
ENTRY = """
import importlib, pathlib, sys
tree, module, function, *words = sys.argv[1:]
for package in ("pipelines", "rnn_core"):
    found = pathlib.Path(importlib.import_module(package).__file__).resolve()
    if not found.is_relative_to(tree):
        sys.exit(f"{package} is imported from {found}, not from {tree}")
sys.argv = ["rnn-pipelines", *words]
sys.exit(getattr(importlib.import_module(module), function)())
"""


@dataclass
class Revision:
    """A revision and the folder of what belongs to it.

    Attributes:
        label: how it is named to a person.
        folder: its code, as git has it, is in `code/`, its state in `data/MARKET/`, logs beside.
    """

    label: str
    folder: Path

    def __post_init__(self) -> None:
        self.code, self.data = self.folder / "code", self.folder / "data"


def git(*words: str) -> bytes:
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(REPOSITORY), *words],  # noqa: S607
        check=True,
        stdout=subprocess.PIPE,
    ).stdout


def commit_of(revision: str) -> str:
    return git("rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()


def export(commit: str | None, code: Path) -> None:
    """Put the files of a commit, or for None of the working tree, into a folder unless it is there.

    Files that git ignores are left out, others that it does not know yet are not.
    """
    if code.is_dir():
        return
    part = code.with_name(f"{code.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if commit is not None:
        with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as archive:
            archive.extractall(part, filter="data")
    else:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
        for name in filter(None, listed.split("\0")):
            if (REPOSITORY / name).is_file():  # not one that was moved away
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, part / name)
    part.rename(code)


def shipped_market(code: Path, name: str) -> str:
    """The YAML of a market that a revision ships."""
    return next((code / "pipelines").rglob(f"{name}.yaml")).read_text(encoding="utf-8")


def small_market(code: Path) -> str:
    """The YAML of the small market: the simulated one that a revision ships, reduced."""
    raw: dict[str, Any] = yaml.safe_load(shipped_market(code, "simulated"))
    raw["name"] = SMALL
    raw["market"] |= {"start": "2020-01-02", "end": "2020-12-31"}
    raw["market"]["source"] |= {"instruments": 12, "suspension_rate": 0.01, "split_rate": 0.002}
    raw["dataset"].pop("fit", None)  # revisions before it know a fixed window only
    raw["dataset"] |= {"fit_start": "2020-03-30", "fit_end": "2020-09-30", "step_len": 10}
    raw["training"] |= {"first_trained": "2020-10-15", "device": "cpu"}
    raw["training"] |= {"window_sessions": 100, "valid_sessions": 20, "retrain_every": 30}
    raw["models"] = {
        "lstm": raw["models"]["lstm"] | {"hidden_size": 8, "n_epochs": 2, "seeds": 2},
        "krnn": raw["models"]["krnn"] | {"n_epochs": 2, "batch_size": 400},
    }
    raw["checks"] = {"model": {"beats_constant": "warn"}}  # so little trained, no model would serve
    raw["portfolio"] |= {"topk": 4, "n_drop": 1}
    return yaml.safe_dump(raw, sort_keys=False)


def run(revision: Revision, words: list[str], data: Path, log: Path) -> int:
    """Run a command of a revision's `rnn-pipelines`, and return its exit status.

    Args:
        revision: whose code runs.
        words: the command and its arguments.
        data: the RNN_DATA_DIR.
        log: where its output goes.
    """
    project = tomllib.loads((revision.code / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = project["project"]["scripts"]["rnn-pipelines"].partition(":")
    code = str(revision.code.resolve())
    unset = ("RNN_CONFIG", "DAGSTER_HOME", "PYTHONSAFEPATH")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"PYTHONPATH": code, "RNN_DATA_DIR": str(data)}
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", ENTRY, code, module, function, *words],
            cwd=code,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return done.returncode


def tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-SHOWN_LINES:])


def make(revision: Revision, market: str, config: str, made_from: dict[str, Any]) -> None:
    """Run `demo` of a market from nothing, unless it was finished before from the same.

    Args:
        revision: whose code runs.
        market: its name.
        config: how the command names it, a shipped name or a path.
        made_from: what else decides its bytes, JSON-able; kept beside the state once it is whole.
    """
    seal, wanted = revision.folder / f"{market}.json", json.dumps(made_from, indent=2)
    if seal.is_file() and seal.read_text(encoding="utf-8") == wanted:
        print(f"{market} of {revision.label}: finished before, taken from {revision.folder}")
        return
    seal.unlink(missing_ok=True)
    shutil.rmtree(revision.data / market, ignore_errors=True)
    revision.data.mkdir(parents=True, exist_ok=True)
    log, began = revision.folder / f"{market}.demo.log", time.perf_counter()
    status = run(revision, ["demo", "--config", config], revision.data, log)
    if status != 0:
        sys.exit(f"{market} of {revision.label}: `demo` ended with {status}:\n{tail(log)}")
    seal.write_text(wanted, encoding="utf-8")
    print(f"{market} of {revision.label}: made in {time.perf_counter() - began:.0f} s")


def files_of(root: Path) -> dict[str, Path]:
    """The compared files of a market's state, by their path below it."""
    return {
        path.relative_to(root).as_posix(): path
        for part in COMPARED
        for path in sorted((root / part).rglob("*"))
        if path.is_file() and LEFT_OUT.isdisjoint(path.relative_to(root).parts)
    }


def rows_of(path: Path) -> bytes:
    """Schema, rows, provenance and digest of a Parquet file, written anew without the rest."""
    footer = pq.read_metadata(path).metadata or {}
    quoted = {key: footer[key] for key in QUOTED if key in footer}
    rows = pq.ParquetFile(path).read().combine_chunks().replace_schema_metadata(quoted)
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return bytes(sink.getvalue())


def same_file(old: Path, new: Path, footers_may_differ: bool) -> bool:
    if old.read_bytes() == new.read_bytes():
        return True
    if not footers_may_differ:
        return False
    try:
        if old.suffix == ".json":
            states = [json.loads(path.read_bytes()) for path in (old, new)]
            one, other = ({**state, "identity": None} for state in states)
            return bool(one == other)
        return old.suffix == ".parquet" and rows_of(old) == rows_of(new)
    except (pa.ArrowException, OSError, ValueError, TypeError):  # one is damaged
        return False


def table_of(name: str) -> str:
    """The folder of a table, or of a model's bundles, of a file."""
    return "/".join(name.split("/")[:2])


def compare(
    old_root: Path, new_root: Path, footers_may_differ: bool, assets_may_be_added: bool = False
) -> bool:
    """Compare a market's files, print how many of each table agree and which do not.

    Args:
        old_root: `data/MARKET` of the older revision.
        new_root: of the newer one.
        footers_may_differ: compare what Parquet files hold and quote instead of bytes, and leave
            out what says only where they belong.
        assets_may_be_added: leave out tables that the older revision lacks.

    Returns:
        Whether there are files and all agree.
    """
    old, new = (
        {
            name: path
            for name, path in files_of(root).items()
            if not (footers_may_differ and path.name in LABELS)
        }
        for root in (old_root, new_root)
    )
    if assets_may_be_added:
        tables = {table_of(name) for name in old}
        new = {name: path for name, path in new.items() if table_of(name) in tables}
    counts: dict[str, Counter[str]] = {}
    notes: dict[str, list[str]] = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            verdict, note = "absent", f"absent from {'OLD' if name not in old else 'NEW'}"
        else:
            is_same = same_file(old[name], new[name], footers_may_differ)
            verdict = note = "equal" if is_same else "different"
        table = table_of(name)
        counts.setdefault(table, Counter())[verdict] += 1
        if verdict != "equal":
            notes.setdefault(table, []).append(f"  {note}: {name}")
    print(f"  {'table':<40}{'equal':>8}{'different':>11}{'absent':>8}")
    for table, count in counts.items():
        print(f"  {table:<40}{count['equal']:>8}{count['different']:>11}{count['absent']:>8}")
    for of_table in notes.values():
        print("\n".join(of_table[:SHOWN_PATHS]))
    print(f"  {sum(map(len, notes.values()))} of {len(old.keys() | new.keys())} files do not agree")
    return bool(old) and not notes


def stays_current(
    old: Revision, new: Revision, market: str, config: str, assets_may_be_added: bool
) -> bool:
    """True if `status` of the newer revision finds the older one's state current.

    It looks at a copy, times of the files included: the command itself writes Dagster's settings.
    Reports are no part of the warehouse, and an older one kept no record of what they were made
    from: they are made first.
    """
    copied = new.folder / "data_of_old"
    shutil.copytree(old.data / market, copied / market)
    log = new.folder / f"{market}.status.log"
    words = ["status", "--config", config]
    backfill = ["backfill", "--start", "1900-01-01", "--end", "2999-12-31"]
    if not assets_may_be_added:
        backfill += ["--select", "signal_report,portfolio_report"]
    for command in ("sync", "upgrade"):
        run(new, words, copied, log)
        if f"rnn-pipelines {command}" in log.read_text(encoding="utf-8", errors="replace"):
            run(new, [command, "--config", config], copied, log)
    run(new, [*backfill, "--config", config], copied, new.folder / f"{market}.reports.log")
    if assets_may_be_added and not compare(old.data / market, copied / market, False, True):
        return False
    began = time.perf_counter()
    status = run(new, words, copied, log)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    is_current = status == 0 and "everything is current" in lines
    found = "current" if is_current else f"NOT current (exit status {status}):\n{tail(log)}"
    print(f"  OLD's state under NEW, looked at in {time.perf_counter() - began:.0f} s: {found}")
    return is_current


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", metavar="OLD", help="the older revision")
    parser.add_argument("new", metavar="NEW", nargs="?", help="default: the working tree")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep what is made here")
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="MARKET",
        default=["sample", SMALL],
        help=f"shipped markets, or {SMALL} (default: sample {SMALL})",
    )
    parser.add_argument(
        "--footers-may-differ",
        action="store_true",
        help="compare schema, rows, provenance and digest, not bytes",
    )
    parser.add_argument(
        "--assets-may-be-added",
        action="store_true",
        help="leave out tables that OLD lacks, and make them before asking what is current",
    )
    return parser.parse_args()


def revision_of(side: str, commit: str | None, folder: Path, *, anew: bool) -> Revision:
    """A revision with its code in place; `anew` removes what an earlier comparison left."""
    name = commit[:12] if commit else "worktree"
    revision = Revision(f"{side} ({name})", folder / f"{side.lower()}-{name}")
    if anew:
        shutil.rmtree(revision.folder, ignore_errors=True)
    revision.folder.mkdir(parents=True, exist_ok=True)
    export(commit, revision.code)
    return revision


def main() -> None:
    args = arguments()
    with ExitStack() as stack:
        folder = args.state or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        old = revision_of("OLD", commit_of(args.old), folder, anew=False)
        new = revision_of("NEW", commit_of(args.new) if args.new else None, folder, anew=True)
        # Both revisions make the markets as the older one has them.
        texts = {
            name: small_market(old.code) if name == SMALL else shipped_market(old.code, name)
            for name in args.config
        }
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        configs = {name: str(folder / f"{name}.yaml") for name in args.config}
        for revision in (old, new):
            for market, config in configs.items():
                made_from = {"config": texts[market], "packages": versions}
                make(revision, market, config, made_from)
        agreed = []
        for market, config in configs.items():
            print(market)
            added = args.assets_may_be_added
            is_same = compare(old.data / market, new.data / market, args.footers_may_differ, added)
            agreed += [is_same, stays_current(old, new, market, config, added)]
    print("the same, and current" if all(agreed) else "NOT the same, or not current")
    sys.exit(0 if all(agreed) else 1)


if __name__ == "__main__":
    main()
