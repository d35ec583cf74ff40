"""Labels of the handlers: one expression or several, and the names of those without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnn_core.data.loaders import fields_set
from rnn_core.features.sets import FeatureSet


def label_set(label: str | Sequence[Any]) -> FeatureSet:
    """Build the feature set of the labels; without names they are LABEL0, LABEL1, ...

    Args:
        label: an expression, a list of them, or qlib's pair of lists (expressions, names).

    Returns:
        The set.

    Raises:
        ValueError: `label` has another form, or an expression cannot be read.
    """
    texts: Any = [label] if isinstance(label, str) else label
    if not isinstance(texts, (list, tuple)) or not texts:
        raise ValueError(f"label is {label!r}, expected an expression or a list of expressions")
    if all(isinstance(text, str) for text in texts):
        texts = (list(texts), label_names(len(texts)))
    return fields_set(texts, "the label")


def label_names(count: int) -> list[str]:
    """Return the names of labels that were given none."""
    return [f"LABEL{k}" for k in range(count)]
