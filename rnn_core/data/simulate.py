"""A seeded market of any size, with bars that tell a little about the next return.

It serves runs at scale and tests with a known answer. The return of instrument i from close t+1 to
close t+2, the label of Alpha158, is

    log(C[t+2] / C[t+1]) = β_i·m + v_i·(ρ·z[t] + √(1-ρ²)·ε),    m ~ N(0, 0.01²), ε ~ N(0, 1)
    z = standardised across instruments( 0.8·zs(-KSFT2) + 0.6·zs(-log ROC20) )

where KSFT2 = (2C-H-L)/(H-L) and ROC20 = Ref(C,20)/C are Alpha158's: short-term reversal of the
place of the close in its range, and momentum of 20 sessions (0 in the first 20). ρ is chosen
so that the rank correlation of z with a normal return is `signal`: ρ = 2·sin(π·signal/6), the
relation of Spearman's to Pearson's coefficient of a bivariate normal (Pearson 1907). The spread of
β and v lowers it a little.

Every instrument has a latent adjusted bar on every session; a bar is published as traded, i.e.
divided by the splits so far, unless the instrument is not listed yet or suspended. The price
moves on through a suspension.

**Prefix-stable**: the random numbers of session k come from a generator seeded with (seed, k),
those of the instruments from (seed, 0), and no session reads a later one. A longer span begins with
the same bars, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.panel.session_labels import session_labels

Array = NDArray[np.float64]

MOMENTUM_SESSIONS = 20
REVERSAL_WEIGHT, MOMENTUM_WEIGHT = 0.8, 0.6  # squares sum to 1
MARKET_VOLATILITY = 0.01
"""Deviation of the market factor's log return, per session: about 16 % a year."""
TURBULENCE = 2.5
"""Factor on all volatilities while the market is turbulent."""
SUSPENSION_END = 0.2
"""Chance per session that a suspension ends: five sessions on average."""
LATE_WITHIN_SESSIONS = 250
"""Late listings are spread over the sessions 1 to 250."""
SPLIT_LEVEL = 20.0
"""A split is 2:1 at a traded close of at least this, else 1:2, so prices stay in a usual range."""
STREAMS = 9  # rows of random numbers a session
COLUMNS = ["open", "high", "low", "close", "volume", "amount", "adj_ratio"]


@dataclass(frozen=True)
class _Instruments:
    """Properties of the instruments that stay the same over time, [N] each."""

    beta: Array
    volatility: Array  # of the log return, per session
    close: Array  # adjusted, before the first session
    volume: Array  # mean log of adjusted shares
    listed: NDArray[np.int64]  # first session with bars
    suspended: NDArray[np.bool_]  # before the first session


def simulate_market(
    n_instruments: int,
    sessions: pd.DatetimeIndex,
    seed: int,
    *,
    signal: float = 0.05,
    suspension_rate: float = 0.01,
    split_rate: float = 0.0005,
    late_listing_share: float = 0.1,
    regime_rate: float = 0.0,
) -> pd.DataFrame:
    """Simulate bars as traded.

    Args:
        n_instruments: N, named S0001 onwards.
        sessions: T sorted tz-naive sessions.
        seed: equal seeds and arguments give equal bars.
        signal: rank correlation of the planted score with the label within a session, 0 to 0.9.
        suspension_rate: share of listed instrument-sessions without a bar, 0 to 0.5; suspensions
            last five sessions on average.
        split_rate: chance of a split per instrument-session.
        late_listing_share: share of instruments listed after the first session, in the next 250.
        regime_rate: chance per session that the market turns from calm to turbulent or back; the
            first session is calm, turbulence multiplies all volatilities by `TURBULENCE`.

    Returns:
        Columns date, instrument, open, high, low, close (as traded), volume (whole shares),
        amount (currency) and adj_ratio, sorted by date and instrument. adj_ratio is the close of
        the instrument's previous row over that close restated to this bar's basis: 2.0 at a 2:1
        split, 0.5 at a 1:2 one, products of them where the bars between were missing, else 1.0.
        Price times the cumulative product of adj_ratio is the adjusted price.

    Raises:
        ValueError: an argument outside its range, or sessions that are not sorted and unique.

    Examples:
        >>> simulate_market(2, sessions, seed=0)["instrument"].unique().tolist()
        ['S0001', 'S0002']
    """
    _check_range("n_instruments", n_instruments, 1, np.inf)
    _check_range("signal", signal, 0, 0.9)
    _check_range("suspension_rate", suspension_rate, 0, 0.5)
    _check_range("split_rate", split_rate, 0, 1)
    _check_range("late_listing_share", late_listing_share, 0, 1)
    _check_range("regime_rate", regime_rate, 0, 1)
    sessions = session_labels(sessions, "sessions")
    if not sessions.is_monotonic_increasing or not sessions.is_unique:
        raise ValueError("expected sorted, unique sessions: call sessions.unique() first")
    # The state that a session hands to the next one.
    n, span = n_instruments, len(sessions)
    fixed = _instruments(n, seed, suspension_rate, late_listing_share)
    rho = 2 * np.sin(np.pi * signal / 6)
    log_close, log_volume = np.log(fixed.close), np.zeros(n)
    history = np.empty((MOMENTUM_SESSIONS, n))  # log closes, a ring by session
    scores = [np.zeros(n), np.zeros(n)]  # z of t-2 and t-1
    suspended, split = fixed.suspended, np.ones(n)
    shown = np.full(n, np.nan)  # the split factor of the last bar published
    begin = suspension_rate * SUSPENSION_END / (1 - suspension_rate)
    turbulent = False
    out = np.full((len(COLUMNS), span, n), np.nan)  # (C, T, N)
    for k in range(span):
        rng = np.random.default_rng([seed, k + 1])
        market, draw = rng.standard_normal(), rng.standard_normal((STREAMS - 2, n))
        chance = rng.random((2, n))
        turbulent ^= k > 0 and rng.random() < regime_rate  # drawn last: 0 leaves all bits
        # Returns, bars and volumes, adjusted.
        scale = TURBULENCE if turbulent else 1.0
        noise = rho * scores[0] + np.sqrt(1 - rho**2) * draw[0]
        ret = scale * (fixed.beta * MARKET_VOLATILITY * market + fixed.volatility * noise)
        before, log_close = log_close, log_close + ret
        spread = scale * fixed.volatility
        bar = _bar(np.exp(before), np.exp(log_close), spread, draw[1:4])  # (4, N)
        log_volume = 0.8 * log_volume + 0.3 * draw[4] + 0.1 * np.abs(draw[0])
        scores = [scores[1], _score(bar, log_close, history, k)]
        history[k % MOMENTUM_SESSIONS] = log_close
        # Listings, suspensions and splits decide which bars appear, and on which basis.
        listed = fixed.listed <= k
        suspended = np.where(suspended, chance[0] >= SUSPENSION_END, chance[0] < begin)
        splits = listed & (fixed.listed < k) & (chance[1] < split_rate)
        split = split * np.where(splits, np.where(bar[3] / split >= SPLIT_LEVEL, 2.0, 0.5), 1.0)
        trades = listed & ~suspended
        traded = bar / split
        volume = np.maximum(np.rint(np.exp(fixed.volume + log_volume) * split), 1.0)
        price = _average_price(traded, draw[5])
        ratio = np.where(np.isnan(shown), 1.0, split / shown)
        rows = np.concatenate([traded, [volume, volume * price, ratio]])  # (C, N)
        out[:, k] = np.where(trades, rows, np.nan)
        shown = np.where(trades, split, shown)
    return _frame(out, sessions)


def planted_score(bars: pd.DataFrame) -> pd.Series[float]:
    """Compute the planted score from published bars, as far as they tell it.

    Args:
        bars: the result of `simulate_market`.

    Returns:
        z by (datetime, instrument), sorted: standardised within each session over the
        instruments with a bar. The momentum part is 0 where there is no bar 20 sessions before.

    Examples:
        >>> planted_score(bars).groupby("datetime").std(ddof=0).round(6).unique()
        array([1.])
    """
    frame = bars.sort_values(["date", "instrument"])
    sessions, t = np.unique(frame["date"].to_numpy(), return_inverse=True)
    names, n = np.unique(frame["instrument"].to_numpy(dtype=object), return_inverse=True)
    factor = frame.groupby("instrument")["adj_ratio"].cumprod().to_numpy()
    wide = np.full((2, len(sessions), len(names)), np.nan)  # (2, T, N)
    wide[0, t, n] = np.log(frame["close"].to_numpy() * factor)
    wide[1, t, n] = _place(*(frame[c].to_numpy() for c in ("high", "low", "close")))
    past = np.full_like(wide[0], np.nan)
    past[MOMENTUM_SESSIONS:] = wide[0, :-MOMENTUM_SESSIONS]
    momentum = np.nan_to_num(_standard_rows(wide[0] - past))
    score = MOMENTUM_WEIGHT * momentum - REVERSAL_WEIGHT * _standard_rows(wide[1])
    index = pd.MultiIndex.from_frame(
        frame[["date", "instrument"]], names=["datetime", "instrument"]
    )
    return pd.Series(_standard_rows(score)[t, n], index=index, name="score")


def _instruments(n: int, seed: int, suspension_rate: float, late_share: float) -> _Instruments:
    rng = np.random.default_rng([seed, 0])
    beta = 1 + 0.2 * rng.standard_normal(n)
    volatility = 0.02 * np.exp(0.25 * rng.standard_normal(n))
    close = 30 * np.exp(0.6 * rng.standard_normal(n))
    volume = 13 + 1.2 * rng.standard_normal(n)
    late = rng.random(n) < late_share
    listed = np.where(late, rng.integers(1, LATE_WITHIN_SESSIONS + 1, n), 0)
    return _Instruments(beta, volatility, close, volume, listed, rng.random(n) < suspension_rate)


def _bar(before: Array, close: Array, volatility: Array, draw: Array) -> Array:
    """Return adjusted open, high, low, close, (4, N).

    The open is a gap from the previous close; high and low lie half-normally outside both.
    """
    opening = before * np.exp(0.3 * volatility * draw[0])
    high = np.maximum(opening, close) * np.exp(0.5 * volatility * np.abs(draw[1]))
    low = np.minimum(opening, close) * np.exp(-0.5 * volatility * np.abs(draw[2]))
    return np.stack([opening, high, low, close])


def _average_price(traded: Array, draw: Array) -> Array:
    """Return a price for the amount: (h+l+c)/3 and some noise, kept in the range."""
    _, high, low, close = traded
    typical = (high + low + close) / 3 + 0.1 * (high - low) * draw
    return np.asarray(np.clip(typical, low, high))


def _place(high: Array, low: Array, close: Array) -> Array:
    """Return KSFT2, the place of the close in its range, -1 to 1."""
    return np.asarray((2 * close - high - low) / (high - low + 1e-12))


def _score(bar: Array, log_close: Array, history: Array, k: int) -> Array:
    """Return the planted score z known at the close of session k, [N]."""
    score = -REVERSAL_WEIGHT * _standard(_place(bar[1], bar[2], bar[3]))
    if k >= MOMENTUM_SESSIONS:
        past = history[k % MOMENTUM_SESSIONS]  # written at k - 20
        score = score + MOMENTUM_WEIGHT * _standard(log_close - past)
    return _standard(score)


def _standard(x: Array) -> Array:
    """Scale to mean 0 and deviation 1 across instruments; equal values become 0."""
    spread = float(x.std())
    return np.asarray((x - x.mean()) / spread) if spread > 0 else np.zeros_like(x)


def _standard_rows(wide: Array) -> Array:
    """Apply `_standard` to every row of (T, N), NaN skipped."""
    valid = ~np.isnan(wide)
    count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    centred = wide - np.where(valid, wide, 0.0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt(np.where(valid, centred**2, 0.0).sum(axis=1, keepdims=True) / count)
    return np.asarray(centred / np.where(spread > 0, spread, np.inf))


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected a number from {low} to {high}")


def _frame(out: Array, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Build the long frame of the bars that exist, from (C, T, N)."""
    n = out.shape[2]
    digits = max(4, len(str(n)))
    names = np.array([f"S{i:0{digits}d}" for i in range(1, n + 1)])
    t, i = np.nonzero(~np.isnan(out[3]))
    columns = {name: out[c, t, i] for c, name in enumerate(COLUMNS)}
    return pd.DataFrame({"date": sessions[t], "instrument": names[i], **columns})
