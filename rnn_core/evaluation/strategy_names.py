"""Strategies by name: the shipped ones of target weights, and those of other packages.

One of another package is named as `package.module:Class`, or by an entry point of
`rnn_core.strategies` (`rnn_core/own_parts.py`, docs/extending.md). TopkDropout is made from the
settings of a backtest (`TopkDropout.of`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from rnn_core.evaluation.mean_variance import MeanVariance
from rnn_core.evaluation.strategies import Needs, Strategy
from rnn_core.evaluation.weight_strategies import LongShort, ScoreWeighted
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.suggestions import near_matches

ENTRY_POINTS = "rnn_core.strategies"
"""The group of entry points of strategies of other packages."""

SHIPPED: Mapping[str, type[Strategy]] = {
    "long_short": LongShort,
    "score_weighted": ScoreWeighted,
    "mean_variance": MeanVariance,
}
"""The shipped strategies that are made from options, by their names in the YAML."""


def own_strategy(name: str) -> OwnPart:
    """A strategy of another package, its contract confirmed.

    Args:
        name: `package.module:Class`, or an entry point of `rnn_core.strategies`.

    Raises:
        ValueError: it cannot be imported, or is no strategy.
    """
    part = load_part(name, ENTRY_POINTS)
    if not callable(getattr(part.value, "orders", None)):
        raise ValueError(
            f"{name} has no method `orders`; a strategy has `orders(at: Situation)`, which returns "
            "the orders for the next session (docs/extending.md)"
        )
    try:
        inspect.signature(part.value.orders).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"{name} has orders{inspect.signature(part.value.orders)}, expected orders(self, at): "
            f"{error}"
        ) from error
    return part


def make_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Make a shipped strategy of `SHIPPED`, or one of another package.

    Args:
        name: its name; see `own_strategy`.
        options: arguments of its constructor.

    Raises:
        ValueError: see `own_strategy`; or the constructor refuses the options.

    Examples:
        >>> make_strategy("long_short", {"quantile": 0.2}).quantile
        0.2
    """
    make = SHIPPED.get(name) or own_strategy(name).value
    parameters = inspect.signature(make).parameters
    unknown = [key for key in options if name in SHIPPED and key not in parameters]
    if unknown:
        raise ValueError(
            f"{name} has no option {unknown[0]!r}{near_matches(unknown[0], parameters)} "
            f"(options: {', '.join(parameters)})"
        )
    try:
        if name in SHIPPED:
            _check_types(get_type_hints(make), options)
        inspect.signature(make).bind(**options)
        strategy: Strategy = make(**options)
        Needs.of(strategy)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} does not take the options {dict(options)}: {error}") from error
    return strategy


def _check_types(hints: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Confirm the types of options, so that no text counts as true and no `yes` as 1.

    Raises:
        ValueError: a value has another type than its argument; the message names it.
    """
    for key, value in options.items():
        wanted = get_args(hints[key]) or (hints[key],)
        if value is None and type(None) in wanted:
            continue
        if bool in wanted:
            ok, expected = isinstance(value, bool), "true or false"
        elif int in wanted:
            ok, expected = type(value) is int, "a whole number"
        elif float in wanted:
            ok, expected = type(value) in (int, float) and math.isfinite(value), "a number"
        else:
            ok, expected = isinstance(value, str), "a text"
        if not ok:
            raise ValueError(f"{key}={value!r}: expected {expected}")
