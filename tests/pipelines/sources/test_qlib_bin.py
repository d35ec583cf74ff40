"""Bars from a provider folder. Oracle: the frame that was dumped into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.sources import QlibBinSource
from pipelines.errors import BarsNotArrivedError, ConfigError, SourceError
from pipelines.market.membership import provider_spans
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.qlib_bin import QlibBars
from tests.pipelines.sources.conftest import DAYS, in_order

NUMBERS = ["open", "high", "low", "close", "volume", "amount"]


def dump(root: Path, market: pd.DataFrame, fields: tuple[str, ...], case=str.lower) -> Path:
    """Write the market as qlib does: prices × factor, volume ÷ factor, NaN where suspended."""
    (root / "calendars").mkdir(parents=True)
    (root / "calendars" / "day.txt").write_text("\n".join(DAYS) + "\n")
    given = market.assign(vwap=market["amount"] / market["volume"] * market["factor"])
    for name in ("open", "high", "low", "close"):
        given[name] *= given["factor"]
    given["volume"] /= given["factor"]
    for code, rows in given.groupby("instrument"):
        rows = rows.set_index("date")
        span = [day for day in DAYS if rows.index[0] <= day <= rows.index[-1]]
        folder = root / "features" / case(code)
        folder.mkdir(parents=True)
        for field in fields:
            values = np.concatenate([[DAYS.index(span[0])], rows.reindex(span)[field]])
            values.astype("<f4").tofile(folder / f"{field}.day.bin")
    return root


ALL = ("open", "high", "low", "close", "volume", "vwap", "factor")


def source(root: Path, **keys) -> QlibBars:
    needs_amount = keys.pop("needs_amount", False)
    settings = QlibBinSource.model_validate({"kind": "qlib_bin", "path": str(root), **keys})
    return QlibBars(settings, needs_amount=needs_amount)


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_prices_as_traded_come_back(case, market, tmp_path):
    """To the seven digits of float32; events only where there were some."""
    root = dump(tmp_path / "cn", market, ALL, case)
    got = in_order(fetch_bars(source(root), DAYS))
    assert got[["date", "instrument"]].equals(market[["date", "instrument"]])
    np.testing.assert_allclose(got[NUMBERS], market[NUMBERS], rtol=1e-6)
    np.testing.assert_allclose(got["adj_ratio"], market["adj_ratio"], rtol=1e-6)
    assert (got["adj_ratio"] == 1.0).tolist() == (market["adj_ratio"] == 1.0).tolist()


def test_a_session_alone_has_the_bits_of_a_range(market, tmp_path):
    provider = source(dump(tmp_path / "cn", market, ALL))
    whole = in_order(provider.fetch(DAYS))
    for keys in ([DAYS[4]], [DAYS[3], DAYS[6]], list(DAYS[2:6])):
        wanted = whole[whole["date"].isin(keys)].reset_index(drop=True)
        pd.testing.assert_frame_equal(in_order(provider.fetch(keys)), wanted, check_exact=True)


def test_without_factor_prices_are_adjusted_and_without_vwap_there_is_no_amount(market, tmp_path):
    root = dump(tmp_path / "us", market, ALL[:5])
    got = in_order(fetch_bars(source(root), DAYS))
    np.testing.assert_allclose(got["close"], market["close"] * market["factor"], rtol=1e-6)
    assert (got["adj_ratio"] == 1.0).all()
    assert got["amount"].isna().all()
    with pytest.raises(SourceError, match=r"has no vwap.day.bin, and market.vwap is amount: choo"):
        source(root, needs_amount=True).fetch(DAYS)


def test_some_instruments_may_lack_what_others_have(market, tmp_path):
    root = dump(tmp_path / "us", market, ALL)
    (root / "features" / "ccc" / "vwap.day.bin").unlink()
    (root / "features" / "ccc" / "factor.day.bin").unlink()
    got = in_order(fetch_bars(source(root), DAYS))
    lacks = got["instrument"] == "CCC"
    assert got["amount"].isna().tolist() == lacks.tolist()
    assert got["close"][~lacks].notna().all()


def test_late_sessions_are_told_from_absent_ones(market, tmp_path):
    root = dump(tmp_path / "cn", market, ALL)
    assert list(source(root).days().index) == list(DAYS)
    with pytest.raises(BarsNotArrivedError, match=r"2024-01-12: the newest .* 2024-01-11"):
        fetch_bars(source(root), ["2024-01-12"])
    with pytest.raises(SourceError, match="2024-01-06, though it reaches 2024-01-11"):
        fetch_bars(source(root), ["2024-01-05", "2024-01-06"])


def test_what_is_wrong_is_named(market, tmp_path):
    with pytest.raises(SourceError, match=r"qlib_bin: no provider folder .*nowhere"):
        source(tmp_path / "nowhere").fetch(DAYS)
    root = dump(tmp_path / "cn", market, ALL)
    path = root / "features" / "aaa" / "close.day.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"close\.day\.bin has \d+ bytes.*cut off"):
        source(root).fetch(DAYS)
    path.unlink()
    with pytest.raises(SourceError, match=r"no file close\.day\.bin for 1 of"):
        source(root).fetch(DAYS)


def test_instruments_and_membership_of_a_universe(market, tmp_path):
    root = dump(tmp_path / "cn", market, ALL)
    (root / "instruments").mkdir()
    (root / "instruments" / "top2.txt").write_text(
        f"aaa\t{DAYS[0]}\t{DAYS[3]}\nCCC\t{DAYS[6]}\t{DAYS[7]}\n"
    )
    assert set(source(root, instruments="top2").fetch(DAYS)["instrument"]) == {"AAA", "CCC"}
    spans = provider_spans(root, "TOP2")
    assert spans.to_numpy().tolist() == [["AAA", DAYS[0], DAYS[3]], ["CCC", DAYS[6], DAYS[7]]]
    with pytest.raises(ConfigError, match=r"market.universe: no universe 'top3'.*top2"):
        provider_spans(root, "top3")


def test_the_fingerprint_follows_the_dump(market, tmp_path):
    root = dump(tmp_path / "cn", market, ALL)
    before = source(root).fingerprint()
    assert source(root).fingerprint() == before
    (root / "calendars" / "day.txt").write_text("\n".join([*DAYS, "2024-01-12"]) + "\n")
    assert source(root).fingerprint() != before
