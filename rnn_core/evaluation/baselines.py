"""Baselines that a model has to beat: three scores that cost nothing.

They are short-term reversal and momentum from the bars alone, and a ridge regression on the model's
own features, in closed form. A network that is no better than these is not worth its upkeep. The
regression is ridge and not plain least squares, because Alpha158's columns are close to collinear.
The penalty is one number, either fixed or the best of a short list on validation rows.

Shapes: `S` rows, `F` features, `T` sessions, `N` instruments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import FloatArray
from rnn_core.evaluation.decay import close_table
from rnn_core.evaluation.signal_metrics import calc_ic
from rnn_core.panel.frames import one_column

RIDGE_ALPHA = 1.0
"""Default penalty, in units of the variance of a standardised feature."""
RIDGE_ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Penalties to choose from if there are validation rows."""


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
    return -_past_return(bars, begin=sessions, end=0).rename("reversal")


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
    return _past_return(bars, begin=sessions, end=skip).rename("momentum")


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
        >>> ridge = ridge_scores(x, labels.reindex(x.index), x)
        >>> bool(ridge.corr(x["planted"]) > 0.9)
        True
    """
    # The inputs must match: rows, columns, and validation rows with labels.
    columns, y_train = x_train.columns, one_column(y_train, "y_train")
    if not x_train.index.equals(y_train.index):
        raise ValueError(
            f"x_train has {len(x_train)} rows and y_train {len(y_train)}, or in another order: "
            "expected the same index, use y_train.reindex(x_train.index)"
        )
    for name, frame in (("x_test", x_test), ("x_valid", x_valid)):
        missing = [] if frame is None else [c for c in columns if c not in frame.columns]
        if missing:
            raise ValueError(f"{name} lacks {missing[:5]} of the training columns: add them")
    if (x_valid is None) != (y_valid is None):
        raise ValueError("x_valid and y_valid choose the penalty together: pass both or neither")
    penalties = (
        [alpha] if alpha is not None else list(alphas) if x_valid is not None else [RIDGE_ALPHA]
    )
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"alpha={penalties}: expected positive penalties, such as {RIDGE_ALPHA}")

    # The closed form, for every penalty.
    y = y_train.to_numpy(dtype=np.float64, na_value=np.nan)
    label_mask = np.isfinite(y)
    if not label_mask.any():
        raise ValueError(f"y_train has no label on any of its {len(y)} rows: pass labelled rows")
    x = _finite(x_train)[label_mask]
    centre, scale = _standard(x)
    z, target = _scaled(x, centre, scale), y[label_mask] - y[label_mask].mean()
    values, vectors = np.linalg.eigh(z.T @ z / len(z))  # one decomposition serves every penalty
    moment = vectors.T @ (z.T @ target / len(z))  # (F,)
    weights = [vectors @ (moment / (np.maximum(values, 0.0) + a)) for a in penalties]
    # The penalty with the highest rank IC on the validation rows, the smallest of equals.
    best = 0
    if len(penalties) > 1 and x_valid is not None and y_valid is not None:
        valid = _scaled(_finite(x_valid[columns]), centre, scale)
        ics = [
            calc_ic(pd.Series(valid @ w, index=x_valid.index), y_valid)[1].mean() for w in weights
        ]
        if np.isnan(ics).all():
            raise ValueError("no validation session has a rank IC: pass alpha, or labelled rows")
        best = int(np.nanargmax(ics))
    scores = _scaled(_finite(x_test[columns]), centre, scale) @ weights[best]
    return pd.Series(scores, index=x_test.index, name="ridge")


def _past_return(bars: pd.DataFrame, *, begin: int, end: int) -> pd.Series:
    """Compute close_{t-end} / close_{t-begin} - 1 of the names that have a bar at t."""
    sessions, instruments, close = close_table(bars)
    returns = np.full_like(close, np.nan)
    if len(close) > begin:
        closes = close[begin - end : len(close) - end]
        returns[begin:] = closes / close[: len(close) - begin] - 1
        returns[np.isnan(close)] = np.nan  # no score for a name that does not trade
    day, name = np.nonzero(~np.isnan(returns))
    index = pd.MultiIndex.from_arrays(
        [sessions[day], instruments[name]], names=["datetime", "instrument"]
    )
    return pd.Series(returns[day, name], index=index)


def _finite(frame: pd.DataFrame) -> FloatArray:
    """Return [S, F] with NaN for all values that are not finite."""
    x = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(x), x, np.nan)


def _standard(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute mean [F] and deviation [F] without NaN; a deviation of inf gives no weight."""
    mask = ~np.isnan(x)
    count = np.maximum(mask.sum(axis=0), 1)
    centre = np.where(mask, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(mask, x - centre, 0.0) ** 2).sum(axis=0) / count)
    return centre, np.where(spread > 1e-12 * np.abs(centre), spread, np.inf)


def _scaled(x: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    return np.where(np.isnan(x), 0.0, (x - centre) / scale)
