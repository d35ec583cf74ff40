"""Lines of a drafted YAML: a key, its value, and a comment at a fixed column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

_COMMENT_AT, _WIDTH = 32, 100


def line(text: str, comment: str) -> str:
    """A line with its comment, which stands further right only where the text is too long."""
    if not comment:
        return text
    if len(text) < _COMMENT_AT:
        return f"{text:<{_COMMENT_AT}}# {comment}"
    return f"{text}   # {comment}"


def scalar(value: Any) -> str:
    """A value as YAML writes it within a line."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, width=10**6)
    return str(text).removesuffix("...\n").strip()


def wrapped_list(key: str, values: Sequence[Any]) -> list[str]:
    """A list behind its key, on as many lines as it needs; the key brings its indent."""
    inner = textwrap.wrap(", ".join(map(scalar, values)), _WIDTH - len(key) - 4,
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    begin, rest = f"{key}: [", " " * (len(key) + 3)
    lines = [f"{rest if i else begin}{text}" for i, text in enumerate(inner or [""])]
    return [*lines[:-1], f"{lines[-1]}]"]


def comment_lines(paragraph: str) -> list[str]:
    """A paragraph as lines of comment; an indented one hangs."""
    indent = len(paragraph) - len(paragraph.lstrip())
    lines = textwrap.wrap(paragraph, _WIDTH, initial_indent="# ",
                          subsequent_indent=f"# {' ' * 2 * indent}",
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return lines or ["#"]
