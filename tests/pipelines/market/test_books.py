"""Rows of order lists. Oracle: shares as a broker counts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.market.books import Close, order_rows
from rnn_core.evaluation import BookState, Order
from rnn_core.evaluation.execution import Executed, Figures, Trade

FACTOR = 1.0123 * 1.0071 * 1.031


def shares(orders, amounts, lot, held=None):
    """The column `estimated_shares` of some orders."""
    names = [order.instrument for order in orders]
    trades = [Trade(order, amount=one) for order, one in zip(orders, amounts, strict=True)]
    aims = Executed(BookState.opened(1e6), Figures(*[0.0] * 8), tuple(trades))
    at = Close(dict.fromkeys(names, 10.0), dict.fromkeys(names, FACTOR), (), 0.0, 1, None, lot)
    return order_rows("x_orders", orders, aims, at, {}, held)["estimated_shares"].to_pylist()


def test_whole_shares_stay_whole_through_adjusted_amounts():
    """Shares / factor * factor misses many of 400 numbers of lots by round-off."""
    wished = [100.0 * lots for lots in range(1, 401)]
    orders = [Order(f"N{i:03}", "buy", amount=one / FACTOR) for i, one in enumerate(wished)]
    amounts = [one / FACTOR for one in wished]
    assert (np.array(amounts) * FACTOR != wished).any()
    assert shares(orders, amounts, 100) == wished
    assert shares(orders[:1], [0.3 / FACTOR], 100) == pytest.approx([0.3]), "an odd lot stays odd"
    assert shares(orders[:1], [0.9999999 / FACTOR], None) == pytest.approx([0.9999999], abs=1e-12)


def test_a_whole_position_of_a_statement_has_its_number():
    names = [f"N{i:03}" for i in range(200)]
    held = {name: 7.0 + 13 * i for i, name in enumerate(names)} | {"N000": -7.0}
    orders = [Order(name, "sell") for name in names]
    orders[0] = replace(orders[0], side="cover")
    amounts = [abs(held[name]) / FACTOR for name in names]
    assert shares(orders, amounts, None) != [abs(held[name]) for name in names]
    assert shares(orders, amounts, None, held) == [abs(held[name]) for name in names]
