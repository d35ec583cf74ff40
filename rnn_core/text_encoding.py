"""Decode the text files that people write, and find characters in names that nobody sees."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_JOINERS = "\u200c\u200d"  # Persian and Indic scripts are written with them
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LINES = "\t\n\r"


def hidden_character(text: str, *, lines: bool = False) -> str | None:
    """The first character of a text that shows as nothing, or turns the order of what is shown.

    Names with one look like other names, or end a text early: NUL, controls such as ESC, marks of
    direction, spaces of no width, half surrogates.

    Args:
        text: a name.
        lines: True for a text that may have tabs and line ends.

    Returns:
        Its code point and name, as in `U+202E RIGHT-TO-LEFT OVERRIDE`; None for a plain text.
    """
    if text.isprintable():
        return None
    for character in text:
        is_fine = character in _JOINERS or (lines and character in _LINES)
        if unicodedata.category(character) in _HIDDEN and not is_fine:
            name = unicodedata.name(character, "a control character")
            return f"U+{ord(character):04X} {name}"
    return None


def marked_encoding(content: bytes) -> str | None:
    """The encoding that a byte order mark at the beginning tells; None without a mark."""
    return next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or the encoding of its byte order mark, which is taken off.

    Args:
        path: the file.

    Returns:
        Its text, with line ends as `\\n`.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not of that encoding.
    """
    content = path.read_bytes()
    encoding = marked_encoding(content)
    zero = content.find(b"\0")
    if encoding in (None, "utf-8-sig") and zero >= 0:
        reason = "a zero byte, as of UTF-16 without a byte order mark"
        raise UnicodeDecodeError("utf-8", content, zero, zero + 1, reason)
    text = content.decode(encoding or "utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
