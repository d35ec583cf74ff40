"""The section `portfolio` of the YAML: the strategy that trades on the scores, costs, account."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.config.types import PositiveInt, Section, SessionCount, Share
from rnn_core.own_parts import is_own

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioConfig, Strategy
    from rnn_core.evaluation.strategies import Needs

TOPK_DROPOUT = "topk_dropout"
WEIGHTS = ("long_short", "score_weighted", "mean_variance")
"""The shipped strategies of target weights, whose arguments are `options`."""
_OF_TOPK = ("topk", "n_drop", "hold_thresh", "risk_degree")
_OF_SHORT = ("borrow_rate", "max_gross")
_LATER = ("strategy", "options", "sizing", "trade_unit", "first", "impact", *_OF_SHORT)
"""Keys of later releases: at their default they say nothing, so that nothing becomes stale."""
_NO_BYTES = ("periods_per_year", "first")  # of a report's figures; where the first book begins


class ImpactSettings(Section):
    """The cost of spread and market impact, beside the fees (`rnn_core.evaluation.impact`).

    Attributes:
        half_spread_bps: half the spread, in hundredths of a percent.
        coefficient: of daily volatility × √(value of the trade ÷ usual traded value).
        sessions: sessions of the volatility and of the median traded value.
    """

    half_spread_bps: Annotated[float, Field(ge=0, lt=10_000)] = 0.0
    coefficient: Annotated[float, Field(ge=0)] = 1.0
    sessions: Annotated[SessionCount, Field(ge=2)] = 20


class PortfolioSettings(Section):
    """The strategy with its costs, in qlib's terms.

    Attributes:
        strategy: `topk_dropout`, one of `WEIGHTS`, or one of another package (docs/extending.md).
        options: arguments of any strategy but `topk_dropout`.
        sizing: `cash_share` buys for a share of the cash at the prices of the session that trades;
            `fixed_shares` fixes the shares at the close of the decision.
        trade_unit: shares of a lot as traded; None for fractions of shares.
        borrow_rate: cost of a year of borrowing what is sold short, as a share of its worth.
        max_gross: largest gross exposure ÷ account up to which a book with short positions grows.
        impact: cost of spread and market impact; None for none.
        first: the day at which the books are opened; None for training.first_trained.
    """

    strategy: str = TOPK_DROPOUT
    options: dict[str, Any] = Field(default_factory=dict)
    topk: PositiveInt = 50
    n_drop: PositiveInt = 5
    hold_thresh: SessionCount = 1
    risk_degree: Share = 0.95
    sizing: Literal["cash_share", "fixed_shares"] = "cash_share"
    account: Annotated[float, Field(gt=0)] = 1e8
    open_cost: Share = 0.0005
    close_cost: Share = 0.0015
    min_cost: Annotated[float, Field(ge=0)] = 5.0
    borrow_rate: Share = 0.0
    max_gross: Annotated[float, Field(ge=1)] = 2.0
    impact: ImpactSettings | None = None
    limit_threshold: Annotated[float, Field(gt=0)] | None = None
    deal_price: Literal["close", "open", "vwap"] = "close"
    trade_unit: PositiveInt | None = None
    first: dt.date | None = None
    periods_per_year: PositiveInt = 252

    @model_validator(mode="after")
    def _as_many_as_are_held(self) -> PortfolioSettings:
        if self.strategy == TOPK_DROPOUT and self.n_drop > self.topk:
            raise ValueError(f"n_drop {self.n_drop} exceeds topk {self.topk}, the names held")
        return self

    @model_validator(mode="after")
    def _known_strategy(self) -> PortfolioSettings:
        if self.strategy == TOPK_DROPOUT:
            if self.options:
                raise ValueError(
                    f"options {sorted(self.options)}: those of {TOPK_DROPOUT} are keys of this "
                    f"section ({', '.join(_OF_TOPK)})"
                )
            return self
        if self.strategy not in WEIGHTS and not is_own(self.strategy, "rnn_core.strategies"):
            raise ValueError(
                f"unknown strategy {self.strategy!r}: expected {TOPK_DROPOUT}, "
                f"{', '.join(WEIGHTS)}, `package.module:Class`, or an entry point of "
                f"rnn_core.strategies"
            )
        ignored = [key for key in _OF_TOPK if key in self.model_fields_set]
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)}: of {TOPK_DROPOUT} only, and strategy is {self.strategy}; "
                f"leave them out, or pass them under options if it has such arguments"
            )
        if self.strategy in WEIGHTS and "sizing" in self.model_fields_set:
            raise ValueError(
                f"sizing: {self.strategy} fixes the shares at the close that decides; leave it out"
            )
        self.rule()
        return self

    @model_validator(mode="after")
    def _short_positions(self) -> PortfolioSettings:
        fields = type(self).model_fields
        ignored = [key for key in _OF_SHORT if getattr(self, key) != fields[key].default]
        if ignored and not self.needs.sells_short:
            raise ValueError(
                f"{', '.join(ignored)}: of short positions only, and {self.strategy} holds none; "
                f"leave it out (a strategy of your own says `sells_short = True`)"
            )
        gross = getattr(self.rule(), "gross", None) if self.strategy in WEIGHTS else None
        if self.needs.sells_short and gross is not None and gross > self.max_gross:
            raise ValueError(
                f"options: gross {gross} exceeds max_gross {self.max_gross}, beyond which no order "
                f"is filled; lower gross, or raise max_gross"
            )
        return self

    def rule(self) -> Strategy:
        """Make the strategy.

        Raises:
            ValueError: one of another package cannot be imported, or refuses its options.
        """
        from rnn_core.evaluation import TopkDropout, make_strategy

        if self.strategy == TOPK_DROPOUT:
            return TopkDropout.of(self.backtest)
        return make_strategy(self.strategy, self.options)

    @cached_property
    def needs(self) -> Needs:
        """The facts that the strategy reads beside scores and book."""
        from rnn_core.evaluation.strategies import Needs

        return Needs() if self.strategy == TOPK_DROPOUT else Needs.of(self.rule())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns beside the bars that the strategy reads."""
        return () if self.strategy == TOPK_DROPOUT else self.needs.columns

    @property
    def window_sessions(self) -> int:
        """The sessions of bars up to its own that a partition reads, if they are more than two."""
        # The cost of a trade knows the sessions before it, a strategy the one that decides, too.
        of_impact = self.impact.sessions + 2 if self.impact else 0
        look_back = 0 if self.strategy == TOPK_DROPOUT else self.needs.look_back
        return max(of_impact, look_back + 1 if look_back else 0)

    @property
    def words(self) -> str:
        """The strategy in a few words."""
        if self.strategy == TOPK_DROPOUT:
            return (
                f"TopkDropout, the best {self.topk} names, at most {self.n_drop} replaced a session"
            )
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.strategy} ({options})" if options else self.strategy

    @property
    def backtest(self) -> PortfolioConfig:
        """The settings of the library's backtest."""
        from rnn_core.evaluation import Impact, PortfolioConfig

        settings = self.model_dump(exclude={"strategy", "options", "first", "impact"})
        impact = None if self.impact is None else Impact(**self.impact.model_dump())
        return PortfolioConfig(**settings, impact=impact)

    @property
    def identity(self) -> dict[str, Any]:
        """Collect the settings that decide reports, and the code of a strategy of one's own."""
        from rnn_core.evaluation.strategy_names import own_strategy

        fields = type(self).model_fields
        dumped = self.model_dump(mode="json")
        for key in _LATER:
            if getattr(self, key) == fields[key].get_default(call_default_factory=True):
                del dumped[key]
        if self.strategy not in (TOPK_DROPOUT, *WEIGHTS):
            dumped["part"] = own_strategy(self.strategy).origin
        return dumped

    @property
    def book_identity(self) -> dict[str, Any]:
        """Collect the settings that decide the books of the models."""
        # Sessions of a year decide what a session of borrowing costs.
        no_bytes = _NO_BYTES[1:] if self.borrow_rate else _NO_BYTES
        return {key: value for key, value in self.identity.items() if key not in no_bytes}
