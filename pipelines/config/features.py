"""The section `features` of the YAML: feature set, semantics and label expression.

A feature must be known at the close of its session, read only fields of adjusted bars or columns
beside them (`require_fields`), and have a name that SQL can tell from the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipelines.config.extra_columns import KEY, ExtraColumn
from pipelines.config.types import Section, SessionCount
from pipelines.errors import did_you_mean
from rnn_core.features import (
    ALPHA158_EXPRESSIONS,
    ALPHA158_FIELDS,
    ALPHA360_EXPRESSIONS,
    FeatureSet,
    load_feature_set,
    parse,
)
from rnn_core.features.own_features import origins

KEYS = ("date", "instrument", "member")  # the columns beside the features


def checked_set(value: Any) -> FeatureSet:
    """The feature set that the YAML describes.

    Args:
        value: `alpha158`, `alpha360`, the path of a YAML file, a mapping as such a file holds, or
            a set.

    Raises:
        ValueError: the set cannot be read, looks ahead, or has a name that SQL cannot tell from
            another.
    """
    if isinstance(value, FeatureSet):
        features = value
    elif isinstance(value, str | Path | dict):
        try:
            features = load_feature_set(value)
        except OSError as error:
            raise ValueError(f"cannot read {value}: {error.strerror}") from error
    else:
        raise ValueError(
            f"expected alpha158, alpha360, the path of a .yaml file or a mapping, got {value!r}"
        )
    for name, node in zip(features, features.nodes, strict=True):
        if node.look_ahead:
            raise ValueError(
                f"{name} = {features[name]} reads {node.look_ahead} sessions ahead, which nobody "
                f"knows at its session's close: write Ref with a positive number of sessions; "
                f"what is to be predicted belongs into features.label"
            )
    names = {name: name for name in KEYS}
    for name in features:
        other = names.setdefault(name.lower(), name)
        if other != name or name in KEYS:
            what = "a column of every table" if other in KEYS else "another feature"
            raise ValueError(
                f"{name} cannot be told from {other}, {what}, in SQL, where case does not count: "
                f"rename it"
            )
    return features


def require_fields(fields: Iterable[str], extra: Iterable[ExtraColumn] = ()) -> None:
    """Refuse fields that neither adjusted bars nor the columns beside them have.

    Args:
        fields: the fields that expressions read.
        extra: the columns beside the bars.

    Raises:
        ValueError: the message names the first such field and the nearest known one; or a field is
            a category, with which expressions cannot compute.
    """
    kinds = {one.name: one.kind for one in extra}
    known = [*ALPHA158_FIELDS, *kinds]
    for name in sorted(set(fields)):
        if name not in known:
            raise ValueError(
                f"no field ${name} in adjusted bars; {did_you_mean(name, known)}; a column of "
                f"yours is listed under market.source.{KEY}"
            )
        if kinds.get(name) == "category":
            raise ValueError(
                f"${name} is a category (market.source.{KEY}), and expressions compute with "
                f"numbers: use it in CSNeutralize or evaluation.by_group, or list it without "
                f"`category` if it holds numbers"
            )


class FeaturesConfig(Section):
    """The feature set and the label expression.

    `set` is written as `alpha158`, `alpha360`, the path of a YAML file or a mapping as such a file
    holds, and is a `rnn_core.features.FeatureSet` once loaded.
    """

    set: Annotated[Any, AfterValidator(checked_set)] = Field(
        default="alpha158", validate_default=True
    )
    semantics: Literal["strict", "qlib"] = "strict"
    min_periods: SessionCount = 1
    label: str = "Ref($close, -2)/Ref($close, -1) - 1"

    @field_validator("label")
    @classmethod
    def _parses(cls, text: str) -> str:
        label = parse(text)  # raises a ValueError that points at the character
        if label.look_ahead < 1:
            raise ValueError(f"the label {text!r} looks at no later session: nothing to predict")
        return text

    @model_validator(mode="after")
    def _enough_values(self) -> FeaturesConfig:
        if self.min_periods > 1 and self.semantics == "qlib":
            raise ValueError(
                f"min_periods {self.min_periods} with qlib's semantics, where it is always 1"
            )
        shortest = self.set.shortest_window
        if shortest is not None and self.min_periods > shortest:
            raise ValueError(
                f"min_periods {self.min_periods} exceeds the shortest window of the set, "
                f"{shortest} sessions: its features would never have a value"
            )
        return self


def identity(features: FeatureSet) -> object:
    """The identity of a set in provenance: its formulas, or the name of one of qlib's sets.

    A function stands there with its origin: which code it is.
    """
    pairs: list[Any] = list(features.items())
    for name, expressions in (
        ("alpha158", ALPHA158_EXPRESSIONS),
        ("alpha360", ALPHA360_EXPRESSIONS),
    ):
        if pairs == list(expressions.items()):
            return name
    code = origins(features.values())
    return [[*pair, code[pair[1]]] if pair[1] in code else pair for pair in pairs]
