"""Metrics of other packages, which select the best epoch in place of the loss or the IC."""

from __future__ import annotations

import inspect
import math
from typing import Protocol

import numpy as np
import pandas as pd

from rnn_core.own_parts import OwnPart, is_own, load_part

ENTRY_POINTS = "rnn_core.metrics"
"""The group of entry points of metrics."""
SHIPPED = ("loss", "ic")


class Metric(Protocol):
    """A score of validation: higher is better, and 0 is a model without skill.

    It is a function, or a class without arguments whose instances are called. It is called once an
    epoch with all validation rows that have a label, and it depends on nothing else: a training
    that goes on after an interruption must find the same best epoch.

    Examples:
        >>> def agreement(scores: pd.Series, labels: pd.Series) -> float:
        ...     return float(np.sign(scores * labels).mean())
        >>> metric: Metric = agreement
        >>> metric(table[0], table[2]) > 0.9
        True
    """

    def __call__(self, scores: pd.Series, labels: pd.Series, /) -> float:
        """Score a network on the validation rows.

        Args:
            scores: float64 by (datetime, instrument), sessions as dates, no NaN.
            labels: processed labels of the same rows, no NaN.

        Returns:
            A finite number.
        """


def is_own_metric(name: str) -> bool:
    """True if a metric is that of another package."""
    # A look at the entry points reads a file of every installed package.
    return name not in ("", *SHIPPED) and is_own(name, ENTRY_POINTS)


def own_metric(name: str) -> OwnPart:
    """Import a metric of another package, and try it on a few rows.

    Args:
        name: `package.module:name`, or an entry point of the group `rnn_core.metrics`.

    Returns:
        The part; its value is the function to call.

    Raises:
        ValueError: it cannot be imported, or breaks the contract; the message says how.
    """
    part = load_part(name, ENTRY_POINTS, functions=True)
    try:
        metric: Metric = part.value() if isinstance(part.value, type) else part.value
        if not callable(metric):
            raise TypeError("an instance has no __call__")
        inspect.signature(metric).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"{name}: {error}; expected a function of scores and labels, or a class without "
            f"arguments whose instances are one (see rnn_core.training.Metric)"
        ) from error
    days = pd.date_range("2020-01-01", periods=3, name="datetime")
    index = pd.MultiIndex.from_product([days, list("ABCDE")], names=["datetime", "instrument"])
    rng = np.random.default_rng(0)
    scores, labels = (pd.Series(rng.normal(size=len(index)), index=index) for _ in range(2))
    found = called(name, metric, scores, labels)
    if not math.isfinite(found):
        raise ValueError(
            f"{name} gives {found} for the scores of five names on three sessions, expected a "
            f"finite number"
        )
    return OwnPart(part.name, metric, part.origin)


def called(name: str, metric: Metric, scores: pd.Series, labels: pd.Series) -> float:
    """Call a metric of another package.

    Raises:
        ValueError: it raises, or returns no number.
    """
    try:
        return float(metric(scores, labels))
    except Exception as error:  # whatever foreign code raises
        raise ValueError(
            f"{name} fails on {len(scores)} scores and labels: {type(error).__name__}: {error}"
        ) from error
