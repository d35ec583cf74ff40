"""Mean-variance: the weights that trade expected return off against risk and turnover.

    maximise  alpha'w - risk_aversion / 2 * w'Sw - turnover_cost * |w - w0|_1

w0 are the weights held at the close. alpha is the score itself, or with `ic` Grinold's rule
ic * volatility * z-score (Grinold, Alpha Is Volatility Times IC Times Score, Journal of Portfolio
Management 20(4), 1994), the expected return of a session. S is the covariance of the returns of the
last `sessions` sessions, shrunk towards a multiple of the identity with the intensity of Ledoit
and Wolf (A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices, Journal of
Multivariate Analysis 88(2), 2004; scikit-learn). It enters as a sum of squares over sessions, which
is never indefinite and needs no N x N matrix.

Constraints: a cap a name and a group; long only with a sum of at most `gross`, or a sum of |w| of
at most `gross` with a net sum of at most `net`; at most `turnover_limit` of |w - w0|_1. A position
that has drifted beyond its cap need not be cut: its cap is what is held. Sums (gross, net, groups)
that have drifted are brought back at once, or by the turnover that is allowed: a limit is then
what w0 has once all of it is scaled down by that turnover, so that weights always exist. The net
sum of names that did not trade is balanced by others where the objective gains by it, not by force.

A name can be held if it has a score, a close and returns of half the sessions; a missing return
counts as the name's mean. Others that are held are closed, beside the limit of the turnover; one
that did not trade keeps its weight, which counts in `gross`. The solver (Clarabel, through cvxpy)
runs on one thread; weights are cut to millionths, so that its last digits decide nothing.

Shapes: `N` instruments, `M` candidates, `L` sessions.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.execution import Order
from rnn_core.evaluation.strategies import Situation
from rnn_core.evaluation.target_weights import groups_of, orders_towards, stuck
from rnn_core.evaluation.weight_strategies import candidates, check_group, need

_PACKAGES = ("cvxpy", "clarabel", "sklearn")
_GRID = 1e6  # weights are multiples of its inverse
_SLACK = 0.1  # of a step of the grid, for the solver's tolerance


@dataclass(frozen=True)
class MeanVariance:
    """Maximise expected return less risk and the cost of turnover; see the module.

    Attributes:
        sessions: L, sessions of returns of the covariance.
        risk_aversion: of the objective.
        ic: expected correlation of scores and returns; None to take scores for expected returns.
        turnover_cost: cost of a unit of turnover, in the unit of alpha.
        cap: largest |weight| of a name.
        group: a column beside the bars whose values are groups, an industry say; None for none.
        group_cap: largest |sum of weights| of a group; names without a value are one group.
        long_only: False for short positions, too.
        gross: largest sum of |weights|; the rest of a long-only book is cash.
        net: largest |sum of weights| of a book with short positions.
        turnover_limit: largest sum of |changes of weights| of a session; None for none.

    Raises:
        ValueError: an option outside its range, or a package is absent; the message names it.

    Examples:
        >>> rule = MeanVariance(sessions=60, cap=0.1)
        >>> rule.look_back, rule.cap
        (60, 0.1)
    """

    sessions: int = 120
    risk_aversion: float = 10.0
    ic: float | None = 0.03
    turnover_cost: float = 0.0005
    cap: float = 0.05
    group: str | None = None
    group_cap: float | None = None
    long_only: bool = True
    gross: float = 0.95
    net: float = 0.0
    turnover_limit: float | None = None

    def __post_init__(self) -> None:
        absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if absent:
            raise ValueError(
                f"mean_variance needs the extra `optimizer` ({', '.join(absent)} not found): "
                f"pip install 'rnn-signal-factory[optimizer]'"
            )
        need(self.sessions >= 10, "sessions", self.sessions, "10 sessions or more")
        need(self.risk_aversion > 0, "risk_aversion", self.risk_aversion, "a number above 0")
        need(self.ic is None or 0 < self.ic < 1, "ic", self.ic, "a correlation in (0, 1), or None")
        need(self.turnover_cost >= 0, "turnover_cost", self.turnover_cost, "0 or more")
        need(0 < self.cap <= 1, "cap", self.cap, "a weight in (0, 1]")
        check_group(self.group, self.group_cap)
        most = 1.0 if self.long_only else 10.0
        need(0 < self.gross <= most, "gross", self.gross, f"a multiple in (0, {most:g}]")
        need(0 <= self.net <= self.gross, "net", self.net, f"a weight in [0, gross {self.gross}]")
        need(
            not (self.long_only and self.net), "net", self.net,
            "0, since a book that is long only has its sum limited by gross",
        )  # fmt: skip
        limit = self.turnover_limit
        need(limit is None or limit > 0, "turnover_limit", limit, "a weight above 0, or None")

    @property
    def look_back(self) -> int:
        """Sessions of returns."""
        return self.sessions

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the groups."""
        return () if self.group is None else (self.group,)

    @property
    def sells_short(self) -> bool:
        """True with short positions."""
        return not self.long_only

    def orders(self, at: Situation) -> list[Order]:
        """Decide at the close, for the next session.

        Raises:
            ValueError: the situation lacks the returns or the column, or the solver finds nothing.
        """
        if at.returns is None:
            raise ValueError("the situation has no returns; expected those of the look-back")
        weight, names = np.zeros(len(at.score)), np.sort(candidates(at))
        known = np.sum(~np.isnan(at.returns[:, names]), axis=0)
        names = names[known >= self.sessions / 2]
        if len(names) > 1:
            weight[names] = self._solve(at, names)
        return orders_towards(at, weight)

    def _solve(self, at: Situation, names: NDArray[np.intp]) -> FloatArray:
        """The weights [M] of the candidates."""
        cp: Any = import_module("cvxpy")
        returns = centred(at.returns, names)  # (L, M)
        shrinkage, mean_variance = shrinkage_of(returns)
        score, now = at.score[names], at.weight[names].copy()
        alpha = score.copy()
        if self.ic is not None:
            spread = float(np.std(score))
            z = (score - score.mean()) / (spread or 1.0)
            alpha = self.ic * np.sqrt(np.mean(returns**2, axis=0)) * z
        weight = cp.Variable(len(names))
        risk = (1 - shrinkage) / len(returns) * cp.sum_squares(returns @ weight)
        risk += shrinkage * mean_variance * cp.sum_squares(weight)
        traded = cp.norm1(weight - now)
        gain = alpha @ weight - self.risk_aversion / 2 * risk - self.turnover_cost * traded
        limits = self._limits(cp, at, names, weight, now)
        if self.turnover_limit is not None:
            limits.append(traded <= self.turnover_limit)
        # The tolerances of the solver are absolute, and alphas of a session are small.
        unit = float(np.abs(alpha).max()) or 1.0
        problem = cp.Problem(cp.Maximize(gain / unit), limits)
        problem.solve(solver=cp.CLARABEL, max_threads=1, direct_solve_method="qdldl")
        if weight.value is None:
            raise ValueError(
                f"mean_variance: the solver ends with {problem.status!r} on {len(names)} names; "
                f"loosen gross, net or turnover_limit"
            )
        size = np.floor(np.abs(weight.value) * _GRID + _SLACK) / _GRID
        cut: FloatArray = np.copysign(size, weight.value)
        return cut

    def _limits(
        self, cp: Any, at: Situation, names: NDArray[np.intp], weight: Any, now: FloatArray
    ) -> list[Any]:
        """The constraints; together they allow what is held, scaled down by the turnover."""
        idle, held = at.weight[stuck(at)], float(np.abs(now).sum())
        limit = self.turnover_limit
        left = 0.0 if limit is None or held <= limit else 1.0 - limit / held  # of what is held
        gross = max(self.gross - float(np.abs(idle).sum()), left * held)
        cap = np.maximum(self.cap, np.abs(now))
        limits = [weight <= cap]
        if self.long_only:
            limits += [weight >= 0, cp.sum(weight) <= gross]
        else:
            net, tilt = float(idle.sum()), left * float(now.sum())
            limits += [
                weight >= -cap,
                cp.norm1(weight) <= gross,
                cp.sum(weight) <= max(self.net - net, tilt),
                cp.sum(weight) >= min(-self.net - net, tilt),
            ]
        if self.group is not None:
            labels = np.array(groups_of(at, self.group, names))
            for group in sorted(set(labels.tolist())):
                own = np.flatnonzero(labels == group)
                most = max(float(self.group_cap or 1.0), left * abs(float(now[own].sum())))
                limits.append(cp.abs(cp.sum(weight[own])) <= most)
        return limits


def centred(returns: FloatArray | None, names: NDArray[np.intp]) -> FloatArray:
    """[L, M] returns of some names less their means; 0 where a return is missing."""
    own = np.ascontiguousarray(np.asarray(returns)[:, names])
    filled: FloatArray = np.nan_to_num(own - np.nanmean(own, axis=0))
    return filled


def shrinkage_of(returns: FloatArray) -> tuple[float, float]:
    """The intensity of Ledoit and Wolf and the mean variance that the covariance shrinks to.

    Args:
        returns: [L, M], centred.
    """
    covariance: Any = import_module("sklearn.covariance")
    intensity = float(covariance.ledoit_wolf_shrinkage(returns, assume_centered=True))
    return intensity, float(np.mean(returns**2))
