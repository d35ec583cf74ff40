"""Choose the price basis of a draft and its vwap, by the bars that each of them gives.

A basis that a column names is tried before prices that are taken as adjusted, and one that the
prices contradict is never chosen (`infer_adjustment.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from pipelines.config.sources import SourceConfig
from pipelines.errors import ConfigError, SourceError, did_you_mean
from pipelines.onboarding.infer_adjustment import (
    amount_scale,
    contradiction,
    factor_kind,
    split_like,
)
from pipelines.onboarding.infer_source import MARKS, Described
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars


def _source(section: Mapping[str, Any]) -> Any:
    config = TypeAdapter[Any](SourceConfig).validate_python(dict(section))
    return QlibBars(config) if config.kind == "qlib_bin" else FilesBars(config)


def _bars(section: Mapping[str, Any], days: list[str]) -> pd.DataFrame:
    """Fetch all bars between the first and the last market day."""
    bars: pd.DataFrame = _source(section).fetch_span(days[0], days[-1])
    is_read = bars["instrument"].notna() & bars["date"].isin(set(days))
    bars = bars if is_read.all() else bars[is_read]
    if bars.empty:
        raise SourceError("the data has no row that names an instrument")
    return bars


def with_basis(
    description: Described, days: list[str], wish: str | None, notes: list[str]
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, str]]:
    """Choose the price basis; returns the section, its bars, and remarks for the YAML.

    Raises:
        ConfigError: the prices contradict every basis, or the one that was asked for is not there.
    """
    section = dict(description.section)
    if section["kind"] == "qlib_bin":
        notes.append("prices     × factor, as qlib stores them")
        return section, _bars(section, days), {}
    against: list[str] = []
    for basis in _bases(description, wish):
        section["basis"] = basis
        bars = _bars(section, days)
        if isinstance(basis, dict) and "factor" in basis:
            kind = factor_kind(bars)
            if kind:
                section["basis"] = {**basis, **kind}
                bars = _bars(section, days)
        why = contradiction(bars)
        if why and wish is not None:
            notes.append(f"prices     {wish} as given, against the prices: {why}")
        if not why or wish is not None:
            return section, bars, _basis_remarks(section, bars, notes)
        shown = [basis] if isinstance(basis, str) else [f"{k}: {v}" for k, v in basis.items()]
        against.append(f"{', '.join(shown)}: {why}")
        notes.append(f"prices     not {against[-1]}")
    raise ConfigError(
        f"no price basis agrees with the prices, and nothing was written: {'; '.join(against)}. "
        f"Name the column that tells of splits, as in --column factor=NAME, or say which basis it "
        f"is after all, as in --basis adjusted; tables of events go into source.basis (splits, "
        f"dividends) of a YAML"
    )


def _bases(description: Described, wish: str | None) -> list[Any]:
    """The price bases that columns name, the surest first, and `adjusted`."""
    bases: list[Any] = [
        {mark: description.columns[mark]} for mark in MARKS if mark in description.columns
    ]
    bases.append("adjusted")
    if wish is None:
        return bases
    if wish not in (*MARKS, "adjusted"):
        words = did_you_mean(wish, (*MARKS, "adjusted"))
        raise ConfigError(f"--basis {wish}: no such price basis; {words}")
    chosen = [b for b in bases if b == wish or (isinstance(b, dict) and wish in b)]
    if not chosen:
        there = ", ".join(b if isinstance(b, str) else next(iter(b)) for b in bases)
        raise ConfigError(
            f"--basis {wish}: no column of it is known; there are {there} (--column {wish}=NAME)"
        )
    return chosen


def _basis_remarks(
    section: Mapping[str, Any], bars: pd.DataFrame, notes: list[str]
) -> dict[str, str]:
    """Note the basis, and steps like splits that nothing states; returns remarks for the YAML."""
    basis, remarks = section["basis"], {}
    if isinstance(basis, dict):
        events = int((bars["adj_ratio"] - 1.0).abs().gt(1e-3).sum())
        shown = ", ".join(f"{k}: {v}" for k, v in basis.items())
        notes.append(f"prices     basis {{{shown}}}: {events:,} splits, dividends and the like")
    else:
        notes.append("prices     no column tells of splits or dividends: taken as adjusted already")
        remarks["basis"] = "no column tells of splits; otherwise {adj_close: COLUMN} …"
    splits = split_like(bars)
    if splits:
        shown = ", ".join(f"{s.instrument} {s.date} ({s.ratio:.3g}:1)" for s in splits[:5])
        notes.append(f"           steps like splits that nothing states: {len(splits)}, {shown}"
                     f"{' …' if len(splits) > 5 else ''}; look at them (rule jump)")  # fmt: skip
    return remarks


def with_vwap(
    description: Described,
    section: dict[str, Any],
    bars: pd.DataFrame,
    days: list[str],
    wishes: Mapping[str, str],
    notes: list[str],
    remarks: dict[str, str],
) -> tuple[dict[str, Any], str]:
    """Choose the vwap and the units of the turnover; returns the section and `market.vwap`."""
    if section["kind"] == "qlib_bin":
        vwap = "amount" if np.isfinite(bars["amount"]).mean() > 0.5 else "typical"
        remarks["vwap"] = "the folder's vwap" if vwap == "amount" else _TYPICAL
        return section, vwap
    # vwap is amount ÷ volume only if that lies inside the bars.
    names, why = description.columns, "there is no turnover"
    if "amount" in names and "vwap" not in wishes:
        units = amount_scale(bars)
        if units is not None:
            scales = ", ".join(f"{name} × {unit:g}" for name, unit in units.items())
            scales = f" ({scales})" if scales else ""
            notes.append(f"vwap       amount ÷ volume, which lies in the bars{scales}")
            return section | ({"scale": units} if units else {}), "amount"
        why = "amount ÷ volume does not lie between low and high, so it is no turnover"
    columns = {k: v for k, v in section.get("columns", {}).items() if k != "amount"}
    if "vwap" in names:
        own = {**section, "columns": {**columns, "vwap": names["vwap"]}}
        if "vwap" in wishes or amount_scale(_bars(own, days)) == {}:
            notes.append(f"vwap       the column {names['vwap']}, which lies in the bars")
            remarks["vwap"] = "the vwap of the data; amount is vwap × volume"
            return own, "amount"
        why = f"the column {names['vwap']} does not lie between low and high"
    notes.append(f"vwap       typical, (high + low + close) ÷ 3: {why}")
    remarks["vwap"] = _TYPICAL
    section = {k: v for k, v in section.items() if k != "columns"}
    return section | ({"columns": columns} if columns else {}), "typical"


_TYPICAL = "no turnover: (high + low + close) ÷ 3"
