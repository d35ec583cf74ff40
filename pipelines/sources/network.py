"""Asking a vendor over the network: at a pace, again after what passes, and for how long.

Calls are spaced so that no more than `per_minute` are made. What may pass by itself (a dropped
connection, a time-out, HTTP 429 and 5xx, a vendor that says it is busy) is tried again after waits
that double, spread at random so that two markets do not come back in step; a `Retry-After` of the
vendor is honoured. Everything else is raised at once: an unknown symbol stays unknown.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipelines.sources.transient import is_transient

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone at the next try."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class VendorBusyError(Exception):
    """The vendor could not answer now; what an adapter makes of its client's own errors.

    Args:
        message: what the client said.
        retry_after: seconds that the vendor asks to wait, where it says so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Pace:
    """How fast to ask and how patiently.

    Attributes:
        attempts: calls at most, the first included.
        wait_seconds: before the second call; doubled before each further one.
        max_wait_seconds: but never longer than this.
        per_minute: calls a minute at most.
    """

    attempts: int
    wait_seconds: float
    max_wait_seconds: float
    per_minute: float

    def wait(self, failures: int, error: BaseException, chance: float) -> float:
        """Seconds to wait after so many failed calls.

        Args:
            failures: calls that failed, 1 after the first.
            error: of the last one.
            chance: uniform in [0, 1): the wait is between half and all of its length.
        """
        length: float = min(self.wait_seconds * 2 ** min(failures - 1, 30), self.max_wait_seconds)
        return max(length * (0.5 + 0.5 * chance), retry_after(error) or 0.0)


class Asker:
    """Makes calls at a pace.

    Args:
        pace: how fast, how patiently.
        sleep: waits some seconds.
        clock: seconds that only grow.
        chance: uniform in [0, 1).
    """

    def __init__(
        self,
        pace: Pace,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._pace = pace
        self._sleep, self._clock, self._chance = sleep, clock, chance
        self._next = float("-inf")

    def __call__(self, call: Callable[[], T], what: str) -> T:
        """The result of a call.

        Args:
            call: asks the vendor.
            what: what is asked for, for the log.

        Raises:
            Exception: of the last attempt, or of the first that would not pass by itself.
        """
        for failures in range(1, self._pace.attempts + 1):
            self._take_turn()
            try:
                return call()
            except Exception as error:
                if not may_pass(error) or failures == self._pace.attempts:
                    raise
                seconds = self._pace.wait(failures, error, self._chance())
                logger.info("%s: %s; again in %.1f s", what, error, seconds)
                self._sleep(seconds)
        raise AssertionError("the last attempt returned or raised")

    def _take_turn(self) -> None:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + 60.0 / self._pace.per_minute


def may_pass(error: BaseException) -> bool:
    """Whether an error of a call may be gone at the next try."""
    status = http_status(error)
    if status is not None:
        return status in BUSY
    return isinstance(error, VendorBusyError) or is_transient(error)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, as those of urllib and requests do."""
    response = getattr(error, "response", None)
    for status in (getattr(error, "code", None), getattr(response, "status_code", None)):
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None


def retry_after(error: BaseException) -> float | None:
    """Seconds that the vendor asks to wait, where the error says so."""
    given = getattr(error, "retry_after", None)
    if given is not None:
        return float(given)
    headers = getattr(error, "headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    text = headers.get("Retry-After") if headers is not None else None
    try:
        return None if text is None else float(text)
    except ValueError:  # a date: the doubled wait does as well
        return None
