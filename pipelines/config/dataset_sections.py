"""The datasets of a market: `dataset` describes its only one, `datasets` several by name.

A dataset is a feature set, a label, the processors of both and the length of a window. Each model
names its own. The default dataset is the first of the YAML, or the one that says `default: true`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import Field

from pipelines.config.extra_columns import KEY, ExtraColumn
from pipelines.config.features import FeaturesConfig, require_fields
from pipelines.config.processors import DatasetConfig, build_chain, output_columns
from pipelines.errors import did_you_mean
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
        extra: the columns of the market beside its bars.
    """

    name: str
    prefix: str
    features: FeaturesConfig
    config: DatasetConfig
    vwap: str
    extra: tuple[ExtraColumn, ...] = ()

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
        return output_columns(chain, self.feature_set.names)

    def beside(self, fields: Collection[str]) -> tuple[str, ...]:
        """The columns beside the bars among some fields, in the order of the YAML."""
        return tuple(one.name for one in self.extra if one.name in fields)

    @cached_property
    def processor_columns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns beside the bars that infer and that learn processors read.

        Raises:
            ValueError: the market has no such column, or one of another kind.
        """
        kinds: dict[str, str] = {one.name: one.kind for one in self.extra}
        lists = (("feature", self.config.infer_processors), ("label", self.config.learn_processors))
        read: list[tuple[str, ...]] = []
        for group, entries in lists:
            names: set[str] = set()
            for processor in build_chain(entries, self.config.any_window, group=group):
                for name, kind in processor.fields().items():
                    _require_column(type(processor).__name__, name, kind, kinds)
                    names.add(name)
            read.append(self.beside(names))
        return read[0], read[1]

    def check(self) -> None:
        """Confirm that features, label and processors fit each other and the bars.

        Raises:
            ValueError: the message names the key.
        """
        features, dataset = self.path
        label_fields = parse(self.features.label).fields
        for key, fields in (("set", self.features.set.fields), ("label", label_fields)):
            try:
                require_fields(fields, self.extra)
            except ValueError as error:
                raise ValueError(f"{features}.{key}: {error}") from error
        if self.vwap == "none" and "vwap" in label_fields:
            raise ValueError(f"{features}.label reads $vwap, and market.vwap is none")
        try:
            _ = self.feature_set
        except ValueError as error:
            raise ValueError(f"{features}.set: {error}; market.vwap is none") from error
        try:
            _ = self.columns
        except ValueError as error:
            raise ValueError(f"{dataset}.infer_processors: {error}") from error
        try:
            _ = self.processor_columns
        except ValueError as error:
            raise ValueError(f"{dataset}: {error}") from error
        if self.config.layout == "columns":
            self._require_steps(dataset)

    def _require_steps(self, path: str) -> None:
        """Require that the columns are whole windows: NAME59 … NAME0 of each feature, in order.

        Raises:
            ValueError: the message names the first column that is another.
        """
        steps = self.config.step_len
        for position, column in enumerate(self.columns):
            stem = self.columns[position - position % steps].rstrip("0123456789")
            expected = f"{stem}{steps - 1 - position % steps}"
            if column != expected:
                raise ValueError(
                    f"{path}.layout is columns and step_len {steps}: column {position + 1} is "
                    f"{column}, expected {expected}, since a row holds {steps} steps a feature, "
                    f"oldest first (60 for the 360 columns of Alpha360)"
                )
        if len(self.columns) % steps:
            raise ValueError(
                f"{path}.layout is columns: {len(self.columns)} columns are no whole number of "
                f"windows of {steps} steps"
            )


def _require_column(processor: str, name: str, kind: str, kinds: Mapping[str, str]) -> None:
    """Confirm that a processor's column stands beside the bars, and is of its kind."""
    if name not in kinds:
        hint = did_you_mean(name, kinds) if kinds else "the market lists none"
        raise ValueError(
            f"{processor} reads the column {name}, and market.source.{KEY} has none of that name: "
            f"{hint}"
        )
    if kinds[name] != kind:
        raise ValueError(
            f"{processor} reads {name} as a {kind}, and market.source.{KEY} lists a {kinds[name]}"
        )


def is_inherited(raw: Mapping[str, Any], loc: Sequence[Any]) -> bool:
    """True if the place of an error in a dataset is a key that the section `features` wrote.

    Args:
        raw: the YAML.
        loc: the place, as pydantic gives it.
    """
    if len(loc) < 4 or loc[0] != "datasets" or loc[2] != "features":
        return False
    entry = raw["datasets"].get(loc[1]) or {}
    return loc[3] not in (entry.get("features") or {}) and loc[3] in (raw.get("features") or {})


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
