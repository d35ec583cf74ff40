"""Settings of a backtest and of TopkDropout, with their validation.

Names and defaults are qlib's benchmark settings, so a qlib workflow's `strategy` and `backtest`
sections map one to one. `rnn_core.evaluation.portfolio` explains them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from rnn_core.evaluation.impact import Impact
from rnn_core.panel.frames import Semantics

TRADE_UNITS: Mapping[str, int] = MappingProxyType({"cn": 100, "us": 1, "tw": 1000})
"""Shares of a lot by region (qlib: config.py _default_region_config).

Examples:
    >>> TRADE_UNITS["cn"]  # shares of a lot
    100
"""

DealPrice = Literal["close", "open", "vwap"]
Sizing = Literal["cash_share", "fixed_shares"]


@dataclass(frozen=True)
class PortfolioConfig:
    """Settings of the strategy, the exchange and the account; qlib's names and defaults.

    Attributes:
        topk: names to hold.
        n_drop: held names to replace each session, at most.
        hold_thresh: sessions a name is held before it may be sold.
        risk_degree: share of the cash that a session's purchases may use.
        only_tradable: look at suspensions and limits of session t already when ranking.
        account: cash at the start, in currency.
        open_cost: cost of a purchase as a share of its value.
        close_cost: cost of a sale as a share of its value.
        min_cost: least cost of a trade, in currency.
        limit_threshold: price limit as a simple return, None for a market without limits.
        deal_price: the price orders are filled at.
        trade_unit: shares of a lot as traded, to whose multiples purchases are rounded down: a
            number, or the market's name in `TRADE_UNITS`; None for fractions of shares. Needs the
            column `factor` in the bars.
        forbid_all_trade_at_limit: at either limit refuse purchases and sales alike.
        semantics: "strict" or "qlib", see `rnn_core.evaluation.portfolio`.
        sizing: "cash_share" buys for a share of the cash at the price of the session that trades,
            as qlib does; "fixed_shares" fixes the shares at the close of the decision, as an order
            list that is sent before the open must.
        borrow_rate: yearly cost of borrowing what is sold short, as a share of its worth.
        max_gross: largest gross exposure, sum of |positions| / account, up to which a book with
            short positions may be extended; 2 is the initial margin of Regulation T.
        impact: cost of spread and market impact beside the fees; None for none. Needs the column
            `amount` (traded value in currency) in the bars.
        periods_per_year: sessions of a year, for `borrow_rate`.

    Raises:
        ValueError: a value outside its range; the message names it.

    Examples:
        >>> PortfolioConfig(topk=30, n_drop=3).close_cost
        0.0015
        >>> PortfolioConfig(topk=0)
        Traceback (most recent call last):
            ...
        ValueError: topk=0: expected 1 name or more
    """

    topk: int = 50
    n_drop: int = 5
    hold_thresh: int = 1
    risk_degree: float = 0.95
    only_tradable: bool = False
    account: float = 1e8
    open_cost: float = 0.0005
    close_cost: float = 0.0015
    min_cost: float = 5.0
    limit_threshold: float | None = 0.095
    deal_price: DealPrice = "close"
    forbid_all_trade_at_limit: bool = True
    semantics: Semantics = "strict"
    trade_unit: int | str | None = None
    sizing: Sizing = "cash_share"
    borrow_rate: float = 0.0
    max_gross: float = 2.0
    impact: Impact | None = None
    periods_per_year: int = 252

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected {expected}")

        need(self.topk >= 1, "topk", "1 name or more")
        need(0 <= self.n_drop <= self.topk, "n_drop", f"0 to topk ({self.topk}) names")
        need(self.hold_thresh >= 0, "hold_thresh", "0 sessions or more")
        need(0 < self.risk_degree <= 1, "risk_degree", "a share in (0, 1]")
        need(math.isfinite(self.account) and self.account > 0, "account", "positive cash")
        for name in ("open_cost", "close_cost"):
            need(0 <= getattr(self, name) < 1, name, "a share of the traded value in [0, 1)")
        need(math.isfinite(self.min_cost) and self.min_cost >= 0, "min_cost", "0 or more")
        limit = self.limit_threshold
        need(limit is None or 0 < limit < 1, "limit_threshold", "a return in (0, 1), or None")
        need(self.deal_price in get_args(DealPrice), "deal_price", f"one of {get_args(DealPrice)}")
        unit = self.trade_unit
        is_unit = unit in TRADE_UNITS if isinstance(unit, str) else unit is None or unit >= 1
        need(is_unit, "trade_unit", f"1 share or more, one of {sorted(TRADE_UNITS)}, or None")
        need(self.semantics in get_args(Semantics), "semantics", f"one of {get_args(Semantics)}")
        need(self.sizing in get_args(Sizing), "sizing", f"one of {get_args(Sizing)}")
        need(0 <= self.borrow_rate < math.inf, "borrow_rate", "a yearly rate of 0 or more")
        need(1 <= self.max_gross < math.inf, "max_gross", "1 or more times the account")
        need(self.periods_per_year >= 1, "periods_per_year", "1 session or more")

    @property
    def lot(self) -> int | None:
        """Shares of a lot, None for fractions."""
        return TRADE_UNITS[self.trade_unit] if isinstance(self.trade_unit, str) else self.trade_unit
