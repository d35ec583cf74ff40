"""Features of one's own as functions of a market, where a feature set has an expression.

    features:
      MOM: my_research.features:Momentum     # or an entry point of the group `rnn_core.features`

A set names a function as `package.module:Name` and takes it for a node of its own kind, so that its
look-back and its fields are known before any bar is read, like those of an expression. Whether they
are what it says is tested by `reach_problems` (`reach.py`).

What is stored names functions, too, and never imports one: see `rnn_core.own_parts`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.expression import Expression
from rnn_core.features.parser import parse
from rnn_core.own_parts import OwnPart, is_own, load_part
from rnn_core.panel.panel import Panel

ENTRY_POINTS = "rnn_core.features"
"""The group of entry points of features."""

_own: dict[str, OwnPart] = {}


@runtime_checkable
class FeatureFunction(Protocol):
    """A feature as a function of a market: a class without arguments, or a plain function.

    Its attributes are declared once. `fields` names the fields of the panel that it reads: `open`,
    `high`, `low`, `close`, `volume` and `vwap`, adjusted, and the columns of numbers beside the
    bars. `look_back` is the number of sessions before D that the value of D needs, 0 for none.

    It is called with a panel of these fields, read-only, over N instruments and T sessions, and
    returns [N, T] float32 or float64, NaN for a missing value. The value of session D may depend on
    D and the `look_back` sessions before it, of all instruments, and on nothing else: neither on
    later sessions, nor on where the panel begins, nor on chance. A cell without a row (`present`)
    is NaN in the result, whatever is returned for it, and so is an infinity in strict semantics.

    Examples:
        >>> def spread(panel):
        ...     return panel.fields["high"] / panel.fields["low"] - 1
        >>> spread.fields, spread.look_back = ("high", "low"), 0
        >>> isinstance(spread, FeatureFunction), spread(panel).shape
        (True, (3, 70))
    """

    fields: Sequence[str]
    look_back: int

    def __call__(self, panel: Panel, /) -> NDArray[Any]:
        """Compute the feature, [N, T]."""


@dataclass(frozen=True)
class OwnFeature(Expression):
    """The node of a feature function; equal to another of the same name."""

    name: str
    function: FeatureFunction = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", frozenset(self.function.fields))
        object.__setattr__(self, "look_back", int(self.function.look_back))

    def __str__(self) -> str:
        return self.name


def names_function(text: str) -> bool:
    """True if a text of a feature set names a function instead of holding an expression."""
    return ":" in text or (text.isidentifier() and is_own(text, ENTRY_POINTS))


def node_of(text: str) -> Expression:
    """Read a text of a feature set: an expression, or the name of a function.

    Raises:
        ExpressionError: the expression cannot be read.
        ValueError: as `own_feature`.
    """
    return own_feature(text) if names_function(text) else parse(text)


def own_feature(name: str) -> OwnFeature:
    """Import a feature function, and make it known by its name from now on.

    Args:
        name: `package.module:Name`, or an entry point of the group `rnn_core.features`.

    Raises:
        ValueError: it cannot be imported, or breaks the contract of `FeatureFunction`; the message
            says how.

    Examples:
        >>> own_feature("nowhere:Momentum")
        Traceback (most recent call last):
            ...
        ValueError: cannot import nowhere for 'nowhere:Momentum': ModuleNotFoundError: ...
    """
    part = load_part(name, ENTRY_POINTS, functions=True)
    function = part.value
    if isinstance(function, type):
        try:
            function = function()
        except Exception as error:  # whatever foreign code raises
            raise ValueError(
                f"{name} cannot be made: {type(error).__name__}: {error}; a feature is a class "
                f"without arguments, or a function"
            ) from error
    _check(name, function)
    _own[name] = part
    return OwnFeature(name, function)


def _check(name: str, function: Any) -> None:
    """Confirm the contract of `FeatureFunction`, as far as it shows without a panel."""
    fields, look_back = getattr(function, "fields", None), getattr(function, "look_back", None)
    if isinstance(fields, str) or not isinstance(fields, Iterable) or not list(fields):
        raise ValueError(
            f"{name} has fields = {fields!r}, expected the names of the fields that it reads, as "
            f"in fields = ('close', 'volume')"
        )
    if isinstance(look_back, bool) or not isinstance(look_back, int) or look_back < 0:
        raise ValueError(
            f"{name} has look_back = {look_back!r}, expected a whole number of sessions from 0 on: "
            f"those before D that the value of D needs"
        )
    if not callable(function):
        raise ValueError(f"{name} cannot be called; a feature is called with a panel")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise ValueError(f"{name} cannot be called with a panel alone: {error}") from error


def origins(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """The origins of the functions among some texts, by name: which code each is."""
    return {text: _own[text].origin for text in texts if text in _own}


def require_known(texts: Iterable[str]) -> None:
    """Refuse functions that no configuration has named, so that what is stored runs no code.

    Raises:
        ValueError: the message names the first, and the call that makes it known.
    """
    for text in texts:
        if text not in _own and names_function(text):
            raise ValueError(
                f"what is stored has the feature function {text!r}, which no configuration has "
                f"named: call rnn_core.features.own_feature({text!r}) first"
            )


def own_values(panel: Panel, node: OwnFeature) -> NDArray[Any]:
    """Call a feature function.

    Args:
        panel: the market; it may have further fields, which the function does not see.
        node: the function.

    Returns:
        [N, T] float32 or float64, NaN on cells without a row.

    Raises:
        ValueError: the function fails, or returns something else.
    """
    fields = {}
    for name in sorted(node.fields):
        fields[name] = panel.fields[name].view()
        fields[name].flags.writeable = False
    view = Panel(panel.sessions, panel.instruments, fields, panel.present)
    try:
        values = node.function(view)
    except Exception as error:  # whatever foreign code raises
        hint = ""
        if isinstance(error, KeyError) and error.args and error.args[0] in panel.fields:
            hint = "; a field that it reads belongs into its `fields`"
        raise ValueError(f"{node.name} failed: {type(error).__name__}: {error}{hint}") from error
    kinds = (np.float32, np.float64)
    if not isinstance(values, np.ndarray) or values.shape != panel.shape or (
        values.dtype not in kinds
    ):  # fmt: skip
        given = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else (
            type(values).__name__
        )  # fmt: skip
        raise ValueError(
            f"{node.name} gave {given}, expected a float32 or float64 array {panel.shape} "
            f"(instruments, sessions)"
        )
    return np.where(panel.present, values, np.nan).astype(values.dtype)
