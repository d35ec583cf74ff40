"""Finished trainings of csi300.py: kept one a line, summed up in one table.

A run's scores lie in a Parquet file that is complete before its line is written, so a line always
has its scores. All figures are computed from the scores and raw labels when the table is made.

pyqlib's runs are known by their figures only, so the comparison with them takes the standard error
of the mean daily IC, std / sqrt(days), of the ensemble. Two of ours have the same days, so the
difference of their daily ICs gives its own error, which is smaller: good days are good for both.

Shapes: `T` sessions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from features_report import table

from rnn_core.evaluation import calc_ic, summarize_ic

_FIGURES = ("ic", "icir", "rank_ic", "rank_icir")
_HEADER = (
    *("model", "best valid (−MSE)", "IC", "ICIR", "rank IC", "rank ICIR", "epochs"),
    "fit, s",
)


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model.

    Args:
        model: its name.
        seed: of weights and order.
        best_valid: the validation score that chose the epoch.
        epochs: how many were run.
        fit_s: seconds of the training, validation and preparation of the windows included.
        threads: of the CPU.
        scores: score and label (raw return) of the test rows, index (datetime, instrument).
    """

    model: str
    seed: int
    best_valid: float
    epochs: int
    fit_s: float
    threads: int
    scores: pd.DataFrame


def append(folder: Path, key: str, run: Run) -> None:
    """Keep a run: its scores, then its line.

    Args:
        folder: made if it is not there; git is told to ignore it.
        key: what the line must be asked for with.
        run: the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    name = f"{run.model}_{run.seed}_{key}.parquet"
    half = folder / f".{name}.{os.getpid()}"
    run.scores.to_parquet(half)
    half.replace(folder / name)
    line = {k: v for k, v in vars(run).items() if k != "scores"} | {"key": key, "scores": name}
    with (folder / "csi300.jsonl").open("a") as lines:
        lines.write("\n" + json.dumps(line) + "\n")  # after what may be half a line


def finished(folder: Path, key: str) -> dict[int, Run]:
    """The runs of a key.

    Args:
        folder: as given to `append`; need not be there.
        key: as given to `append`.

    Returns:
        Seed to run. A line that a broken run left half-written is passed over.
    """
    lines = folder / "csi300.jsonl"
    runs: dict[int, Run] = {}
    for text in lines.read_text().splitlines() if lines.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line.pop("key") == key:
            line["scores"] = pd.read_parquet(folder / line["scores"])
            runs[line["seed"]] = Run(**line)
    return runs


def daily(scores: pd.DataFrame) -> pd.DataFrame:
    """IC and rank IC of each session, [T, 2], sessions without one left out."""
    ic, rank_ic = calc_ic(scores["score"], scores["label"])
    return pd.DataFrame({"ic": ic, "rank_ic": rank_ic}).dropna()


def ensemble(runs: Sequence[Run]) -> pd.DataFrame:
    """The mean of the scores of several runs, and the label."""
    mean = sum(run.scores["score"].astype("float64") for run in runs) / len(runs)
    return runs[0].scores.assign(score=mean)


def recorded(path: Path) -> pd.DataFrame:
    """pyqlib's results from a Markdown table whose first column is `MODEL SEED`.

    Args:
        path: of the file; need not be there.

    Returns:
        model (lower case), seed and the table's numbers by column name; empty without a file.
    """
    found = []
    names: list[str] = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if cells[0].startswith("model"):
            names = cells[1:]
        elif words := re.fullmatch(r"([A-Za-z]+) (\d+)", cells[0]):
            numbers = (float(cell.replace("−", "-").replace(",", "")) for cell in cells[1:])
            row = dict(zip(names, numbers, strict=True))
            found.append({"model": words[1].lower(), "seed": int(words[2]), **row})
    return pd.DataFrame(found, columns=["model", "seed", *names])


def section(runs: Sequence[Run], args: argparse.Namespace, pyqlib: Path, when: str) -> str:
    """The part of RESULTS.md.

    Args:
        runs: all of one kind of handler, or of both.
        args: the command line, which is quoted.
        pyqlib: file of pyqlib's results.
        when: date and machine, for the title.

    Returns:
        Markdown.
    """
    names = list(dict.fromkeys(run.model for run in runs))
    peers = recorded(pyqlib)
    rows: list[list[Any]] = []
    verdicts = []
    for name in names:
        mine = [run for run in runs if run.model == name]
        rows += _rows(name, mine)
        theirs = peers[peers["model"] == name]
        for _, row in theirs.iterrows():
            rows.append(_peer_row(f"pyqlib {name.upper()}, seed {row['seed']}", row))
        if len(theirs):
            rows.append(_peer_row(f"pyqlib {name.upper()}, mean", theirs.mean(numeric_only=True)))
            verdicts.append(_against_pyqlib(name, mine, theirs))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    verdicts += [_between(a, b, runs) for a, b in pairs]
    test = daily(runs[0].scores)
    about = (
        f"`python benchmarks/csi300.py --models {' '.join(args.models)}"
        + (f" --epochs {args.epochs}" if args.epochs else "")
        + f"`: trained to 2023-06-30, chosen on the sessions to 2024-06-28, scored on "
        f"{len(test)} sessions from {test.index[0]:%Y-%m-%d} to {test.index[-1]:%Y-%m-%d} with raw "
        f"returns; semantics {args.semantics}, threads {_all(run.threads for run in runs)}. Mean "
        f"± standard deviation over the seeds; the ensemble is the mean of their scores, its IC "
        f"with the standard error over the sessions. Names are those in the index at the end, so "
        f"no figure is a claim. Seconds are of a machine with other work beside it."
    )
    said = [textwrap.fill(text, 100) for text in verdicts]
    title = f"## {', '.join(map(_title, names))} on the CSI300 ({when})"
    return "\n\n".join([title, textwrap.fill(about, 100), table(_HEADER, rows), *said])


def _rows(name: str, runs: Sequence[Run]) -> list[list[Any]]:
    """A row for each seed, one for mean and deviation, one for the ensemble."""
    rows: list[list[Any]] = []
    figures = []
    for run in runs:
        got = summarize_ic(daily(run.scores))
        figures.append([run.best_valid, *(got[k] for k in _FIGURES), run.epochs, run.fit_s])
        rows.append([f"{_title(name)}, seed {run.seed}", *_numbers(figures[-1])])
    if len(runs) < 2:
        return rows
    frame = pd.DataFrame(figures)
    spread = [_numbers(frame.mean()), _numbers(frame.std())]
    both = [f"{mean} ± {std}" for mean, std in zip(*spread, strict=True)]
    rows.append([f"**{_title(name)}, {len(runs)} seeds**", *both])
    got = summarize_ic(daily(ensemble(runs)))
    cells = [f"{got[k]:.4f}" if "ir" not in k else f"{got[k]:.3f}" for k in _FIGURES]
    cells[0] += f" ({got['ic_se']:.4f})"
    cells[2] += f" ({got['rank_ic_se']:.4f})"
    return [*rows, [f"{_title(name)}, ensemble", None, *cells, None, None]]


def _peer_row(title: str, row: pd.Series[Any]) -> list[Any]:
    """pyqlib's figures, in the order of the table."""
    return [title, *_numbers([row[key] for key in _HEADER[1:]])]


def _numbers(values: Sequence[float] | pd.Series[Any]) -> list[str]:
    """Figures in the order of the table as text."""
    forms = ("{:.5f}", "{:.4f}", "{:.3f}", "{:.4f}", "{:.3f}", "{:.0f}", "{:,.0f}")
    texts = [form.format(value) for form, value in zip(forms, values, strict=True)]
    return [text.replace("-", "−") for text in texts]


def _against_pyqlib(name: str, runs: Sequence[Run], theirs: pd.DataFrame) -> str:
    """Whether the mean IC over the seeds reaches pyqlib's within one standard error."""
    mean = sum(float(daily(run.scores)["ic"].mean()) for run in runs) / len(runs)
    error = float(summarize_ic(daily(ensemble(runs)))["ic_se"])
    peer = float(theirs["IC"].mean())
    word = "reached" if mean >= peer - error else "missed"
    return (
        f"{_title(name)}: mean IC {mean:.4f} over {len(runs)} seeds, pyqlib's {peer:.4f} over "
        f"{len(theirs)}, the standard error {error:.4f}: pyqlib's within one standard error is "
        f"{word} (difference {(mean - peer) / error:+.2f} standard errors)."
    )


def _between(one: str, other: str, runs: Sequence[Run]) -> str:
    """Difference of the daily ICs of two models, each the mean over its seeds."""
    days = {
        name: sum(daily(run.scores) for run in runs if run.model == name)
        / sum(run.model == name for run in runs)
        for name in (one, other)
    }
    gap = (days[one] - days[other]).dropna()
    said = []
    for column, title in (("ic", "IC"), ("rank_ic", "rank IC")):
        error = gap[column].std() / len(gap) ** 0.5
        said.append(f"{title} {gap[column].mean():+.4f} (standard error {error:.4f})")
    return (
        f"{_title(one)} less {_title(other)}, day by day, means over the seeds: {', '.join(said)}."
    )


def _title(name: str) -> str:
    """How a model is called in a table."""
    words = name.split("_")
    return " ".join([words[0].upper(), *(f"({word} layout)" for word in words[1:])])


def _all(values: Any) -> str:
    """The different values, in words."""
    return " and ".join(str(value) for value in sorted(set(values)))
