"""Every operator in the qlib semantics. Oracle: pyqlib 0.9.7 itself, recorded.

The fixture (tests/fixtures/make_expressions.py) has each operator alone, on awkward operands and in
drawn compositions, on a market of suspensions, late listings, infinities and zero volumes. All of
it agrees bit for bit: the kernels run the recurrences of pandas 2.3 from the same first session,
in the same order of additions. Only where a logarithm or a power is taken is the last digit
left to the machine, because numpy computes those with other instructions on other processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_core.data.bars import spans
from rnn_core.features import parse
from rnn_core.features.layout import ALPHA158_EXPRESSIONS
from rnn_core.features.operators import OPERATORS
from rnn_core.features.qlib import order, weighted
from rnn_core.features.qlib.interpreter import evaluate
from rnn_core.panel.panel import Panel

FIXTURES = Path(__file__).parents[2] / "fixtures"
TEXTS = tuple(pd.read_parquet(FIXTURES / "expressions.parquet").columns[2:])
DRAWN = TEXTS[-20:]
NAN = np.nan


@lru_cache(maxsize=1)
def market() -> Panel:
    return Panel.from_frame(pd.read_parquet(FIXTURES / "alpha158_bars.parquet"))


@lru_cache(maxsize=1)
def recorded() -> pd.DataFrame:
    return pd.read_parquet(FIXTURES / "expressions.parquet")


def evaluated(
    panel: Panel, texts: Sequence[str], *, step: int = 3, dtype: type = np.float32
) -> np.ndarray:
    """[F, N, T] values, computed in chunks of `step` instruments."""
    out = np.full((len(texts), *panel.shape), 99, dtype=dtype)
    nodes = [parse(text) for text in texts]
    for first in range(0, panel.shape[0], step):
        evaluate(panel, nodes, first, min(first + step, panel.shape[0]), out, first)
    return out


@lru_cache(maxsize=1)
def all_values() -> np.ndarray:
    return evaluated(market(), TEXTS)


def rows(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    panel = market()
    name = panel.instruments.get_indexer(frame["instrument"])
    return name, panel.sessions.get_indexer(frame["date"])


def test_fixture_covers_the_language() -> None:
    def names(node) -> set[str]:
        if not hasattr(node, "arguments"):
            return set()
        return {node.name}.union(*(names(argument) for argument in node.arguments))

    used = set().union(*(names(parse(text)) for text in TEXTS))
    assert used == set(OPERATORS)
    cells = recorded()[list(TEXTS)].to_numpy()
    assert np.isinf(cells).any()
    assert (np.isfinite(recorded()[list(DRAWN)]).mean() > 0.3).all()


@pytest.mark.parametrize("text", TEXTS)
def test_agrees_with_pyqlib(text: str) -> None:
    name, day = rows(recorded())
    ours, theirs = all_values()[TEXTS.index(text)][name, day], recorded()[text].to_numpy()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    if any(mark in text for mark in ("Log", "Power", "**")) or text.startswith("EMA("):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=0)
    else:
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_outside_the_spans() -> None:
    name, day = rows(recorded())
    inside = np.zeros(market().shape, dtype=bool)
    inside[name, day] = True
    assert np.isnan(all_values()[:, ~inside]).all()


def test_alpha360_agrees_with_pyqlib() -> None:
    """CLOSE59 .. CLOSE0, then OPEN, HIGH, LOW, VWAP over the close, VOLUME over the volume."""
    saved = np.load(FIXTURES / "alpha360_qlib.npz")
    features: dict[str, str] = {}
    for field in ("close", "open", "high", "low", "vwap", "volume"):
        scale = "($volume+1e-12)" if field == "volume" else "$close"
        for d in range(59, -1, -1):
            value = f"Ref(${field}, {d})" if d else f"${field}"
            features[f"{field.upper()}{d}"] = f"{value}/{scale}"
    assert list(features) == list(saved["names"])
    values = evaluated(market(), list(features.values()))
    frame = pd.DataFrame({"date": saved["date"], "instrument": saved["instrument"]})
    name, day = rows(frame)
    assert len(frame) > 40
    np.testing.assert_array_equal(values[:, name, day].T, saved["values"])


@given(wanted=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12), step=st.integers(1, 7))
def test_neither_chunks_nor_company_change_a_bit(same_bits, wanted: list[str], step: int) -> None:
    """Steps are shared among expressions and freed after their last use, in any company."""
    alone = all_values()[[TEXTS.index(text) for text in wanted]]
    assert same_bits(evaluated(market(), wanted, step=step), alone)


def test_threads_do_not_change_a_bit(same_bits) -> None:
    texts = list(ALPHA158_EXPRESSIONS.values())
    panel, nodes = market(), [parse(text) for text in ALPHA158_EXPRESSIONS.values()]
    out = np.empty((158, *panel.shape), dtype=np.float32)

    def work(first: int) -> None:
        evaluate(panel, nodes, first, first + 1, out, first)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(panel.shape[0])))
    assert same_bits(out, evaluated(panel, texts, step=7))


def test_float64_holds_the_numbers_before_the_last_cast() -> None:
    texts = ["Mean($close, 5)/3", "$close/3"]
    wide = evaluated(market(), texts, dtype=np.float64)
    np.testing.assert_array_equal(wide.astype(np.float32), evaluated(market(), texts))
    found = ~np.isnan(wide)
    assert (wide != wide.astype(np.float32))[0][found[0]].any(), "rolling is float64"
    assert (wide == wide.astype(np.float32))[1][found[1]].all(), "fields are float32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Divided by the number of values although the weights sum to 1.
        ("WMA($close*0+6, 3)", [6, 3, 2, 1.5, 1, 3]),
        ("WMA($close, 2)", [1, 5 / 6, 8 / 6, 1, NAN, 4]),
        # Missing values keep their weight and count as 0; the weights 0.6^k, (2/3)^k, (5/7)^k.
        ("EMA($close*0+1, 0)", [1, 1, 1, 1.176 / 2.176, 76 / 211, 30432 / 51012]),
        ("Count($close, 3)", [1, 2, 3, 2, 1, 1]),
        ("IdxMin($close, 3)", [1, 1, 1, 3, 2, 1]),
        ("Ref($close, 0)", [1] * 6),
        ("Delta($close, 0)", [0, 1, 2, NAN, NAN, 5]),
        ("Corr($close, $close, 0)", [NAN, 1, 1, 1, 1, 1]),
        ("Slope($close, 0)", [NAN, 1, 1, 1, 1, 1]),
        ("Greater(Ref($close > 1, 1), -1)", [NAN, 0, 1, 1, 0, 0]),
    ],
)
def test_by_hand(one_name, text: str, expected: list[float]) -> None:
    """1, 2, 3, two suspended sessions, 6."""
    values = evaluated(one_name([1.0, 2.0, 3.0, NAN, NAN, 6.0]), [text])[0, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_mask_looks_at_the_named_instrument(gapped_market) -> None:
    panel = gapped_market(3, instruments=5)
    values = evaluated(panel, ["Mask($close, 'S002')", "Mask($close, 's002')", "$close"], step=2)
    inside = spans(panel.present)
    for i in range(5):
        both = inside[i] & inside[2]
        np.testing.assert_array_equal(values[0, i, both], values[2, 2, both])
        assert np.isnan(values[0, i, ~both]).all()
    np.testing.assert_array_equal(values[0], values[1])
    with pytest.raises(ValueError, match=r"no instrument 'S02' in the panel; did you mean 'S002'"):
        evaluated(panel, ["Mask($close, 'S02')"])


@pytest.mark.parametrize(
    "text",
    [
        "($close > $open) - ($close > 2)",
        "($close > $open) / ($close > 2)",
        "($close > $open) ** ($close > 2)",
        "Delta($close > $open, 0)",
    ],
)
def test_conditions_are_not_numbers_where_pyqlib_says_so(one_name, text: str) -> None:
    with pytest.raises(ValueError, match=r"conditions are not numbers: use If\(condition, 1, 0\)"):
        evaluated(one_name([1.0, 2.0]), [text])


def test_unknown_field(one_name) -> None:
    with pytest.raises(ValueError, match=r"no field \$amount in the panel: it has \['close'"):
        evaluated(one_name([1.0, 2.0]), ["Mean($amount, 5)"])


def test_an_instrument_without_rows_and_one_with_a_single_one(one_name) -> None:
    texts = [text for text in TEXTS if "Mask" not in text]
    empty = evaluated(one_name([NAN] * 4), texts)
    assert np.isnan(empty).all()
    single = evaluated(one_name([NAN, 2.0, NAN]), ["Mean($close, 0)", "Ref($close, -1)"])
    np.testing.assert_array_equal(single[:, 0], [[NAN, 2, NAN], [NAN] * 3])


@given(n=st.integers(1, 2000), seed=st.integers(0, 100))
def test_sums_run_in_numpy_order(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)
    assert weighted.pairwise_sum(x, n) == x.sum()


@given(seed=st.integers(0, 200), length=st.integers(1, 40), q=st.floats(0, 1))
def test_order_statistics_of_sorted_windows(seed: int, length: int, q: float) -> None:
    """Oracle: numpy on each window."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(2, 50)), 1)
    x[rng.random(x.shape) < 0.2] = NAN
    start = np.array([0, 7])
    out = np.empty((3, *x.shape))
    order.statistics(x, start, length, np.array([order.MEDIAN, q, order.RANK]), out)
    middle, share, rank = out
    for i in range(2):
        for t in range(start[i], 50):
            window = x[i, max(start[i], t - length + 1) : t + 1]
            seen = window[~np.isnan(window)]
            if len(seen) == 0:
                assert np.isnan([middle[i, t], share[i, t], rank[i, t]]).all()
                continue
            assert middle[i, t] == np.median(seen)
            np.testing.assert_allclose(share[i, t], np.quantile(seen, q), rtol=1e-12, atol=1e-12)
            if np.isnan(x[i, t]):
                assert np.isnan(rank[i, t])
            else:
                below, equal = (seen < x[i, t]).sum(), (seen == x[i, t]).sum()
                assert rank[i, t] == (below + (equal + 1) / 2) / len(seen)
