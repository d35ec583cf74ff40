"""Tables of the reports in the UI: a few columns, in words; the files have all columns.

A page of the UI is some 1,000 pixels wide, and a table that scrolls sideways is not read. This
module chooses the columns that are worth a place there, by table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pandas as pd

from pipelines.market.market import Market

SIGNAL_TABLE = "signal.csv"
PORTFOLIO_TABLE = "portfolio.csv"
COMPARISON_TABLE = "comparison.csv"
DIFFERENCES_TABLE = "differences.csv"
GROUPS_TABLE = "groups.csv"
REFERENCES_TABLE = "references.csv"
CAPACITY_TABLE = "capacity.csv"

SHOWN: Mapping[str, Mapping[str, str]] = {
    SIGNAL_TABLE: {
        "days": "sessions",
        "ic": "IC",
        "rank_ic": "rank IC",
        "rank_icir": "rank ICIR",
        "rank_ic_t_nw": "t",
        "served_days": "served sessions",
        "served_rank_ic": "their rank IC",
    },
    COMPARISON_TABLE: {
        "kind": "kind",
        "days": "sessions",
        "ic": "IC",
        "rank_ic": "rank IC",
        "rank_ic_ir": "rank ICIR",
        "rank_ic_t_nw": "t",
        "turnover": "turnover",
    },
    DIFFERENCES_TABLE: {
        "a": "signal",
        "b": "minus",
        "statistic": "of",
        "days": "sessions",
        "difference": "mean difference",
        "t_nw": "t",
        "p_nw": "p",
        "p_holm": "p (Holm)",
    },
    GROUPS_TABLE: {
        "group": "group",
        "names": "names a session",
        "ic_days": "sessions",
        "ic": "IC",
        "rank_ic": "rank IC",
        "rank_ic_t_nw": "t",
    },
    REFERENCES_TABLE: {
        "signal": "signal",
        "reference": "minus",
        "statistic": "of",
        "days": "sessions",
        "difference": "mean difference",
        "t_nw": "t",
        "p_nw": "p",
        "p_holm": "p (Holm)",
    },
    CAPACITY_TABLE: {
        "account": "account",
        "sharpe": "Sharpe",
        "annualized_return": "return a year",
        "annualized_excess_return": "excess, net",
        "annualized_cost": "costs",
        "median_share": "median trade ÷ usual volume",
    },
    PORTFOLIO_TABLE: {
        "annualized_return": "return a year",
        "benchmark_return": "benchmark",
        "annualized_excess_return_with_cost": "excess, net",
        "information_ratio_with_cost": "IR",
        "max_drawdown_with_cost": "max DD",
        "turnover": "turnover",
    },
}
"""Columns by file and their titles, in order; the first names the rows with the index."""


BASIS: Mapping[str, str] = {
    SIGNAL_TABLE: "Each model over all sessions that it was evaluated on. Served sessions are "
    "those scored in time to be traded on, with the figures that they had first",
    COMPARISON_TABLE: "Only on rows that every signal has: where that leaves rows out, these are "
    "not the figures of each model's own sessions",
    DIFFERENCES_TABLE: "Paired daily differences, only on rows that every signal has; Holm's p is "
    "corrected for the number of pairs",
    GROUPS_TABLE: "Each group of names is a cross-section of its own, by the group that a name was "
    "in at the decision",
    REFERENCES_TABLE: "Does a model beat a linear one and boosted trees on the same rows? Paired "
    "daily differences, only on rows that every signal has",
    CAPACITY_TABLE: "The same orders scaled with the account, after fees, spread and market impact "
    "(portfolio.impact)",
    PORTFOLIO_TABLE: "After costs; returns add up; the benchmark is the members at "
    "equal weight, without costs",
}
"""The rows behind the figures of each table, and their benchmark."""


def shown_table(name: str, table: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """A report's table for the UI, as Markdown.

    Args:
        name: name of the file with all columns, a key of `SHOWN`.
        table: the table with all columns.
        remarks: sentences that explain its figures.

    Returns:
        Markdown: the columns worth showing, their basis, and the file that has the others.
    """
    headings = SHOWN[name]
    columns = [column for column in headings if column in table.columns]
    short_table = table[columns].rename(columns=headings)
    if table.index.name is None:  # rows without a name of their own: the first column has it
        short_table = short_table.set_index(short_table.columns[0])
    file = f"All {table.shape[1]} columns are in {name}"
    words = ". ".join([BASIS[name], *remarks, file])
    return f"{markdown_table(short_table)}\n\n{words}."


def markdown_table(table: pd.DataFrame) -> str:
    """A frame as a Markdown table, figures to four digits after the point.

    Args:
        table: its index names the rows.

    Returns:
        Markdown; a missing value is a dash.
    """
    header = [str(table.index.name or ""), *map(str, table.columns)]
    lines = [_row(header), _row(["---"] * len(header))]
    for name, values in table.iterrows():
        lines.append(_row([str(name), *(_figure(v) for v in values)]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4f}"


@dataclass(frozen=True)
class Report:
    """Tables by the name of their file, that by model first; PNGs by name; remarks for the log.

    Attributes:
        remarks: sentences about the figures of a table, by its name.
        page: name of the file of its page, if it has one.
    """

    tables: dict[str, pd.DataFrame]
    pictures: dict[str, bytes]
    notes: list[str]
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    page: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        pages = (self.page,) if self.page else ()
        return (*self.tables, *(f"{name}.png" for name in self.pictures), *pages)


def publish(
    market: Market, tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, bytes]
) -> None:
    """Put the files of a report in place, each in one step."""
    for name, table in tables.items():
        market.reports.write(table.to_csv().encode(), name)
    for picture, png in pictures.items():
        market.reports.write(png, f"{picture}.png")


def read_table(market: Market, name: str) -> pd.DataFrame | None:
    """A report's table from disk; None if it was not made yet."""
    try:
        return pd.read_csv(BytesIO(market.reports.read(name)), index_col="model")
    except FileNotFoundError:
        return None
