"""A tokenizer of expressions, and the error that points at a character.

qlib: utils/__init__.py parse_field rewrites the text with regular expressions and hands it to
`eval`; this library never evaluates an expression as Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "field", "name", "text", "symbol", "end"]

_PATTERN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<text>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<field>\$\w+)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|[-+*/<>&|(),])"
)
_FOREIGN = {
    "$$": "point-in-time fields ($$name) are not supported: use $name",
    "//": "`//` is not part of the language: use `/`",
    "=": "a single `=` is not part of the language: use `==`",
    "!": "`!` is not part of the language: use Not(...)",
    "~": "`~` is not part of the language: use Not(...)",
    "$": "a field needs a name, as in $close",
    "'": "the quotation mark is not closed",
    '"': "the quotation mark is not closed",
}


class ExpressionError(ValueError):
    """An expression cannot be read or computed; the message points at the character.

    Args:
        problem: the fault, and the remedy.
        text: the whole expression.
        at: position of the character in question.

    Examples:
        >>> parse("Mean($close, )")
        Traceback (most recent call last):
            ...
        rnn_core.features.tokens.ExpressionError: expected a number, a field or an ...
          Mean($close, )
                       ^
    """

    def __init__(self, problem: str, text: str, at: int) -> None:
        start = text.rfind("\n", 0, at) + 1
        line = text[start:].split("\n", 1)[0]
        super().__init__(f"{problem}\n  {line}\n  {' ' * (at - start)}^")
        self.problem = problem
        self.at = at


@dataclass(frozen=True)
class Token:
    """One token and its position in the text."""

    kind: Kind
    text: str
    at: int


def tokenize(text: str) -> list[Token]:
    """Split an expression into tokens; the last one is of kind "end".

    Args:
        text: e.g. "Ref($close, -2)/Ref($close, -1) - 1".

    Returns:
        The tokens with their positions.

    Raises:
        ExpressionError: on a character that begins no token.
    """
    tokens = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _PATTERN.match(text, at)
        foreign = next((mark for mark in _FOREIGN if text.startswith(mark, at)), None)
        if foreign in ("$$", "//") or (foreign is not None and match is None):
            raise ExpressionError(_FOREIGN[foreign], text, at)
        if match is None:
            raise ExpressionError(f"unexpected character {text[at]!r}", text, at)
        kind: Kind = match.lastgroup  # type: ignore[assignment]
        tokens.append(Token(kind, match.group(), at))
        at = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens
