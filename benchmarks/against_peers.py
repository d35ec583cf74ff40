"""Everything beside the peers, in one table: the ratio first, its spread, and what else ran.

    make bench                                # the peers' environments, then this; an hour or two
    python benchmarks/against_peers.py [--rounds 3] [--only features training] [--write]
    python benchmarks/against_peers.py --rounds 1 --scale 0.1    # minutes, to see that it runs

The scripts named in `SCRIPTS` do the measuring, each as it says itself; here they are called, a
round after the other, so that the rounds of one script lie far apart, and their ratios gathered.
A ratio says how many times less time this library takes than the peer in the same run. The table
has the median of the rounds and their range, the seconds of the median round, and the most cores
that other processes kept busy while the script ran. Beside other work the peers' threads wait for
one another far more than ours, which flatters us: such rows are marked as disturbed, and of an
epoch the CPU time on one thread is then the figure to read. A peer whose environment is missing is
named and left out; a script that fails is named and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

from contest import watched  # noqa: E402
from features_report import table, write_section  # noqa: E402

SCRIPTS = {
    "features": ["features.py", "--instruments={500}"],
    "dataset": ["dataset.py", "--instruments={300}"],
    "portfolio": ["portfolio.py", "--instruments={500}"],
    "training": ["training.py", "--scale={1}", "--repeats=1"],
    "training-1": ["training.py", "--scale={1}", "--repeats=1", "--threads=1", "--workers=0"],
}
"""The scripts with their arguments; numbers in braces are of a full run and are scaled."""
QUIET = 0.2  # cores that others may use, as in training.py
FEWEST = 60  # instruments: the portfolio holds 50 of them


@dataclass(frozen=True)
class Ratio:
    """One figure of one round, and the cores that others used."""

    script: str
    work: str
    peer: str
    here_s: float
    peer_s: float
    others: float

    @property
    def value(self) -> float:
        """How many times less time this library took."""
        return self.peer_s / self.here_s


def arguments(script: str, scale: float) -> list[str]:
    """The command line of a script at a scale."""
    chosen = []
    for word in SCRIPTS[script][1:]:
        name, _, value = word.partition("=")
        if value.startswith("{"):
            full = int(value.strip("{}"))
            value = f"{scale:g}" if full == 1 else f"{max(round(full * scale), FEWEST)}"
        chosen.append(f"{name}={value}")
    return chosen


def measured(script: str, scale: float, folder: Path) -> list[Ratio]:
    """Run a script, and read the ratios that it writes.

    Raises:
        RuntimeError: it failed.
    """
    path = folder / "ratios.json"
    path.unlink(missing_ok=True)
    file = SCRIPTS[script][0]
    command = [sys.executable, str(HERE / file), *arguments(script, scale)]
    status = 1

    def run() -> None:
        nonlocal status
        done = subprocess.run([*command, f"--ratios={path}"], check=False)  # noqa: S603
        status = done.returncode

    others = watched(run)["others"]
    if status:
        raise RuntimeError(f"{file} ended with status {status}")
    rows = json.loads(path.read_text()) if path.exists() else []
    return [Ratio(script, **row, others=others) for row in rows]


def lines(ratios: Sequence[Ratio]) -> str:
    """The table: a row a piece of work, in the order in which it was first measured."""
    groups: dict[tuple[str, str, str], list[Ratio]] = {}
    for ratio in ratios:  # the fastest number of loader workers may differ by round
        peer = re.sub(r", \d+ workers$", "", ratio.peer)
        groups.setdefault((ratio.script, ratio.work, peer), []).append(ratio)
    rows = []
    for (script, work, peer), group in groups.items():
        group.sort(key=lambda ratio: ratio.value)
        middle, others = group[(len(group) - 1) // 2], max(ratio.others for ratio in group)
        rows.append(
            [
                f"{statistics.median(ratio.value for ratio in group):.3g}",
                f"{group[0].value:.3g} to {group[-1].value:.3g} ({len(group)})",
                work,
                peer,
                f"{middle.here_s:.3g}",
                f"{middle.peer_s:.3g}",
                f"{others:.1f}{', disturbed' if others > QUIET else ''}",
                f"`{script}`",
            ]
        )
    header = ("× as fast", "range (rounds)", "work", "peer", "here, s", "peer, s")
    return table((*header, "cores of others", "part"), rows)


def report(ratios: Sequence[Ratio], args: argparse.Namespace, load: float) -> str:
    """The section of RESULTS.md."""
    given = f" --only {' '.join(args.only)}" if args.only != list(SCRIPTS) else ""
    given += f" --scale {args.scale:g}" if args.scale != 1 else ""
    about = (
        f"`python benchmarks/against_peers.py --rounds {args.rounds}{given}`: the median of the "
        f"rounds; {os.cpu_count()} CPUs, Python {platform.python_version()}, load {load:.1f} "
        f"before and {os.getloadavg()[0]:.1f} after."
    )
    title = f"## Beside the peers ({datetime.date.today()}, {args.machine})"
    return "\n\n".join([title, textwrap.fill(about, 100), lines(ratios)])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of instruments")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--machine", default="machine A", help="its name in RESULTS.md")
    args = parser.parse_args(argv)
    load, ratios, failed = os.getloadavg()[0], list[Ratio](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            for script in args.only:
                print(f"\n== round {turn + 1} of {args.rounds}: {script}", flush=True)
                try:
                    ratios += measured(script, args.scale, Path(folder))
                except RuntimeError as error:
                    failed.append(str(error))
    section = report(ratios, args, load)
    print(f"\n{section}")
    if args.write and not failed:
        write_section(HERE / "RESULTS.md", section, "benchmarks/against_peers.py")
    for line in failed:
        print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
