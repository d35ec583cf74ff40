"""Strategies of target weights that know scores alone: long-short quantiles, and weighted scores.

Both choose among names that have a score and a close of the session. What is held and no longer
chosen is closed; a name that is held and did not trade keeps its weight, and the others share what
is left. Arithmetic runs over the chosen names only, so no other name changes a bit of it.

Shapes: `N` instruments, `M` chosen ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.execution import Order
from rnn_core.evaluation.strategies import Situation
from rnn_core.evaluation.target_weights import (
    capped,
    closes_of,
    groups_of,
    orders_towards,
    stuck,
)


def need(ok: bool, name: str, value: object, expected: str) -> None:
    """Confirm an option.

    Raises:
        ValueError: it is not what was expected.
    """
    if not ok:
        raise ValueError(f"{name}={value!r}: expected {expected}")


def candidates(at: Situation) -> NDArray[np.intp]:
    """The positions of the names that have a score and a close, the best score first."""
    ready = at.scored & ~np.isnan(at.score) & ~np.isnan(closes_of(at))
    return at.ranked[ready[at.ranked]]


@dataclass(frozen=True)
class LongShort:
    """Hold the best quantile and sell the worst one short, for the same value.

    Each side has half of the gross exposure. With `weights="score"` a name's share of its side is
    in proportion to the distance of its score from the median of all candidates.

    Attributes:
        quantile: share of the names on each side, at least one name.
        weights: "equal" or "score".
        gross: sum of |weights|.
        band: least change of a weight that is traded while a name stays on its side.

    Raises:
        ValueError: an option outside its range; the message names it.

    Examples:
        >>> rule = LongShort(quantile=0.25)
        >>> [(order.side, order.instrument, order.target) for order in rule.orders(at)]
        [('short', 'D', -0.5), ('buy', 'A', 0.5)]
    """

    quantile: float = 0.1
    weights: Literal["equal", "score"] = "equal"
    gross: float = 1.0
    band: float = 0.0

    sells_short = True

    def __post_init__(self) -> None:
        need(0 < self.quantile <= 0.5, "quantile", self.quantile, "a share in (0, 0.5]")
        need(self.weights in ("equal", "score"), "weights", self.weights, "equal or score")
        need(0 < self.gross <= 10, "gross", self.gross, "a multiple of the account in (0, 10]")
        need(0 <= self.band < 1, "band", self.band, "a weight in [0, 1)")

    def orders(self, at: Situation) -> list[Order]:
        """Decide at the close, for the next session."""
        names, weight = candidates(at), np.zeros(len(at.score))
        count = max(1, int(len(names) * self.quantile + 1e-9))
        if len(names) < 2 * count:  # a single name has no other side
            return orders_towards(at, weight)
        middle = float(np.median(at.score[names]))
        idle = at.weight[stuck(at)]
        for side, own, kept in (
            (1.0, names[:count], idle[idle > 0]),
            (-1.0, names[-count:], idle[idle < 0]),
        ):
            lead = np.abs(at.score[own] - middle)
            if self.weights == "equal" or not lead.any():
                lead = np.ones(count)
            total = max(self.gross / 2 - float(np.abs(kept).sum()), 0.0)
            weight[own] = side * total * lead / lead.sum()
        return orders_towards(at, weight, band=self.band)


@dataclass(frozen=True)
class ScoreWeighted:
    """Hold the best names with weights that follow their ranks or scores, under caps.

    With `weights="rank"` the best of `names` has the weight `names`, the last one 1, before caps
    and scaling. With `weights="score"` it is the lead over the best name that is left out, or over
    the worst one if none is.

    Attributes:
        names: names to hold.
        weights: "rank" or "score".
        exposure: sum of the weights; the rest is cash, which pays costs and rising prices.
        cap: largest weight of a name.
        group: a column beside the bars whose values are groups, an industry say; None for none.
        group_cap: largest weight of a group; names without a value are one group.
        band: least change of a weight that is traded while a name is held.

    Raises:
        ValueError: an option outside its range; the message names it.

    Examples:
        >>> rule = ScoreWeighted(names=2, exposure=0.9, cap=0.7)
        >>> [(order.instrument, round(order.target, 2)) for order in rule.orders(at)]
        [('A', 0.6), ('B', 0.3)]
    """

    names: int = 50
    weights: Literal["rank", "score"] = "rank"
    exposure: float = 0.95
    cap: float = 0.1
    group: str | None = None
    group_cap: float | None = None
    band: float = 0.0

    def __post_init__(self) -> None:
        need(self.names >= 1, "names", self.names, "1 name or more")
        need(self.weights in ("rank", "score"), "weights", self.weights, "rank or score")
        need(0 < self.exposure <= 1, "exposure", self.exposure, "a share in (0, 1]")
        need(0 < self.cap <= 1, "cap", self.cap, "a weight in (0, 1]")
        need(0 <= self.band < 1, "band", self.band, "a weight in [0, 1)")
        check_group(self.group, self.group_cap)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the groups."""
        return () if self.group is None else (self.group,)

    def orders(self, at: Situation) -> list[Order]:
        """Decide at the close, for the next session."""
        ranked, weight = candidates(at), np.zeros(len(at.score))
        chosen = ranked[: self.names]
        if len(chosen):
            total = max(self.exposure - float(at.weight[stuck(at)].sum()), 0.0)
            groups = None if self.group is None else groups_of(at, self.group, chosen)
            weight[chosen] = capped(
                self._raw(at, ranked), total, self.cap, groups, self.group_cap or 1.0
            )
        return orders_towards(at, weight, band=self.band)

    def _raw(self, at: Situation, ranked: NDArray[Any]) -> FloatArray:
        """[M] weights of the chosen names before caps and scaling."""
        count = min(self.names, len(ranked))
        if self.weights == "rank":
            return np.arange(count, 0, -1, dtype=np.float64)
        score = at.score[ranked]
        lead: FloatArray = score[:count] - score[min(count, len(ranked) - 1)]
        return lead if lead.any() else np.ones(count)


def check_group(group: str | None, group_cap: float | None) -> None:
    """Confirm that a group and its cap come together.

    Raises:
        ValueError: they do not, or the cap is no weight.
    """
    need(
        (group is None) == (group_cap is None), "group_cap", group_cap,
        "a column named by `group` and a weight in `group_cap`, or neither",
    )  # fmt: skip
    need(group_cap is None or 0 < group_cap <= 1, "group_cap", group_cap, "a weight in (0, 1]")
