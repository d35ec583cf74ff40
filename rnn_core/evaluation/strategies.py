"""Strategies: from the scores of a session and the book after it to the orders for the next one.

A strategy looks at a `Situation`, which holds what is known at the close, and returns orders; how
they are filled is the business of `execution.py`. `TopkDropout` stands here, strategies of target
weights in `weight_strategies.py` and `mean_variance.py`; `strategy_names.py` makes one by its name.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.account import SessionPrices
from rnn_core.evaluation.align import BoolArray, FloatArray, IntArray
from rnn_core.evaluation.execution import (
    IN_TURN,
    BookState,
    Order,
    expected,
    held_arrays,
    position_of,
)
from rnn_core.evaluation.portfolio_config import PortfolioConfig
from rnn_core.panel.frames import Semantics

_SMALLEST_CHANGE = 1e-12  # of a weight; a difference below it is round-off


@dataclass(frozen=True, eq=False)
class Known:
    """Facts known at a close beside scores and prices, for strategies that ask for them.

    Attributes:
        returns: see `Situation`.
        columns: likewise.

    Examples:
        >>> Known().returns is None
        True
    """

    returns: FloatArray | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Situation:
    """Everything that a strategy may know at a close.

    Attributes:
        instruments: the N names, sorted.
        score: [N] scores of the session, NaN where none.
        scored: [N] True where the session has a row, with qlib's semantics even if it is NaN.
        held: [N] True for names in the book.
        age: [N] sessions that a name has been held, 0 where it is not.
        weight: [N] worth of each position / account, negative of a short position.
        tradable: [N] True where the next session will take purchases and sales; None at the close,
            when nobody knows, and a mask only in a backtest with `only_tradable`.
        close: [N] adjusted closes of the session, NaN where suspended.
        returns: [L, N] simple returns of the last L sessions, this one last, NaN without a bar on
            the session or the one before; of a strategy that has a `look_back`.
        columns: [N] the session's values of columns beside the bars, by name, None where there is
            none; of a strategy that has `columns`.

    Examples:
        >>> [name for name, held in zip(at.instruments, at.held) if not held]
        ['A', 'B', 'C', 'D']
    """

    instruments: Sequence[str]
    score: FloatArray
    scored: BoolArray
    held: BoolArray
    age: NDArray[np.int64]
    weight: FloatArray
    tradable: BoolArray | None = None
    close: FloatArray | None = None
    returns: FloatArray | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def ranked(self) -> IntArray:
        """[N] the names by score, best first, those without a score last, ties by name."""
        return np.argsort(-self.score, kind="stable")

    def ranks(self) -> list[int | None]:
        """The place of each name's score, 1 for the best; None without a score."""
        place = np.empty(len(self.score), dtype=np.int64)
        place[self.ranked] = np.arange(1, len(place) + 1)
        absent = np.isnan(self.score)
        return [None if gone else int(at) for at, gone in zip(place, absent, strict=True)]

    @classmethod
    def of(
        cls,
        state: BookState,
        prices: SessionPrices,
        score: FloatArray,
        scored: BoolArray,
        tradable: BoolArray | None = None,
        known: Known | None = None,
    ) -> Situation:
        """Lay a book and scores out over the names of some prices."""
        n = len(prices.instruments)
        held, age, weight = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n)
        at, worth, ages = held_arrays(state, prices)
        held[at], age[at], weight[at] = True, ages, worth / state.account
        known = known or Known()
        return cls(
            prices.instruments, score, scored, held, age, weight, tradable, prices.close,
            known.returns, known.columns,
        )  # fmt: skip


@runtime_checkable
class Strategy(Protocol):
    """The rule that turns scores into orders.

    A strategy may have three attributes: `look_back`, sessions of returns that it reads; `columns`,
    names of columns beside the bars; `sells_short`, True if it may hold short positions. Without
    them it reads scores and book alone, and is long.

    Examples:
        >>> rule: Strategy = LongShort(quantile=0.25)
        >>> [(order.side, order.instrument) for order in rule.orders(at)]
        [('short', 'D'), ('buy', 'A')]
    """

    def orders(self, at: Situation) -> Sequence[Order]:
        """The orders for the next session.

        An order is of the whole position, of an `amount`, or towards a `target` weight. A purchase
        without either says how many purchases share the cash (`share_of`) and which part of the
        cash they use (`risk_degree`). The answer depends on nothing but the situation.
        """


@dataclass(frozen=True)
class Needs:
    """The facts that a strategy reads beside scores and book, and whether it sells short.

    Attributes:
        look_back: sessions of returns.
        columns: names of columns beside the bars.
        sells_short: True if it may hold short positions.
    """

    look_back: int = 0
    columns: tuple[str, ...] = ()
    sells_short: bool = False

    @classmethod
    def of(cls, strategy: Strategy) -> Needs:
        """Read them from the attributes of a strategy.

        Raises:
            ValueError: an attribute is of another kind.
        """
        name = type(strategy).__name__
        look_back, columns = getattr(strategy, "look_back", 0), getattr(strategy, "columns", ())
        if not isinstance(look_back, int) or look_back < 0:
            raise ValueError(f"look_back of {name} is {look_back!r}, expected a number of sessions")
        if isinstance(columns, str) or not all(isinstance(one, str) for one in columns):
            raise ValueError(f"columns of {name} is {columns!r}, expected a tuple of names")
        return cls(look_back, tuple(columns), bool(getattr(strategy, "sells_short", False)))


@dataclass(frozen=True)
class TopkDropout:
    """Hold about `topk` names, and replace at most `n_drop` of the worst each session.

    Attributes:
        topk: names to hold.
        n_drop: held names to replace each session, at most.
        hold_thresh: sessions a name is held before it may be sold.
        risk_degree: share of the cash that a session's purchases may use.
        semantics: "strict" or "qlib", see `rnn_core.evaluation.portfolio`.

    Examples:
        >>> [order.instrument for order in TopkDropout(topk=2, n_drop=1).orders(at)]
        ['A', 'B']
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
        rank, names = at.ranks(), at.instruments
        sales = [
            Order(names[i], "sell", "dropped", rank[i]) for i in np.flatnonzero(selling).tolist()
        ]  # in instrument order
        return sales + [
            Order(names[i], "buy", "entered", rank[i], len(buying), self.risk_degree)
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
    known: Known | None = None,
) -> list[Order]:
    """Decide at a close on the orders for the next session.

    An order towards a target weight becomes one of the amount that leads there at this close. Fixed
    amounts are those that lots and cash allow at it; what would fill nothing is left out.

    Args:
        strategy: the rule.
        state: the book after the session.
        prices: prices of the session.
        score: [N] its scores over the names of the prices.
        scored: [N] True where it has a score.
        config: its `sizing` says if purchases for a share of the cash are fixed at this close.
        tradable: see `Situation`.
        known: the facts that the strategy `Needs`.

    Returns:
        The orders, in the order of `IN_TURN`; none without a score.

    Raises:
        ValueError: the strategy orders what nobody can execute.

    Examples:
        >>> orders = decide(TopkDropout(topk=2), empty, prices, at.score, at.scored, config)
        >>> [order.instrument for order in orders]
        ['A', 'B']
    """
    if not scored.any():
        return []
    given = strategy.orders(Situation.of(state, prices, score, scored, tradable, known))
    if not isinstance(given, Sequence) or not all(isinstance(one, Order) for one in given):
        raise ValueError(
            f"orders of {type(strategy).__name__} gave {given!r:.60}, expected a list of "
            f"rnn_core.evaluation.Order, empty where there is nothing to order"
        )
    orders = sorted(given, key=lambda order: IN_TURN.index(order.side))
    held = dict(zip(state.instruments, state.amounts, strict=True))
    _check(orders, held)
    orders = _sized(orders, held, state, prices)
    fixed = config.sizing == "fixed_shares"
    if not fixed and all(order.amount is None for order in orders):
        return orders
    fills = expected(state, orders, prices, config).trades
    return [
        replace(one, amount=trade.amount) if one.amount or (fixed and one.side == "buy") else one
        for one, trade in ((trade.order, trade) for trade in fills)
        if not trade.refusal
    ]


def _sized(
    orders: Sequence[Order], held: Mapping[str, float], state: BookState, prices: SessionPrices
) -> list[Order]:
    """Turn target weights into amounts at the close; a target of 0 closes the whole position."""
    last = dict(zip(state.instruments, state.prices, strict=True))
    sized = []
    for order in orders:
        if not order.target:
            sized.append(replace(order, target=None) if order.target is not None else order)
            continue
        price = last.get(order.instrument)
        if price is None:
            price = float(prices.close[position_of(prices, order.instrument)])
        if np.isnan(price):
            continue
        # A name that changes sides is closed by an order of its own.
        amount = held.get(order.instrument, 0.0)
        amount = max(amount, 0.0) if order.side in ("buy", "sell") else min(amount, 0.0)
        change = order.target * state.account / price - amount
        change = change if order.side in ("buy", "cover") else -change
        if change * price > _SMALLEST_CHANGE * state.account:
            sized.append(replace(order, amount=change, target=None))
    return sized


def _check(orders: Sequence[Order], held: Mapping[str, float]) -> None:
    """Confirm that the book can take each order, and that no name is ordered twice.

    Two orders of a name are one that closes its position and one that opens the other side.

    Args:
        orders: in the order of `IN_TURN`.
        held: amounts by name.
    """
    by_name: dict[str, list[Order]] = {}
    for order in orders:
        by_name.setdefault(order.instrument, []).append(order)
    for name, own in by_name.items():
        changes_sides = [one.side for one in own] in (["sell", "short"], ["cover", "buy"])
        if len(own) > 1 and not (changes_sides and _is_whole(own[0])):
            raise ValueError(f"{name} is ordered twice; expected one order")
        amount = held.get(name, 0.0)
        for order in own:
            _check_one(order, amount)
            amount = 0.0 if _is_whole(order) else amount


def _is_whole(order: Order) -> bool:
    """True if the order closes a whole position."""
    return order.side in ("sell", "cover") and order.amount is None and not order.target


def _check_one(order: Order, amount: float) -> None:
    """Confirm that a book with an amount of the name can take an order."""
    name, side = order.instrument, order.side
    if side == "sell" and not amount > 0:
        raise ValueError(f"{name} is to be sold, and the book does not hold it")
    if side == "cover" and not amount < 0:
        raise ValueError(f"{name} is to be covered, and the book is not short of it")
    if side == "buy" and amount < 0:
        raise ValueError(f"{name} is to be bought, and the book is short of it: cover it first")
    if side == "short" and amount > 0:
        raise ValueError(f"{name} is to be sold short, and the book holds it: sell it first")
    if order.amount is not None:
        if order.target is not None or not 0 < order.amount < np.inf:
            raise ValueError(
                f"{name} has the amount {order.amount} and the target {order.target}; expected an "
                f"amount above 0, or a target, or neither"
            )
    elif order.target is not None:
        weight = order.target if side in ("buy", "sell") else -order.target
        if not 0 <= weight < np.inf or (weight == 0 and side in ("buy", "short")):
            raise ValueError(
                f"{name} is ordered to {side} towards the weight {order.target}; expected one "
                f"above 0 to buy or sell and below it to short or cover, or 0 to close"
            )
    elif side == "short":
        raise ValueError(f"{name} is to be sold short; expected an amount or a target")
    elif side == "buy" and amount > 0:
        raise ValueError(f"{name} is to be bought, and the book holds it already")
    elif side == "buy" and order.share_of < 1:
        raise ValueError(
            f"{name} is to be bought for a share of the cash, and share_of is {order.share_of}; "
            f"expected the number of purchases that share it"
        )
