"""Tell transient failures, which may be gone at the next try, from all others.

A network that drops a connection and a file system that times out are transient. Everything else
is not: what the pipeline raises on purpose would fail the same way again, and what nobody foresaw
is for a person to see.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from urllib.error import URLError

import duckdb

TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def is_transient(error: BaseException) -> bool:
    """True if an error, or one that it was raised from, may be gone at the next try."""
    return any(_passes(e) for e in _chain(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | duckdb.IOException):
        return True  # duckdb: what it says of a file or a URL that it could not read
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        return _passes(error.reason)
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
