"""The section of RESULTS.md about an epoch of training; what is measured is said in training.py."""

from __future__ import annotations

import argparse
import datetime
import statistics
import textwrap
from collections.abc import Mapping
from typing import Any

from features_report import table

Answers = list[dict[str, Any]]

HEADER = (
    *("model", "side", "epoch, s", "times as fast", "train rows a second"),
    "CPU of an epoch, s (times less)",
    *("prepare, s", "peak memory, MB", "valid (−MSE), first epoch", "cores of others"),
)


def epoch_seconds(answers: Answers, epochs: int) -> float:
    """The median over the repeats of the seconds of an epoch."""
    return statistics.median((one["fit_s"] - one["prepare_s"]) / epochs for one in answers)


def median(answers: Answers, key: str) -> float:
    """The median over the repeats of a figure."""
    return statistics.median(one[key] for one in answers)


def said(one: dict[str, Any], epochs: int) -> str:
    """One answer in words."""
    return (
        f"epoch {epoch_seconds([one], epochs):.2f} s, CPU {one['cpu_s'] / epochs:.2f} s, valid "
        f"{one['valid']:.5f}, cores of others {one['others']:.2f}"
    )


def ratios(
    results: Mapping[str, Mapping[str, Answers]], epochs: int
) -> list[tuple[str, str, float, float]]:
    """The epochs that answer pyqlib's fastest, by the clock and in CPU time of all threads.

    Returns:
        The work, the peer, seconds here and of the peer.
    """
    rows = []
    for model, got in results.items():
        peers = [name for name in got if not name.startswith("here")]
        if not peers:
            continue
        fastest = min(peers, key=lambda name: epoch_seconds(got[name], epochs))
        theirs = epoch_seconds(got[fastest], epochs), median(got[fastest], "cpu_s") / epochs
        for side in (name for name in got if name not in peers):
            work = f"epoch of {model.upper()}{side.removeprefix('here')}"
            cpu = median(got[side], "cpu_s") / epochs
            rows.append((work, fastest, epoch_seconds(got[side], epochs), theirs[0]))
            rows.append((f"{work}, CPU time of the fit", fastest, cpu, theirs[1]))
    return rows


def lines(model: str, got: Mapping[str, Answers], epochs: int) -> list[list[Any]]:
    """Rows of the table: every side of one model, ours last.

    Args:
        model: its name.
        got: side to answers.
        epochs: of each fit.

    Returns:
        Cells in the order of `HEADER`; speeds are relative to the fastest of pyqlib.
    """
    seconds = {name: epoch_seconds(answers, epochs) for name, answers in got.items()}
    peers = [name for name in got if not name.startswith("here")]
    fastest = min(peers, key=lambda name: seconds[name]) if peers else None
    rows: list[list[Any]] = []
    for name in [*peers, *(name for name in got if name not in peers)]:
        answers, took = got[name], seconds[name]
        memory = f"{max(one['peak_mb'] for one in answers):,.0f}"
        if answers[0]["cuda_mb"] is not None:
            memory += f" (on the GPU {max(one['cuda_mb'] for one in answers):,.0f})"
        ratio = f"{seconds[fastest] / took:.2f}" if fastest else None
        cpu = f"{median(answers, 'cpu_s') / epochs:.1f}"
        if fastest:
            cpu += f" ({median(got[fastest], 'cpu_s') / median(answers, 'cpu_s'):.2f})"
        spread = ", ".join(f"{epoch_seconds([one], epochs):.2f}" for one in answers)
        rows.append(
            [
                model.upper(),
                name,
                f"{took:.2f} ({spread})",
                ratio,
                f"{answers[0]['sizes'][0] / took:,.0f}",
                cpu,
                f"{median(answers, 'prepare_s'):.2f}",
                memory,
                f"{answers[0]['valid']:.5f}".replace("-", "−"),
                f"{max(one['others'] for one in answers):.2f}",
            ]
        )
    return rows


def section(results: Mapping[str, Mapping[str, Answers]], args: argparse.Namespace) -> str | None:
    """The part of RESULTS.md.

    Args:
        results: model to side to answers.
        args: the command line, which is quoted.

    Returns:
        Markdown, or None if there is no answer.
    """
    rows = [row for model, got in results.items() for row in lines(model, got, args.epochs)]
    if not rows:
        return None
    answers = [one for got in results.values() for side in got.values() for one in side]
    versions = dict.fromkeys(one["versions"] for one in answers)
    sizes = dict.fromkeys("{:,} and {:,}".format(*one["sizes"]) for one in answers)
    speeds = ", ".join(
        f"{model.upper()} {median(got['here'], 'pass_rows_s'):,.0f}"
        for model, got in results.items()
        if "here" in got
    )
    given = f" --device {args.device}" if args.device != "cpu" else ""
    given += f" --features {args.features}" if args.features != 20 else ""
    if len(args.precisions) > 1:
        given += f" --precisions {' '.join(args.precisions)}"
    given += f" --scale {args.scale:g}" if args.scale != 1 else ""
    about = (
        f"`python benchmarks/training.py --models {' '.join(args.models)} --threads {args.threads} "
        f"--epochs {args.epochs} --repeats {args.repeats}{given}`: an epoch with validation, "
        f"median (all) of the repeats, same initial weights bit for bit. Training and validation "
        f"samples, the same on both sides: {'; '.join(sizes)}. Rows a second over the whole epoch; "
        f"in our training pass alone: {speeds}. Order of rows and the tail of the validation "
        f"differ, so the scores after an epoch are near, not equal. CPU seconds are those "
        f"of the whole fit, and comparable where others disturbed it. The last column is the most "
        f"that other processes used in a repeat, of {args.cores} cores. {'; '.join(versions)}."
    )
    place = f"{args.device}, threads: {args.threads}"
    title = f"## An epoch of training, {place} ({datetime.date.today()}, {args.machine})"
    return "\n\n".join([title, textwrap.fill(about, 100), table(HEADER, rows)])
