"""Which failures of a step pass by themselves, and how often and when such a step is tried again.

A network that drops a connection and a file system that times out are tried again, after waits
that double, with some randomness so that two runs do not come back in step. Everything else is
not: what the pipeline raises on purpose would fail the same way again, and what nobody foresaw is
for a person to see. The schedule's retries, hours later, are another matter (`next_session.py`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError

import dagster as dg
import duckdb

TRANSIENT_POLICY = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)  # after about 5, 15 and 35 s
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
    """Whether an error, or one that it was raised from, may be gone at the next try."""
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


def retry_later(context: Any) -> dg.RetryRequested:
    """What a step raises to be executed again after a wait; its attempts are limited.

    Args:
        context: of the step.
    """
    return dg.RetryRequested(
        max_retries=TRANSIENT_POLICY.max_retries,
        seconds_to_wait=max(0.0, TRANSIENT_POLICY.calculate_delay(context.retry_number + 1)),
    )
