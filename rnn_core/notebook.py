"""Results as a notebook and a prompt show them: a line of facts, never whole tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd


def span_of(index: pd.Index) -> dict[str, str]:
    """The sessions and, of an index with instruments, the names of some rows."""
    levels = {str(name): index.get_level_values(str(name)) for name in index.names if name}
    days = levels.get("datetime", index)
    if not len(index):
        return {"sessions": "none"}
    facts = {"sessions": f"{days.nunique()}, {days.min():%Y-%m-%d} to {days.max():%Y-%m-%d}"}
    if "instrument" in levels:
        facts["names"] = str(levels["instrument"].nunique())
    return facts


def fact_line(owner: Any, facts: Mapping[str, str]) -> str:
    """The facts of an object in one line."""
    return f"{type(owner).__name__}({'; '.join(f'{k} {v}' for k, v in facts.items())})"


def fact_table(owner: Any, facts: Mapping[str, str], table: pd.DataFrame | None = None) -> str:
    """The facts of an object as HTML, and a short table below them."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(k)}</th>"
        f"<td style='text-align:left'>{escape(v)}</td></tr>"
        for k, v in facts.items()
    )
    shown = "" if table is None else table.to_html(float_format="{:.4f}".format, na_rep="–")
    return f"<b>{escape(type(owner).__name__)}</b><table>{rows}</table>{shown}"
