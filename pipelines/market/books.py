"""The book of a model between two sessions: read from its partitions, written into their rows.

The state after session D is spread over the tables of `warehouse/portfolio_tables.py`; the
partition of the session after begins with it. Every number of the state is stored as float64, so a
book that is carried through files has the bits of one that never left memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.warehouse.arrow_rows import from_columns
from pipelines.warehouse.portfolio_tables import ORDERS, portfolio_tables

if TYPE_CHECKING:
    from rnn_core.evaluation.execution import BookState, Executed, Order

_WHOLE = 1e-6  # of a share: what is nearer to a whole number is one, where there are lots


@dataclass(frozen=True)
class Carried:
    """All that the partition of a session hands to that of the next one.

    Attributes:
        state: the book after the close.
        orders: the orders for the next session.
        factors: adjustment factor of each name held.
        idle: last adjusted close of the names without a bar, where there are price limits.
    """

    state: BookState
    orders: Sequence[Order] = ()
    factors: Mapping[str, float] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)


def opened_book(market: Market) -> Carried:
    """A book of cash alone, before its first session."""
    from rnn_core.evaluation.execution import BookState

    return Carried(BookState.opened(market.config.portfolio.account))


def read_book(market: Market, model: str, key: str, needed_by: str) -> tuple[Carried, str]:
    """Read the state that the partition of a session left, and the digest of its holdings.

    Raises:
        MissingSessionsError: it is not in the warehouse; the message names it.
        WarehouseError: a file is damaged.
    """
    from rnn_core.evaluation.execution import BookState

    holdings, book, _, orders = (
        market.warehouse.read_one(table.name, key, needed_by=needed_by)
        for table in portfolio_tables(model)
    )
    rows, (row,), listed = holdings[0].to_pydict(), book[0].to_pylist(), orders[0].to_pylist()
    state = BookState(
        cash=row["cash"],
        account=row["account"],
        traded=row["total_turnover"],
        paid=row["total_cost"],
        instruments=rows["instrument"],
        amounts=rows["amount"],
        prices=rows["price"],
        ages=rows["sessions_held"],
    )
    idle = dict(zip(row["idle_names"] or (), row["idle_closes"] or (), strict=True))
    factors = dict(zip(rows["instrument"], rows["adj_factor"], strict=True))
    return Carried(state, orders_of(listed), factors, idle), holdings[1]


def orders_of(rows: Sequence[Mapping[str, Any]]) -> list[Order]:
    """The orders of a partition's rows, in their order."""
    from rnn_core.evaluation.execution import Order

    fields = ("instrument", "side", "reason", "rank", "share_of", "risk_degree", "amount")
    return [Order(*(row[name] for name in fields)) for row in rows]


def book_stages(stages: Sequence[Stage]) -> dict[str, Stage]:
    """The stage of the portfolio of each model that has one."""
    return {
        stage.model: stage
        for stage in stages
        if stage.kind is Kind.PORTFOLIO
        and stage.model
        and [table.name for table in stage.tables]
        == [table.name for table in portfolio_tables(stage.model)]
    }


@dataclass(frozen=True)
class Close:
    """The facts of a session that stand in its partitions besides the book.

    Attributes:
        prices: latest adjusted price of every name that is held or ordered.
        factors: latest adjustment factor of each.
        priced: the names with a bar.
        bench: return of the benchmark.
        scored: names with a score.
        idle: last adjusted close of names without a bar; None without price limits.
        lot: shares of a lot as traded, None for fractions.
    """

    prices: Mapping[str, float]
    factors: Mapping[str, float]
    priced: Collection[str]
    bench: float
    scored: int
    idle: Mapping[str, float] | None
    lot: int | None = None


def book_rows(
    model: str, carried: Carried, done: Executed, orders: Sequence[Order], aims: Executed, at: Close
) -> tuple[pa.Table, ...]:
    """The rows of a session's partitions, in the order of `portfolio_tables`.

    Args:
        model: the model.
        carried: what the session before left.
        done: the execution of its orders.
        orders: the orders for the next session.
        aims: their execution at this close, if nothing were refused.
        at: the session.
    """
    from rnn_core.evaluation.portfolio_notes import Refusals

    holdings, book, trades, listed = portfolio_tables(model)
    state, figures, factors = done.state, done.figures, at.factors
    names = state.instruments
    amounts, prices = np.array(state.amounts), np.array(state.prices)
    now = np.array([factors[name] for name in names])
    before = np.array([carried.factors.get(name, factors[name]) for name in names])
    targets, refused, idle = weights(aims.state), Refusals(), at.idle
    refused.count(done.trades)
    held: list[Any] = [
        names, amounts, prices, now, amounts * now, prices / now, amounts * prices / state.account,
        [targets.get(name, 0.0) for name in names], state.ages, now / before,
        [name not in at.priced for name in names],
    ]  # fmt: skip
    row: list[Any] = [
        figures.account, figures.cash, figures.value, figures.ret, figures.ret - figures.cost,
        at.bench, figures.turnover, figures.cost, figures.total_turnover, figures.total_cost,
        len(names), at.scored, refused.purchases, refused.sales, refused.at_close,
        None if idle is None else list(idle), None if idle is None else list(idle.values()),
    ]  # fmt: skip
    made = [trade.order for trade in done.trades]
    factor = np.array([factors[order.instrument] for order in made])
    amount = np.array([trade.amount for trade in done.trades])
    price = np.array([trade.price for trade in done.trades])
    traded: list[Any] = [
        range(1, len(made) + 1), [order.instrument for order in made],
        [order.side for order in made], [order.reason for order in made],
        [trade.refusal for trade in done.trades], amount, amount * factor, price, price / factor,
        [trade.value for trade in done.trades], [trade.cost for trade in done.trades],
        [trade.at_close for trade in done.trades],
    ]  # fmt: skip
    return (
        from_columns(holdings, held),
        from_columns(book, [[value] for value in row]),
        from_columns(trades, traded),
        order_rows(listed.name, orders, aims, at, targets),
    )


def order_rows(
    name: str,
    orders: Sequence[Order],
    aims: Executed,
    at: Close,
    targets: Mapping[str, float],
    held: Mapping[str, float] | None = None,
) -> pa.Table:
    """The rows of an order list; an estimate is what the order would do at this close.

    Args:
        name: of the table.
        orders: the orders, sales first.
        aims: their execution at this close, if nothing were refused.
        at: the session.
        targets: the weight of each name after that.
        held: the shares of each name as a statement has them, which an order of a whole position
            then names to the last digit.
    """
    names = [order.instrument for order in orders]
    factor = np.array([at.factors[name] for name in names])
    price = np.array([at.prices[name] for name in names])
    shares = np.array([trade.amount for trade in aims.trades]) * factor
    if at.lot is not None:  # an amount times its factor is whole but for round-off
        whole = np.round(shares)
        shares = np.where(np.abs(shares - whole) < _WHOLE, whole, shares)
    for i, order in enumerate(orders):
        if held is not None and _sizing(order) == "all":
            shares[i] = abs(held[order.instrument])
    columns: list[Any] = [
        range(1, len(orders) + 1), names, [order.side for order in orders],
        [order.reason for order in orders], [order.rank for order in orders],
        [_sizing(order) for order in orders], [order.share_of for order in orders],
        [order.risk_degree for order in orders], [order.amount for order in orders],
        price / factor, shares,
        [trade.value for trade in aims.trades], [targets.get(name, 0.0) for name in names],
    ]  # fmt: skip
    return from_columns(ORDERS.named(name), columns)


def _sizing(order: Order) -> str:
    if order.amount is not None:
        return "fixed_shares"
    return "cash_share" if order.side == "buy" else "all"


def weights(state: BookState) -> dict[str, float]:
    """The weight of each name held."""
    return {
        name: amount * price / state.account
        for name, amount, price in zip(state.instruments, state.amounts, state.prices, strict=True)
    }
