"""The four tables of a model's portfolio: holdings, the book, trades and orders.

Prices and amounts are adjusted, as everywhere in the library, so that a book needs no entry for a
split; beside them stand prices and shares as traded, which a broker understands. Together holdings,
orders and book are the state that the next session's partition begins with, so they are float64.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.warehouse.schemas import Column, Table

_TEXT, _F64, _BOOL, _I32 = pa.string(), pa.float64(), pa.bool_(), pa.int32()

HOLDINGS = Table(
    "portfolio",
    "Names held after this session's trading, as simulated; no row while nothing is held.",
    (
        Column("instrument", _TEXT, "code of the instrument"),
        Column("amount", _F64, "adjusted shares: shares ÷ adj_factor; below 0 of a short position"),
        Column("price", _F64, "adjusted close; the last one of a suspended name"),
        Column("adj_factor", _F64, "of the bar; the last one of a suspended name"),
        Column("shares", _F64, "shares as traded: amount × adj_factor"),
        Column("close", _F64, "close as traded: price ÷ adj_factor"),
        Column("weight", _F64, "amount × price ÷ account"),
        Column("target_weight", _F64, "weight that the orders for the next session aim at"),
        Column("sessions_held", _I32, "sessions since it was opened, that one included"),
        Column(
            "share_ratio",
            _F64,
            "adj_factor ÷ that of the session before: a split or dividend changed the shares so "
            "before trading; 1 for none",
        ),
        Column("suspended", _BOOL, "whether it has no bar this session"),
    ),
)

BOOK = Table(
    "book",
    "Cash and figures of the simulated account after this session: one row, qlib's columns.",
    (
        Column("account", _F64, "worth at the close, currency"),
        Column("cash", _F64, "currency"),
        Column("value", _F64, "worth of the positions, currency"),
        Column("return", _F64, "simple return before costs"),
        Column("return_with_cost", _F64, "return − cost"),
        Column("bench", _F64, "mean return of the members with a bar on this session and before"),
        Column("turnover", _F64, "value bought and sold ÷ account of the session before"),
        Column("cost", _F64, "costs ÷ account of the session before"),
        Column("total_turnover", _F64, "value bought and sold so far, currency"),
        Column("total_cost", _F64, "costs so far, currency"),
        Column("names", _I32, "names held"),
        Column("scored", _I32, "names with a score this session; without any there is no order"),
        Column("refused_purchases", _I32, "purchases, covers refused: suspended or at a limit"),
        Column("refused_sales", _I32, "sales and short sales refused, likewise"),
        Column("filled_at_close", _I32, "purchases and covers filled at the close: no deal price"),
        Column(
            "idle_names",
            pa.list_(_TEXT),
            "names with an earlier bar and none this session; null without price limits",
            nullable=True,
        ),
        Column(
            "idle_closes",
            pa.list_(_F64),
            "last adjusted close of each, from which its next move is measured",
            nullable=True,
        ),
    ),
    sort_by=("account",),
)

TRADES = Table(
    "trades",
    "The orders of the session before and what became of them at this session's prices.",
    (
        Column("sequence", _I32, "place in the order list"),
        Column("instrument", _TEXT, "code of the instrument"),
        Column("side", _TEXT, "buy, sell, short (sell what is borrowed) or cover (buy it back)"),
        Column("reason", _TEXT, "why it was ordered"),
        Column("refusal", _TEXT, "why it was not filled; empty if it was"),
        Column("amount", _F64, "adjusted shares traded"),
        Column("shares", _F64, "shares as traded", nullable=True),
        Column("price", _F64, "adjusted price of the fill", nullable=True),
        Column("price_as_traded", _F64, "price of the fill", nullable=True),
        Column("value", _F64, "amount × price, currency"),
        Column("cost", _F64, "currency"),
        Column("at_close", _BOOL, "whether the close replaced an absent deal price"),
    ),
    sort_by=("sequence",),
)

ORDERS = Table(
    "orders",
    "Orders for the next session, decided at this close; sales first, in the order of execution.",
    (
        Column("sequence", _I32, "place in the list, from 1"),
        Column("instrument", _TEXT, "code of the instrument"),
        Column("side", _TEXT, "buy, sell, short (sell what is borrowed) or cover (buy it back)"),
        Column(
            "reason",
            _TEXT,
            "entered, dropped, rebalanced; an own strategy has its own words",
        ),
        Column("rank", _I32, "place of the score, 1 = best; null without a score", nullable=True),
        Column(
            "sizing",
            _TEXT,
            "all: the whole position; cash_share: cash after sales × risk_degree ÷ share_of, at "
            "the price of the next session; fixed_shares: the amount, whatever the price is",
        ),
        Column("share_of", _I32, "purchases that share the cash, refused ones included"),
        Column("risk_degree", _F64, "share of the cash after sales that all purchases may use"),
        Column("amount", _F64, "adjusted shares of fixed_shares", nullable=True),
        Column("close", _F64, "latest close as traded, for the estimates", nullable=True),
        Column(
            "estimated_shares", _F64, "shares as traded at this close, cut to lots", nullable=True
        ),
        Column("estimated_value", _F64, "of those shares, currency"),
        Column("target_weight", _F64, "weight after the order, by the estimate"),
    ),
    sort_by=("sequence",),
)


def portfolio_tables(model: str) -> tuple[Table, Table, Table, Table]:
    """Holdings, book, trades and orders of a model; the stage has the name of the first."""
    return (
        HOLDINGS.named(f"{model}_portfolio"),
        BOOK.named(f"{model}_book"),
        TRADES.named(f"{model}_trades"),
        ORDERS.named(f"{model}_orders"),
    )


def issued_table(model: str) -> Table:
    """The order lists that were issued for a book that is really held; kept as revisions only."""
    return ORDERS.named(f"{model}_issued_orders")
