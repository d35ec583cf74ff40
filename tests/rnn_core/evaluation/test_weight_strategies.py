"""Long-short quantiles and weighted scores. Oracles: weights by hand, and a linear program."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from rnn_core.evaluation import LongShort, ScoreWeighted, Situation, orders_towards
from rnn_core.evaluation.target_weights import capped


def situation(score, weight=None, close=None, **columns):
    """A close at which names are called A, B, C …"""
    score = np.array(score, dtype=float)
    n = len(score)
    weight = np.zeros(n) if weight is None else np.array(weight, dtype=float)
    close = np.ones(n) if close is None else np.array(close, dtype=float)
    return Situation(
        tuple("ABCDEFGHIJKL"[:n]), score, ~np.isnan(score), weight != 0, (weight != 0).astype(int),
        weight, None, close, None, {k: np.array(v, dtype=object) for k, v in columns.items()},
    )  # fmt: skip


def listed(orders):
    return [(o.instrument, o.side, o.reason, o.target) for o in orders]


NAN = float("nan")


def test_the_best_are_bought_and_the_worst_sold_short():
    """Ten names, a quintile is two: a quarter of the account in each."""
    orders = LongShort(quantile=0.2).orders(situation(range(10)))
    assert {o.target for o in orders if o.side == "buy"} == {0.25}
    assert {o.target for o in orders if o.side == "short"} == {-0.25}
    buys = [o.instrument for o in orders if o.side == "buy"]
    shorts = [o.instrument for o in orders if o.side == "short"]
    assert (buys, shorts) == (["J", "I"], ["A", "B"]), "the best and the worst first"
    assert [o.rank for o in orders if o.side == "buy"] == [1, 2]


def test_shares_of_a_side_follow_the_distance_from_the_median():
    """Scores -3, -1, 0, 1, 5: the sides are -3, -1 and 1, 5, the median 0, gross 1.2."""
    rule = LongShort(quantile=0.4, weights="score", gross=1.2)
    aims = {o.instrument: o.target for o in rule.orders(situation([-3, -1, 0, 1, 5]))}
    assert aims == pytest.approx({"A": -0.45, "B": -0.15, "D": 0.1, "E": 0.5})


def test_a_side_shares_what_a_suspended_name_leaves():
    """A is long 0.2 and suspended: it is ordered to be sold, and the best shares 0.5 - 0.2."""
    at = situation([NAN, 0, 1, 2], weight=[0.2, 0, 0, 0], close=[NAN, 1, 1, 1])
    orders = LongShort(quantile=0.25).orders(at)
    assert {(o.instrument, o.side, o.target) for o in orders} == {
        ("A", "sell", 0.0), ("D", "buy", 0.3), ("B", "short", -0.5),
    }  # fmt: skip


def test_names_that_change_sides_are_closed_and_opened():
    orders = LongShort(quantile=0.5).orders(situation([1, 0], weight=[-0.5, 0.4]))
    assert listed(orders) == [
        ("A", "cover", "dropped", 0.0),
        ("B", "sell", "dropped", 0.0),
        ("B", "short", "entered", -0.5),
        ("A", "buy", "entered", 0.5),
    ]


def test_weights_within_the_band_are_left_alone():
    at = situation([3, 2, 1], weight=[0.5, 0.32, 0])
    weight = np.array([0.45, 0.3, 0.001])
    assert listed(orders_towards(at, weight, band=0.03)) == [
        ("A", "sell", "rebalanced", 0.45), ("C", "buy", "entered", 0.001),
    ]  # fmt: skip
    assert len(orders_towards(at, weight)) == 3


def test_ranks_and_leads_become_weights():
    """Ranks: 3, 2, 1 of six. Scores 9, 6, 5, 4: leads over the fourth are 5, 2, 1 of eight."""
    at = situation([6, 9, 5, 4])
    rank = {o.instrument: o.target for o in ScoreWeighted(3, cap=1.0, exposure=0.9).orders(at)}
    assert rank == pytest.approx({"B": 0.45, "A": 0.3, "C": 0.15})
    lead = ScoreWeighted(3, weights="score", cap=1.0, exposure=0.8).orders(at)
    assert {o.instrument: o.target for o in lead} == pytest.approx({"B": 0.5, "A": 0.2, "C": 0.1})


def test_a_name_without_a_score_or_a_close_is_not_bought():
    at = situation([1, NAN, 3, 2], weight=[0, 0.3, 0, 0], close=[1, 1, NAN, 1])
    orders = ScoreWeighted(2, cap=1.0).orders(at)
    assert {(o.instrument, o.side) for o in orders} == {("B", "sell"), ("D", "buy"), ("A", "buy")}


def test_caps_hold_and_the_excess_goes_to_the_others():
    """By hand: 6:3:1 of 1 under 0.5 is 0.5, then 3:1 of the other 0.5."""
    assert capped(np.array([6.0, 3, 1]), 1.0, 0.5) == pytest.approx([0.5, 0.375, 0.125])
    assert capped(np.array([6.0, 3, 1]), 1.0, 0.3).tolist() == [0.3, 0.3, 0.3]
    groups = ["x", "x", "y", "z"]
    got = capped(np.array([4.0, 2, 2, 2]), 1.0, 0.5, groups, 0.4)
    assert got == pytest.approx([0.8 / 3, 0.4 / 3, 0.3, 0.3])


@pytest.mark.parametrize("seed", range(20))
def test_capped_weights_keep_every_cap_and_invest_all_that_the_caps_allow(seed):
    """Oracle: the largest sum under the caps, by linear programming."""
    rng = np.random.default_rng(seed)
    n, cap, group_cap, total = 12, 0.15, 0.3, 0.95
    groups = rng.choice(list("abcd"), n).tolist()
    weight = capped(rng.exponential(1.0, n), total, cap, groups, group_cap)
    member = np.array([[one == group for one in groups] for group in "abcd"], dtype=float)
    most = linprog(
        -np.ones(n), A_ub=[*member, np.ones(n)], b_ub=[group_cap] * 4 + [total], bounds=(0, cap)
    )
    assert weight.max() <= cap + 1e-12
    assert (member @ weight <= group_cap + 1e-12).all()
    assert weight.sum() == pytest.approx(-most.fun, abs=1e-9)


def test_a_group_is_capped_and_names_without_one_are_a_group():
    at = situation(range(6, 0, -1), sector=["tech", "tech", "tech", None, None, "oil"])
    rule = ScoreWeighted(6, cap=1.0, exposure=0.9, group="sector", group_cap=0.4)
    aims = {o.instrument: o.target for o in rule.orders(at)}
    assert aims["A"] + aims["B"] + aims["C"] == pytest.approx(0.4)
    assert aims["D"] + aims["E"] == pytest.approx(0.4)
    assert aims["F"] == pytest.approx(0.1)
    assert rule.columns == ("sector",)
    with pytest.raises(ValueError, match="no column 'sector', only \\[\\]"):
        rule.orders(situation(range(6)))


@pytest.mark.parametrize("rule", [LongShort(), ScoreWeighted()])
def test_without_a_candidate_everything_is_closed(rule):
    orders = rule.orders(situation([NAN, NAN], weight=[0.4, 0]))
    assert listed(orders) == [("A", "sell", "dropped", 0.0)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LongShort(quantile=0.6), "quantile=0.6: expected a share in"),
        (lambda: LongShort(weights="rank"), "weights='rank': expected equal or score"),
        (lambda: LongShort(gross=0), "gross=0: expected a multiple"),
        (lambda: ScoreWeighted(names=0), "names=0: expected 1 name or more"),
        (lambda: ScoreWeighted(exposure=1.2), "exposure=1.2: expected a share"),
        (lambda: ScoreWeighted(group="sector"), "group_cap=None: expected a column named by"),
        (lambda: ScoreWeighted(group_cap=0.3), "or neither"),
        (lambda: ScoreWeighted(band=-1), "band=-1: expected a weight"),
    ],
)
def test_wrong_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
