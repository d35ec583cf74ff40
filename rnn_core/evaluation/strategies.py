"""Strategies: from the scores of a session and the book after it to the orders for the next one.

A strategy looks at a `Situation`, which holds what is known at the close, and returns orders; how
they are filled is the business of `execution.py`. `TopkDropout` is the one that is shipped; one of
another package is named as `package.module:Class` (`rnn_core/own_parts.py`, docs/extending.md).

TopkDropout's rules at the close of session D, for D + 1:
1. Rank names by score; those not held that rank best are candidates, `n_drop + topk - held` of
   them. A held name without a score ranks last. Equal scores rank in instrument order.
2. Rank candidates and held names together; held ones among the last `n_drop` are to be sold,
   unless held for fewer than `hold_thresh` sessions.
3. Buy the first `sold + topk - held` candidates ("sold" counts those of rule 2 that are held too
   briefly, too).

Shapes: `N` instruments.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.account import BoolArray, SessionPrices
from rnn_core.evaluation.align import FloatArray, IntArray
from rnn_core.evaluation.execution import BookState, Order, expected, held_arrays
from rnn_core.evaluation.portfolio_config import PortfolioConfig
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.panel.frames import Semantics

ENTRY_POINTS = "rnn_core.strategies"
"""The group of entry points of strategies of other packages."""


@dataclass(frozen=True, eq=False)
class Situation:
    """Everything that a strategy may know at a close.

    Attributes:
        instruments: the N names, sorted.
        score: [N] scores of the session, NaN where none.
        scored: [N] True where the session has a row, with qlib's semantics even if it is NaN.
        held: [N] True for names in the book.
        age: [N] sessions that a name has been held, 0 where it is not.
        weight: [N] worth of each position / account.
        tradable: [N] True where the next session will take purchases and sales; None at the close,
            when nobody knows, and a mask only in a backtest with `only_tradable`.
    """

    instruments: Sequence[str]
    score: FloatArray
    scored: BoolArray
    held: BoolArray
    age: NDArray[np.int64]
    weight: FloatArray
    tradable: BoolArray | None = None

    @property
    def ranked(self) -> IntArray:
        """[N] the names by score, best first, those without a score last, ties by name."""
        return np.argsort(-self.score, kind="stable")

    @classmethod
    def of(
        cls,
        state: BookState,
        prices: SessionPrices,
        score: FloatArray,
        scored: BoolArray,
        tradable: BoolArray | None = None,
    ) -> Situation:
        """Lay a book and scores out over the names of some prices."""
        n = len(prices.instruments)
        held, age, weight = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n)
        at, worth, ages = held_arrays(state, prices)
        held[at], age[at], weight[at] = True, ages, worth / state.account
        return cls(prices.instruments, score, scored, held, age, weight, tradable)


@runtime_checkable
class Strategy(Protocol):
    """The rule that turns scores into orders."""

    def orders(self, at: Situation) -> Sequence[Order]:
        """The orders for the next session, sales before purchases.

        A purchase says how many purchases share the cash (`share_of`) and which part of the cash
        they use (`risk_degree`). The answer depends on nothing but the situation.
        """


@dataclass(frozen=True)
class TopkDropout:
    """Hold about `topk` names, and replace at most `n_drop` of the worst each session.

    Attributes:
        topk: names to hold.
        n_drop: held names to replace each session, at most.
        hold_thresh: sessions a name is held before it may be sold.
        risk_degree: share of the cash that a session's purchases may use.
        semantics: "strict" or "qlib", see `rnn_core.evaluation.portfolio`.
    """

    topk: int = 50
    n_drop: int = 5
    hold_thresh: int = 1
    risk_degree: float = 0.95
    semantics: Semantics = "strict"

    @classmethod
    def of(cls, config: PortfolioConfig) -> TopkDropout:
        """The strategy of a backtest's settings."""
        return cls(
            config.topk, config.n_drop, config.hold_thresh, config.risk_degree, config.semantics
        )

    def orders(self, at: Situation) -> list[Order]:
        """Apply the rules; see the module."""
        strict, held, ranked = self.semantics == "strict", at.held, at.ranked
        n_held = int(held.sum())
        # Rule 1: the candidates.
        candidates = _first(
            ranked[(at.scored & ~held)[ranked]], self.n_drop + self.topk - n_held, at.tradable,
            strict,
        )  # fmt: skip
        # Rule 2: candidates and held names together.
        pool = held.copy()
        pool[candidates] = True
        bottom = _first(ranked[pool[ranked]][::-1], self.n_drop, at.tradable, strict, last=True)
        selling = np.zeros_like(held)
        selling[bottom] = True
        selling &= held
        n_buy = int(selling.sum()) + self.topk - n_held
        selling &= at.age >= self.hold_thresh
        # Rule 3: the purchases.
        buying = candidates[: max(n_buy, 0) if strict else n_buy]
        place = np.empty(len(ranked), dtype=np.int64)
        place[ranked] = np.arange(1, len(ranked) + 1)

        def rank(i: int) -> int | None:
            return None if np.isnan(at.score[i]) else int(place[i])

        names = at.instruments
        sales = [
            Order(names[i], "sell", "dropped", rank(i)) for i in np.flatnonzero(selling).tolist()
        ]  # in instrument order
        return sales + [
            Order(names[i], "buy", "entered", rank(i), len(buying), self.risk_degree)
            for i in buying.tolist()
        ]


def _first(
    names: IntArray, count: int, eligible: BoolArray | None, strict: bool, *, last: bool = False
) -> IntArray:
    """Take the first `count` (eligible) names.

    The "qlib" branch follows Python's slices for counts below one: -2 is "all but two", and the
    last 0 (`last`) is everything; with `eligible` at least one name is taken.
    """
    if eligible is not None:
        names = names[eligible[names]]
        return names[: max(count, 0 if strict else 1)]
    if strict:
        return names[: max(count, 0)]
    return names if last and count == 0 else names[:count]


def decide(
    strategy: Strategy,
    state: BookState,
    prices: SessionPrices,
    score: FloatArray,
    scored: BoolArray,
    config: PortfolioConfig,
    tradable: BoolArray | None = None,
) -> list[Order]:
    """Decide at a close on the orders for the next session.

    Args:
        strategy: the rule.
        state: the book after the session.
        prices: prices of the session.
        score: [N] its scores over the names of the prices.
        scored: [N] True where it has a score.
        config: `sizing` fixes the amounts at this close or leaves them to the next session.
        tradable: see `Situation`.

    Returns:
        The orders, sales before purchases; none without a score.

    Raises:
        ValueError: the strategy orders what nobody can execute.
    """
    if not scored.any():
        return []
    given = strategy.orders(Situation.of(state, prices, score, scored, tradable))
    if not isinstance(given, Sequence) or not all(isinstance(one, Order) for one in given):
        raise ValueError(
            f"orders of {type(strategy).__name__} gave {given!r:.60}, expected a list of "
            f"rnn_core.evaluation.Order, empty where there is nothing to order"
        )
    orders = sorted(given, key=lambda order: order.side == "buy")
    _check(orders, state)
    if config.sizing == "cash_share":
        return orders
    fills = expected(state, orders, prices, config).trades
    return [
        replace(trade.order, amount=trade.amount) if trade.order.side == "buy" else trade.order
        for trade in fills
        if not trade.refusal
    ]


def _check(orders: Sequence[Order], state: BookState) -> None:
    """Confirm that each order is of a name of its own, and that the book can take it."""
    names = [order.instrument for order in orders]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)} is ordered twice; expected one order")
    held = set(state.instruments)
    for order in orders:
        if order.side == "sell" and order.instrument not in held:
            raise ValueError(f"{order.instrument} is to be sold, and the book does not hold it")
        if order.side == "buy" and order.instrument in held:
            raise ValueError(f"{order.instrument} is to be bought, and the book holds it already")
        if order.side == "buy" and order.amount is None and order.share_of < 1:
            raise ValueError(
                f"{order.instrument} is to be bought for a share of the cash, and share_of is "
                f"{order.share_of}; expected the number of purchases that share it"
            )


def own_strategy(name: str) -> OwnPart:
    """A strategy of another package, its contract confirmed.

    Args:
        name: `package.module:Class`, or an entry point of `rnn_core.strategies`.

    Raises:
        ValueError: it cannot be imported, or is no strategy.
    """
    part = load_part(name, ENTRY_POINTS)
    if not callable(getattr(part.value, "orders", None)):
        raise ValueError(
            f"{name} has no method `orders`; a strategy has `orders(at: Situation)`, which returns "
            "the orders for the next session (docs/extending.md)"
        )
    try:
        inspect.signature(part.value.orders).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"{name} has orders{inspect.signature(part.value.orders)}, expected orders(self, at): "
            f"{error}"
        ) from error
    return part


def make_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Make a strategy of another package.

    Args:
        name: see `own_strategy`.
        options: arguments of its constructor.

    Raises:
        ValueError: see `own_strategy`; or the constructor refuses the options.
    """
    own = own_strategy(name).value
    try:
        inspect.signature(own).bind(**options)
        strategy: Strategy = own(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} does not take the options {dict(options)}: {error}") from error
    return strategy
