"""Expressions to numbers, on whole panels.

One memo by node serves a list of expressions, so what they share is computed once.

Semantics. `qlib`: fields are float32, a constant does not widen them, infinities pass through, and
only slots outside an instrument's span count as not there. `strict`: float64, an infinity is
missing as soon as it arises, a condition that is missing decides nothing, and a suspended session
has no value to refer to. In both a comparison with a missing value is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.panel import Panel
from rnn_core.features.alpha158 import Semantics
from rnn_core.features.expression import Call, Expression, Field, Number
from rnn_core.features.faithful import spans
from rnn_core.features.operators import OPERATORS
from rnn_core.features.parser import parse

Array = NDArray[Any]


def expression_panel(
    panel: Panel, expression: Expression | str, *, semantics: Semantics = "strict"
) -> Array:
    """Evaluate one expression on a panel.

    Args:
        panel: the market; it must reach `look_back` sessions before and `look_ahead` after the
            sessions of interest.
        expression: a parsed expression, or its text.
        semantics: "strict" or "qlib"; see the module.

    Returns:
        [N, T], float64 in strict semantics and float32 in qlib's (conditions as 0 and 1). Cells
        of absent rows hold whatever the formula gives there; `Panel.to_frame` leaves them out.

    Raises:
        ExpressionError: if the text cannot be read.
        ValueError: on a field that the panel lacks or an unknown semantics.
    """
    node = parse(expression) if isinstance(expression, str) else expression
    return _Evaluator(panel, semantics).final(node)


def compute_features(
    bars: pd.DataFrame | Panel,
    features: Sequence[tuple[str, str]],
    *,
    semantics: Semantics = "strict",
) -> pd.DataFrame:
    """Compute named expressions.

    Args:
        bars: a long frame as for `Panel.from_frame`, or a panel.
        features: (name, expression), e.g. [("LABEL0", "Ref($close, -2)/Ref($close, -1) - 1")].
        semantics: "strict" or "qlib".

    Returns:
        One row per existing row, sorted by (datetime, instrument); one float32 column per name.

    Raises:
        ExpressionError: if a text cannot be read.
        ValueError: on duplicate names, and as `expression_panel`.
    """
    names = [name for name, _ in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the names {twice} are given twice: every column needs its own")
    panel = bars if isinstance(bars, Panel) else Panel.from_frame(bars)
    evaluator = _Evaluator(panel, semantics)
    values = np.empty((len(features), *panel.shape), dtype=np.float32)  # [F, N, T]
    with np.errstate(over="ignore"):
        for f, (_, text) in enumerate(features):
            values[f] = evaluator.final(parse(text))
    if semantics == "strict":
        values[np.isinf(values)] = np.nan
    return panel.to_frame(values, names)


class _Evaluator:
    """Values of nodes on one panel, remembered."""

    def __init__(self, panel: Panel, semantics: Semantics) -> None:
        if semantics not in ("strict", "qlib"):
            raise ValueError(f"semantics={semantics!r}, expected one of ['qlib', 'strict']")
        self.panel = panel
        self.strict = semantics == "strict"
        self.rows = panel.present if self.strict else spans(panel.present)[1]
        self.dtype = np.float64 if self.strict else np.float32
        self.known: dict[Expression, Array] = {}

    def final(self, node: Expression) -> Array:
        """The value as numbers."""
        with np.errstate(all="ignore"):
            return self.value(node).astype(self.dtype)

    def value(self, node: Expression) -> Array:
        """The value of a field or a call."""
        if node not in self.known:
            if isinstance(node, Field):
                self.known[node] = self.field(node.name)
            elif isinstance(node, Call):
                self.known[node] = self.call(node)
            else:
                raise TypeError(f"{node!r} has no value of its own")
        return self.known[node]

    def field(self, name: str) -> Array:
        """A field in the dtype of the semantics, missing on absent rows."""
        if name not in self.panel.fields:
            raise ValueError(f"no field ${name} in the panel: it has {sorted(self.panel.fields)}")
        values = np.where(self.panel.present, self.panel.fields[name], np.nan).astype(self.dtype)
        return self.finite(values)

    def call(self, node: Call) -> Array:
        """An operator on its arguments' values."""
        operator = OPERATORS[node.name]
        arguments: list[Any] = []
        for argument, kind in zip(node.arguments, operator.arguments, strict=True):
            if isinstance(argument, Number):
                arguments.append(argument.value)
                continue
            value = self.value(argument)
            if self.strict and kind != "condition" and value.dtype == np.bool_:
                value = value.astype(np.float64)
            arguments.append(value)
        try:
            result = self.finite(operator.compute(self.rows, *arguments))
        except TypeError as cause:
            raise ValueError(
                f"{node} has no value in qlib's semantics, where conditions are not numbers:"
                ' use If(condition, 1, 0) or semantics="strict"'
            ) from cause
        if self.strict and node.name == "If":
            result[np.isnan(arguments[0])] = np.nan
        return result

    def finite(self, values: Array) -> Array:
        """In strict semantics, infinities made missing."""
        if self.strict and values.dtype != np.bool_:
            values[np.isinf(values)] = np.nan
        return values
