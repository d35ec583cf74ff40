"""Feature sets: an ordered list of named expressions, with their fields and their reach.

A set knows its fields and its reach before any bar is read, so a pipeline can load exactly these
bars and refuse a set that looks ahead. A set parses its expressions once, when it is made.
`qlib_sets` makes qlib's sets, `set_file` reads those that people write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.features.evaluate import evaluate, evaluate_frame
from rnn_core.features.expression import Call, Expression, Number
from rnn_core.features.operators import OPERATORS
from rnn_core.features.own_features import node_of
from rnn_core.features.tokens import ExpressionError
from rnn_core.panel.frames import Semantics
from rnn_core.panel.panel import Panel
from rnn_core.suggestions import near_matches
from rnn_core.text_encoding import hidden_character


class FeatureSet(Mapping[str, str]):
    """An ordered mapping of names to expressions, parsed when it is made.

    Args:
        features: name to expression, or (name, expression) pairs. In an expression's place may
            stand the name of a function, `package.module:Name` (`own_features.FeatureFunction`).
        name: the set's name in messages.

    Attributes:
        name: the set's name.
        names: the F column names, in order.
        nodes: the F parsed expressions.
        fields: names of the fields that they read.
        look_back: sessions before D that the features of D need (`UNBOUNDED`: all of history).
        look_ahead: sessions after D that they need (0: known at the close of D).

    Raises:
        ExpressionError: if an expression cannot be read; the message names the feature.
        ValueError: on an empty set, a repeated name, a name that is not text, or a function that
            cannot be imported or breaks its contract.

    Examples:
        >>> pair = FeatureSet({"GAP": "$open/Ref($close, 1)", "MA5": "Mean($close, 5)/$close"})
        >>> list(pair), pair.look_back
        (['GAP', 'MA5'], 4)
    """

    def __init__(
        self, features: Mapping[str, str] | Iterable[tuple[str, str]], *, name: str = "the set"
    ) -> None:
        pairs = list(features.items() if isinstance(features, Mapping) else features)
        if not pairs:
            raise ValueError(f"{name} holds no feature: give at least one")
        self.name = name
        self._texts: dict[str, str] = {}
        nodes: list[Expression] = []
        for feature, text in pairs:
            if not isinstance(feature, str) or not feature.strip():
                raise ValueError(
                    f"{name}: {feature!r} is no name of a feature, expected text: put it in"
                    " quotation marks"
                )
            hidden = hidden_character(feature)
            if hidden is not None:
                raise ValueError(f"{name}: the name {feature!r} holds {hidden}; write it without")
            if feature in self._texts:
                raise ValueError(f"{name}: {feature} is given twice: every column needs its own")
            if not isinstance(text, str):
                raise ValueError(
                    f"{name}: {feature} is {text!r}, expected the text of an expression: put it in"
                    " quotation marks"
                )
            try:
                nodes.append(node_of(text))
            except ExpressionError as error:
                raise ExpressionError(f"{name}: {feature}: {error.problem}", text, error.at) from (
                    error
                )
            except ValueError as error:  # of a function
                raise ValueError(f"{name}: {feature}: {error}") from error
            self._texts[feature] = text
        self.nodes: tuple[Expression, ...] = tuple(nodes)
        self.names: tuple[str, ...] = tuple(self._texts)
        self.fields: frozenset[str] = frozenset().union(*(node.fields for node in nodes))
        self.look_back: int = max(node.look_back for node in nodes)
        self.look_ahead: int = max(node.look_ahead for node in nodes)

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            hint = near_matches(name, self.names)
            raise KeyError(f"{self.name} has no feature {name!r}{hint}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __eq__(self, other: object) -> bool:
        """True for the same names with the same texts in the same order."""
        return isinstance(other, FeatureSet) and [*self.items()] == [*other.items()]

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return f"FeatureSet({self.name!r}, {len(self)} features, look_back={self.look_back})"

    @cached_property
    def shortest_window(self) -> int | None:
        """Sessions of the shortest window of any feature; None if there is no window.

        With more `min_periods` than this a column has no value at all. All of history and
        exponential weights have no length.
        """
        return min((n for node in self.nodes for n in _lengths(node)), default=None)

    def without_field(self, field: str) -> FeatureSet:
        """Return the set without the features that read a field.

        Args:
            field: a field that a market lacks.

        Raises:
            ValueError: if every feature reads the field.
        """
        if field not in self.fields:
            return self
        features = [
            (name, text)
            for (name, text), node in zip(self.items(), self.nodes, strict=True)
            if field not in node.fields
        ]
        if not features:
            raise ValueError(f"{self.name}: every feature reads ${field}, so none is left")
        return FeatureSet(features, name=self.name)


def set_panel(
    panel: Panel,
    features: FeatureSet,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    min_periods: int = 1,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute a set for every instrument and session.

    Args:
        panel: the market, with the fields that the set reads.
        features: the set.
        semantics: "strict" or "qlib"; see `evaluate`.
        threads: see `evaluate`.
        min_periods: see `evaluate`.
        out: array to write into, [F, N, T] float32, C-contiguous.

    Returns:
        [F, N, T] float32 in the order of `features.names`; NaN where a feature is missing.

    Raises:
        ValueError: on missing fields or a wrong `out`, and as `evaluate`.

    Examples:
        >>> set_panel(panel, FeatureSet({"MA5": "Mean($close, 5)/$close"})).shape  # F, N, T
        (1, 3, 70)
    """
    _check_fields(panel, features)
    shape = (len(features), *panel.shape)
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.dtype != np.float32:
        raise ValueError(
            f"`out` is {out.dtype} {out.shape}, expected a C-contiguous float32 array {shape}"
        )
    evaluate(
        panel, features.nodes, out, semantics=semantics, threads=threads, min_periods=min_periods
    )
    return out


def compute_set(
    bars: pd.DataFrame | Panel,
    features: FeatureSet,
    *,
    semantics: Semantics = "strict",
    threads: int | None = None,
    min_periods: int = 1,
) -> pd.DataFrame:
    """Compute a set as a frame: `compute_features` without parsing again.

    Args:
        bars: a long frame as for `Panel.from_frame`, or a panel.
        features: the set.
        semantics: "strict" or "qlib"; see `evaluate`.
        threads: see `evaluate`.
        min_periods: see `evaluate`.

    Returns:
        One row per existing row, sorted by (datetime, instrument); one float32 column per name.

    Raises:
        ValueError: as `Panel.from_frame` and `set_panel`.

    Examples:
        >>> bar_shapes = alpha158_set(price=None, rolling=None)
        >>> compute_set(bars, bar_shapes).columns.tolist()[:3]
        ['KMID', 'KLEN', 'KMID2']
    """
    panel = bars if isinstance(bars, Panel) else Panel.from_frame(bars)
    _check_fields(panel, features)
    return evaluate_frame(
        panel,
        features.nodes,
        features.names,
        semantics=semantics,
        threads=threads,
        min_periods=min_periods,
    )


def _check_fields(panel: Panel, features: FeatureSet) -> None:
    """Refuse a panel without the set's fields; a silent column of NaN would be worse."""
    missing = sorted(features.fields - set(panel.fields))
    if missing:
        hint = (
            "; without traded amounts, set vwap to (high + low + close) / 3 yourself"
            if missing == ["vwap"]
            else ""
        )
        raise ValueError(
            f"{features.name} needs the fields {missing}, the panel has"
            f" {sorted(panel.fields)}{hint}"
        )


def _lengths(node: Expression) -> Iterator[int]:
    """Yield the lengths of the windows in an expression."""
    if not isinstance(node, Call):
        return
    for argument, kind in zip(node.arguments, OPERATORS[node.name].arguments, strict=True):
        if isinstance(argument, Call):
            yield from _lengths(argument)
            continue
        window = kind in ("window", "decay") and node.name != "EMA"
        if window and isinstance(argument, Number) and argument.value >= 1:
            yield int(argument.value)
