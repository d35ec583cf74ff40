"""A strategy of one's own: a band of ranks, for fewer trades than a daily exchange of the worst."""

from __future__ import annotations

import numpy as np

from rnn_core.evaluation import Order, Situation


class Band:
    """Buy names that are among the best `enter`, and keep each while it is among the best `leave`.

    Args:
        enter: ranks that are bought.
        leave: ranks that are kept, as many or more.
        risk_degree: share of the cash after sales that a session's purchases use.
    """

    def __init__(self, enter: int = 10, leave: int = 30, risk_degree: float = 0.95) -> None:
        if not 1 <= enter <= leave:
            raise ValueError(f"enter={enter}, leave={leave}: expected 1 <= enter <= leave")
        self.enter, self.leave, self.risk_degree = enter, leave, risk_degree

    def orders(self, at: Situation) -> list[Order]:
        """Decide at the close, for the next session."""
        ranked = at.ranked
        rank = np.empty(len(ranked), dtype=int)
        rank[ranked] = np.arange(1, len(ranked) + 1)
        names = at.instruments
        leaving = np.flatnonzero(at.held & (~at.scored | (rank > self.leave))).tolist()
        best = ranked[: self.enter].tolist()
        entering = [i for i in best if at.scored[i] and not at.held[i]]
        return [Order(names[i], "sell", "left the band") for i in leaving] + [
            Order(names[i], "buy", "entered", int(rank[i]), len(entering), self.risk_degree)
            for i in entering
        ]
