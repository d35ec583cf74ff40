"""The embedded sources, and the check of what a source promises."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from pipelines.bars.adjustment import adjusted, adjustment_factors
from pipelines.bars.quarantine import broken_rules
from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import SimulatedSource
from pipelines.errors import SourceError
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.bokeh_sample import BokehSampleBars
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.simulated import SimulatedBars

SAMPLE = Sessions.of("XNYS", dt.date(2000, 3, 1), dt.date(2013, 3, 1))


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return fetch_bars(BokehSampleBars(), SAMPLE.keys)


def test_the_sample_is_five_clean_stocks(sample):
    counts = sample.groupby("instrument").size().to_dict()
    assert counts == {"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}
    assert not any(rows.any() for rows in broken_rules(sample).values())
    assert sample.groupby("instrument")["date"].min()["FB"] == "2012-05-18"


def test_the_samples_events_are_its_real_splits_and_dividends(sample):
    """AAPL split 2:1 on 2000-06-21 and 2005-02-28; MSFT on 2003-02-18, with quarterly dividends."""
    events = sample[sample["adj_ratio"] != 1.0].set_index(["instrument", "date"])["adj_ratio"]
    assert events["AAPL"]["2000-06-21"] == pytest.approx(2.0, abs=0.01)
    assert events["AAPL"]["2005-02-28"] == pytest.approx(2.0, abs=0.01)
    assert events["MSFT"]["2003-02-18"] == pytest.approx(2.0, abs=0.01)
    assert "GOOG" not in events.index.get_level_values(0)
    dividends = events[events < 1.5]
    assert 80 < len(dividends) < 110
    assert dividends.min() > 1.0005


def test_adjusted_returns_of_the_sample_have_no_split_in_them(sample):
    sample = sample.sort_values(["instrument", "date"])
    sample["adj_factor"] = adjustment_factors(sample, pd.Series(dtype="float64"))
    close = adjusted(sample, "typical").pivot_table(
        index="date", columns="instrument", values="close"
    )
    returns = close.pct_change(fill_method=None)
    assert returns.loc["2005-02-28", "AAPL"] == pytest.approx(0.0084, abs=0.002)
    assert returns.abs().max().max() < 0.55  # AAPL fell 52 % on 2000-09-29


def test_the_simulated_market_begins_alike_for_any_span():
    settings = SimulatedSource(kind="simulated", instruments=5, seed=9)
    long = Sessions.of("XNYS", dt.date(2020, 1, 2), dt.date(2020, 12, 31))
    short = Sessions.of("XNYS", dt.date(2020, 1, 2), dt.date(2020, 3, 31))
    ours = fetch_bars(SimulatedBars(settings, long), short.keys)
    theirs = fetch_bars(SimulatedBars(settings, short), short.keys)
    pd.testing.assert_frame_equal(ours, theirs)
    assert not any(rows.any() for rows in broken_rules(ours).values())
    assert tuple(ours.columns) == RAW_COLUMNS


class Given:
    """A source that returns one frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def fetch(self, keys):
        return self.frame


def test_a_source_must_keep_its_promise(sample):
    keys = SAMPLE.keys[:3]
    good = sample[sample["date"].isin(keys)]
    assert len(fetch_bars(Given(good), keys)) == len(good)
    with pytest.raises(SourceError, match="Given gave no column adj_ratio; expected date"):
        fetch_bars(Given(good.drop(columns="adj_ratio")), keys)
    with pytest.raises(SourceError, match=rf"gave bars of {keys[2]}, which were not asked for"):
        fetch_bars(Given(good), keys[:2])
    with pytest.raises(SourceError, match=rf"no bar at all for {keys[1]}"):
        fetch_bars(Given(good[good["date"] != keys[1]]), keys)
    with pytest.raises(SourceError, match=rf"no bar at all for {keys[0]}, {keys[1]}, {keys[2]}"):
        fetch_bars(Given(good.iloc[:0]), keys)


def test_amount_of_the_simulated_market_lies_between_low_and_high():
    settings = SimulatedSource(kind="simulated", instruments=5, seed=9)
    keys = Sessions.of("XNYS", dt.date(2020, 1, 2), dt.date(2020, 3, 31)).keys
    bars = fetch_bars(SimulatedBars(settings, Sessions("XNYS", "UTC", keys)), keys)
    vwap = bars["amount"] / bars["volume"]
    assert np.all((vwap >= bars["low"] * (1 - 1e-12)) & (vwap <= bars["high"] * (1 + 1e-12)))
