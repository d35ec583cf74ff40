"""`LightGBMModel`: boosted trees on the squared error, stopped by the rank IC.

The names and defaults are those of qlib's benchmark (examples/benchmarks/LightGBM, Alpha158); as
there, `subsample` has no effect unless `subsample_freq` is above 0. Its penalties are made for a
market of hundreds of names with a label of unit variance: `lambda_l1: 205.7` leaves a small market
without a single split, and such a model is constant, which the checks say.

Differences from qlib's `LGBModel`: boosting is stopped by the mean rank IC of the validation
sessions, since the order of names is what is traded, and qlib's by the squared error; a round in
which no session has a rank IC counts as -1. Rows without a label are left out. The same seed gives
the same bits on any number of threads (`deterministic`, `force_col_wise`).

Missing and infinite values go the way that LightGBM learns for missing ones.

Rule matched: qlib contrib/model/gbdt.py `LGBModel`.

Shapes: `S` samples, `F` columns of a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.models.flatten import require_flatten, row_names

if TYPE_CHECKING:
    from rnn_core.models.samples import Samples

_FILE = "model.txt"
_CELLS_OF_A_THREAD = 1 << 19
_ROWS_AT_ONCE = 1 << 16  # whose infinities are looked for
_NO_IC = -1.0  # the score of a round without a rank IC: worse than any other
_RANGES: dict[str, tuple[float, float]] = {
    "num_leaves": (2, 131072),
    "max_depth": (-1, 1000),
    "learning_rate": (1e-9, 1e3),
    "colsample_bytree": (1e-9, 1.0),
    "subsample": (1e-9, 1.0),
    "subsample_freq": (0, 1e9),
    "lambda_l1": (0.0, 1e12),
    "lambda_l2": (0.0, 1e12),
    "min_data_in_leaf": (1, 1e12),
    "num_boost_round": (1, 1e9),
    "early_stopping_rounds": (1, 1e9),
}


class LightGBMModel:
    """Boosted trees; see the module.

    Args:
        num_leaves: most leaves of a tree.
        max_depth: most levels of a tree; -1 for any.
        learning_rate: share of a tree that enters the score.
        colsample_bytree: share of the features that a tree may use.
        subsample: share of the rows that a tree sees, every `subsample_freq` trees drawn anew.
        subsample_freq: 0 for all rows.
        lambda_l1: penalty on the sum of gradients of a leaf.
        lambda_l2: penalty on the square of a leaf's value.
        min_data_in_leaf: fewest rows of a leaf.
        num_boost_round: most trees.
        early_stopping_rounds: trees in a row without a better validation rank IC that end it.
        flatten: "last" for the newest session of a window, "window" for all of it.

    Raises:
        ValueError: a value outside its range.

    Examples:
        >>> trees = LightGBMModel(num_boost_round=5, lambda_l1=0, lambda_l2=0)
        >>> history = trees.fit(samples, None, seed=0, threads=1)
        >>> trees.predict(samples).shape
        (200,)
    """

    missing_values: ClassVar[bool] = True
    package: ClassVar[str] = "lightgbm"
    extra: ClassVar[str] = "pipelines"

    def __init__(
        self,
        num_leaves: int = 210,
        max_depth: int = 8,
        learning_rate: float = 0.2,
        colsample_bytree: float = 0.8879,
        subsample: float = 0.8789,
        subsample_freq: int = 0,
        lambda_l1: float = 205.6999,
        lambda_l2: float = 580.9768,
        min_data_in_leaf: int = 20,
        num_boost_round: int = 1000,
        early_stopping_rounds: int = 50,
        flatten: str = "last",
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _RANGES}
        for name, value in given.items():
            low, high = _RANGES[name]
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected a number in [{low:g}, {high:g}]")
        self.flatten = require_flatten(flatten)
        self._rounds, self._patience = num_boost_round, early_stopping_rounds
        self._parameters = {
            name: value for name, value in given.items() if name not in ("num_boost_round",
                                                                         "early_stopping_rounds")
        }  # fmt: skip
        self._booster: Any = None

    def fit(
        self, train: Samples, valid: Samples | None, *, seed: int, threads: int
    ) -> pd.DataFrame:
        """Boost until the validation rank IC stops rising; the best number of trees is kept.

        Args:
            train: samples with labels.
            valid: alike; None boosts all rounds.
            seed: of the features and rows of every tree.
            threads: of the CPU; they change no bit.

        Returns:
            A row a tree: epoch, train_loss (mean squared error), valid_score (mean rank IC), best.

        Raises:
            ValueError: no training row has a label.
            ImportError: LightGBM cannot be loaded.
        """
        import lightgbm

        if train.label is None or not np.isfinite(train.label).any():
            raise ValueError(f"none of the {len(train)} training rows has a label")
        mask = np.isfinite(train.label)
        label = train.label[mask]
        learned = train.rows(self.flatten)
        if not mask.all():
            learned = learned[mask]
        parameters = {
            **self._parameters,
            "objective": "regression",
            "metric": "None",  # those of `scored` below
            "seed": seed % (1 << 31),  # LightGBM's seeds have 31 bits
            # On few cells threads wait for one another longer than they work.
            "num_threads": max(1, min(threads, learned.size // _CELLS_OF_A_THREAD)),
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        learn = lightgbm.Dataset(
            _finite(learned),
            label,
            weight=None if train.weights is None else train.weights[mask],
            params=parameters,
            free_raw_data=True,
        )
        del learned  # LightGBM lets go of the rows once it has their bins
        callbacks, watched, record = [], [learn], dict[str, Any]()
        if valid is not None:
            # The label of the validation rows is not read: `rank_ic` has those that are finite.
            rows = _finite(valid.rows(self.flatten))
            watched.append(learn.create_valid(rows, np.zeros(len(valid), dtype=np.float32)))
            callbacks.append(lightgbm.early_stopping(self._patience, verbose=False))

        def scored(scores: NDArray[np.float64], data: Any) -> tuple[str, float, bool]:
            if valid is None or data is learn:
                return "loss", float(np.square(scores - label).mean()), False
            value = valid.rank_ic(scores)
            return "rank_ic", value if np.isfinite(value) else _NO_IC, True

        self._booster = lightgbm.train(
            parameters,
            learn,
            self._rounds,
            valid_sets=watched,
            valid_names=["train", "valid"][: len(watched)],
            feval=scored,
            callbacks=[*callbacks, lightgbm.record_evaluation(record)],
        )
        losses = record["train"]["loss"]
        scores = record["valid"]["rank_ic"] if valid is not None else [np.nan] * len(losses)
        best = int(np.argmax(scores)) if valid is not None else len(losses) - 1
        text = self._booster.model_to_string(num_iteration=best + 1)
        self._booster = lightgbm.Booster(model_str=re.sub(r"\[num_threads: \d+\]", "", text))
        return pd.DataFrame(
            {
                "epoch": range(len(losses)),
                "train_loss": losses,
                "valid_score": scores,
                "best": np.arange(len(losses)) == best,
            }
        )

    def predict(self, samples: Samples) -> NDArray[np.float64]:
        """Return scores [S], float64: the sum of the trees, a row at a time."""
        rows = _finite(samples.rows(self.flatten))
        return np.asarray(self._booster.predict(rows, num_threads=1), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write LightGBM's own text file, which any LightGBM reads."""
        (folder / _FILE).write_text(self._booster.model_to_string(), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        import lightgbm

        self._booster = lightgbm.Booster(model_str=(folder / _FILE).read_text(encoding="utf-8"))

    def importance(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return what the features gave, the most useful first.

        Args:
            columns: the names of the F features.

        Returns:
            Indexed by feature: `gain`, the squared error that its splits took away, and `splits`.
        """
        gain = self._booster.feature_importance("gain")
        splits = self._booster.feature_importance("split")
        table = pd.DataFrame({"gain": gain, "splits": splits}, index=row_names(columns, len(gain)))
        return table.sort_values("gain", ascending=False, kind="stable")


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn infinities into NaN, which LightGBM takes for missing, in place."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        part[np.isinf(part)] = np.nan
    return rows
