"""Two real markets as published, through the sources. Oracle: the panels that pyqlib was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.bars.adjustment import adjusted, adjustment_factors
from pipelines.bars.quarantine import broken_rules
from pipelines.config.sources import FilesSource, QlibBinSource
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars

pytestmark = pytest.mark.golden

PRICES = ["open", "high", "low", "close", "volume", "vwap"]


def a_shares(path) -> FilesBars:
    return FilesBars(
        FilesSource.model_validate(
            {
                "kind": "files",
                "path": str(path),
                "columns": {"instrument": "code"},
                "codes": "qlib",
                "basis": {"preclose": "preclose"},
                "keep": {"tradestatus": 1},
            }
        ),
        needs_amount=True,
    )


def adjusted_bars(bars: pd.DataFrame, vwap: str) -> pd.DataFrame:
    bars = bars.assign(adj_factor=adjustment_factors(bars, pd.Series(dtype="float64")))
    return adjusted(bars, vwap)


@pytest.fixture(scope="module")
def cn(market_dir) -> tuple[FilesBars, pd.DataFrame]:
    source = a_shares(market_dir / "cn_csi300_2020_2025_baostock.parquet")
    return source, fetch_bars(source, list(source.days().index))


def test_preclose_gives_the_adjusted_panel(cn, golden_dir):
    """In float32 bit for bit, but for the last bit of a few volumes (order of two divisions)."""
    panel = pd.read_parquet(golden_dir / "cn_panel.parquet")
    panel["date"] = panel["date"].dt.strftime("%Y-%m-%d")
    ours = adjusted_bars(cn[1], "amount")
    ours = ours[ours["instrument"].isin(set(panel["instrument"]))]
    both = panel.merge(ours, on=["date", "instrument"], suffixes=("", "_ours"), how="outer")
    assert len(both) == len(panel) == len(ours), "the same rows"
    for name in PRICES:
        given, got = both[name].to_numpy(), both[f"{name}_ours"].to_numpy().astype("float32")
        if name == "volume":
            assert (given != got).sum() <= 5
            np.testing.assert_allclose(got, given, rtol=2e-7)
        else:
            np.testing.assert_array_equal(got, given)


def test_ex_right_rows_are_the_events(cn):
    """1,530 rows are ex-right by more than 0.1 %, 22 by less, and no bar breaks a rule."""
    bars = cn[1]
    events = bars["adj_ratio"] != 1.0
    assert events.sum() == 1552
    assert ((bars["adj_ratio"] - 1.0).abs() > 1e-3).sum() == 1530
    assert bars.loc[events, "adj_ratio"].between(0.8, 3.0).all()
    assert not any(rows.any() for rows in broken_rules(bars).values())


def test_a_new_dividend_leaves_old_factors_unchanged(cn, market_dir, tmp_path):
    """The same sessions fetched before and after a later ex-right day: same bits."""
    source, whole = cn
    days = list(source.days().index)
    cut = days[:700]
    rows = pd.read_parquet(market_dir / "cn_csi300_2020_2025_baostock.parquet")
    rows[rows["date"] <= cut[-1]].to_parquet(tmp_path / "then.parquet", index=False)
    then = fetch_bars(a_shares(tmp_path / "then.parquet"), cut)
    now = whole[whole["date"] <= cut[-1]].reset_index(drop=True)
    keys = ["instrument", "date"]
    pd.testing.assert_frame_equal(
        then.sort_values(keys, ignore_index=True), now.sort_values(keys, ignore_index=True),
        check_exact=True,
    )  # fmt: skip
    later = whole[(whole["date"] > cut[-1]) & (whole["adj_ratio"] != 1.0)]
    assert len(later) > 500, "events that followed"


def test_a_fetch_in_stretches_is_the_fetch_of_all(cn):
    source, whole = cn
    days = list(source.days().index)[:600]
    parts = [fetch_bars(source, days[i : i + 200]) for i in range(0, len(days), 200)]
    keys = ["instrument", "date"]
    pd.testing.assert_frame_equal(
        pd.concat(parts).sort_values(keys, ignore_index=True),
        whole[whole["date"] <= days[-1]].sort_values(keys, ignore_index=True),
        check_exact=True,
    )


def test_the_us_market_and_its_dirt(market_dir, golden_dir):
    """Its panel is the file; bars that break a rule are those that the file's description names."""
    source = FilesBars(
        FilesSource(
            kind="files",
            path=str(market_dir / "us_sp500_2013_2018.parquet"),
            basis={"adjusted": True},
        )
    )
    bars = fetch_bars(source, list(source.days().index))
    assert len(bars) == 619_040
    broken = broken_rules(bars)
    assert broken["missing_price"].sum() == 11
    assert broken["zero_volume"].sum() == 4
    panel = pd.read_parquet(golden_dir / "us_panel.parquet")
    panel["date"] = panel["date"].dt.strftime("%Y-%m-%d")
    both = panel.merge(
        adjusted_bars(bars, "typical"), on=["date", "instrument"], suffixes=("", "_x")
    )
    assert len(both) == len(panel)
    for name in PRICES:
        np.testing.assert_array_equal(both[f"{name}_x"].astype("float32"), both[name])


def test_a_qlib_folder_of_the_market_gives_its_bars(cn, tmp_path):
    """A year of 20 names, dumped as qlib does with a factor; to float32's seven digits."""
    names = sorted(set(cn[1]["instrument"]))[:20]
    days = sorted(set(cn[1]["date"]))[:250]
    bars = cn[1][cn[1]["instrument"].isin(names) & cn[1]["date"].isin(days)]
    bars = bars.assign(factor=adjustment_factors(bars, pd.Series(dtype="float64")))
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    for code, rows in bars.groupby("instrument"):
        rows = rows.set_index("date")
        span = [d for d in days if rows.index.min() <= d <= rows.index.max()]
        rows = rows.reindex(span)
        folder = tmp_path / "features" / code.lower()
        folder.mkdir(parents=True)
        fields = {p: rows[p] * rows["factor"] for p in ("open", "high", "low", "close")}
        fields |= {"volume": rows["volume"] / rows["factor"], "factor": rows["factor"],
                   "vwap": rows["amount"] / rows["volume"] * rows["factor"]}  # fmt: skip
        for field, values in fields.items():
            np.append(days.index(span[0]), values).astype("<f4").tofile(folder / f"{field}.day.bin")
    got = fetch_bars(QlibBars(QlibBinSource(kind="qlib_bin", path=str(tmp_path))), days)
    keys = ["instrument", "date"]
    got, bars = (f.sort_values(keys, ignore_index=True) for f in (got, bars))
    assert got[keys].equals(bars[keys])
    for name in ("open", "high", "low", "close", "volume", "amount", "adj_ratio"):
        ours = got[name]
        first = ~got["instrument"].duplicated() if name == "adj_ratio" else False
        wanted = bars[name].where(~pd.Series(first, index=got.index), 1.0)
        np.testing.assert_allclose(ours, wanted, rtol=5e-7)
