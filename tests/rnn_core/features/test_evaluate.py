"""Expressions on panels. Oracles: numpy and pandas on single series, and numbers worked by hand."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_core.features import ExpressionError, compute_features, expression_panel, parse
from rnn_core.features.evaluate import evaluate
from rnn_core.panel.panel import Panel

LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
NAN = np.nan


def values(panel: Panel, text: str, semantics: str = "strict") -> np.ndarray:
    return expression_panel(panel, text, semantics=semantics)[0]


@pytest.mark.parametrize("semantics", ["strict", "qlib"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$a + 1", [2, -1, 1, NAN, 5]),
        ("2*$a - -$a", [3, -6, 0, NAN, 12]),
        ("$a ** 2", [1, 4, 0, NAN, 16]),
        ("Abs($a)", [1, 2, 0, NAN, 4]),
        ("Sign($a)", [1, -1, 0, NAN, 1]),
        ("Sign($a > 0)", [1, 0, 0, 0, 1]),
        ("Log(Abs($a) + 1)", [np.log(2), np.log(3), 0, NAN, np.log(5)]),
        ("Power($b, 0.5)", [NAN, 1, np.sqrt(2), 0, 2]),
        ("Greater($a, $b)", [NAN, 1, 2, NAN, 4]),
        ("Less($a, 0)", [0, -2, 0, NAN, 0]),
        ("$a > $b", [0, 0, 0, 0, 0]),
        ("$a >= $b", [0, 0, 0, 0, 1]),
        ("Lt($a, 1)", [0, 1, 1, 0, 0]),
        ("$a <= 1", [1, 1, 1, 0, 0]),
        ("$a == $b", [0, 0, 0, 0, 1]),
        ("$a != $b", [1, 1, 1, 1, 0]),
        ("($a > 0) & ($b > 0)", [0, 0, 0, 0, 1]),
        ("($a > 0) | ($b > 0)", [1, 1, 1, 0, 1]),
        ("Not($a > 0)", [0, 1, 1, 1, 0]),
        ("If($a > 0, $a, -1)", [1, -1, -1, -1, 4]),
        ("Ref($a, 1)", [NAN, 1, -2, 0, NAN]),
        ("Ref($a, -2)", [0, NAN, 4, NAN, NAN]),
        ("Ref($a, 5)", [NAN] * 5),
        ("Ref($a, -9)", [NAN] * 5),
        ("Ref($a > 0, 1)", [NAN, 1, 0, 0, 0]),
    ],
)
def test_operators_by_hand(semantics: str, text: str, expected: list[float]) -> None:
    panel = Panel(
        pd.bdate_range("2024-01-01", periods=5),
        pd.Index(["A"]),
        {"a": np.array([[1, -2, 0, NAN, 4.0]]), "b": np.array([[NAN, 1, 2, 0, 4.0]])},
        np.ones((1, 5), dtype=bool),
    )
    result = values(panel, text, semantics)
    assert result.dtype == (np.float64 if semantics == "strict" else np.float32)
    np.testing.assert_allclose(result, expected, rtol=1e-7)


def test_strict_makes_infinities_missing_and_qlib_keeps_them(one_name) -> None:
    panel = one_name([1.0, 0.0, np.inf], open=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(values(panel, "$open/$close"), [1, NAN, NAN])
    np.testing.assert_array_equal(values(panel, "$open/$close", "qlib"), [1, np.inf, 0])
    np.testing.assert_array_equal(values(panel, "If($open/$close, 1, 2)"), [1, NAN, NAN])


def test_a_reference_into_a_suspension_is_missing(one_name) -> None:
    """A condition there is false, but in strict there is no row to have a condition."""
    panel = one_name([1.0, NAN, 3.0, 4.0])
    np.testing.assert_array_equal(values(panel, "Ref($close > 0, 1)"), [NAN, 1, NAN, 1])
    np.testing.assert_array_equal(values(panel, "Ref($close > 0, 1)", "qlib"), [NAN, 1, 0, 1])


def test_conditions_are_numbers_in_strict_only(one_name) -> None:
    panel = one_name([1.0, 2.0, 3.0])
    text = "($close > 1) - ($close > 2)"
    np.testing.assert_array_equal(values(panel, text), [0, 1, 0])
    with pytest.raises(ValueError, match=r"Sub\(Gt.* use If\(condition, 1, 0\) or semantics="):
        values(panel, text, "qlib")


@given(
    names=st.tuples(*[st.sampled_from(["$a", "$b", "3", "0.1"])] * 3),
    symbols=st.tuples(*[st.sampled_from(["+", "-", "*", "/"])] * 2),
    shift=st.integers(-3, 3).filter(bool),
)
def test_qlib_arithmetic_is_float32_arithmetic(
    names: tuple[str, ...], symbols: tuple[str, ...], shift: int
) -> None:
    """Oracle: the same operations on float32 pandas series, as pyqlib runs them."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(10, 3, (2, 1, 40)).astype(np.float32)
    panel = Panel(
        pd.bdate_range("2024-01-01", periods=40),
        pd.Index(["A"]),
        {"a": a, "b": b},
        np.ones((1, 40), dtype=bool),
    )
    functions: dict[str, Callable] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
    }
    known = {"$a": pd.Series(a[0]), "$b": pd.Series(b[0]), "3": 3, "0.1": 0.1}
    inner = functions[symbols[0]](known["$a"], known[names[1]])
    expected = functions[symbols[1]](inner.shift(shift), known[names[2]])
    text = f"Ref($a {symbols[0]} {names[1]}, {shift}) {symbols[1]} {names[2]}"
    np.testing.assert_array_equal(values(panel, text, "qlib"), expected.to_numpy(np.float32))


def test_label_equals_float64_arithmetic(fixtures_dir: Path) -> None:
    bars = pd.read_parquet(fixtures_dir / "alpha158_bars.parquet")
    frame = compute_features(bars, [("LABEL0", LABEL)])
    close = bars.pivot_table(index="date", columns="instrument", values="close", dropna=False)
    close = close.astype(np.float64).replace(np.inf, np.nan)
    label = (close.shift(-2) / close.shift(-1) - 1).to_numpy()
    day = close.index.get_indexer(frame.index.get_level_values(0))
    name = close.columns.get_indexer(frame.index.get_level_values(1))
    expected = label[day, name]
    assert frame["LABEL0"].notna().sum() > 500
    np.testing.assert_allclose(frame["LABEL0"], expected, rtol=1e-6, atol=0)


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_label_on_real_markets(golden_dir: Path, market: str) -> None:
    """qlib: exactly. strict: within the roundings of pyqlib's float32 ratio, which is near 1."""
    bars = pd.read_parquet(golden_dir / f"{market}_panel.parquet")
    recorded = pd.read_parquet(golden_dir / f"{market}_alpha158.parquet")
    recorded = recorded.set_index(["date", "instrument"]).iloc[:, -1]
    exact = compute_features(bars, [("LABEL0", LABEL)], semantics="qlib")["LABEL0"]
    np.testing.assert_array_equal(exact, recorded.reindex(exact.index))
    strict = compute_features(bars, [("LABEL0", LABEL)])["LABEL0"]
    ours, theirs = strict.astype(np.float64), recorded.reindex(strict.index).astype(np.float64)
    np.testing.assert_array_equal(ours.isna(), theirs.isna())
    # Half a unit for pyqlib's ratio, and one for the float32 of either label.
    bound = 2.0**-24 * ((1 + ours) + 2 * ours.abs())
    assert ((ours - theirs).abs() <= bound)[ours.notna()].all()


@given(seed=st.integers(0, 1000), day=st.integers(0, 59))
def test_reach_is_enough_history_and_future(gapped_market, cut, seed: int, day: int) -> None:
    """The value of D from `look_back` sessions before and `look_ahead` after is the whole one."""
    text = "If(Ref($close, 7) > Ref($open, -3), Ref(Ref($high, -2), 4)/$low, Log($volume)) - 1"
    node = parse(text)
    panel = gapped_market(seed, sessions=60)
    whole = expression_panel(panel, node)[:, day]
    begin = max(day - node.look_back, 0)
    near = cut(panel, slice(begin, day + node.look_ahead + 1))
    np.testing.assert_array_equal(expression_panel(near, node)[:, day - begin], whole)


def test_frame_of_several_features(gapped_market) -> None:
    panel = gapped_market(2)
    frame = compute_features(panel, [("up", "$close > Ref($close, 1)"), ("c", "$close")])
    assert list(frame.columns) == ["up", "c"]
    assert (frame.dtypes == np.float32).all()
    assert len(frame) == panel.present.sum()
    assert set(frame["up"].dropna().unique()) == {0.0, 1.0}
    bars = frame.reset_index().rename(columns={"datetime": "date", "c": "close"})
    again = compute_features(bars[["date", "instrument", "close"]], [("c", "$close")])
    np.testing.assert_array_equal(again["c"], frame["c"])


@pytest.mark.parametrize("semantics", ["strict", "qlib"])
def test_the_frame_is_the_array_row_by_row(gapped_market, monkeypatch, semantics) -> None:
    """However few instruments go through the buffer at a time, and however many threads."""
    panel = gapped_market(5, instruments=9)
    features = [("a", "Mean($close, 5)/$close"), ("b", "Rank($volume, 20)"), ("c", "$open")]
    values = np.empty((3, *panel.shape), dtype=np.float32)
    evaluate(panel, [parse(text) for _, text in features], values, semantics=semantics)
    expected = panel.to_frame(values, ["a", "b", "c"])
    for buffer, threads in ((1, 3), (1500, 2), (10**6, 1)):
        monkeypatch.setattr("rnn_core.features.evaluate.BUFFER_VALUES", buffer)
        frame = compute_features(panel, features, semantics=semantics, threads=threads)
        pd.testing.assert_frame_equal(frame, expected)


def test_float32_overflow_is_missing_in_strict(one_name) -> None:
    panel = one_name([1e30, 1.0])
    assert np.isnan(compute_features(panel, [("x", "$close*$close")])["x"].iloc[0])


def test_errors_say_what_to_do(gapped_market) -> None:
    panel = gapped_market(0, sessions=5)
    with pytest.raises(ValueError, match=r"no field \$clsoe in the panel: it has \['close'"):
        expression_panel(panel, "$clsoe")
    with pytest.raises(ValueError, match=r"the names \['x'\] are given twice"):
        compute_features(panel, [("x", "$close"), ("x", "$open")])
    with pytest.raises(ValueError, match=r"semantics='fast', expected one of"):
        expression_panel(panel, "$close", semantics="fast")
    with pytest.raises(ExpressionError, match="unknown operator"):
        compute_features(panel, [("x", "Foo($close)")])


def test_features_are_a_mapping_or_pairs():
    """Oracle: the pairs. Another form is shown, with the two that are expected."""
    rows = pd.DataFrame(
        {
            "date": pd.bdate_range("2020-01-01", periods=4),
            "instrument": "A",
            "close": [1.0, 2, 3, 4],
        }
    )
    named = {"RET": "$close/Ref($close, 1) - 1", "C": "$close"}
    expected = compute_features(rows, list(named.items()))
    pd.testing.assert_frame_equal(compute_features(rows, named), expected)
    for wrong, told in (
        ("$close", r"features is '\$close', expected \{name: expression\}, or a list of"),
        (["$close"], r"features holds '\$close', expected"),
        ([("A", "$close", 3)], r"features holds \('A', '\$close', 3\), expected"),
        ({"A": 3}, r"features holds \('A', 3\), expected"),
        (None, "features is None, expected"),
    ):
        with pytest.raises(TypeError, match=told):
            compute_features(rows, wrong)
