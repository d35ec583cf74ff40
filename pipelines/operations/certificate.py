"""Parity certificate: the largest differences of a run from pyqlib, each with its bound.

Scores are held against `SCORE`. Ranks and books jump where two names whose scores are equal, or
differ by less than round-off, change places, however right both sides are. So IC, rank IC and
portfolio are held against their bounds of the same scores, and those of pyqlib's scores stand
beside: scores that agree up to round-off, and figures that agree of the same scores, are all that
two programs can show. For the portfolio the same scores are the same order, equal ones by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rnn_core.training.bundle_files import json_bytes

SCORE = 1e-5
"""Bound of the scores: 84 units in the last place of a float32 at 1, 2^-23. Hidden states lie in
(-1, 1), and the two sides add up some hundred products of them in different orders."""

LABEL = 1e-6
"""Bound of the raw labels: returns below 1 in float32, with a few roundings."""

IC = 1e-6
"""Bound of IC and rank IC: float64 sums over the same scores and the labels above."""

RETURN = 1e-9
"""Bound of daily return, cost, turnover and benchmark: a float64 account over the same prices."""

REPORT = Path("portfolio_analysis") / "report.parquet"
"""The book of a run, below its folder."""

KEYS = ["datetime", "instrument"]
_PORTFOLIO = {"return": "return", "cost": "cost", "turnover": "turnover", "bench": "benchmark"}


@dataclass(frozen=True)
class Measure:
    """One figure of both sides.

    Attributes:
        name: of the figure.
        compared: rows or sessions that both sides have.
        missing: those that one side lacks.
        largest: absolute difference, each side's figure being of its own scores.
        at: the place of it; empty if there is no difference.
        same: the largest difference of the same scores; None of scores and labels themselves.
        bound: of `same`, or of `largest` where there is no `same`.
    """

    name: str
    compared: int
    missing: int
    largest: float
    at: str
    same: float | None
    bound: float

    @property
    def holds(self) -> bool:
        """True if nothing is missing and the difference is within its bound."""
        held = self.largest if self.same is None else self.same
        return self.compared > 0 and self.missing == 0 and held <= self.bound


@dataclass(frozen=True)
class Certificate:
    """The comparison of a run with pyqlib.

    Attributes:
        workflow: name of the file.
        model: the model and its dataset, in words.
        semantics: of the run.
        rows: scores that both sides have.
        sessions: their sessions.
        measures: what was compared.
        notes: sentences for a reader.
        versions: of both sides, "here" and "pyqlib".
        fingerprints: of the bundles, a network each.
    """

    workflow: str
    model: str
    semantics: str
    rows: int
    sessions: int
    measures: tuple[Measure, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, Mapping[str, str]]
    fingerprints: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if every measure holds and the run has qlib's semantics."""
        return self.semantics == "qlib" and all(measure.holds for measure in self.measures)

    @property
    def verdict(self) -> str:
        """The result as one sentence."""
        if self.holds:
            return f"parity holds: {self.rows:,} rows, every difference within its bound"
        broken = [measure.name for measure in self.measures if not measure.holds]
        if self.semantics != "qlib":
            return (
                f"no certificate: semantics are {self.semantics}, which differ from pyqlib's on "
                f"purpose (docs/deviations.md); run the workflow with --semantics qlib"
            )
        return f"parity does not hold: {', '.join(broken)}"


def measured(folder: Path, end: pd.Timestamp | None, place: Path) -> tuple[Measure, ...]:
    """Compare the files of both sides.

    Args:
        folder: of the run.
        end: last session of the portfolio's comparison; None for all of them.
        place: the folder in which pyqlib's side has written.

    Returns:
        The measures, scores first.

    Raises:
        OSError: a file is absent.
        KeyError: a file lacks a column.
    """
    from rnn_core.evaluation import calc_ic

    theirs = pd.read_parquet(place / "scores.parquet").set_index(KEYS)
    scores = pd.read_parquet(folder / "predictions.parquet").set_index(KEYS)["score"]
    label = pd.read_parquet(folder / "label.parquet").set_index(KEYS).iloc[:, 0]
    measures = [
        _measure("score", scores, theirs["score"], None, SCORE),
        _measure("label", label.reindex(scores.index), theirs["label"], None, LABEL),
    ]
    daily = {
        name: pd.read_parquet(place / f"daily_{name}.parquet").set_index("datetime")
        for name in ("theirs", "ours")
    }
    ic, rank_ic = calc_ic(scores, label)
    here = {"IC": ("ic", ic, IC), "rank IC": ("rank_ic", rank_ic, IC)}
    if (folder / REPORT).is_file():
        book = pd.read_parquet(folder / REPORT).set_index("datetime").loc[:end]
        for column, title in _PORTFOLIO.items():
            if title == "benchmark" and not book[column].notna().any():
                continue  # none was asked for
            here[f"portfolio {title}"] = (column, book[column], RETURN)
    for title, (column, values, bound) in here.items():
        own, same = daily["theirs"][column], daily["ours"][column]
        if column in _PORTFOLIO:  # sessions of the backtest alone
            own, same = own.dropna(), same.dropna()
        else:
            own, same = (side.reindex(values.index) for side in (own, same))
        measures.append(_measure(title, values, own, same, bound))
    return tuple(measures)


def _measure(
    name: str,
    here: pd.Series[Any],
    theirs: pd.Series[Any],
    same: pd.Series[Any] | None,
    bound: float,
) -> Measure:
    """Compare two series by their index; a value that one side alone has is missing."""
    held = theirs if same is None else same
    both = pd.concat({"here": here, "theirs": theirs, "held": held}, axis=1).astype("float64")
    lacking = both.isna()
    missing = int((lacking["here"] != lacking["held"]).sum())
    known = both[~lacking["here"] & ~lacking["held"]]
    gap = (known["here"] - known["theirs"]).abs()
    largest = float(gap.max()) if gap.notna().any() else 0.0
    place = ""
    if largest > 0:
        at = gap.idxmax()
        day, *names = at if isinstance(at, tuple) else (at,)
        place = ", ".join([f"{day:%Y-%m-%d}", *map(str, names)])
    equal = None
    if same is not None:
        equal = float((known["here"] - known["held"]).abs().max()) if len(known) else 0.0
    return Measure(name, len(known), missing, largest, place, equal, bound)


def markdown(certificate: Certificate) -> str:
    """Write a certificate as a page.

    Args:
        certificate: the certificate.

    Returns:
        Markdown.
    """
    lines = [
        f"# Parity with pyqlib {certificate.versions['pyqlib'].get('pyqlib', '')}",
        "",
        f"{certificate.workflow}: {certificate.model}, semantics {certificate.semantics}. "
        f"{certificate.rows:,} rows of {certificate.sessions:,} sessions.",
        "",
        f"**{certificate.verdict[0].upper()}{certificate.verdict[1:]}.**",
        "",
        "| largest difference | compared | missing | each of its own scores | of the same scores "
        "| bound | |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in certificate.measures:
        same = "" if m.same is None else f"{m.same:.1e}"
        place = f" ({m.at})" if m.at else ""
        lines.append(
            f"| {m.name} | {m.compared:,} | {m.missing:,} | {m.largest:.1e}{place} | {same} "
            f"| {m.bound:.0e} | {'holds' if m.holds else 'does not hold'} |"
        )
    lines += ["", *(f"- {note}" for note in certificate.notes)]
    for side, packages in certificate.versions.items():
        lines.append(f"- {side}: {', '.join(f'{k} {v}' for k, v in packages.items())}")
    return "\n".join([*lines, f"- bundle: {', '.join(certificate.fingerprints)}", ""])


def as_json(certificate: Certificate) -> bytes:
    """Write a certificate as JSON.

    Args:
        certificate: the certificate.

    Returns:
        The file's bytes.
    """
    measures = [{**asdict(m), "holds": m.holds} for m in certificate.measures]
    verdict = {"holds": certificate.holds, "verdict": certificate.verdict}
    return json_bytes({**asdict(certificate), "measures": measures, **verdict})
