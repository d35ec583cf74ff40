"""The cost of moving a price: half the spread, and the square root of the share of the volume.

A trade of value Q in a name whose daily volatility is s and whose usual traded value is V costs,
as a share of Q beside fees and taxes,

    half_spread_bps / 10000 + coefficient * s * sqrt(Q / V)

s is the standard deviation of the name's returns and V the median of its traded values, both of
the last `sessions` sessions before the trade, so nothing of the trading session is known to it.
The square root is the usual law of practice (Torre, BARRA Market Impact Model Handbook, 1997, with
a coefficient near 1); Almgren, Thum, Hauptmann and Li (Direct Estimation of Equity Market Impact,
Risk 18(7), 2005) fit the power 3/5 to 700,000 orders. It is an estimate of the order of magnitude:
for shares Q / V far above one tenth nobody has measured it, and a permanent part, which later
trades of the same name would pay, is left out.

A name with fewer than two returns or no traded value in the window pays the spread alone.

Shapes: `T` sessions of the bars, `N` instruments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rnn_core.evaluation.align import FloatArray


@dataclass(frozen=True)
class Impact:
    """The settings of the cost.

    Attributes:
        half_spread_bps: half the spread between bid and ask, in hundredths of a percent.
        coefficient: of the square-root law, 0 for the spread alone.
        sessions: sessions of volatility and of the usual traded value.

    Raises:
        ValueError: a value outside its range; the message names it.

    Examples:
        >>> Impact(half_spread_bps=5).sessions
        20
        >>> Impact(half_spread_bps=-1)
        Traceback (most recent call last):
            ...
        ValueError: impact.half_spread_bps=-1: expected 0 or more
    """

    half_spread_bps: float = 0.0
    coefficient: float = 1.0
    sessions: int = 20

    def __post_init__(self) -> None:
        for name in ("half_spread_bps", "coefficient"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"impact.{name}={value!r}: expected 0 or more")
        if self.sessions < 2:
            raise ValueError(f"impact.sessions={self.sessions!r}: expected 2 sessions or more")

    def rate(self, value: float, volatility: float, usual_value: float) -> float:
        """The cost as a share of the value of a trade.

        Args:
            value: of the trade, in currency.
            volatility: standard deviation of daily returns, NaN where unknown.
            usual_value: median traded value of a session, in currency, NaN where unknown.
        """
        spread = self.half_spread_bps / 1e4
        if not (volatility > 0 and usual_value > 0):
            return spread
        return spread + self.coefficient * volatility * math.sqrt(value / usual_value)


@dataclass(frozen=True, eq=False)
class Liquidity:
    """Returns and traded values of the sessions before some moment.

    Attributes:
        returns: [T, N] simple returns, NaN without a bar on the session or the one before.
        traded: [T, N] traded values in currency, NaN without a bar.
        sessions: the newest sessions that count.
        ahead: of the T, those before the first session of the market that `before` counts from.
    """

    returns: FloatArray
    traded: FloatArray
    sessions: int
    ahead: int = 0

    @classmethod
    def of(cls, close: FloatArray, traded: FloatArray, sessions: int) -> Liquidity:
        """From [T, N] adjusted closes and traded values of consecutive sessions."""
        return cls(simple_returns(close), traded, sessions)

    def before(self, row: int) -> Liquidity:
        """Only what was known before the session of a row of the market."""
        end = self.ahead + row
        start = max(0, end - self.sessions)
        return Liquidity(self.returns[start:end], self.traded[start:end], self.sessions)

    def figures(self, at: int) -> tuple[float, float]:
        """Volatility and usual traded value of the name at a position, NaN where unknown."""
        # Each column by itself, so that the last bit depends on no other name.
        returns, traded = self.returns[:, at].copy(), self.traded[:, at].copy()
        returns, traded = returns[~np.isnan(returns)], traded[~np.isnan(traded)]
        volatility = float(np.std(returns, ddof=1)) if len(returns) > 1 else math.nan
        return volatility, float(np.median(traded)) if len(traded) else math.nan


def simple_returns(close: FloatArray) -> FloatArray:
    """[T, N] simple returns since the session before, NaN without a bar on one of the two."""
    returns = np.full_like(close, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1
    return returns
