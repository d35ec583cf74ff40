"""Nodes of an expression: immutable, hashable, with look-back and look-ahead.

Equal sub-expressions are equal keys, so an evaluator that stores results by node computes each
once, within one expression and across several.

Reach: the value of a node at session D reads its arguments at other sessions. `look_back` and
`look_ahead` are the furthest sessions that any node below reads, so the `look_back + 1 +
look_ahead` sessions around D are enough to evaluate the expression at D. An expression that reads
all of history has a look-back of `UNBOUNDED`.
qlib: get_extended_window_size, which adds up every shift and so needs more where shifts cancel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rnn_core.features.operators import LISTED, OPERATORS, UNBOUNDED


@dataclass(frozen=True)
class Expression:
    """A node; see `Number`, `Text`, `Field` and `Call`.

    Attributes:
        look_back: sessions before D that the value of D needs.
        look_ahead: sessions after D that the value of D needs (0: known at the close of D).
        fields: names of the fields it reads.
        depth: 1 for a leaf, one more than its deepest argument for a call.

    Examples:
        >>> label = parse("Ref($close, -2)/Ref($close, -1) - 1")
        >>> label.look_back, label.look_ahead, sorted(label.fields)
        (0, 2, ['close'])
    """

    look_back: int = field(init=False, compare=False, repr=False, default=0)
    look_ahead: int = field(init=False, compare=False, repr=False, default=0)
    fields: frozenset[str] = field(init=False, compare=False, repr=False, default=frozenset())
    depth: int = field(init=False, compare=False, repr=False, default=1)

    @property
    def is_condition(self) -> bool:
        """True if the expression gives true or false instead of numbers."""
        return False


def horizon_of(label: Expression) -> int:
    """Count the sessions that a label holds, 1 or more; labels of h sessions overlap by h - 1.

    A label enters at the first session after the decision that it reads, if it reads several of
    them, and else at the decision: its horizon is the look-ahead less the sessions to the entry.

    Args:
        label: the expression of a return that follows.

    Examples:
        >>> horizon_of(parse("Ref($close, -6)/Ref($close, -1) - 1"))
        5
        >>> horizon_of(parse("Ref($close, -5)/$close - 1"))
        5
    """
    later = _later(label, 0, 0)
    entry = min(later) if len(later) > 1 else 0
    return max(label.look_ahead - entry, 1)


def _later(node: Expression, first: int, last: int) -> frozenset[int]:
    """The sessions after D that a node reads, read itself from `first` to `last`."""
    if not isinstance(node, Call):
        return frozenset(range(max(first, 1), last + 1))
    begin, end = OPERATORS[node.name].reads(*node.constants)
    parts = (_later(argument, first + begin, last + end) for argument in node.series)
    return frozenset().union(*parts)


@dataclass(frozen=True)
class Number(Expression):
    """A constant."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.0f}" if self.value.is_integer() else repr(self.value)


@dataclass(frozen=True)
class Field(Expression):
    """A field of the bars, written $name."""

    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", frozenset([self.name]))

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True)
class Text(Expression):
    """A quoted name, such as an instrument's."""

    value: str

    def __str__(self) -> str:
        return f"'{self.value}'"


@dataclass(frozen=True)
class Call(Expression):
    """An operator on arguments; `a + b` is Add(a, b)."""

    name: str
    arguments: tuple[Expression, ...]

    def __post_init__(self) -> None:
        operator = OPERATORS[self.name]
        first, last = operator.reads(*self.constants)
        series = self.series
        back = max((a.look_back - first for a in series), default=0)
        conditions = operator.numbers == "conditions" and series[0].is_condition
        if conditions or operator.numbers == "always":
            back = max(back, LISTED)  # it reads rows there, no values of its argument
        ahead = max((a.look_ahead + last for a in series), default=0)
        object.__setattr__(self, "look_back", min(max(0, back), UNBOUNDED))
        object.__setattr__(self, "look_ahead", max(0, ahead))
        object.__setattr__(self, "fields", frozenset().union(*(a.fields for a in series)))
        object.__setattr__(self, "depth", 1 + max(a.depth for a in self.arguments))

    @property
    def series(self) -> tuple[Expression, ...]:
        """The arguments that vary from session to session."""
        return tuple(a for a in self.arguments if not isinstance(a, (Number, Text)))

    @property
    def constants(self) -> tuple[float, ...]:
        """The numeric settings of the operator: offset, window, share."""
        kinds = OPERATORS[self.name].arguments
        return tuple(
            argument.value
            for argument, kind in zip(self.arguments, kinds, strict=True)
            if kind not in ("series", "value", "condition") and isinstance(argument, Number)
        )

    @property
    def is_condition(self) -> bool:
        """True if the operator gives true or false instead of numbers."""
        return OPERATORS[self.name].result == "condition"

    def __str__(self) -> str:
        return f"{self.name}({','.join(str(a) for a in self.arguments)})"
