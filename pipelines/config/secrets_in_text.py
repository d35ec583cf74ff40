"""Take secrets out of texts that are shown or kept: messages, logs, the record of runs.

A secret stands where its owner puts it: in the environment, in `source.access`, in the address of a
database or of a proxy. Vendors' clients quote addresses and headers in their errors, so an error of
foreign code is scrubbed where it enters a message (`sources`), a run (`assets`) or the terminal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_SECRET = re.compile(
    r"token|passw|secret|credential|api_?key|access_?key|authorization|(^|_)(pwd|auth|key)$",
    re.I,
)
_USER_PART = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_QUERY = re.compile(r"([?&;][^=&\s]*(?:token|password|secret|key|sig)[^=&\s]*=)[^&\s'\"]+", re.I)
_BEARER = re.compile(  # and no ordinary words, as of the basic materials sector
    r"\b((?i:Bearer)\s+|Basic\s+(?=\S{8})(?=\S*[\d=+/]))[\w.~+/=-]+"
)
_SHORTEST = 6  # characters of a value that is looked for: a shorter one stands in any text
_remembered: set[str] = set()


def remember(values: Mapping[str, Any]) -> None:
    """Note the secrets among some values of a configuration: nothing quotes them from now on."""
    _remembered.update(_secrets(values))


def scrubbed(text: str, options: Mapping[str, Any] | None = None) -> str:
    """A text without secrets.

    Those are the user part of addresses, and values of some options, of the configurations that
    were read and of the environment whose names speak of a token, key, password or secret.
    """
    known = _secrets(options or {}) | _secrets(os.environ) | _remembered
    for value in sorted(known, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)  # no part of a word
    text = _USER_PART.sub("***", text)
    return _BEARER.sub(r"\1***", _QUERY.sub(r"\1***", text))


class ScrubbedError(Exception):
    """Stands for an error of foreign code whose text held a secret."""


def without_secrets(error: BaseException) -> BaseException:
    """An error that can be kept: itself, without secrets in its text and in those of its causes."""
    for part in (*_chain(error),):
        cause = part.__cause__ or part.__context__
        if cause is not None and _holds(cause):
            part.__cause__, part.__suppress_context__ = _stand_in(cause), True
    return _stand_in(error) if _holds(error) else error


def _stand_in(error: BaseException) -> BaseException:
    error.args = tuple(scrubbed(a) if isinstance(a, str) else a for a in error.args)
    if isinstance(error, OSError):  # which shows its parts, not its arguments
        for part in ("strerror", "filename", "filename2"):
            text = getattr(error, part)
            if isinstance(text, str):
                setattr(error, part, scrubbed(text))
    if not _holds(error):
        return error
    other = ScrubbedError(f"{type(error).__name__}: {scrubbed(str(error))}")
    other.__cause__ = error.__cause__
    return other.with_traceback(error.__traceback__)


def _holds(error: BaseException) -> bool:
    return scrubbed(str(error)) != str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _secrets(values: Mapping[str, Any]) -> set[str]:
    """The values whose names speak of a secret, and the user parts of addresses."""
    secrets: set[str] = set()
    for name, value in values.items():
        if isinstance(value, Mapping):
            secrets |= _secrets(value)
        elif isinstance(value, str):
            secrets |= {value} if _SECRET.search(str(name)) else set()
            for user in _USER_PART.findall(os.path.expandvars(value)):
                if ":" in user:  # a name alone is no secret, and often an ordinary word
                    secrets |= {user, *user.split(":", 1)[1:]}
    secrets |= {unquote(secret) for secret in secrets}
    return {secret for secret in secrets if len(secret) >= _SHORTEST and secret[0] != "/"}
