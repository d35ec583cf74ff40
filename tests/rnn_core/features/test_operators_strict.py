"""Every rolling operator in strict semantics. Oracle: pandas, or numpy window by window.

The series have gaps (a session without a row), missing cells, ties, constants, infinities, zeros,
one bar, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rnn_core.features import compute_features, expression_panel, parse
from rnn_core.panel.panel import Panel

NAN = np.nan
CELLS = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0, 2.0, 100.0, NAN, np.inf, -np.inf]),
    st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 2)),
)


@st.composite
def markets(draw, sessions: int = 40) -> Panel:
    """One instrument with the fields a and b, some sessions of it without a row."""
    length = draw(st.integers(1, sessions))
    cells = st.lists(CELLS, min_size=length, max_size=length)
    if draw(st.booleans()):
        cells = st.lists(st.sampled_from([5.0, 5.0, 5.0, NAN]), min_size=length, max_size=length)
    a, b = np.array([draw(cells)]), np.array([draw(cells)])
    rows = st.lists(st.sampled_from([True, True, True, False]), min_size=length, max_size=length)
    return panel_of(a, b, np.array([draw(rows)]))


def panel_of(a: np.ndarray, b: np.ndarray, present: np.ndarray | None = None) -> Panel:
    present = np.ones(a.shape, dtype=bool) if present is None else present
    return Panel(
        pd.bdate_range("2024-01-01", periods=a.shape[1], name="datetime"),
        pd.Index([f"S{i}" for i in range(len(a))], name="instrument"),
        {"a": a, "b": b},
        present,
    )


def seen(panel: Panel, name: str) -> pd.Series:
    """A field as windows see it."""
    x = np.where(panel.present[0] & np.isfinite(panel.fields[name][0]), panel.fields[name][0], NAN)
    return pd.Series(x)


def strict(panel: Panel, text: str) -> np.ndarray:
    """The values on the sessions with a row."""
    return expression_panel(panel, text)[0][panel.present[0]]


def same(panel: Panel, text: str, expected: pd.Series | np.ndarray, **tolerance: float) -> None:
    wanted = np.asarray(expected, dtype=float)[panel.present[0]]
    np.testing.assert_allclose(strict(panel, text), wanted, err_msg=text, **tolerance)


def rolling(x: pd.Series, n: int):
    return x.rolling(n, min_periods=1) if n else x.expanding(min_periods=1)


def by_window(x: pd.Series, n: int, what: Callable[[np.ndarray], float]) -> np.ndarray:
    """A statistic of the values that are there, window by window."""
    out = []
    for t in range(len(x)):
        window = x.to_numpy()[max(t - n + 1, 0) if n else 0 : t + 1]
        values = window[np.isfinite(window)]
        out.append(what(values) if len(values) else NAN)
    return np.array(out)


def varies(values: np.ndarray) -> bool:
    return len(values) > 1 and np.std(values, ddof=1) > 1e-7 * abs(np.mean(values))


def largest(x: pd.Series | np.ndarray) -> float:
    """Magnitude of a series, at least 1."""
    return float(np.nan_to_num(np.abs(x)).max(initial=1.0))


WINDOWS = st.sampled_from([1, 2, 3, 5, 7, 15, 26, 60, 0])


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=WINDOWS)
def test_moments_sums_and_counts(panel: Panel, n: int) -> None:
    x = seen(panel, "a")
    scale = largest(x)
    near = {"rtol": 1e-9, "atol": 1e-12 * scale}
    same(panel, f"Mean($a, {n})", by_window(x, n, np.mean), **near)
    same(panel, f"Sum($a, {n})", by_window(x, n, np.sum), rtol=1e-9, atol=1e-11 * scale)
    variance = by_window(x, n, lambda v: np.var(v, ddof=1) if len(v) > 1 else NAN)
    same(panel, f"Var($a, {n})", variance, rtol=1e-9, atol=1e-12 * scale**2)
    same(panel, f"Std($a, {n})", np.sqrt(variance), rtol=1e-9, atol=1e-12 * scale)
    same(panel, f"Mad($a, {n})", by_window(x, n, lambda v: np.abs(v - v.mean()).mean()), **near)
    count = rolling(x.notna().astype(float), n).sum()
    same(panel, f"Count($a, {n})", count, rtol=0)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=WINDOWS, q=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
def test_order_statistics_are_exact(panel: Panel, n: int, q: float) -> None:
    x = seen(panel, "a")
    same(panel, f"Max($a, {n})", by_window(x, n, np.max), rtol=0)
    same(panel, f"Min($a, {n})", by_window(x, n, np.min), rtol=0)
    quantile = by_window(x, n, lambda v: np.quantile(v, q))
    same(panel, f"Quantile($a, {n}, {q})", quantile, rtol=1e-12, atol=1e-12)
    same(panel, f"Med($a, {n})", by_window(x, n, np.median), rtol=1e-12, atol=1e-12)
    same(panel, f"Rank($a, {n})", rolling(x, n).rank(pct=True), rtol=1e-15)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=WINDOWS)
def test_positions_count_from_the_first_row_of_a_young_name(panel: Panel, n: int) -> None:
    """Markets of 40 sessions: the first row ever is within the 60 sessions that are looked at."""
    x, rows = seen(panel, "a").to_numpy(), np.flatnonzero(panel.present[0])
    for name, best in (("IdxMax", np.nanargmax), ("IdxMin", np.nanargmin)):
        expected = np.full(len(x), NAN)
        for t in rows:
            begin = max(rows[0], t - n + 1 if n else 0)
            if np.isfinite(x[begin : t + 1]).any():
                expected[t] = best(x[begin : t + 1]) + 1
        same(panel, f"{name}($a, {n})", expected, rtol=0)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=st.sampled_from([3, 4, 5, 9, 30, 0]))
def test_shape(panel: Panel, n: int) -> None:
    """A constant has no shape; pandas gives 0 and -3 there, and round-off where it is nearly so."""
    x = seen(panel, "a")
    spread = by_window(x, n, lambda v: np.std(v) / (np.max(np.abs(v)) + 1e-300))
    assume(not ((spread > 0) & (spread < 1e-3)).any())
    for name, least, what in (("Skew", 3, pd.Series.skew), ("Kurt", 4, pd.Series.kurt)):
        if n and n < least:
            continue
        expected = by_window(
            x,
            n,
            lambda v, k=least, f=what: f(pd.Series(v)) if len(v) >= k and varies(v) else NAN,
        )
        same(panel, f"{name}($a, {n})", expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=st.sampled_from([2, 3, 5, 15, 60, 0]))
def test_regression_on_time(panel: Panel, n: int) -> None:
    x = seen(panel, "a").to_numpy()
    scale = largest(x)
    slope, r2, resid = (np.full(len(x), NAN) for _ in range(3))
    for t in range(len(x)):
        window = x[max(t - n + 1, 0) if n else 0 : t + 1]
        at = np.flatnonzero(np.isfinite(window))
        if len(at) < 2:
            continue
        k = at - at.mean()
        d = window[at] - window[at].mean()
        slope[t] = (k * d).sum() / (k * k).sum()
        resid[t] = x[t] - window[at].mean() - slope[t] * (len(window) - 1 - at.mean())
        if varies(window[at]):
            r2[t] = (k * d).sum() ** 2 / ((k * k).sum() * (d * d).sum())
    same(panel, f"Slope($a, {n})", slope, rtol=1e-8, atol=1e-11 * scale)
    same(panel, f"Resi($a, {n})", resid, rtol=1e-8, atol=1e-10 * scale)
    same(panel, f"Rsquare($a, {n})", r2, rtol=1e-6, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=st.sampled_from([2, 3, 5, 15, 60, 0]))
def test_pairs(panel: Panel, n: int) -> None:
    x, y = seen(panel, "a"), seen(panel, "b")
    both = (x.notna() & y.notna()).to_numpy()
    corr, cov = np.full(len(x), NAN), np.full(len(x), NAN)
    for t in range(len(x)):
        window = slice(max(t - n + 1, 0) if n else 0, t + 1)
        u, v = x.to_numpy()[window][both[window]], y.to_numpy()[window][both[window]]
        if len(u) > 1:
            cov[t] = np.cov(u, v)[0, 1]
            if varies(u) and varies(v):
                corr[t] = np.clip(np.corrcoef(u, v)[0, 1], -1, 1)
    scale = largest(x) * largest(y)
    same(panel, f"Cov($a, $b, {n})", cov, rtol=1e-9, atol=1e-11 * scale)
    same(panel, f"Corr($a, $b, {n})", corr, rtol=1e-7, atol=1e-7)


@settings(max_examples=150, deadline=None)
@given(panel=markets(), n=st.sampled_from([1, 2, 5, 26, 0.5, 0.05]))
def test_exponential_weights(panel: Panel, n: float) -> None:
    x, alpha = seen(panel, "a").to_numpy(), n if n < 1 else 2 / (n + 1)
    reach = parse(f"EMA($a, {n})").look_back
    expected = np.full(len(x), NAN)
    for t in range(len(x)):
        values = x[max(t - reach, 0) : t + 1][::-1]
        weights, there = (1 - alpha) ** np.arange(len(values)), np.isfinite(values)
        if weights[there].sum() > 0:
            expected[t] = (weights[there] * values[there]).sum() / weights[there].sum()
    same(panel, f"EMA($a, {n})", expected, rtol=1e-9, atol=1e-12 * largest(x))
    if n < 1:
        same(panel, f"Mean($a, {n})", expected, rtol=1e-9, atol=1e-12 * largest(x))


@pytest.mark.parametrize("n", [2, 5, 26, 0.5, 0.05])
def test_the_cut_of_exponential_weights_does_not_show(n: float) -> None:
    """Oracle: pandas' ewm over all of history, of which the far past weighs less than 1e-8."""
    x = 100 + np.random.default_rng(1).normal(size=(1, 900)).cumsum(axis=1)
    ewm = pd.Series(x[0]).ewm(alpha=n) if n < 1 else pd.Series(x[0]).ewm(span=n)
    np.testing.assert_allclose(strict(panel_of(x, x), f"EMA($a, {n})"), ewm.mean(), rtol=3e-8)


@settings(max_examples=100, deadline=None)
@given(panel=markets(), n=st.sampled_from([1, 2, 5, 26, 0]))
def test_linear_weights(panel: Panel, n: int) -> None:
    """WMA and the EMA of all history: weights by place in the window, over the values there are."""
    x, rows = seen(panel, "a").to_numpy(), np.flatnonzero(panel.present[0])
    scale = largest(x)
    linear, growing = np.full(len(x), NAN), np.full(len(x), NAN)
    for t in rows:
        window = x[max(rows[0], t - n + 1 if n else 0) : t + 1]
        history = x[rows[0] : t + 1]
        for out, values, weights in (
            (linear, window, np.arange(len(window)) + 1.0),
            (growing, history, (1 - 2 / (1 + len(history))) ** np.arange(len(history))[::-1]),
        ):
            there = np.isfinite(values)
            if weights[there].sum() > 0:
                out[t] = (weights[there] * values[there]).sum() / weights[there].sum()
    same(panel, f"WMA($a, {n})", linear, rtol=1e-9, atol=1e-12 * scale)
    same(panel, "EMA($a, 0)", growing, rtol=1e-9, atol=1e-12 * scale)


def test_conditions_in_windows_by_hand() -> None:
    """A session without a row is a "no" of full weight; what was before the first row is not."""
    present = np.array([[False, True, False, True, True]])
    panel = panel_of(np.array([[NAN, 1, NAN, 3, 4.0]]), np.zeros((1, 5)), present)
    up = "($a > 2)"
    np.testing.assert_allclose(strict(panel, f"Mean({up}, 3)"), [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(strict(panel, f"Sum({up}, 3)"), [0, 1, 2])
    np.testing.assert_allclose(strict(panel, f"Count({up}, 3)"), [1, 3, 3])
    np.testing.assert_allclose(strict(panel, f"Mean(Not{up}, 3)"), [1, 1 / 3, 0])
    np.testing.assert_allclose(strict(panel, f"Max({up}, 3)"), [0, 1, 1])


def test_a_window_sees_rows_only() -> None:
    """A formula may have a value on a suspended session; no window and no reference sees it."""
    present = np.array([[True, False, True]])
    panel = panel_of(np.array([[1.0, NAN, 4.0]]), np.zeros((1, 3)), present)
    np.testing.assert_allclose(strict(panel, "Mean(Max($a, 2), 2)"), [1, 4])
    np.testing.assert_allclose(strict(panel, "Mean(If($a > 0, 1, 0), 3)"), [1, 1])
    np.testing.assert_allclose(strict(panel, "Delta($a, 2)"), [NAN, 3])


def test_first_session_of_all() -> None:
    panel = panel_of(np.array([[NAN, 2, 3, 5.0]]), np.zeros((1, 4)), np.array([[0, 1, 1, 1]]) > 0)
    np.testing.assert_allclose(strict(panel, "Ref($a, 0)"), [2, 2, 2])
    np.testing.assert_allclose(strict(panel, "Delta($a, 0)"), [0, 1, 3])
    assert parse("Ref($a, 0)").look_back == parse("Mean($a, 0)").look_back >= 10**6


def test_mask_gives_one_instrument_to_all() -> None:
    values = np.array([[1.0, 2, 3], [10, 20, 40]])
    panel = panel_of(values, values)
    result = expression_panel(panel, "$a - Mask(Delta($a, 1), 's1')")
    np.testing.assert_allclose(result, [[NAN, -8, -17], [NAN, 10, 20]])
    with pytest.raises(ValueError, match=r"no instrument 'S7' in the panel; did you mean 'S"):
        expression_panel(panel, "Mask($a, 'S7')")


@pytest.mark.parametrize(
    "text",
    [
        *("Mean($a, 5)", "Std($a, 4)", "Slope($a, 6)", "Max($a, 4)", "IdxMin($a, 4)", "Sum($a, 5)"),
        *("Rank($a, 4)", "Med($a, 4)", "Mad($a, 4)", "Skew($a, 5)", "WMA($a, 4)"),
        *("Corr($a, $b, 5)", "Mean($a, 0)"),
    ],
)
def test_min_periods(text: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 1, 30))
    a[rng.random(a.shape) < 0.3] = NAN
    panel = panel_of(a, b)
    count = expression_panel(panel, f"Count($a, {text.split()[-1][:-1]})")
    plain = compute_features(panel, [("x", text)])["x"].to_numpy()
    asked = compute_features(panel, [("x", text)], min_periods=3)["x"].to_numpy()
    np.testing.assert_array_equal(asked, np.where(count[0] >= 3, plain, NAN))
    with pytest.raises(ValueError, match="min_periods=0, expected at least 1"):
        compute_features(panel, [("x", text)], min_periods=0)
    with pytest.raises(ValueError, match="min_periods=3 with semantics='qlib'"):
        compute_features(panel, [("x", text)], min_periods=3, semantics="qlib")


LEAVES = ["$close", "$volume", "$high", "($close > $open)", "$close/Ref($close, 1)"]
UNARY = ["Mean", "Sum", "Std", "Var", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank"]
UNARY += ["Count", "Slope", "Rsquare", "Resi", "WMA", "EMA", "Skew", "Kurt", "Delta", "Ref"]


@st.composite
def expressions(draw, depth: int = 2) -> str:
    if depth == 0:
        return draw(st.sampled_from(LEAVES))
    inside = draw(expressions(depth - 1))
    kind = draw(st.integers(0, 3))
    n = draw(st.sampled_from([4, 5, 7, 12]))
    if kind == 0:
        return f"({inside} {draw(st.sampled_from('+-*/'))} {draw(expressions(depth - 1))})"
    if kind == 1:
        other = draw(expressions(depth - 1))
        return f"{draw(st.sampled_from(['Corr', 'Cov']))}({inside}, {other}, {n})"
    return f"{draw(st.sampled_from(UNARY))}({inside}, {n})"


@settings(max_examples=60, deadline=None)
@given(
    text=expressions(),
    seed=st.integers(0, 2**32 - 1),
    gap_share=st.sampled_from([0.0, 0.1, 0.6]),
    data=st.data(),
)
def test_a_session_needs_what_the_graph_says_and_nothing_else(
    gapped_market, cut, text: str, seed: int, gap_share: float, data
) -> None:
    """Bit equality of any expression under the least history and without the future."""
    node = parse(text)
    panel = gapped_market(seed, sessions=130, gap_share=gap_share)
    day = data.draw(st.integers(0, 129))
    whole = expression_panel(panel, node)[:, day]
    begin = max(day - node.look_back, 0)
    near = expression_panel(cut(panel, slice(begin, day + 1)), node)[:, -1]
    rows = panel.present[:, day]
    assert (near[rows].view(np.int64) == whole[rows].view(np.int64)).all() or np.array_equal(
        near[rows], whole[rows], equal_nan=True
    )
    past = expression_panel(cut(panel, slice(0, day + 1)), node)[:, -1]
    np.testing.assert_array_equal(past[rows], whole[rows])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), day=st.integers(0, 129))
def test_all_of_history_does_not_change_as_history_grows(gapped_market, cut, seed, day) -> None:
    panel = gapped_market(seed, sessions=130)
    texts = [f"{name}($close, 0)" for name in UNARY]
    for text in texts:
        whole = expression_panel(panel, text)[:, day]
        past = expression_panel(cut(panel, slice(0, day + 1)), text)[:, -1]
        np.testing.assert_array_equal(past, whole, err_msg=text)


def test_a_value_does_not_depend_on_the_set_it_is_computed_in(gapped_market) -> None:
    panel = gapped_market(8, sessions=200)
    features = [(f"{name}{n}", f"{name}($close, {n})") for name in UNARY for n in (4, 9, 33, 60)]
    together = compute_features(panel, features)
    for name, text in features:
        alone = compute_features(panel, [(name, text)])[name]
        np.testing.assert_array_equal(together[name], alone, err_msg=name)
