"""Compare models, feature sets and plans on two real files: the tables of docs/results.md.

    python benchmarks/comparison.py csi300 --folder F --bars FILE [--hours 8] [--write]
    python benchmarks/comparison.py sp500 --folder F --bars FILE --only single-lstm_20 --estimate

A cell is a model that the product itself trains and serves (`comparison_cells.py` says which there
are, and the YAML of each): `rnn-pipelines backfill` makes it, so the command goes on where it was
stopped, and a finished cell is not made again. It first prints what is left and an estimate, from
the cells of the same kind that are done, else from trainings that were measured before. With
`--hours` no cell is begun that does not fit. A cell that was not run, or failed, has its reason in
the table. The figures of a finished cell are kept in `comparison_results/`, which is committed: on
another machine, with the same file of bars, the cell is done.

`--write` puts the tables of all finished cells into docs/results.md, between the markers of the
grid; with `--only` and no name, or with `--hours 0`, nothing is made. Trainings take one thread.
Seconds are those of the processors of the process that trained, reading its data and 5 s of imports
included; the memory is its peak. Neither file of bars is part of the project.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

from comparison_cells import GRIDS, Cell, Grid  # noqa: E402
from comparison_runs import CellFailedError, Place  # noqa: E402
from comparison_tables import differences, figures, keep, peers, summary  # noqa: E402
from features_report import write_section  # noqa: E402

PAGE = HERE.parent / "docs" / "results.md"
KEPT = HERE / "comparison_results"


def left_of(place: Place, only: list[str] | None) -> list[Cell]:
    """The cells that are asked for and not done, in the order of the grid.

    Raises:
        ValueError: the grid has no cell of a name.
    """
    names = [cell.name for cell in place.grid.cells]
    for name in only or ():
        if name not in names:
            raise ValueError(f"no cell {name!r}; there are: {', '.join(names)}")
    done = set(place.done())
    return [
        cell
        for cell in place.grid.cells
        if cell not in done and (only is None or cell.name in only)
    ]


def make(place: Place, cells: list[Cell], hours: float | None) -> None:
    """Make cells one after the other, as far as they fit."""
    began = time.monotonic()
    for cell in cells:
        seconds = place.seconds(cell)
        spent = time.monotonic() - began
        if hours is not None and spent + seconds > hours * 3600:
            print(f"{cell.name}: about {seconds / 3600:.1f} h do not fit", flush=True)
            continue
        print(f"{dt.datetime.now():%H:%M} {cell.name}: about {seconds / 60:.0f} min", flush=True)
        try:
            place.make(cell)
        except CellFailedError as error:
            print(f"{cell.name} failed: {error}", flush=True)
            place.note(cell, reason=f"failed: {error}")
        else:
            place.note(cell, commit=_commit())
            keep(place, cell)
            print(f"{cell.name}: {place.record(cell).get('cpu_s', 0):,.0f} s of CPU", flush=True)


def _commit() -> str:
    """The revision of the library and the pipeline, with a + where they were changed since."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(HERE.parent), *words, "--", "rnn_core", "pipelines"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603

    changed = git("status", "--porcelain")
    return (git("log", "-1", "--format=%h") or "unknown") + "+" * bool(changed)


def section(place: Place, pyqlib: Path) -> str:
    """The tables of a grid, as Markdown."""
    done = {cell: figures(place, cell) for cell in place.done()}
    reasons = {
        cell: place.record(cell).get("reason")
        or f"not run, about {place.seconds(cell) / 3600:.1f} h"
        for cell in place.grid.cells
        if cell not in done
    }
    records = [place.record(cell) for cell in done]
    commits = sorted({record.get("commit", "unknown") for record in records})
    days = sorted({record["when"] for record in records})
    plan = place.plan
    about = (
        f"`python benchmarks/comparison.py {place.grid.name} --folder F --bars FILE --seeds "
        f"{place.seeds} --write`: {len(done)} of {len(place.grid.cells)} cells, made "
        f"{' to '.join(dict.fromkeys((days[0], days[-1]))) if days else 'never'} on the code of "
        f"{', '.join(commits) or 'none'}. Validated on decisions from {place.grid.valid[0]} to "
        f"{place.grid.valid[1]} (plan single), scored from {plan['first_trained']} on."
    )
    parts = [
        f"## {place.grid.title}",
        textwrap.fill(about, 100, break_on_hyphens=False),
        summary(place, done, reasons),
        peers(pyqlib) if place.grid.name == "csi300" else "",
        f"### Differences: {place.grid.title}",
        differences(place, done),
    ]
    return "\n\n".join(filter(None, parts))


def run(place: Place, args: argparse.Namespace) -> None:
    """Print the estimate, make what is left, and write the tables."""
    cells = left_of(place, args.only)
    times = {cell: place.seconds(cell) for cell in cells}
    for cell, seconds in times.items():
        print(f"  {cell.name}: {place.trainings(cell)} trainings, about {seconds / 60:.0f} min")
    print(
        f"{len(list(place.done()))} of {len(place.grid.cells)} cells are done; {len(cells)} that "
        f"are asked for are left, about {sum(times.values()) / 3600:.1f} h of one processor",
        flush=True,
    )
    if not args.estimate:
        make(place, cells, args.hours)
    if args.write:
        write_section(args.page, section(place, args.pyqlib), f"comparison {place.grid.name}")
        print(f"written to {args.page}")


def main(words: list[str] | None = None, grids: dict[str, Grid] = GRIDS) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", choices=list(grids))
    parser.add_argument("--folder", type=Path, required=True, help="keeps markets and records")
    parser.add_argument("--bars", type=Path, help="Parquet; without it the path of the YAML")
    parser.add_argument("--only", nargs="*", metavar="CELL", help="cells by name; all without it")
    parser.add_argument("--seeds", type=int, default=3, help="networks a model, from seed 0 on")
    parser.add_argument("--hours", type=float, help="begin no cell that does not fit")
    parser.add_argument("--estimate", action="store_true", help="make nothing")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--kept", type=Path, default=KEPT, help="keeps the figures of done cells")
    golden = Path(os.environ.get("RNN_GOLDEN_DIR", ""))
    parser.add_argument(
        "--pyqlib", type=Path, default=golden / "baseline.md", help="pyqlib's results, Markdown"
    )
    args = parser.parse_args(words)
    if args.bars is not None and not args.bars.is_file():
        sys.exit(f"no bars at {args.bars}: --bars is the Parquet file of the grid")
    # A stop of the command stops its child, and what that used is counted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        place = Place(
            grids[args.grid], args.folder.absolute(), args.bars, args.seeds, args.kept.absolute()
        )
        run(place, args)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
