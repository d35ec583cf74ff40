"""The simulated market: prefix stability, rules of bars, splits, and the signal it promises.

Oracle: the planted quantity recomputed here from the published bars with pandas.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import planted_score, simulate_market

SESSIONS = pd.bdate_range("2015-01-01", periods=500)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_market(
        200,
        SESSIONS,
        11,
        signal=0.1,
        suspension_rate=0.03,
        split_rate=0.003,
        late_listing_share=0.2,
    )


def wide(bars: pd.DataFrame, values: object) -> pd.DataFrame:
    """One value a bar as [T, N], NaN where there is no bar."""
    long = bars[["date", "instrument"]].assign(x=np.asarray(values, dtype=float))
    return long.pivot_table(index="date", columns="instrument", values="x")


def held(x: pd.DataFrame) -> np.ndarray:
    """The values that are not NaN, row by row."""
    flat = x.to_numpy().ravel()
    return flat[~np.isnan(flat)]


def adjusted_closes(bars: pd.DataFrame) -> pd.DataFrame:
    """[T, N] adjusted closes, NaN where there is no bar."""
    factor = bars.sort_values("date").groupby("instrument")["adj_ratio"].cumprod()
    return wide(bars, bars["close"] * factor)


@pytest.mark.parametrize("first", [1, 19, 20, 21, 130])
def test_a_longer_span_begins_with_the_same_bits(first):
    options = {"suspension_rate": 0.1, "split_rate": 0.01, "late_listing_share": 0.5}
    short = simulate_market(30, SESSIONS[:first], 5, **options)
    long = simulate_market(30, SESSIONS[:260], 5, **options)
    head = long[long["date"] <= SESSIONS[first - 1]]
    pd.testing.assert_frame_equal(short, head, check_exact=True)
    assert len(long) > len(short)


def test_the_seed_decides():
    one, same, other = (simulate_market(5, SESSIONS[:30], s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same, check_exact=True)
    assert not np.array_equal(one["close"][:50], other["close"][:50])


def test_columns_and_order(bars):
    assert bars.columns.tolist() == [
        "date",
        "instrument",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "amount",
        "adj_ratio",
    ]
    keys = bars[["date", "instrument"]]
    pd.testing.assert_frame_equal(keys, keys.sort_values(["date", "instrument"]))
    assert not keys.duplicated().any()
    assert bars["instrument"].min() == "S0001"
    assert bars["instrument"].max() == "S0200"
    assert simulate_market(10_000, SESSIONS[:1], 0)["instrument"].max() == "S10000"


def test_rules_of_a_bar(bars):
    assert np.isfinite(bars.drop(columns=["date", "instrument"]).to_numpy()).all()
    assert (bars["low"] > 0).all()
    for price in ("open", "close"):
        assert (bars["low"] <= bars[price]).all()
        assert (bars[price] <= bars["high"]).all()
    assert (bars["volume"] >= 1).all()
    assert (bars["volume"] % 1 == 0).all()
    mean = bars["amount"] / bars["volume"]
    assert (mean >= bars["low"] * (1 - 1e-12)).all()
    assert (mean <= bars["high"] * (1 + 1e-12)).all()


def test_volume_is_autocorrelated(bars):
    factor = bars.sort_values("date").groupby("instrument")["adj_ratio"].cumprod()
    logs = wide(bars, np.log(bars["volume"] / factor))
    lag = pd.Series({i: logs[i].autocorr() for i in logs})
    assert 0.6 < lag.median() < 0.9


def test_suspensions_and_listings(bars):
    there = adjusted_closes(bars).notna().to_numpy()
    born = there.argmax(axis=0)
    listed = np.arange(len(SESSIONS))[:, None] >= born
    gap = listed & ~there
    assert gap.sum() / listed.sum() == pytest.approx(0.03, abs=0.006)
    starts = gap[1:] & ~gap[:-1]
    assert gap.sum() / starts.sum() == pytest.approx(5, rel=0.2)  # sessions a suspension lasts
    assert (born > 30).mean() == pytest.approx(0.2 * 220 / 250, abs=0.06)
    full = simulate_market(20, SESSIONS[:50], 1, suspension_rate=0, late_listing_share=0)
    assert len(full) == 20 * 50


def test_splits_leave_the_adjusted_price_continuous(bars):
    ratio = bars["adj_ratio"]
    assert set(ratio.unique()) <= {0.25, 0.5, 1.0, 2.0, 4.0}
    rate = (ratio != 1).sum() / len(bars)
    assert rate == pytest.approx(0.003, rel=0.2)
    first = bars.groupby("instrument").head(1)
    assert (first["adj_ratio"] == 1).all()
    split = wide(bars, ratio != 1) == 1
    returns = np.log(adjusted_closes(bars)).diff()
    at_split = held(returns.where(split))
    assert len(at_split) > 200
    assert np.abs(at_split).max() < 0.2  # a 2:1 split itself would be 0.69
    assert at_split.std() == pytest.approx(held(returns).std(), rel=0.2)
    raw = np.log(wide(bars, bars["close"])).diff()
    assert np.abs(held(raw.where(split))).min() > 0.4


def test_splits_before_the_first_bar_do_not_count():
    """Some are suspended from their listing on and split meanwhile."""
    bars = simulate_market(300, SESSIONS[:30], 1, suspension_rate=0.5, split_rate=0.2)
    assert (bars.groupby("instrument").head(1)["adj_ratio"] == 1).all()
    assert (bars["adj_ratio"] > 2).any()  # several splits between two bars


@pytest.mark.parametrize("signal", [0.0, 0.05, 0.3])
def test_the_planted_signal_is_there(signal):
    bars = simulate_market(300, SESSIONS, 3, signal=signal)
    close = adjusted_closes(bars)
    label = close.shift(-2) / close.shift(-1) - 1
    score = wide(bars, planted_score(bars)).where(label.notna())
    ic = score.rank(axis=1).corrwith(label.where(score.notna()).rank(axis=1), axis=1).dropna()
    assert ic.mean() == pytest.approx(signal, abs=max(0.008, 0.05 * signal))


def test_planted_score_is_the_formula(bars):
    """0.8·zs(-KSFT2) + 0.6·zs(-log ROC20), standardised."""

    def standard(x: pd.DataFrame) -> pd.DataFrame:
        return x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1, ddof=0), axis=0)

    ksft2 = (2 * bars["close"] - bars["high"] - bars["low"]) / (bars["high"] - bars["low"])
    reversal = standard(wide(bars, -ksft2))
    close = adjusted_closes(bars)
    momentum = standard(-np.log(close.shift(20) / close)).fillna(0.0)
    want = standard(0.8 * reversal + 0.6 * momentum)
    got = planted_score(bars)
    assert got.index.names == ["datetime", "instrument"]
    assert got.index.tolist() == list(zip(bars["date"], bars["instrument"], strict=True))
    np.testing.assert_allclose(got.to_numpy(), held(want), rtol=1e-6, atol=1e-9)


def test_one_instrument_and_no_session():
    assert (simulate_market(1, SESSIONS[:40], 0, suspension_rate=0)["close"] > 0).all()
    empty = simulate_market(3, SESSIONS[:0], 0)
    assert empty.shape == (0, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_instruments": 0}, "n_instruments is 0, expected a number from 1"),
        ({"signal": 1.0}, "signal is 1.0, expected a number from 0 to 0.9"),
        ({"suspension_rate": -0.1}, "suspension_rate is -0.1"),
        ({"split_rate": 2}, "split_rate is 2"),
        ({"late_listing_share": 1.5}, "late_listing_share is 1.5"),
        ({"sessions": SESSIONS[::-1]}, "sorted, unique sessions"),
        ({"sessions": SESSIONS.tz_localize("UTC")}, "sessions is tz-aware"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        simulate_market(**{"n_instruments": 3, "sessions": SESSIONS[:5], "seed": 0, **change})
