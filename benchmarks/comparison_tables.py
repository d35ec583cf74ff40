"""The tables of a comparison, from the figures of its cells, which are kept beside this file.

`keep` reads them from the market that made a cell: daily IC and rank IC of the ensemble, means of
the seeds, daily excess return of the portfolio. They are small, so they are committed, and the
tables can be made again and their tests checked without a training.

A row has the figures of the ensemble of the seeds, which is what the product serves, and beside
them the mean IC of each seed. Differences are paired: the daily ICs of two ensembles on the
sessions that both have, with the t of Newey and West, and p values corrected for the number of
pairs of a question (Holm).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from comparison_cells import WITHOUT_SWITCH, Cell
from comparison_runs import Place
from features_report import table

from pipelines.warehouse.portfolio_tables import portfolio_tables
from rnn_core.evaluation import calc_ic, risk_analysis
from rnn_core.evaluation.inference import holm, mean_test

HEADER = (
    *("model", "features", "plan", "sessions", "IC", "ICIR", "t of IC"),
    *("rank IC", "rank ICIR", "t of rank IC"),
    *("IC of each seed", "rank IC of each seed", "excess a year", "information ratio"),
    *("drawdown", "training, CPU s", "peak, MB"),
)
DIFFERENCES = (
    *("of", "less", "sessions", "IC", "t of IC", "p (Holm)"),
    *("rank IC", "t of rank IC", "p (Holm)"),
)
STATISTICS = ("ic", "rank_ic")
USED = ("cpu_s", "peak_mb")


@dataclass(frozen=True, eq=False)
class Figures:
    """The measures of a finished cell.

    Attributes:
        daily: IC and rank IC of the ensemble by decision, sessions without one left out.
        seeds: [K] pairs of mean IC and mean rank IC, one a seed.
        excess: daily return of the portfolio over its benchmark, after costs; None without one.
        periods: sessions of a year.
    """

    daily: pd.DataFrame
    seeds: tuple[tuple[float, float], ...]
    excess: pd.Series | None
    periods: float | str


def figures(place: Place, cell: Cell) -> Figures:
    """The measures of a finished cell, as they are kept; they are kept now if they were not yet."""
    if not place.is_kept(cell):
        keep(place, cell)
    found = json.loads(place.kept_file(cell).read_text())["figures"]
    days = pd.to_datetime(found["decision_date"])
    daily = pd.DataFrame({name: found[name] for name in STATISTICS}, index=days)
    excess = found["excess"]
    if excess is not None:
        excess = pd.Series(excess["excess"], index=pd.to_datetime(excess["date"]))
    return Figures(daily, tuple(map(tuple, found["seeds"])), excess, found["periods"])


def keep(place: Place, cell: Cell) -> None:
    """Write the measures of a finished cell, with its record, into the folder that keeps them."""
    one = measured(place, cell)
    found: dict[str, Any] = {
        "periods": one.periods,
        "seeds": [[_rounded(mean) for mean in seed] for seed in one.seeds],
        "decision_date": _days(one.daily.index),
        **{name: list(map(_rounded, one.daily[name])) for name in STATISTICS},
        "excess": one.excess
        if one.excess is None
        else {"date": _days(one.excess.index), "excess": list(map(_rounded, one.excess))},
    }
    path = place.kept_file(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    record = {"identity": place.identity(cell), **place.record(cell)}
    half.write_text(json.dumps(record | {"figures": found}) + "\n")
    half.replace(path)


def _rounded(number: float) -> float:
    """Seven digits, more than any table shows."""
    return float(f"{number:.7g}")


def _days(index: pd.Index[Any]) -> list[str]:
    return [f"{day:%Y-%m-%d}" for day in pd.to_datetime(index)]


def measured(place: Place, cell: Cell) -> Figures:
    """Read what the market of a finished cell holds."""
    market = place.market(cell.market)
    periods = market.config.portfolio.periods_per_year
    first, read = market.plan.first_trained, market.warehouse.read
    if cell.change in WITHOUT_SWITCH:
        return Figures(*_of_scores(place, cell), None, periods)
    name = f"{cell.key}_evaluation"
    keys = [key for key in market.warehouse.sessions(name) if key >= first]
    rows = read(name, keys, needed_by="the comparison").frame.set_index("decision_date")
    daily = rows[list(STATISTICS)].dropna()
    seeds: tuple[tuple[float, float], ...] = (tuple(daily.mean()),)
    if rows["seed_ic"].notna().any():
        each = [np.stack(rows.loc[daily.index, f"seed_{s}"]).mean(axis=0) for s in STATISTICS]
        seeds = tuple(zip(*(one.tolist() for one in each), strict=True))
    book = portfolio_tables(cell.key)[1].name
    keys = [key for key in market.warehouse.sessions(book) if key >= first]
    daily_book = read(book, keys, needed_by="the comparison").frame.set_index("date")
    excess = daily_book["return_with_cost"] - daily_book["bench"]
    return Figures(daily, seeds, excess, periods)


def _of_scores(place: Place, cell: Cell) -> tuple[pd.DataFrame, tuple[tuple[float, float], ...]]:
    """Daily figures of the mean of the seeds' scores, and the means of each seed."""
    label = _label(place, cell.market)
    folder = place.scores(cell)
    parts = [pd.read_parquet(folder / f"{seed}.parquet")["score"] for seed in range(place.seeds)]
    means = [tuple(_daily(part, label).mean()) for part in parts]
    score = sum(part.astype("float64") for part in parts) / len(parts)
    return _daily(score, label), tuple(means)


def _daily(score: pd.Series, label: pd.Series) -> pd.DataFrame:
    ic, rank_ic = calc_ic(score, label)
    daily = pd.DataFrame({"ic": ic, "rank_ic": rank_ic}).dropna()
    return daily.rename_axis("decision_date")


@cache
def _label(place: Place, name: str) -> pd.Series:
    """The raw returns of a market by decision and name."""
    market = place.market(name)
    stored = market.warehouse.sessions("label")
    keys = [key for key in stored if key >= market.plan.first_trained]
    rows = market.warehouse.read("label", keys, needed_by="the comparison").frame
    index = [pd.to_datetime(rows["decision_date"]), rows["instrument"]]
    return rows.set_index(pd.MultiIndex.from_arrays(index, names=["datetime", "instrument"]))[
        "label"
    ].sort_index()


def summary(place: Place, done: dict[Cell, Figures], reasons: dict[Cell, str]) -> str:
    """The first table: a row a cell of the grid; one that was not run has its reason."""
    rows = []
    for cell in place.grid.cells:
        head = [
            _title(cell.model),
            cell.features,
            cell.plan + (f", {cell.change}" * bool(cell.change)),
        ]
        if cell in done:
            used = {} if cell.is_rule else place.record(cell)
            rows.append([*head, *_row(done[cell], used)])
        else:
            rows.append([*head, reasons[cell], *[""] * (len(HEADER) - len(head) - 1)])
    return table(HEADER, rows)


def _row(one: Figures, record: dict[str, Any]) -> list[str | None]:
    """The figures of a cell as text, in the order of the table."""
    cells: list[str | None] = [str(len(one.daily))]
    for name in STATISTICS:
        test = mean_test(one.daily[name])
        cells += [_text(test["mean"], 4), _text(test["ir"], 3), _text(test["t_nw"], 2)]
    for column in range(2):
        each = [_text(seed[column], 4) for seed in one.seeds]
        cells.append(", ".join(each) if len(each) > 1 else None)
    if one.excess is None:
        cells += [None] * 3
    else:
        risk = risk_analysis(one.excess, periods_per_year=one.periods)
        cells += [
            _text(100 * risk["annualized_return"], 1) + " %",
            _text(risk["information_ratio"], 2),
            _text(100 * risk["max_drawdown"], 1) + " %",
        ]
    return [*cells, *(f"{record[name]:,.0f}" if name in record else None for name in USED)]


def differences(place: Place, done: dict[Cell, Figures]) -> str:
    """The second tables: one a question, a row a pair of cells that are both done."""
    parts = []
    for title, pairs in place.grid.questions:
        ready = [pair for pair in pairs if pair[0] in done and pair[1] in done]
        rows = _difference_rows(ready, done)
        lines = [f"**{title[0].upper()}{title[1:]}**", table(DIFFERENCES, rows) if rows else ""]
        if len(ready) < len(pairs):
            absent = len(pairs) - len(ready)
            lines.append(f"{absent} of {len(pairs)} pairs have a cell that was not run.")
        parts += filter(None, lines)
    return "\n\n".join(parts)


def _difference_rows(
    pairs: Sequence[tuple[Cell, Cell]], done: dict[Cell, Figures]
) -> list[list[str]]:
    """Sessions, and for IC and rank IC the mean difference, its t and its corrected p."""
    gaps = []
    for a, b in pairs:
        one, other = done[a].daily, done[b].daily
        both = one.index.intersection(other.index)
        gaps.append(one.loc[both] - other.loc[both])
    columns = []
    for name in STATISTICS:
        tests = [mean_test(gap[name]) for gap in gaps]
        corrected = holm([test["p_nw"] for test in tests])
        columns.append(
            [
                [f"{test['mean']:+.4f}".replace("-", "−"), _text(test["t_nw"], 2), _text(p, 2)]
                for test, p in zip(tests, corrected, strict=True)
            ]
        )
    return [
        [label(a), label(b), str(len(gap)), *ic, *rank_ic]
        for (a, b), gap, ic, rank_ic in zip(pairs, gaps, *columns, strict=True)
    ]


def label(cell: Cell) -> str:
    """A cell in words."""
    features = "" if cell.is_rule else f" {cell.features}"
    change = f", {cell.change}" if cell.change else ""
    return f"{_title(cell.model)}{features}, {cell.plan}{change}"


def _title(model: str) -> str:
    return model.upper() if model in ("lstm", "gru", "krnn") else model


def _text(number: float, digits: int) -> str:
    """A figure with a real minus; one that is not defined as a dash."""
    if not np.isfinite(number):
        return "–"
    return f"{round(number, digits) + 0.0:.{digits}f}".replace("-", "−")  # no −0.00


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


def peers(path: Path) -> str:
    """pyqlib's own runs as a table; empty without its file."""
    rows = recorded(path)
    names = ("IC", "ICIR", "rank IC", "rank ICIR", "epochs", "fit, s")
    digits = (4, 3, 4, 3, 0, 0)
    cells = [
        [f"{_title(row['model'])}, seed {row['seed']}",
         *(_text(row[name], n) for name, n in zip(names, digits, strict=True))]
        for _, row in rows.iterrows()
    ]  # fmt: skip
    return table(("pyqlib 0.9.7 on the same file", *names), cells) if cells else ""
