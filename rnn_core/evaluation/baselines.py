"""Baselines that a model has to beat: three scores that cost nothing.

They are short-term reversal and momentum from the bars alone, and a ridge regression on the model's
own features, in closed form. A network that is no better than these is not worth its upkeep. The
regression is ridge and not plain least squares, because Alpha158's columns are close to collinear.
The penalty is one number, either fixed or the best of a short list on validation rows. The fit adds
its sums up over chunks of rows, so that no float64 copy of the features is made; sums of several
chunks differ from those of one by rounding, some 1e-13 of their size.

Shapes: `S` rows, `F` features, `T` sessions, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.evaluation.align import FloatArray, from_table
from rnn_core.evaluation.decay import close_table
from rnn_core.evaluation.signal_metrics import calc_ic
from rnn_core.panel.frames import one_column

RIDGE_ALPHA = 1.0
"""Default penalty, in units of the variance of a standardised feature."""
RIDGE_ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Penalties to choose from if there are validation rows."""
_CHUNK_CELLS = 1 << 21  # of rows that are turned to float64 at a time


def reversal(bars: pd.DataFrame, *, sessions: int = 5) -> pd.Series:
    """Score names by minus their past return: score_t = -(close_t / close_{t-k} - 1).

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        sessions: k, of the bars' calendar.

    Returns:
        Scores indexed by (datetime, instrument), sorted, named `reversal`; rows without both
        closes are left out (Jegadeesh 1990, Lehmann 1990).

    Raises:
        ValueError: fewer than 1 session, or bars without a close.

    Examples:
        >>> reversal(bars).name
        'reversal'
    """
    if sessions < 1:
        raise ValueError(f"sessions={sessions}: expected a look-back of 1 session or more")
    return -_past_return(bars, "reversal", begin=sessions, end=0)


def momentum(bars: pd.DataFrame, *, sessions: int = 60, skip: int = 5) -> pd.Series:
    """Score names by their past return: score_t = close_{t-s} / close_{t-k} - 1.

    Args:
        bars: adjusted bars, (datetime, instrument) as index or columns, with `close`.
        sessions: k, of the bars' calendar.
        skip: s, the newest sessions, which reverse; 0 or more and below k.

    Returns:
        Scores indexed by (datetime, instrument), sorted, named `momentum`; rows without both
        closes are left out (Jegadeesh & Titman 1993).

    Raises:
        ValueError: `skip` outside [0, sessions), or bars without a close.

    Examples:
        >>> list(momentum(bars, sessions=20, skip=5).index.names)
        ['datetime', 'instrument']
    """
    if not 0 <= skip < sessions:
        raise ValueError(
            f"sessions={sessions}, skip={skip}: expected 0 <= skip < sessions, such as 60 and 5"
        )
    return _past_return(bars, "momentum", begin=sessions, end=skip)


def ridge_scores(
    x_train: pd.DataFrame,
    y_train: pd.Series,
    x_test: pd.DataFrame,
    *,
    alpha: float | None = None,
    x_valid: pd.DataFrame | None = None,
    y_valid: pd.Series | None = None,
    alphas: Sequence[float] = RIDGE_ALPHAS,
) -> pd.Series:
    """Score rows by a ridge regression: w = (Z'Z / S + α I)⁻¹ Z'y / S.

    Z are the training features, standardised by their training mean and deviation; y is centred.
    A missing or infinite feature counts as its training mean, a feature that does not vary in
    training gets no weight, training rows without a label are left out (Hoerl & Kennard 1970).

    Args:
        x_train: [S, F] features.
        y_train: [S] labels on the same rows, processed as the model's are.
        x_test: rows to score, same columns in any order.
        alpha: the penalty; None for `RIDGE_ALPHA`, or with validation rows for the one of `alphas`
            whose scores have the highest mean rank IC there (the smallest of equals).
        x_valid: features to choose the penalty on, indexed by (datetime, instrument).
        y_valid: their labels.
        alphas: penalties to try.

    Returns:
        Scores on the rows of `x_test`, named `ridge`.

    Raises:
        ValueError: rows or columns that do not match, no labelled row, a penalty that is not
            positive, one of the validation inputs without the other, or no session there with an
            IC.

    Examples:
        >>> x = pd.DataFrame({"planted": scores, "reversal": past}).dropna()
        >>> day = x.index.get_level_values("datetime")
        >>> train = x[day < sessions[38]]  # the last labels end at 39: two sessions on
        >>> later = x[day >= sessions[40]]
        >>> ridge = ridge_scores(train, labels.reindex(train.index), later)
        >>> bool(ridge.corr(later["planted"]) > 0.9)
        True
    """
    for name, frame in (("x_test", x_test), ("x_valid", x_valid)):
        if frame is not None:
            _require_columns(frame, x_train.columns, name)
    if (x_valid is None) != (y_valid is None):
        raise ValueError("x_valid and y_valid choose the penalty together: pass both or neither")
    penalties = (
        [alpha] if alpha is not None else list(alphas) if x_valid is not None else [RIDGE_ALPHA]
    )
    fits = Ridge.path(x_train, y_train, penalties)
    # The penalty with the highest rank IC on the validation rows, the smallest of equals.
    best = 0
    if len(fits) > 1 and x_valid is not None and y_valid is not None:
        ics = [calc_ic(fit.scores(x_valid), y_valid)[1].mean() for fit in fits]
        if np.isnan(ics).all():
            raise ValueError("no validation session has a rank IC: pass alpha, or labelled rows")
        best = int(np.nanargmax(ics))
    return fits[best].scores(x_test)


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression; see `ridge_scores`.

    Attributes:
        columns: the F features.
        centre: [F], their training means.
        scale: [F], their training deviations; inf gives no weight.
        weights: [F], of the standardised features.

    Examples:
        >>> x = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 0.0, 1.0]})
        >>> (fit,) = Ridge.path(x, pd.Series([0.0, 1.0, 2.0, 3.0]), alphas=(1e-9,))
        >>> fit.weights.round(2).tolist()
        [1.12, 0.0]
    """

    columns: pd.Index
    centre: FloatArray
    scale: FloatArray
    weights: FloatArray

    @classmethod
    def path(
        cls, x_train: pd.DataFrame, y_train: pd.Series, alphas: Sequence[float] = (RIDGE_ALPHA,)
    ) -> list[Ridge]:
        """Fit for each of some penalties; one decomposition serves all.

        Args:
            x_train: [S, F] features; of a frame over one array no copy is made.
            y_train: [S] labels on the same rows; those without one are left out.
            alphas: the penalties.

        Raises:
            ValueError: rows that do not match, no labelled row, a penalty that is not positive.
        """
        y_train = one_column(y_train, "y_train")
        if not x_train.index.equals(y_train.index):
            raise ValueError(
                f"x_train has {len(x_train)} rows and y_train {len(y_train)}, or in another order: "
                "expected the same index, use y_train.reindex(x_train.index)"
            )
        if not alphas or min(alphas) <= 0:
            raise ValueError(f"alpha={alphas}: expected positive penalties, such as {RIDGE_ALPHA}")
        y = y_train.to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(np.isfinite(y))
        if not len(rows):
            raise ValueError(
                f"y_train has no label on any of its {len(y)} rows: pass labelled rows"
            )
        target, width = y[rows] - y[rows].mean(), x_train.shape[1]
        centre, scale = _standard(x_train, rows)
        moments, moment = np.zeros((width, width)), np.zeros(width)
        for part in _chunks(rows, width):
            z = _scaled(_finite(x_train.iloc[rows[part]]), centre, scale)
            moments += z.T @ z
            moment += z.T @ target[part]
        values, vectors = np.linalg.eigh(moments / len(rows))
        turned = vectors.T @ (moment / len(rows))  # (F,)
        return [
            cls(x_train.columns, centre, scale, vectors @ (turned / (np.maximum(values, 0.0) + a)))
            for a in alphas
        ]

    def scores(self, x: pd.DataFrame) -> pd.Series:
        """Score rows.

        Args:
            x: [S, F] features, the columns in any order.

        Returns:
            [S], named `ridge`.

        Raises:
            ValueError: a column is missing.
        """
        _require_columns(x, self.columns, "x")
        scores = np.empty(len(x))
        for part in _chunks(np.arange(len(x)), len(self.columns)):
            chunk = _finite(x.iloc[part][self.columns])
            scores[part] = _scaled(chunk, self.centre, self.scale) @ self.weights
        return pd.Series(scores, index=x.index, name="ridge")


def _past_return(bars: pd.DataFrame, name: str, *, begin: int, end: int) -> pd.Series:
    """Compute close_{t-end} / close_{t-begin} - 1 of the names that have a bar at t."""
    sessions, instruments, close = close_table(bars)
    returns = np.full_like(close, np.nan)
    if len(close) > begin:
        closes = close[begin - end : len(close) - end]
        returns[begin:] = closes / close[: len(close) - begin] - 1
        returns[np.isnan(close)] = np.nan  # no score for a name that does not trade
    return from_table(returns, sessions, instruments, name)


def _require_columns(frame: pd.DataFrame, columns: pd.Index, name: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lacks {missing[:5]} of the training columns: add them")


def _chunks(rows: NDArray[np.intp], width: int) -> Iterator[slice]:
    """Split rows of so many columns into chunks that are turned to float64 at a time."""
    step = max(_CHUNK_CELLS // max(width, 1), 1)
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _finite(frame: pd.DataFrame) -> FloatArray:
    """Return [S, F] with NaN for all values that are not finite."""
    x = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(x), x, np.nan)


def _standard(x: pd.DataFrame, rows: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Compute mean [F] and deviation [F] without NaN; a deviation of inf gives no weight."""
    width = x.shape[1]
    count, total, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for part in _chunks(rows, width):
        values = _finite(x.iloc[rows[part]])
        mask = ~np.isnan(values)
        count += mask.sum(axis=0)
        total += np.where(mask, values, 0.0).sum(axis=0)
    centre = total / np.maximum(count, 1)
    for part in _chunks(rows, width):
        values = _finite(x.iloc[rows[part]])
        squares += (np.where(np.isnan(values), 0.0, values - centre) ** 2).sum(axis=0)
    spread = np.sqrt(squares / np.maximum(count, 1))
    return centre, np.where(spread > 1e-12 * np.abs(centre), spread, np.inf)


def _scaled(x: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    return np.where(np.isnan(x), 0.0, (x - centre) / scale)
