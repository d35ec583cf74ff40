"""A Pratt parser for qlib's expression language.

Precedence and associativity are Python's, because qlib evaluates the text as Python: comparisons
bind loosest, then `|`, `&`, `+ -`, `* /`, unary minus, `**` (from the right). So `$a > 1 & $b > 2`
means `$a > (1 & $b) > 2`. The parser refuses this, as every chain of comparisons, and the message
advises parentheses. Arithmetic on constants is done here, so `Ref($close, 2*5)` is fine.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from rnn_core.features.expression import Call, Expression, Field, Number, Text
from rnn_core.features.operators import MOST_SESSIONS, OPERATORS, Argument, decay_of
from rnn_core.features.tokens import ExpressionError, Token, tokenize

COMPARISON, UNARY = 1, 6
# Symbol to operator, how tightly it binds, and how tightly its right operand must.
INFIX: Mapping[str, tuple[str, int, int]] = MappingProxyType(
    {
        ">": ("Gt", COMPARISON, 2),
        ">=": ("Ge", COMPARISON, 2),
        "<": ("Lt", COMPARISON, 2),
        "<=": ("Le", COMPARISON, 2),
        "==": ("Eq", COMPARISON, 2),
        "!=": ("Ne", COMPARISON, 2),
        "|": ("Or", 2, 3),
        "&": ("And", 3, 4),
        "+": ("Add", 4, 5),
        "-": ("Sub", 4, 5),
        "*": ("Mul", 5, 6),
        "/": ("Div", 5, 6),
        "**": ("Power", 7, UNARY),
    }
)
FOLD: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "Add": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Div": lambda a, b: a / b,
        "Power": lambda a, b: a**b,
    }
)
MAX_NESTING = 100
MAX_DEPTH = 200


@lru_cache(maxsize=1024)  # a set's formulas are read for every use of the set; a graph is frozen
def parse(text: str) -> Expression:
    """Read an expression.

    Args:
        text: e.g. "Ref($close, -2)/Ref($close, -1) - 1".

    Returns:
        The graph of the expression; equal sub-expressions are one object.

    Raises:
        ExpressionError: if the text is not an expression of the language; the message points at
            the character and, for an unknown operator, names the nearest known one.

    Examples:
        >>> parse("Corr($close, Log($volume + 1), 60)").look_back
        59
    """
    parser = _Parser(text)
    result = parser.operand_above(0)
    if parser.token.kind != "end":
        raise parser.error(f"unexpected {parser.token.text!r} after a complete expression")
    if not result.fields:
        raise ExpressionError("an expression needs at least one field, as in $close", text, 0)
    return result


class _Parser:
    """One pass over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.position = 0
        self.nesting = 0
        self.known: dict[Expression, Expression] = {}

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.position]

    def error(self, problem: str, at: int | None = None) -> ExpressionError:
        return ExpressionError(problem, self.text, self.token.at if at is None else at)

    def take(self) -> Token:
        token = self.token
        self.position += token.kind != "end"
        return token

    def shared(self, node: Expression, at: int) -> Expression:
        """Return the one object that stands for a sub-expression."""
        if node.depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} operations deep: split it up", at)
        return self.known.setdefault(node, node)

    def operand_above(self, binding: int) -> Expression:
        """Read all operations from here on that bind more tightly than `binding`."""
        start = self.token.at
        left = self.prefix()
        while self.token.kind == "symbol" and self.token.text in INFIX:
            name, own, right_binding = INFIX[self.token.text]
            if own <= binding:
                break
            symbol = self.take()
            right_start = self.token.at
            right = self.operand_above(right_binding - 1)
            left = self.infix(name, symbol, (left, start), (right, right_start))
            if own == COMPARISON and self.token.text in INFIX and INFIX[self.token.text][1] == own:
                raise self.error(
                    "comparisons cannot be chained, and bind more loosely than & and |:"
                    " put parentheses around each, as in ($a > 1) & ($b > 2)"
                )
        return left

    def infix(
        self, name: str, symbol: Token, left: tuple[Expression, int], right: tuple[Expression, int]
    ) -> Expression:
        """Build an operation between two operands; constants are computed at once."""
        a, b = left[0], right[0]
        if isinstance(a, Number) and isinstance(b, Number) and name in FOLD:
            try:
                value = FOLD[name](a.value, b.value)
            except (ZeroDivisionError, OverflowError) as cause:
                raise self.error(f"{a} {symbol.text} {b} has no value", symbol.at) from cause
            if isinstance(value, complex):
                raise self.error(f"{a} {symbol.text} {b} is not a real number", symbol.at)
            if not math.isfinite(value):
                raise self.error(f"{a} {symbol.text} {b} has no value", symbol.at)
            return self.shared(Number(value), symbol.at)
        return self.call(name, symbol, [left, right])

    def prefix(self) -> Expression:
        """Read a number, a field, a call, a parenthesis or a signed operand."""
        token = self.take()
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                raise self.error(f"{token.text} is too large for a number", token.at)
            return self.shared(Number(value), token.at)
        if token.kind == "text":
            return self.shared(Text(token.text[1:-1]), token.at)
        if token.kind == "field":
            return self.shared(Field(token.text[1:]), token.at)
        if token.text in ("-", "+"):
            self.enter(token)
            at = self.token.at
            operand = self.operand_above(UNARY - 1)
            self.nesting -= 1
            if token.text == "+":
                return operand
            if isinstance(operand, Number):
                return self.shared(Number(-operand.value), token.at)
            return self.call("Mul", token, [(Number(-1.0), token.at), (operand, at)])
        if token.text == "(":
            self.enter(token)
            inside = self.operand_above(0)
            self.close(token)
            return inside
        if token.kind == "name":
            return self.named(token)
        text = "the end" if token.kind == "end" else repr(token.text)
        raise self.error(f"expected a number, a field or an operator, found {text}", token.at)

    def named(self, token: Token) -> Expression:
        """Read a call by name."""
        if token.text not in OPERATORS:
            if self.token.text != "(":
                raise self.error(f"a field is written ${token.text}", token.at)
            near = difflib.get_close_matches(token.text, OPERATORS, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(OPERATORS)}"
            raise self.error(f"unknown operator `{token.text}`; {advice}", token.at)
        if self.token.text != "(":
            raise self.error(f"`{token.text}` needs its arguments in parentheses")
        opening = self.take()
        self.enter(opening)
        arguments: list[tuple[Expression, int]] = []
        while self.token.text != ")" or arguments:
            at = self.token.at
            arguments.append((self.operand_above(0), at))
            if self.token.text != ",":
                break
            self.take()
        self.close(opening)
        return self.call(token.text, token, arguments)

    def call(self, name: str, token: Token, arguments: list[tuple[Expression, int]]) -> Expression:
        """Check and build a call."""
        kinds = OPERATORS[name].arguments
        if len(arguments) != len(kinds):
            raise self.error(
                f"`{name}` takes {len(kinds)} argument{'s' * (len(kinds) != 1)},"
                f" {len(arguments)} given",
                token.at,
            )
        for (argument, at), kind in zip(arguments, kinds, strict=True):
            problem = _misfit(argument, kind, OPERATORS[name].least)
            if problem:
                raise self.error(f"`{name}` {problem}, found {argument}", at)
        if all(isinstance(argument, Number) for argument, _ in arguments):
            raise self.error(f"`{name}` needs at least one argument that is a series", token.at)
        return self.shared(Call(name, tuple(argument for argument, _ in arguments)), token.at)

    def enter(self, token: Token) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.error(f"nested more than {MAX_NESTING} deep: split it up", token.at)

    def close(self, opening: Token) -> None:
        if self.token.text != ")":
            text = repr(self.token.text) if self.token.text else "the end"
            raise self.error(
                f"expected `)` for the `(` at character {opening.at + 1}, found {text}"
            )
        self.take()
        self.nesting -= 1


def _misfit(argument: Expression, kind: Argument, least: int) -> str:
    """Describe the fault of an argument; empty if there is none."""
    number = argument.value if isinstance(argument, Number) else math.nan
    whole = number.is_integer()
    if kind in ("sessions", "window", "decay") and abs(number) > MOST_SESSIONS:
        return f"needs {MOST_SESSIONS:,} sessions at most here"
    if kind == "sessions" and not whole:
        return "needs a whole number of sessions here (0: the first session of all)"
    if kind in ("window", "decay"):
        if kind == "window" and 0 < number < 1:
            return (
                "needs a whole number of sessions here (pyqlib reads one between 0 and 1 as"
                " exponential weighting, whatever the operator: write EMA)"
            )
        fits = (whole and (number == 0 or number >= least)) or 0 < number < 1
        if fits and 0 < number < decay_of(MOST_SESSIONS):
            return f"needs an alpha of {decay_of(MOST_SESSIONS):.0e} or more here"
        if not fits:
            decay = ", or 0 < alpha < 1 for exponential weighting" * (kind == "decay")
            return (
                f"needs a window of at least {least} whole sessions here"
                f" (or 0 for all of history{decay})"
            )
    if kind == "share" and not 0 <= number <= 1:
        return "needs a share from 0 to 1 here"
    if kind == "instrument" and not isinstance(argument, Text):
        return "needs the name of an instrument in quotation marks here"
    if kind == "condition" and not argument.is_condition:
        return (
            "needs a condition here, as in ($close > $open), in parentheses because & and | bind"
            " more tightly than comparisons"
        )
    if kind == "series" and isinstance(argument, Number):
        return "needs a series here, as in $close"
    if kind in ("series", "value") and isinstance(argument, Text):
        return "needs a series here, as in $close, not a text"
    return ""
