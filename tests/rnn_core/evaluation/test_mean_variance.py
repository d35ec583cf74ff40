"""The optimiser. Oracles: the solution in closed form, and SLSQP of scipy."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf

from rnn_core.evaluation import MeanVariance, Situation

N, L = 8, 60


@pytest.fixture
def at() -> Situation:
    """Eight names with a common factor, half of them held."""
    rng = np.random.default_rng(7)
    factor = rng.normal(0, 0.01, (L, 1)) * rng.uniform(0.5, 1.5, N)
    returns = factor + rng.normal(0, 0.01, (L, N)) * rng.uniform(0.5, 2.0, N)
    weight = np.array([0.2, 0.1, 0.15, 0.05, 0, 0, 0, 0])
    return Situation(
        tuple("ABCDEFGH"), rng.normal(0, 1, N), np.ones(N, dtype=bool), weight > 0,
        (weight > 0).astype(int), weight, None, np.ones(N), returns,
        {"sector": np.array(list("xxyyxxyy"), dtype=object)},
    )  # fmt: skip


def aims(rule, at):
    """The weights after the orders of a rule, as if all were filled."""
    result = dict(zip(at.instruments, at.weight.tolist(), strict=True))
    for order in rule.orders(at):
        result[order.instrument] = order.target
    return np.array(list(result.values()))


def parts_of(at, ic=0.03):
    """Alpha and covariance by scikit-learn's estimator and the formula of Grinold."""
    alpha = at.score
    if ic is not None:
        z = (at.score - at.score.mean()) / at.score.std()
        alpha = ic * at.returns.std(axis=0) * z
    return alpha, LedoitWolf().fit(at.returns).covariance_


def test_without_binding_limits_it_is_the_closed_form(at):
    """w = S^-1 alpha / risk_aversion, and no cost."""
    rule = MeanVariance(
        L, risk_aversion=40, turnover_cost=0, cap=1, long_only=False, gross=10, net=10
    )
    alpha, covariance = parts_of(at)
    assert aims(rule, at) == pytest.approx(np.linalg.solve(covariance, alpha) / 40, abs=3e-6)
    plain = MeanVariance(
        L, risk_aversion=4e4, ic=None, turnover_cost=0, cap=1, long_only=False, gross=10, net=10
    )
    assert aims(plain, at) == pytest.approx(np.linalg.solve(covariance, at.score) / 4e4, abs=3e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"turnover_cost": 0.0003},
        {"turnover_limit": 0.2},
        {"group": "sector", "group_cap": 0.35},
        {"long_only": False, "gross": 0.8},
        {"long_only": False, "gross": 1.5, "group": "sector", "group_cap": 0.3},
    ],
    ids=["long", "cost", "limit", "group", "neutral", "neutral_group"],
)
def test_it_is_the_optimum_under_the_limits(at, options):
    """Oracle: SLSQP on two variables of 0 or more a name, in which every limit is linear.

    They are purchases and sales of a long book, and the long and the short part of another one.
    """
    rule = MeanVariance(L, **{"risk_aversion": 8, "cap": 0.25, "turnover_cost": 0.0} | options)
    alpha, covariance = parts_of(at)
    now, short = at.weight, not rule.long_only
    base = np.zeros(N) if short else now

    def weight(x):
        return base + x[:N] - x[N:]

    def loss(x):
        w = weight(x)
        value = alpha @ w - rule.risk_aversion / 2 * w @ covariance @ w
        return 1e4 * (rule.turnover_cost * x.sum() - value)

    limits = [lambda x: 0.25 - weight(x), lambda x: weight(x) + (0.25 if short else 0)]
    limits.append(lambda x: rule.gross - (x.sum() if short else weight(x).sum()))
    if short:
        limits.append(lambda x: rule.net + np.array([-1, 1]) * weight(x).sum())
    if rule.turnover_limit:
        limits.append(lambda x: rule.turnover_limit - x.sum())
    if rule.group:
        own = at.columns["sector"] == "x"
        for members in (own, ~own):
            limits.append(lambda x, m=members: rule.group_cap - weight(x)[m].sum())
            limits.append(lambda x, m=members: rule.group_cap + weight(x)[m].sum())
    best = min(
        (
            minimize(
                loss, np.full(2 * N, start), method="SLSQP", bounds=[(0, 2)] * (2 * N),
                constraints=[{"type": "ineq", "fun": f} for f in limits],
                options={"maxiter": 1000, "ftol": 1e-12},
            )
            for start in (0.0, 0.01)
        ),
        key=lambda found: found.fun,
    )  # fmt: skip
    got = aims(rule, at)
    change = got - base
    split = np.concatenate([np.maximum(change, 0), np.maximum(-change, 0)])
    assert all(np.min(f(split)) > -1e-5 for f in limits), "a limit is broken"
    assert loss(split) == pytest.approx(best.fun, abs=1e-4), "another optimum"


def test_a_position_beyond_its_cap_is_allowed_to_stay(at):
    """A has drifted to 0.2 under a cap of 0.1, and only 0.01 may be turned over."""
    got = aims(MeanVariance(L, cap=0.1, turnover_limit=0.01, turnover_cost=0.0), at)
    assert np.abs(got - at.weight).sum() <= 0.01 + 1e-5
    assert got.max() <= 0.2


@pytest.mark.parametrize("turnover", [None, 0.2, 5.0])
@pytest.mark.parametrize("long_only", [True, False])
def test_sums_that_have_drifted_are_brought_back(at, long_only, turnover):
    """Gross, net and a group are above their limits: they are kept at once, or by the turnover."""
    signs = np.ones(N) if long_only else np.array([1, 1, 1, -1, 1, -1, 1, 1])
    now = signs * np.array([0.3, 0.25, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05])
    rule = MeanVariance(
        L, risk_aversion=0.01, turnover_cost=0, cap=0.4, long_only=long_only,
        gross=0.9, net=0 if long_only else 0.1, group="sector", group_cap=0.4,
        turnover_limit=turnover,
    )  # fmt: skip
    drifted = replace(at, weight=now, held=now != 0, age=np.ones(N, dtype=int))
    found, sector = aims(rule, drifted), at.columns["sector"]
    left = 1 - turnover / np.abs(now).sum() if turnover == 0.2 else 0.0
    tiny = 2e-6 * N
    assert np.abs(found).sum() <= max(0.9, left * np.abs(now).sum()) + tiny
    if not long_only:
        assert abs(found.sum()) <= max(0.1, left * abs(now.sum())) + tiny
    for name in "xy":
        own = sector == name
        assert abs(found[own].sum()) <= max(0.4, left * abs(now[own].sum())) + tiny
    if turnover is not None:
        assert np.abs(found - now).sum() <= turnover + tiny
    assert np.abs(found - now).sum() > 0.1


def test_cost_keeps_the_book_where_it_is(at):
    assert MeanVariance(L, cap=0.3, turnover_cost=1.0).orders(at) == []


def test_names_without_enough_returns_or_a_close_are_no_candidates(at):
    at.returns[: L // 2 + 1, 4] = np.nan  # E has less than half
    at.returns[: L // 2, 5] = np.nan  # F has half
    at.close[0] = np.nan  # A is held and suspended
    at.score[:] = [0, 0, 0, 0, 9, 8, 1, 2]
    rule = MeanVariance(L, cap=0.5, turnover_cost=0.0)
    got = aims(rule, at)
    assert (got[4], got[0]) == (0, 0)
    assert got[5] > 0
    assert got[1:].sum() <= 0.95 - 0.2 + 1e-5, "A keeps its 0.2 until it trades"


def test_the_same_situation_gives_the_same_bits(at):
    rule = MeanVariance(L, cap=0.2, turnover_limit=0.3)
    first = rule.orders(at)
    assert first
    assert all(rule.orders(at) == first for _ in range(3))


def test_more_names_without_a_score_change_no_bit(at):
    """The same candidates among other names, as in a range that is made in pieces."""
    pad = np.full((L, 3), np.nan)
    wide = Situation(
        (*at.instruments, "I", "J", "K"), np.append(at.score, [np.nan] * 3),
        np.append(at.scored, [False] * 3), np.append(at.held, [False] * 3),
        np.append(at.age, [0] * 3), np.append(at.weight, [0.0] * 3), None,
        np.append(at.close, [np.nan] * 3), np.concatenate([at.returns, pad], axis=1),
    )  # fmt: skip
    rule = MeanVariance(L, cap=0.2)
    assert rule.orders(wide) == rule.orders(at)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sessions": 5}, "sessions=5: expected 10"),
        ({"ic": 1.5}, "ic=1.5: expected a correlation"),
        ({"gross": 1.5}, r"gross=1.5: expected a multiple in \(0, 1\]"),
        ({"net": 0.1}, "net=0.1: expected 0, since a book that is long only"),
        ({"turnover_limit": 0}, "turnover_limit=0: expected a weight above 0"),
        ({"group": "sector"}, "group_cap=None"),
        ({"risk_aversion": 0}, "risk_aversion=0"),
        ({"turnover_cost": -1}, "turnover_cost=-1"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        MeanVariance(**options)


def test_without_the_extra_the_message_names_it(monkeypatch):
    whole = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cvxpy" else whole(name)
    )
    with pytest.raises(ValueError, match=r"\(cvxpy not found\): pip install .*\[optimizer\]"):
        MeanVariance()


def test_a_situation_without_returns_is_refused(at):
    bare = Situation(at.instruments, at.score, at.scored, at.held, at.age, at.weight)
    with pytest.raises(ValueError, match="has no returns"):
        MeanVariance(L).orders(bare)
