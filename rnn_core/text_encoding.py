"""Decode the text files that people write, whichever editor wrote them."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
