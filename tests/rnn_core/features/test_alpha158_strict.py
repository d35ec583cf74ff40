"""Alpha158 in strict semantics: what it must compute, and that nothing else enters.

Oracles: a slow reference that takes each window by itself with numpy's textbook functions; small
cases worked by hand; and the locality of the values, compared bit for bit.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.features import (
    ALPHA158_LOOK_BACK,
    ALPHA158_NAMES,
    alpha158,
    alpha158_panel,
)
from rnn_core.features.layout import WINDOWS
from rnn_core.features.qlib import recurrences
from rnn_core.features.strict import elementwise, engine, lags, machine, merged, ordered
from rnn_core.panel.panel import Panel


def feature(values: np.ndarray, name: str, instrument: int = 0) -> np.ndarray:
    return values[ALPHA158_NAMES.index(name), instrument]


def constant(x: np.ndarray) -> bool:
    return len(x) > 1 and np.std(x, ddof=1) <= 1e-7 * abs(np.mean(x))


def over(x: float, y: float) -> float:
    """The ratio of a number to a guarded divisor."""
    if y == 0:
        return float(np.sign(x) * 1e12)
    return x / y


def reference(panel: Panel, i: int, t: int) -> dict[str, float]:
    """All rolling features of one instrument and session, window by window."""
    fields = {k: np.where(np.isfinite(v[i]), v[i], np.nan) for k, v in panel.fields.items()}
    h, low, c, v = (fields[k] for k in ("high", "low", "close", "volume"))
    c1, v1 = (np.r_[np.nan, x[:-1]] for x in (c, v))
    ratio, change, v_change = c / c1, c - c1, v - v1
    log_v, log_ratio, flow = np.log(v + 1), np.log(v / v1 + 1), np.abs(ratio - 1) * v
    oldest = np.flatnonzero(panel.present[i, max(t - 60, 0) : t + 1])[0] + max(t - 60, 0)
    out = {}
    for d in WINDOWS:
        begin = max(t - d + 1, oldest)
        slots = slice(begin, t + 1)

        def valid(x: np.ndarray, slots: slice = slots) -> np.ndarray:
            return x[slots][np.isfinite(x[slots])]

        def pick(x: np.ndarray, what, slots: slice = slots) -> float:
            return what(x[slots]) + 1.0 if np.isfinite(x[slots]).any() else np.nan

        closes, position = valid(c), np.flatnonzero(np.isfinite(c[slots]))
        out[f"ROC{d}"] = c[t - d] / c[t] if t >= d else np.nan
        out[f"MA{d}"] = closes.mean() / c[t]
        out[f"STD{d}"] = closes.std(ddof=1) / c[t] if len(closes) > 1 else np.nan
        slope = r2 = resid = np.nan
        if len(closes) > 1:
            slope, intercept = np.polyfit(position, closes, 1)
            resid = c[t] - (slope * (t - begin) + intercept)
            r2 = np.nan if constant(closes) else np.corrcoef(position, closes)[0, 1] ** 2
        out[f"BETA{d}"], out[f"RSQR{d}"], out[f"RESI{d}"] = slope / c[t], r2, resid / c[t]
        highest = valid(h).max() if len(valid(h)) else np.nan
        lowest = valid(low).min() if len(valid(low)) else np.nan
        out[f"MAX{d}"], out[f"MIN{d}"] = highest / c[t], lowest / c[t]
        for name, q in (("QTLU", 0.8), ("QTLD", 0.2)):
            out[f"{name}{d}"] = np.quantile(closes, q) / c[t] if len(closes) else np.nan
        rank = pd.Series(c[slots]).rank(pct=True).iloc[-1]
        out[f"RANK{d}"] = rank
        out[f"RSV{d}"] = over(c[t] - lowest, highest - lowest)
        at_high, at_low = pick(h, np.nanargmax), pick(low, np.nanargmin)
        out[f"IMAX{d}"], out[f"IMIN{d}"] = at_high / d, at_low / d
        out[f"IMXD{d}"] = (at_high - at_low) / d
        for name, x, y in (("CORR", c, log_v), ("CORD", ratio, log_ratio)):
            both = np.isfinite(x[slots]) & np.isfinite(y[slots])
            a, b = x[slots][both], y[slots][both]
            fair = len(a) > 1 and not constant(a) and not constant(b)
            out[f"{name}{d}"] = np.corrcoef(a, b)[0, 1] if fair else np.nan
        up, down = (change[slots] > 0).sum(), (change[slots] < 0).sum()
        n = t + 1 - begin
        out[f"CNTP{d}"], out[f"CNTN{d}"], out[f"CNTD{d}"] = up / n, down / n, up / n - down / n
        for prefix, x in (("SUM", valid(change)), ("VSUM", valid(v_change))):
            rise, fall = np.maximum(x, 0).sum(), np.maximum(-x, 0).sum()
            total = np.abs(x).sum() if len(x) else np.nan
            out[f"{prefix}P{d}"], out[f"{prefix}N{d}"] = over(rise, total), over(fall, total)
            out[f"{prefix}D{d}"] = over(rise - fall, total)
        out[f"VMA{d}"] = over(valid(v).mean(), v[t]) if len(valid(v)) else np.nan
        few = len(valid(v)) < 2
        out[f"VSTD{d}"] = np.nan if few else over(valid(v).std(ddof=1), v[t])
        few = len(valid(flow)) < 2
        out[f"WVMA{d}"] = np.nan if few else over(valid(flow).std(ddof=1), valid(flow).mean())
    return {k: x if np.isfinite(x) else np.nan for k, x in out.items()}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("tick", [None, 0.5])
def test_equals_a_reference_that_takes_each_window_by_itself(gapped_market, seed, tick) -> None:
    panel = gapped_market(seed, instruments=2, sessions=100, tick=tick)
    values = alpha158_panel(panel)
    for i, t in np.argwhere(panel.present):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = reference(panel, i, t)
        ours = [values[ALPHA158_NAMES.index(name), i, t] for name in expected]
        np.testing.assert_allclose(
            ours, list(expected.values()), rtol=1e-6, atol=1e-7, err_msg=f"{i} {t} {[*expected]}"
        )


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sessions=st.integers(1, 330),
    gap_share=st.sampled_from([0.0, 0.05, 0.5, 0.95]),
    tick=st.sampled_from([None, 0.25, 5.0]),
    level=st.sampled_from([1e-4, 30.0, 1e6]),
    data=st.data(),
)
def test_a_session_needs_its_61_sessions_and_nothing_else(
    gapped_market, cut, same_bits, seed, sessions, gap_share, tick, level, data
) -> None:
    """Bit equality under less history, no future, fewer names and any number of threads."""
    panel = gapped_market(
        seed, sessions=sessions, gap_share=gap_share, tick=tick and tick * level / 30, level=level
    )
    whole = alpha158_panel(panel, threads=2)
    day = data.draw(st.integers(0, sessions - 1))
    begin = max(day - ALPHA158_LOOK_BACK, 0)
    window = alpha158_panel(cut(panel, slice(begin, day + 1)), threads=1)
    assert same_bits(np.ascontiguousarray(window[:, :, -1]), np.ascontiguousarray(whole[:, :, day]))
    past = alpha158_panel(cut(panel, slice(0, day + 1)), threads=1)
    assert same_bits(past, np.ascontiguousarray(whole[:, :, : day + 1]))
    alone = alpha158_panel(cut(panel, slice(None), slice(1, 2)))
    assert same_bits(alone, np.ascontiguousarray(whole[:, 1:2]))
    assert not np.isinf(whole).any()
    assert np.isnan(whole[:, ~panel.present]).all()


def test_one_session_short_of_the_look_back_is_not_enough(gapped_market, cut, same_bits) -> None:
    """ALPHA158_LOOK_BACK is the least that does."""
    panel = gapped_market(5, gap_share=0.0, holes=0.0)
    day = 139
    whole = alpha158_panel(panel)[:, :, day]
    less = alpha158_panel(cut(panel, slice(day - ALPHA158_LOOK_BACK + 1, day + 1)))[:, :, -1]
    assert not same_bits(np.ascontiguousarray(whole), np.ascontiguousarray(less))


def test_result_does_not_depend_on_threads_or_out(gapped_market, same_bits) -> None:
    panel = gapped_market(3, instruments=150, sessions=300)
    expected = alpha158_panel(panel, threads=1)
    out = np.full_like(expected, 7)
    assert alpha158_panel(panel, threads=3, out=out) is out
    assert same_bits(out, expected)


def test_infinite_inputs_count_as_missing(gapped_market, same_bits) -> None:
    panel = gapped_market(11, holes=0.1)
    assert any(np.isinf(x).any() for x in panel.fields.values())
    fields = {k: np.where(np.isinf(x), np.nan, x) for k, x in panel.fields.items()}
    cleaned = Panel(panel.sessions, panel.instruments, fields, panel.present)
    assert same_bits(alpha158_panel(panel), alpha158_panel(cleaned))


def test_q1_missing_values_are_passed_over_by_positions(one_name) -> None:
    """And of equal extremes the oldest counts."""
    panel = one_name(
        [1.0, 5.0, 3.0, 2.0, 3.0],
        high=[1.0, 5.0, np.nan, 5.0, 3.0],
        low=[9.0, 5.0, np.nan, 2.0, 2.0],
    )
    values = alpha158_panel(panel)
    np.testing.assert_array_equal(feature(values, "IMAX5"), np.float32([0.2, 0.4, 0.4, 0.4, 0.4]))
    np.testing.assert_array_equal(feature(values, "IMIN5"), np.float32([0.2, 0.4, 0.4, 0.8, 0.8]))
    np.testing.assert_array_equal(feature(values, "IMXD5"), np.float32([0, 0, 0, -0.4, -0.4]))


def test_q2_a_window_of_one_value_has_no_line(one_name) -> None:
    nan = np.nan
    values = alpha158_panel(one_name([0.1, 0.37, 0.2, nan, nan, nan, nan, 0.3, 0.4]))
    for name in ("BETA5", "RSQR5", "RESI5"):
        assert np.isnan(feature(values, name)[[0, 7]]).all()
    # At the last session the window holds .3 and .4 in its last two slots: a rise of .1.
    np.testing.assert_allclose(feature(values, "BETA5")[8], 0.1 / 0.4, rtol=1e-6)
    assert feature(values, "RSQR5")[8] == 1
    np.testing.assert_allclose(feature(values, "RESI5")[8], 0, atol=1e-12)
    # Ten slots hold .1 .37 .2 at 1..3 and .3 .4 at 8, 9: mean slot 4.6, mean value .274.
    slots, closes = np.array([1, 2, 3, 8, 9]), np.array([0.1, 0.37, 0.2, 0.3, 0.4])
    slope = ((slots - 4.6) * (closes - 0.274)).sum() / ((slots - 4.6) ** 2).sum()
    np.testing.assert_allclose(feature(values, "BETA10")[8], slope / 0.4, rtol=1e-6)


def test_q2_nothing_is_remembered_of_an_infinity(one_name) -> None:
    values = alpha158_panel(one_name([1.0, np.inf, *np.linspace(1, 2, 70)]))
    np.testing.assert_allclose(feature(values, "RSQR5")[7:], 1, rtol=1e-6)


def test_q3_a_constant_window_has_no_correlation_and_no_r2(one_name) -> None:
    volume = list(np.arange(100.0, 170.0))
    values = alpha158_panel(one_name([0.1] * 70, volume=volume))
    for d in WINDOWS:
        assert np.isnan(feature(values, f"RSQR{d}")).all()
        assert np.isnan(feature(values, f"CORR{d}")).all()
        assert (feature(values, f"STD{d}")[1:] == 0).all()
        assert (feature(values, f"MA{d}") == 1).all()


def test_q7_correlations_stay_within_one_where_running_sums_do_not(one_name) -> None:
    """Large prices, then a ripple in step with the volume: the correlation of the ripple is 1."""
    ripple = 0.001 * (np.arange(140) % 10)
    beyond = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        close = np.r_[np.exp(rng.normal(8, 3, 60)), 1 + ripple]
        volume = np.expm1(np.r_[rng.normal(10, 3, 60), 10 + ripple])
        panel = one_name(list(close), volume=list(volume))
        strict, kept = alpha158_panel(panel), alpha158_panel(panel, semantics="qlib")
        for d in WINDOWS:
            values = feature(strict, f"CORR{d}")
            assert (np.abs(values[1:]) <= 1).all()
            np.testing.assert_allclose(values[60 + d :], 1, rtol=1e-6)
            beyond += np.nanmax(np.abs(feature(kept, f"CORR{d}"))) > 1.001
    assert beyond >= 5, "the case must be one where pyqlib's formula leaves [-1, 1]"


def test_deviation_survives_a_level_far_above_it(one_name) -> None:
    """A ripple of one part in a million: running float64 sums of squares would lose it."""
    close = 1e6 + np.tile([0.0, 1.0], 40)
    values = feature(alpha158_panel(one_name(list(close))), "STD60")
    np.testing.assert_allclose(values[-1], close[-60:].std(ddof=1) / close[-1], rtol=1e-7)


def test_after_a_suspension_beyond_the_look_back_a_name_is_new(one_name) -> None:
    close = [*np.linspace(10, 11, 30), *[np.nan] * 61, 12.0, 13.0]
    values = alpha158_panel(one_name(close))
    fresh = alpha158_panel(one_name([12.0, 13.0]))
    np.testing.assert_array_equal(values[:, 0, -2:], fresh[:, 0])
    assert feature(values, "CNTP60")[-1] == 0.5


def test_frame_in_frame_out(fixtures_dir: Path) -> None:
    bars = pd.read_parquet(fixtures_dir / "alpha158_bars.parquet")
    before = bars.copy()
    frame = alpha158(bars)
    pd.testing.assert_frame_equal(bars, before)
    assert list(frame.columns) == list(ALPHA158_NAMES)
    assert len(frame) == len(bars)
    assert (frame.dtypes == np.float32).all()
    day, name = bars["date"].iloc[-1], "TINY"
    row = bars[(bars["date"] == day) & (bars["instrument"] == name)].iloc[0].astype(object)
    expected = np.float32((float(row["close"]) - float(row["open"])) / float(row["open"]))
    assert frame.loc[(day, name), "KMID"] == expected


def test_errors_say_what_to_do(gapped_market) -> None:
    panel = gapped_market(0, sessions=5)
    with pytest.raises(ValueError, match=r"semantics='fast', expected one of"):
        alpha158_panel(panel, semantics="fast")
    with pytest.raises(ValueError, match="threads=0, expected at least 1"):
        alpha158_panel(panel, threads=0)
    with pytest.raises(ValueError, match=r"`out` is float64 .* expected a C-contiguous float32"):
        alpha158_panel(panel, out=np.empty((158, 3, 5)))
    fields = {k: v for k, v in panel.fields.items() if k != "vwap"}
    lacking = Panel(panel.sessions, panel.instruments, fields, panel.present)
    with pytest.raises(ValueError, match=r"needs the fields \['vwap'\].* set vwap to"):
        alpha158_panel(lacking)


def test_result_does_not_depend_on_the_pieces_of_history(
    gapped_market, same_bits, monkeypatch
) -> None:
    """The workspace holds some sessions at a time, each piece with its look-back in front."""
    panel = gapped_market(4, sessions=1500, instruments=2)
    expected = alpha158_panel(panel)
    for piece in (61, 200, 10_000):
        monkeypatch.setattr(engine, "PIECE", piece)
        assert same_bits(alpha158_panel(panel), expected)


@pytest.mark.parametrize("module", [elementwise, lags, machine, merged, ordered, recurrences])
def test_no_kernel_is_compiled_with_fastmath(module) -> None:
    """Reassociation need not show on one machine to cost the equality of bits on another."""
    kernels = [x for x in vars(module).values() if hasattr(x, "targetoptions")]
    assert len(kernels) >= 3
    assert not any(kernel.targetoptions.get("fastmath") for kernel in kernels)


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_differs_from_pyqlib_only_where_a_repair_says_so(golden_dir: Path, market: str) -> None:
    """The families that no repair touches agree with pyqlib to float32 rounding on real bars."""
    bars = pd.read_parquet(golden_dir / f"{market}_panel.parquet")
    ours = alpha158(bars)
    recorded = pd.read_parquet(golden_dir / f"{market}_alpha158.parquet")
    theirs = recorded.set_index(["date", "instrument"]).reindex(ours.index)
    repaired = ("IMAX", "IMIN", "IMXD", "CNT", "CORR", "CORD")
    untouched = [name for name in ALPHA158_NAMES if not name.startswith(repaired)]
    assert len(untouched) == 158 - 5 * 8
    for name in untouched:
        rtol = 1e-4 if name.startswith("WVMA") else 1e-6  # its input is float32 in pyqlib
        np.testing.assert_allclose(
            ours[name], theirs[name], rtol=rtol, atol=1e-7, err_msg=name, equal_nan=True
        )
