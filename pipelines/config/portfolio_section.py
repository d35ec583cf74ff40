"""The section `portfolio` of the YAML: the strategy that trades on the scores, costs, account."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.config.types import PositiveInt, Section, Share
from rnn_core.own_parts import is_own

if TYPE_CHECKING:
    from rnn_core.evaluation import PortfolioConfig, Strategy

TOPK_DROPOUT = "topk_dropout"
_OF_TOPK = ("topk", "n_drop", "hold_thresh", "risk_degree")
_LATER = ("strategy", "options", "sizing", "trade_unit", "first")
"""Keys of later releases: at their default they say nothing, so that nothing becomes stale."""
_NO_BYTES = ("periods_per_year", "first")  # of a report's figures; where the first book begins


class PortfolioSettings(Section):
    """The strategy with its costs, in qlib's terms.

    Attributes:
        strategy: `topk_dropout`, or one of another package (docs/extending.md).
        options: arguments of a strategy of another package.
        sizing: `cash_share` buys for a share of the cash at the prices of the session that trades;
            `fixed_shares` fixes the shares at the close of the decision.
        trade_unit: shares of a lot as traded; None for fractions of shares.
        first: the day at which the books are opened; None for training.first_trained.
    """

    strategy: str = TOPK_DROPOUT
    options: dict[str, Any] = Field(default_factory=dict)
    topk: PositiveInt = 50
    n_drop: PositiveInt = 5
    hold_thresh: PositiveInt = 1
    risk_degree: Share = 0.95
    sizing: Literal["cash_share", "fixed_shares"] = "cash_share"
    account: Annotated[float, Field(gt=0)] = 1e8
    open_cost: Share = 0.0005
    close_cost: Share = 0.0015
    min_cost: Annotated[float, Field(ge=0)] = 5.0
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
        if not is_own(self.strategy, "rnn_core.strategies"):
            raise ValueError(
                f"unknown strategy {self.strategy!r}: expected {TOPK_DROPOUT}, "
                f"`package.module:Class`, or an entry point of rnn_core.strategies"
            )
        ignored = [key for key in _OF_TOPK if key in self.model_fields_set]
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)}: of {TOPK_DROPOUT} only, and strategy is {self.strategy}; "
                f"leave them out, or pass them under options if it has such arguments"
            )
        self.rule()
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

    @property
    def backtest(self) -> PortfolioConfig:
        """The settings of the library's backtest."""
        from rnn_core.evaluation import PortfolioConfig

        own = {"strategy", "options", "first", "periods_per_year"}
        return PortfolioConfig(**self.model_dump(exclude=own))

    @property
    def identity(self) -> dict[str, Any]:
        """Collect the settings that decide reports, and the code of a strategy of one's own."""
        from rnn_core.evaluation.strategy_names import own_strategy

        fields = type(self).model_fields
        dumped = self.model_dump(mode="json")
        for key in _LATER:
            if getattr(self, key) == fields[key].get_default(call_default_factory=True):
                del dumped[key]
        if self.strategy != TOPK_DROPOUT:
            dumped["part"] = own_strategy(self.strategy).origin
        return dumped

    @property
    def book_identity(self) -> dict[str, Any]:
        """Collect the settings that decide the books of the models."""
        return {key: value for key, value in self.identity.items() if key not in _NO_BYTES}
