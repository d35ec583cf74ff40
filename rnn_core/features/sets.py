"""Feature sets: an ordered list of named expressions, and qlib's own two.

A set knows before any bar is read which fields it needs and how far it looks, so a pipeline can
load exactly that and refuse a set that looks ahead. Its expressions are parsed once, when it is
made. `alpha158_set` takes the options of qlib's Alpha158DL; where qlib silently ignores a name that
it does not know, or repeats a column, this is an error.

qlib: contrib/data/loader.py, Alpha158DL.get_feature_config and Alpha360DL.get_feature_config.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.frames import near_matches
from rnn_core.data.panel import Panel
from rnn_core.features import layout
from rnn_core.features.evaluate import Semantics, evaluate
from rnn_core.features.expression import Expression
from rnn_core.features.parser import parse
from rnn_core.features.tokens import ExpressionError

Group = Mapping[str, Any] | bool | None


class FeatureSet(Mapping[str, str]):
    """An ordered mapping of names to expressions, parsed when it is made.

    Args:
        features: name to expression, or (name, expression) pairs.
        name: what to call the set in messages.

    Attributes:
        name: as given.
        names: the F column names, in order.
        nodes: the F parsed expressions.
        fields: names of the fields that they read.
        look_back: sessions before D that the features of D need (`UNBOUNDED`: all of history).
        look_ahead: sessions after D that they need (0: known at the close of D).

    Raises:
        ExpressionError: if an expression cannot be read; the message names the feature.
        ValueError: on no feature at all, a name given twice or one that is not text.
    """

    def __init__(
        self, features: Mapping[str, str] | Iterable[tuple[str, str]], *, name: str = "the set"
    ) -> None:
        pairs = list(features.items() if isinstance(features, Mapping) else features)
        if not pairs:
            raise ValueError(f"{name} holds no feature: give at least one")
        self.name = name
        self._texts: dict[str, str] = {}
        nodes = []
        for feature, text in pairs:
            if not isinstance(feature, str) or not feature.strip():
                raise ValueError(
                    f"{name}: {feature!r} is no name of a feature, expected text: put it in"
                    " quotation marks"
                )
            if feature in self._texts:
                raise ValueError(f"{name}: {feature} is given twice: every column needs its own")
            if not isinstance(text, str):
                raise ValueError(
                    f"{name}: {feature} is {text!r}, expected the text of an expression: put it in"
                    " quotation marks"
                )
            try:
                nodes.append(parse(text))
            except ExpressionError as error:
                raise ExpressionError(f"{name}: {feature}: {error.problem}", text, error.at) from (
                    error
                )
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
        """Same names with the same texts in the same order."""
        return isinstance(other, FeatureSet) and [*self.items()] == [*other.items()]

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return f"FeatureSet({self.name!r}, {len(self)} features, look_back={self.look_back})"

    def without_field(self, field: str) -> FeatureSet:
        """The set without the features that read a field that a market lacks.

        Raises:
            ValueError: if every feature reads it.
        """
        if field not in self.fields:
            return self
        kept = [
            (name, text)
            for (name, text), node in zip(self.items(), self.nodes, strict=True)
            if field not in node.fields
        ]
        if not kept:
            raise ValueError(f"{self.name}: every feature reads ${field}, so none is left")
        return FeatureSet(kept, name=self.name)


def alpha158_set(
    *,
    kbar: Group = True,
    price: Group = layout.ALPHA158_PRICE_GROUP,
    volume: Group = None,
    rolling: Group = layout.ALPHA158_ROLLING_GROUP,
) -> FeatureSet:
    """Alpha158 with qlib's options; by default the 158 features of qlib's handler.

    A group is left out by None or False; True is what the handler has, an empty mapping qlib's
    defaults of the loader.

    Args:
        kbar: the nine shapes of the bar.
        price: {"windows": lags in sessions, by default 0 to 4; "feature": of OPEN, HIGH, LOW,
            CLOSE and VWAP, by default all}: OPEN0, OPEN1, ..., field by field.
        volume: {"windows": lags in sessions, by default 0 to 4}: VOLUME0, VOLUME1, ...
        rolling: {"windows": by default 5, 10, 20, 30, 60; "include": the families to have, by
            default all; "exclude": those not to have}. Families are in qlib's order whatever
            that of the lists, and named as qlib's switches: MIN5 and its like belong to LOW.

    Returns:
        The set, in qlib's order: kbar, price, volume, rolling.

    Raises:
        ValueError: on an unknown option or name (qlib ignores it), a window given twice, a
            negative lag, a window below 1, or nothing left.
    """
    features: list[tuple[str, str]] = []
    if _options("kbar", kbar, ()) is not None:
        features += layout.KBAR.items()
    options = _options("price", price, ("windows", "feature"), layout.ALPHA158_PRICE_GROUP)
    if options is not None:
        fields = [
            field.upper() if isinstance(field, str) else field
            for field in _listed("price.feature", options.get("feature", layout.PRICES))
        ]
        _known("price.feature", fields, layout.PRICES)
        lags = _sessions("price.windows", options.get("windows", layout.LAGS), least=0)
        features += layout.price_features(fields, lags).items()
    options = _options("volume", volume, ("windows",))
    if options is not None:
        lags = _sessions("volume.windows", options.get("windows", layout.LAGS), least=0)
        features += layout.volume_features(lags).items()
    options = _options("rolling", rolling, ("windows", "include", "exclude"))
    if options is not None:
        windows = _sessions("rolling.windows", options.get("windows", layout.WINDOWS), least=1)
        include = options.get("include")
        wanted = layout.SWITCHES if include is None else _switches("rolling.include", include)
        unwanted = _switches("rolling.exclude", options.get("exclude", ()))
        families = [
            family
            for switch, family in layout.SWITCHES.items()
            if switch in wanted and switch not in unwanted
        ]
        features += layout.rolling_features(families, windows).items()
    return FeatureSet(features, name="Alpha158")
