"""The datasets of a market: `dataset` describes its only one, `datasets` several by name.

A dataset is a feature set, a label, the processors of both and the length of a window. Each model
names its own. The default dataset is the first of the YAML, or the one that says `default: true`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import Field

from pipelines.config.features import FeaturesConfig
from pipelines.config.processors import DatasetConfig, build_chain, output_columns
from rnn_core.features import FeatureSet, parse


class NamedDatasetConfig(DatasetConfig):
    """One entry of `datasets`.

    Attributes:
        features: feature set and label; a key that it leaves out is that of the section `features`.
        default: True for the dataset whose assets have no prefix.
    """

    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    default: bool = False


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as the YAML describes it, of either form.

    Attributes:
        name: its name in the YAML; "" of the only one, which `dataset` describes.
        prefix: of the names of its assets; "" of the default dataset.
        features: feature set and label.
        config: processors, fit window and window length.
        vwap: the rule of the market for $vwap.
    """

    name: str
    prefix: str
    features: FeaturesConfig
    config: DatasetConfig
    vwap: str

    @property
    def path(self) -> tuple[str, str]:
        """The places of the features and of the dataset in the YAML, for messages."""
        if not self.name:
            return "features", "dataset"
        return f"datasets.{self.name}.features", f"datasets.{self.name}"

    @cached_property
    def feature_set(self) -> FeatureSet:
        """The configured features, less those that read a field which the bars lack.

        Raises:
            ValueError: every feature reads $vwap, and market.vwap is none.
        """
        configured: FeatureSet = self.features.set
        return configured.without_field("vwap") if self.vwap == "none" else configured

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The features that the infer processors leave, in the frame's order.

        Raises:
            ValueError: a processor names a column that the set lacks.
        """
        chain = build_chain(self.config.infer_processors, self.config.any_window, group="feature")
        return output_columns(chain, self.feature_set.names, "feature")

    def check(self) -> None:
        """Confirm that features, label and processors fit each other and the bars.

        Raises:
            ValueError: the message names the key.
        """
        features, dataset = self.path
        if self.vwap == "none" and "vwap" in parse(self.features.label).fields:
            raise ValueError(f"{features}.label reads $vwap, and market.vwap is none")
        try:
            _ = self.feature_set
        except ValueError as error:
            raise ValueError(f"{features}.set: {error}; market.vwap is none") from error
        try:
            _ = self.columns
        except ValueError as error:
            raise ValueError(f"{dataset}.infer_processors: {error}") from error
        steps = self.config.step_len
        if self.config.layout == "columns" and len(self.columns) % steps:
            raise ValueError(
                f"{dataset}.step_len is {steps}, and the {len(self.columns)} columns cannot be cut "
                f"into so many steps each (60 for the 360 columns of Alpha360)"
            )


def inherited(features: Any, datasets: Any) -> Any:
    """The entries of `datasets`, each with the keys of `features` that it leaves out."""
    if not isinstance(datasets, dict) or not isinstance(features, Mapping | None):
        return datasets
    return {
        name: {**entry, "features": {**(features or {}), **(entry.get("features") or {})}}
        if isinstance(entry, dict) and isinstance(entry.get("features", {}), Mapping | None)
        else entry
        for name, entry in datasets.items()
    }
