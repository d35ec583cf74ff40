"""The tiny market in a file, with a price-earnings ratio, a market value and an industry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from tests.pipelines.conftest import TINY, make_market, merged

Columns: TypeAlias = Sequence[Any] | Mapping[str, Any] | None

EXTRA = ("pe", "mktcap", {"industry": "category"})
INDUSTRIES = ("Banks", "Steel")


def extra_bars(root: Path, **source: Any) -> pd.DataFrame:
    """Simulated bars with three columns beside them; some values of `pe` are missing.

    An instrument is of the industry of its number, and its value follows its close.
    """
    origin = make_market(root / "origin", {"market": {"source": source}})
    bars = origin.source.fetch(origin.sessions.keys).reset_index(drop=True)
    rng = np.random.default_rng(5)
    bars["pe"] = 10.0 + rng.random(len(bars))
    bars.loc[bars.index % 17 == 0, "pe"] = np.nan
    number = bars["instrument"].str[1:].astype(int)
    bars["mktcap"] = bars["close"] * 1e6 * number
    bars["industry"] = np.array(INDUSTRIES, dtype=object)[number % 2]
    return bars


def extra_config(
    root: Path, columns: Columns = EXTRA, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The YAML of the market whose bars lie in `root/bars.parquet`.

    `columns` is the list of those beside the bars, the whole section `source.columns`, or None.
    """
    if isinstance(columns, Sequence):
        columns = {"extra": list(columns)}
    raw = merged(TINY, changes or {})
    raw["models"] = {"gru": raw["models"]["gru"]}
    raw["market"]["source"] = {
        "kind": "files", "path": str(root / "bars.parquet"), "basis": {"ratio": "adj_ratio"},
        **({} if columns is None else {"columns": dict(columns)}),
    }  # fmt: skip
    return raw


def extra_market(
    root: Path,
    columns: Columns = EXTRA,
    changes: Mapping[str, Any] | None = None,
    bars: pd.DataFrame | None = None,
) -> Market:
    """The market; its bars are written if they are given."""
    if bars is not None:
        root.mkdir(parents=True, exist_ok=True)
        bars.to_parquet(root / "bars.parquet", index=False)
    return Market(parse_config(extra_config(root, columns, changes)), root=root / "state")
