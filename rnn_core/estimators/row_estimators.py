"""`Linear` and `LightGBM`: `fit(dataset)` and `predict(dataset)` of models that are no networks.

    model = LightGBM(lambda_l1=0.0, seed=0)
    scores = model.fit(dataset).predict(dataset, "test")

They take both kinds of dataset, as the estimators of networks do: of the windows of a `TSDatasetH`
they see the newest session or all of it (`flatten`), of a `DatasetH` the rows as they are. Features
may be missing.

A family is a class that adds only its name: hyper-parameters are those of the class in
`rnn_core.models` that computes it.

Shapes: `S` samples, `K` members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from rnn_core.estimators.estimator_data import (
    Dataset,
    Reweighter,
    Windows,
    has_segment,
    prepare_windows,
    require_fitted_on,
    require_same_columns,
    row_weights,
)
from rnn_core.models.estimator_protocol import EstimatorFamily, EstimatorModel
from rnn_core.models.families import ESTIMATOR_FAMILIES
from rnn_core.training.bundle import load_bundle, save_bundle
from rnn_core.training.bundle_files import BundleError
from rnn_core.training.estimator_training import EstimatorFit, fit_estimator
from rnn_core.training.members import samples_of, score_members


@dataclass(frozen=True, eq=False)
class _Fit:
    """The content of a saved estimator."""

    members: tuple[EstimatorModel, ...]
    columns: tuple[str, ...]
    tabular: bool
    history: pd.DataFrame
    records: tuple[Mapping[str, Any], ...]


class RowEstimator:
    """The base of estimators that are fitted on rows.

    Args:
        seed: of whatever is random.
        seeds: members to fit, with the seeds seed, seed + 1, ...; the prediction is their mean.
        threads: of the CPU; None for as many as torch uses. They change no bit.
        **hyper: hyper-parameters of the family; those that are left out have its defaults.

    Raises:
        ValueError: an unknown hyper-parameter or one outside its range, several seeds of a family
            that has no randomness, or a package that is not installed.

    Examples:
        >>> issubclass(Linear, RowEstimator), issubclass(LightGBM, RowEstimator)
        (True, True)
    """

    family: ClassVar[str]

    def __init__(
        self, *, seed: int = 0, seeds: int = 1, threads: int | None = None, **hyper: Any
    ) -> None:
        family = self._family()
        if seeds < 1 or (seeds > 1 and not family.random):
            most = "1 or more" if family.random else "1: no seed changes the result"
            raise ValueError(f"seeds is {seeds}, expected {most}")
        self.seed, self.seeds, self.threads = seed, seeds, threads
        self.hyper = family.resolve(hyper)
        family.build(self.hyper)
        self._fit: _Fit | None = None

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name, as scikit-learn asks for them."""
        return {
            "seed": self.seed, "seeds": self.seeds, "threads": self.threads, **self.hyper
        }  # fmt: skip

    def set_params(self, **params: Any) -> Self:
        """Change arguments, as scikit-learn does; a fit is forgotten.

        Raises:
            ValueError: an unknown argument, or a value of the wrong type or outside its range;
                nothing is changed.
        """
        self.__dict__.update(type(self)(**{**self.get_params(), **params}).__dict__)
        return self

    def __sklearn_clone__(self) -> Self:
        """An estimator of the same arguments that is not fitted, for `sklearn.base.clone`."""
        return type(self)(**self.get_params())

    def fit(self, dataset: Dataset, *, reweighter: Reweighter | None = None) -> Self:
        """Fit on the segment "train", choosing on "valid" if there is one.

        Args:
            dataset: its `prepare` gives samplers or frames.
            reweighter: weights the training rows.

        Returns:
            The estimator.

        Raises:
            ValueError: no label, or segments with other columns.
        """
        train = self._windows(dataset, "train", learn=True)
        weights = None if reweighter is None else row_weights(reweighter, train)
        learn = samples_of(train.source, train.columns, has_label=True, weights=weights)
        held_out = None
        if has_segment(dataset, "valid"):
            valid = self._windows(dataset, "valid", learn=True)
            require_same_columns(train.columns, valid.columns, "train", "valid")
            held_out = samples_of(valid.source, valid.columns, has_label=True)
        fits: list[tuple[int, EstimatorFit]] = [
            (
                seed,
                fit_estimator(
                    self._family(), self.hyper, learn, held_out, seed=seed, threads=self.threads
                ),
            )
            for seed in range(self.seed, self.seed + self.seeds)
        ]
        self._fit = _Fit(
            tuple(one.member for _, one in fits),
            train.columns,
            train.tabular,
            pd.concat([one.history.assign(seed=seed) for seed, one in fits], ignore_index=True),
            tuple({"seed": seed, **one.record} for seed, one in fits),
        )
        return self

    def predict(self, dataset: Dataset, segment: str | slice = "test") -> pd.Series[float]:
        """Score a segment by the mean over the members.

        Args:
            dataset: as the one given to `fit`; a label is not asked for.
            segment: a name, or a slice of sessions.

        Returns:
            float32 named "score", index (datetime, instrument), sorted.

        Raises:
            RuntimeError: not fitted.
            ValueError: other columns than those fitted on, or another kind of dataset.
        """
        fit = self._require_fit()
        windows = self._windows(dataset, segment, learn=False)
        require_fitted_on(fit.columns, fit.tabular, windows, segment)
        scores = score_members(fit.members, windows.source)  # [K, S]
        mean = scores.mean(axis=0, dtype=np.float64).astype(np.float32)
        return pd.Series(mean, index=windows.source.get_index(), name="score").sort_index()

    @property
    def members(self) -> tuple[EstimatorModel, ...]:
        """The fitted models, one a seed."""
        return self._require_fit().members

    @property
    def history(self) -> pd.DataFrame:
        """One row a step and member, with `seed`, `valid_score` and `best`."""
        return self._require_fit().history

    def importance(self) -> pd.DataFrame:
        """Return how much each feature counts in the first member, the most useful first.

        Raises:
            RuntimeError: not fitted.
        """
        fit = self._require_fit()
        table: pd.DataFrame = self._family().estimator.importance(fit.members[0], fit.columns)
        return table

    def save(self, path: str | Path, *, replace: bool = False) -> None:
        """Write the fit as a bundle: plain files, no pickle.

        Args:
            path: a folder.
            replace: True if a bundle at the path may be replaced.

        Raises:
            RuntimeError: not fitted.
            BundleError: something else is at the path, or a bundle and not `replace`.
        """
        fit = self._require_fit()
        arguments = {"seed": self.seed, "seeds": self.seeds, "threads": self.threads}
        save_bundle(
            path,
            fit.members,
            family=self.family,
            hyper=self.hyper,
            columns=fit.columns,
            config={
                "estimator": type(self).__name__, "arguments": arguments, "tabular": fit.tabular
            },
            history=fit.history,
            processors_json="[]",
            manifest={"seeds": list(fit.records)},
            replace=replace,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved estimator and verify every byte of it.

        Args:
            path: as given to `save`.

        Returns:
            A fitted estimator.

        Raises:
            BundleError: there is no estimator, or one that is damaged or of another class.
        """
        bundle = load_bundle(path)
        if bundle.config.get("estimator") != cls.__name__:
            raise BundleError(
                f"{path} holds a {bundle.family} saved by "
                f"{bundle.config.get('estimator', 'a market')}, not by {cls.__name__}: read it "
                f"with rnn_core.training.load_bundle"
            )
        model = cls(**bundle.config["arguments"], **bundle.hyper)
        model._fit = _Fit(
            bundle.estimators,
            bundle.columns,
            bundle.config["tabular"],
            bundle.history,
            tuple(bundle.manifest["seeds"]),
        )
        return model

    @classmethod
    def _family(cls) -> EstimatorFamily:
        return ESTIMATOR_FAMILIES[cls.family]

    def _windows(self, dataset: Dataset, segment: str | slice, *, learn: bool) -> Windows:
        return prepare_windows(
            dataset,
            segment,
            learn=learn,
            argument="",
            n_features=None,
            missing_values=self._family().missing_values,
        )

    def _require_fit(self) -> _Fit:
        if self._fit is None:
            raise RuntimeError(
                f"this {type(self).__name__} is not fitted: call fit(dataset) first, or "
                f"{type(self).__name__}.load(path)"
            )
        return self._fit


class Linear(RowEstimator):
    """A ridge regression, see `rnn_core.models.LinearModel` for its hyper-parameters.

    Examples:
        >>> model = Linear(alpha=0.1).fit(rows)
        >>> len(model.predict(rows, "test")) == len(rows.prepare("test"))
        True
    """

    family = "linear"


class LightGBM(RowEstimator):
    """Boosted trees, see `rnn_core.models.LightGBMModel` for their hyper-parameters.

    Examples:
        >>> model = LightGBM(num_boost_round=5, min_data_in_leaf=5, threads=1).fit(rows)
        >>> len(model.predict(rows, "test")) == len(rows.prepare("test"))
        True
    """

    family = "lightgbm"
