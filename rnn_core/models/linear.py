"""`LinearModel`: a ridge regression in closed form, on any number of features.

    w = (Z'WZ / Σw + α I)⁻¹ Z'W(y - ȳ) / Σw      (Hoerl & Kennard 1970, with sample weights)

Z are the features, standardised by their weighted mean and deviation over the training rows; W are
the sample weights. A missing or infinite value counts as the mean of its feature, so it adds
nothing to a score. A feature that does not vary gets no weight. Rows without a label are left out.

The penalty α is given, in units of the variance of a standardised feature, or it is the one of
`ALPHAS` with the highest mean rank IC on the validation rows (the smallest of equals); without
validation rows it is 1.

Sums run in float64 over chunks of rows, on one thread: BLAS splits sums over its threads, which
changes last bits, and a fit must not depend on them. A score is added up feature by feature, so no
row changes another's.

Shapes: `S` samples, `F` columns of a row, `P` penalties.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.models.flatten import require_flatten, row_names

if TYPE_CHECKING:
    from rnn_core.models.samples import Samples

FloatArray = NDArray[np.float64]
ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Penalties to choose from if there are validation rows."""
_DEFAULT_ALPHA = 1.0
_CHUNK_CELLS = 1 << 21  # of rows that are turned to float64 at a time
_FILE = "linear.json"


class LinearModel:
    """A ridge regression; see the module.

    Args:
        alpha: the penalty, above 0; None chooses it on the validation rows.
        flatten: "last" for the newest session of a window, "window" for all of it.

    Raises:
        ValueError: a penalty that is not a finite number above 0, or another word for `flatten`.

    Examples:
        >>> model = LinearModel(alpha=0.01)
        >>> history = model.fit(samples, None, seed=0, threads=1)
        >>> bool(np.corrcoef(model.predict(samples), label)[0, 1] > 0.99)
        True
    """

    random: ClassVar[bool] = False
    missing_values: ClassVar[bool] = True

    def __init__(self, alpha: float | None = None, flatten: str = "last") -> None:
        number = not isinstance(alpha, bool) and isinstance(alpha, (int, float))
        if alpha is not None and not (number and math.isfinite(alpha) and alpha > 0):
            raise ValueError(
                f"alpha is {alpha!r}, expected a finite number above 0, or null to choose it on "
                f"the validation rows"
            )
        self.alpha, self.flatten = alpha, require_flatten(flatten)
        self._centre = self._scale = self._weights = np.empty(0)  # [F] each
        self._intercept, self._chosen = 0.0, math.nan

    def fit(
        self, train: Samples, valid: Samples | None, *, seed: int, threads: int
    ) -> pd.DataFrame:
        """Solve for the weights, and choose the penalty.

        Args:
            train: samples with labels.
            valid: alike; the penalty with the highest mean rank IC on them is kept.
            seed: not used, there is no randomness.
            threads: not used, see the module.

        Returns:
            A row a penalty: alpha, valid_score (mean rank IC, NaN without validation rows), best.

        Raises:
            ValueError: no training row has a label and a weight above 0.
        """
        del seed, threads
        if train.label is None or not np.isfinite(train.label).any():
            raise ValueError(f"none of the {len(train)} training rows has a label")
        labelled = np.flatnonzero(np.isfinite(train.label))
        x, y = _Rows(train, self.flatten, labelled), train.label[labelled].astype(np.float64)
        weights = np.ones(len(y)) if train.weights is None else train.weights[labelled]
        if not weights.sum() > 0:
            raise ValueError("the sample weights add up to 0, expected some above it")
        choose = self.alpha is None and valid is not None
        given = _DEFAULT_ALPHA if self.alpha is None else float(self.alpha)
        penalties = ALPHAS if choose else (given,)
        with _one_thread():
            self._centre, self._scale = _standard(x, weights)
            self._intercept = float((weights * y).sum() / weights.sum())
            paths = _solved(self._moments(x, y, weights), penalties)  # [P, F]
        scores = [math.nan] * len(penalties)
        if valid is not None:
            scores = [valid.rank_ic(values) for values in self._scores(valid, paths)]
        best = int(np.nanargmax(scores)) if not np.isnan(scores).all() else 0
        if choose and np.isnan(scores).all():
            best = penalties.index(_DEFAULT_ALPHA)
        self._weights, self._chosen = paths[best], penalties[best]
        kept = np.arange(len(penalties)) == best
        return pd.DataFrame({"alpha": penalties, "valid_score": scores, "best": kept})

    def predict(self, samples: Samples) -> FloatArray:
        """Return scores [S], float64."""
        return np.asarray(self._scores(samples, self._weights[None])[0])

    def save(self, folder: Path) -> None:
        """Write the weights as JSON, which holds every double to its last bit."""
        state = {
            "alpha": self._chosen,
            "intercept": self._intercept,
            "centre": self._centre.tolist(),
            "scale": [float(s) if math.isfinite(s) else None for s in self._scale],
            "weights": self._weights.tolist(),
        }
        (folder / _FILE).write_text(json.dumps(state, allow_nan=False) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        self._chosen, self._intercept = state["alpha"], state["intercept"]
        scale = [math.inf if s is None else s for s in state["scale"]]
        self._centre, self._scale, self._weights = map(
            np.array, (state["centre"], scale, state["weights"])
        )

    def importance(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return the weight of every feature, the largest first.

        Args:
            columns: the names of the F features.

        Returns:
            Indexed by feature: `weight`, its absolute value, and `coefficient`, the change of the
            score by one deviation of the feature.
        """
        names = row_names(columns, len(self._weights))
        table = pd.DataFrame(
            {"weight": np.abs(self._weights), "coefficient": self._weights}, index=names
        )
        return table.sort_values("weight", ascending=False, kind="stable")

    def _moments(self, x: _Rows, y: FloatArray, weights: FloatArray) -> tuple[Any, Any]:
        """Z'WZ / Σw and Z'W(y - ȳ) / Σw, as float64 tensors [F, F] and [F]."""
        import torch

        gram = torch.zeros(x.width, x.width, dtype=torch.float64)
        moment = torch.zeros(x.width, dtype=torch.float64)
        for part, rows in x:
            z = torch.from_numpy(_scaled(rows, self._centre, self._scale))  # [B, F]
            w = torch.from_numpy(weights[part])
            weighted = z * w[:, None]
            gram += weighted.T @ z
            moment += weighted.T @ torch.from_numpy(y[part] - self._intercept)
        return gram / float(weights.sum()), moment / float(weights.sum())

    def _scores(self, samples: Samples, paths: FloatArray) -> FloatArray:
        """The scores of all samples for every row of weights, [P, S]."""
        scores = np.empty((len(paths), len(samples)))
        for part, rows in _Rows(samples, self.flatten, np.arange(len(samples))):
            for p, weights in enumerate(paths):
                scores[p, part] = self._score(rows, weights)
        return scores

    def _score(self, rows: NDArray[np.float32], weights: FloatArray) -> FloatArray:
        """Add up the features of each row, one feature after the other, [S]."""
        scores = np.full(len(rows), self._intercept)
        for f in np.flatnonzero(weights):
            column = rows[:, f].astype(np.float64)
            z = (column - self._centre[f]) / self._scale[f]
            scores += np.where(np.isfinite(column), z, 0.0) * weights[f]
        return scores


@dataclass(frozen=True)
class _Rows:
    """Rows of samples that are gathered anew, some at a time, whenever they are gone through.

    Attributes:
        samples: the samples.
        flatten: their rows.
        numbers: of those that count.
    """

    samples: Samples
    flatten: str
    numbers: NDArray[np.intp]

    @property
    def width(self) -> int:
        """Columns of a row."""
        return self.samples.width(self.flatten)

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        size = max(_CHUNK_CELLS // max(self.width, 1), 1)
        return self.samples.chunks(self.numbers, size, self.flatten)


def _standard(x: _Rows, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and deviation of each column over its finite values, [F] each.

    A column that does not vary, or has no value, gets an infinite deviation, hence no weight.
    """
    total, mass = np.zeros(x.width), np.zeros(x.width)
    for part, rows in x:
        values = rows.astype(np.float64)
        finite, w = np.isfinite(values), weights[part][:, None]
        total += np.where(finite, values * w, 0.0).sum(axis=0)
        mass += np.where(finite, w, 0.0).sum(axis=0)
    centre = total / np.where(mass > 0, mass, 1.0)
    squares = np.zeros(x.width)
    for part, rows in x:
        values = rows.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            deviations = (values - centre) ** 2 * weights[part][:, None]
        squares += np.where(np.isfinite(values), deviations, 0.0).sum(axis=0)
    scale = np.sqrt(squares / np.where(mass > 0, mass, 1.0))
    varies = scale > 1e-9 * np.maximum(np.abs(centre), 1e-30)
    return centre, np.where(varies, scale, np.inf)


def _scaled(x: NDArray[np.float32], centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Standardised features, 0 for a value that is missing or infinite, [B, F]."""
    values = x.astype(np.float64)
    return np.where(np.isfinite(values), (values - centre) / scale, 0.0)


def _solved(moments: tuple[Any, Any], penalties: Sequence[float]) -> FloatArray:
    """Weights for every penalty, [P, F]; one decomposition serves all of them."""
    import torch

    gram, moment = moments
    values, vectors = torch.linalg.eigh(gram)
    turned = vectors.T @ moment
    values = values.clamp(min=0.0)
    return np.stack([(vectors @ (turned / (values + alpha))).numpy() for alpha in penalties])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute on one thread inside the block."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
