"""Target weights: from weights that a strategy wants to the orders that lead there, and caps.

An order towards a weight is sized at the close of the decision (`strategies.decide`), so that the
list names whole numbers of shares that a broker can be sent before the open.

Shapes: `N` instruments, `M` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.align import BoolArray, FloatArray
from rnn_core.evaluation.execution import Order, Side
from rnn_core.evaluation.strategies import Situation

UNKNOWN = "unknown"
"""The group of the names that have none."""


def closes_of(at: Situation) -> FloatArray:
    """The closes of a situation, which strategies of target weights need.

    Raises:
        ValueError: the situation has none.
    """
    if at.close is None:
        raise ValueError("the situation has no closes; expected one from `decide` or `backtest`")
    return at.close


def stuck(at: Situation) -> BoolArray:
    """[N] True for names held that did not trade: their weight stays whatever is ordered."""
    return at.held & np.isnan(closes_of(at))


def groups_of(at: Situation, column: str, names: NDArray[Any]) -> list[str]:
    """The groups of the names at some positions [M]; a name without one is of `UNKNOWN`.

    Raises:
        ValueError: the situation lacks the column.
    """
    if column not in at.columns:
        raise ValueError(
            f"the session has no column {column!r}, only {sorted(at.columns)}: give the bars such "
            f"a column, or leave the group out"
        )
    values = at.columns[column]
    return [
        UNKNOWN if values[i] is None or values[i] != values[i] else str(values[i]) for i in names
    ]


def orders_towards(at: Situation, weight: FloatArray, *, band: float = 0.0) -> list[Order]:
    """The orders that lead from what is held to some weights.

    A name that is held and has no weight is closed (`dropped`), one that is not held is opened
    (`entered`), any other is `rebalanced` if its weight differs by more than the band. A name that
    changes sides is closed and opened.

    Args:
        at: the situation.
        weight: [N] target weights, negative of short positions.
        band: least change of the weight of a name that is held and stays so.

    Returns:
        Closing orders in instrument order, then opening ones, the largest conviction first: the
        best score of purchases, the worst of short sales.

    Examples:
        >>> orders = orders_towards(at, np.array([0.5, 0.3, 0.0, 0.0]))
        >>> [(order.side, order.instrument, order.target) for order in orders]
        [('buy', 'A', 0.5), ('buy', 'B', 0.3)]
    """
    rank, close = at.ranks(), closes_of(at)
    closing: list[Order] = []
    opening: list[tuple[int, Order]] = []
    for i in np.flatnonzero(at.held | (weight != 0)).tolist():
        name, now, aim, place = at.instruments[i], float(at.weight[i]), float(weight[i]), rank[i]
        enter: Side = "buy" if aim > 0 else "short"
        leave: Side = "sell" if now > 0 else "cover"
        stays = bool(at.held[i]) and now * aim > 0
        if at.held[i] and not stays:
            closing.append(Order(name, leave, "dropped", place, target=0.0))
        if aim == 0 or np.isnan(close[i]) or (stays and abs(aim - now) <= band):
            continue
        reason = "rebalanced" if stays else "entered"
        if stays and abs(aim) < abs(now):
            closing.append(Order(name, leave, reason, place, target=aim))
        else:
            key = (place or 0) if aim > 0 else -(place or 0)
            opening.append((key, Order(name, enter, reason, place, target=aim)))
    return closing + [one for _, one in sorted(opening, key=lambda pair: pair[0])]


def capped(
    weight: FloatArray,
    total: float,
    cap: float,
    groups: Sequence[str] | None = None,
    group_cap: float = 1.0,
) -> FloatArray:
    """Scale weights to a total under a cap a name and a cap a group.

    The excess of a capped name goes to the others in proportion to their weights; a group above
    its cap is scaled down to it and the excess goes to the other groups. If everything is at a cap
    the sum stays below the total.

    Args:
        weight: [M] weights of 0 or more.
        total: their sum afterwards.
        cap: largest weight of a name.
        groups: the group of each; None for no cap of groups.
        group_cap: largest sum of a group.

    Returns:
        [M] weights.
    """
    if groups is None:
        return _filled(weight, total, cap)
    labels = np.asarray(groups)
    result, full = np.zeros(len(weight)), np.zeros(len(weight), dtype=bool)
    while True:
        rest = ~full
        result[rest] = _filled(weight[rest], max(total - float(result[full].sum()), 0.0), cap)
        over = [
            group
            for group in dict.fromkeys(labels[rest].tolist())
            if float(result[labels == group].sum()) > group_cap * (1 + 1e-12)
        ]
        if not over:
            return result
        for group in over:
            own = labels == group
            result[own] = _filled(weight[own], group_cap, cap)
            full |= own


def _filled(weight: FloatArray, total: float, cap: float) -> FloatArray:
    """Scale weights to a total under a cap a name."""
    result, free = np.zeros(len(weight)), weight > 0
    while free.any():
        share = total * weight[free] / weight[free].sum()
        over = np.flatnonzero(free)[share > cap]
        if not len(over):
            result[free] = share
            return result
        result[over], free[over] = cap, False
        total = max(total - cap * len(over), 0.0)
    return result
