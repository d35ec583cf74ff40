"""A dataset of a market: the names of its stages, its label, and the windows of its fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.training_plan import TrainingPlan
from pipelines.config.dataset_sections import DatasetSpec
from pipelines.config.features import identity
from pipelines.config.market_file import FactoryConfig, TrainingConfig
from pipelines.config.models import ModelSpec
from pipelines.config.processors import DatasetConfig
from rnn_core.features import Expression, FeatureSet, horizon_of, parse


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features, a label and their processors, as the models that name the dataset learn from them.

    Attributes:
        spec: the dataset as the YAML describes it.
        sessions: the market's sessions.
        training: the windows of training, which all datasets of a market share.
        plan: the market's training plan.
        rhythms: sessions between two trainings, of each of its models.
        features: the name of the stage of its features.
        label: the name of the stage of its labels.
    """

    spec: DatasetSpec
    sessions: Sessions
    training: TrainingConfig
    plan: TrainingPlan
    rhythms: tuple[int, ...]
    features: str
    label: str

    @property
    def name(self) -> str:
        """Its name in the YAML; "" of the only one."""
        return self.spec.name

    @property
    def config(self) -> DatasetConfig:
        """Processors, fit window and window length."""
        return self.spec.config

    @property
    def processors(self) -> str:
        """The name of the stage of its processors."""
        return f"{self.spec.prefix}processors"

    @property
    def infer(self) -> str:
        """The name of the stage of its normalised features."""
        return f"{self.spec.prefix}dataset_infer"

    @property
    def learn(self) -> str:
        """The name of the stage of its learning rows."""
        return f"{self.spec.prefix}dataset_learn"

    @property
    def features_read(self) -> str:
        """The table of features that models read.

        With a fixed fit window every session has one state and models read the normalised
        features. With a moving one a model normalises its whole window itself, with the state that
        its bundle carries.
        """
        return self.infer if self.fit_plan is None else self.features

    @property
    def labels_read(self) -> str:
        """The table of labels that models learn from; see `features_read`."""
        return self.learn if self.fit_plan is None else self.label

    @cached_property
    def label_expression(self) -> Expression:
        """The label expression as a graph."""
        return parse(self.spec.features.label)

    @property
    def label_lag(self) -> int:
        """Sessions from a decision to the maturity of its label: the label's look-ahead."""
        return self.label_expression.look_ahead

    @property
    def label_horizon(self) -> int:
        """Sessions that the label holds: 1 from the close of t+1 to that of t+2."""
        return horizon_of(self.label_expression)

    def decision_of(self, key: str) -> str | None:
        """The decision session whose labels mature at `key`; None at the market's start."""
        return self.sessions.back(key, self.label_lag)

    @property
    def feature_set(self) -> FeatureSet:
        """The configured features, less those that read a field which the bars lack."""
        return self.spec.feature_set

    @cached_property
    def feature_formulas(self) -> dict[str, str]:
        """The names and formulas of the features, in order."""
        return dict(self.feature_set)

    @cached_property
    def feature_columns(self) -> tuple[str, ...]:
        """The columns beside the bars that features read."""
        return self.spec.beside(self.feature_set.fields)

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """The columns beside the bars that the label reads."""
        return self.spec.beside(self.label_expression.fields)

    @property
    def infer_columns(self) -> tuple[str, ...]:
        """The columns beside the bars that the infer processors read."""
        return self.spec.processor_columns[0]

    @property
    def learn_columns(self) -> tuple[str, ...]:
        """The columns beside the bars that the learn processors read."""
        return self.spec.processor_columns[1]

    @property
    def processor_columns(self) -> tuple[str, ...]:
        """The columns beside the bars that any processor reads."""
        return self.spec.beside({*self.infer_columns, *self.learn_columns})

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that the infer processors leave, in the frame's order."""
        return self.spec.columns

    @property
    def window_columns(self) -> tuple[str, ...]:
        """The features of one step of a window; of steps in the columns, the newest step's."""
        steps = self.config.step_len
        return (
            self.columns if self.config.layout == "sessions" else self.columns[steps - 1 :: steps]
        )

    @property
    def window_sessions(self) -> int:
        """The sessions of rows that a window is made of."""
        return self.config.step_len if self.config.layout == "sessions" else 1

    @cached_property
    def fit_plan(self) -> TrainingPlan | None:
        """The sessions at which the processors are fitted again; None for a fixed fit window.

        They are counted from the first trained session, so that the first model has a state.
        """
        fit = self.config.fit
        if fit is None:
            return None
        every = fit.every or min(self.rhythms, default=self.plan.retrain_every)
        return replace(self.plan, retrain_every=every, pin=None)

    def fit_sessions(self, anchor: str | None = None) -> tuple[str, ...]:
        """The sessions of a fit window of the processors.

        Args:
            anchor: the last session of a moving window; None for the fixed one.
        """
        config, sessions = self.config, self.sessions
        if config.fit is not None and anchor is not None:
            return sessions.window(anchor, config.fit.window_sessions or len(sessions))
        assert config.fit_start and config.fit_end  # noqa: S101 - of a fixed window
        return sessions.between(
            sessions.at_or_after(config.fit_start), sessions.at_or_before(config.fit_end)
        )


def features_settings(spec: DatasetSpec) -> dict[str, Any]:
    """The configuration that decides the bytes of the features of a dataset."""
    features = spec.features
    settings: dict[str, Any] = {
        "set": identity(features.set),
        "semantics": features.semantics,
        "vwap": spec.vwap,
    }
    if features.min_periods > 1:  # partitions without this key were made with 1
        settings["min_periods"] = features.min_periods
    return settings


def label_settings(spec: DatasetSpec) -> dict[str, Any]:
    """The configuration that decides the bytes of the labels of a dataset."""
    return {"label": spec.features.label, "vwap": spec.vwap}


def datasets_of(
    config: FactoryConfig, sessions: Sessions, plan: TrainingPlan, models: Sequence[ModelSpec]
) -> tuple[Dataset, ...]:
    """The datasets of a market, the default one first.

    Datasets with equal features or equal labels share the stage of the first of them.
    """
    datasets: list[Dataset] = []
    default = config.dataset_specs[0].name
    for spec in config.dataset_specs:
        features = spec.prefix + "features" if spec.prefix else "alpha158"
        label = f"{spec.prefix}label"
        for earlier in reversed(datasets):
            if features_settings(earlier.spec) == features_settings(spec):
                features = earlier.features
            if parse(earlier.spec.features.label) == parse(spec.features.label):
                label = earlier.label  # however the formula is written
        rhythms = tuple(
            model.retrain_every or plan.retrain_every
            for model in models
            if (model.dataset or default) == spec.name
        )
        datasets.append(Dataset(spec, sessions, config.training, plan, rhythms, features, label))
    return tuple(datasets)
