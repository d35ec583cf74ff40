"""Ask a vendor over the network at a pace, with retries and a limit of patience.

Calls are spaced so that no more than `per_minute` are made. A call whose failure is transient (a
dropped connection, a time-out, HTTP 429 and 5xx, a vendor that says it is busy) is made again after
waits that double, spread at random so that two markets do not come back in step; a `Retry-After` of
the vendor is honoured. Any other error is raised at once: an unknown symbol stays unknown.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipelines.config.secrets_in_text import scrubbed
from pipelines.sources.transient import is_transient

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone at the next try."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class VendorBusyError(Exception):
    """The vendor could not answer now; an adapter raises it for its client's own errors.

    Args:
        message: the client's message.
        retry_after: seconds that the vendor asks to wait; None if it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Pace:
    """The pace and the patience of asking.

    Attributes:
        attempts: the most calls, the first included.
        wait_seconds: the wait before the second call; it doubles before each further one.
        max_wait_seconds: the longest wait.
        per_minute: the most calls a minute.
    """

    attempts: int
    wait_seconds: float
    max_wait_seconds: float
    per_minute: float

    def wait(self, failures: int, error: BaseException, chance: float) -> float:
        """Return the seconds to wait after a number of failed calls.

        Args:
            failures: calls that failed, 1 after the first.
            error: the error of the last one.
            chance: uniform in [0, 1): the wait is between half and all of its length.
        """
        length: float = min(self.wait_seconds * 2 ** min(failures - 1, 30), self.max_wait_seconds)
        return max(length * (0.5 + 0.5 * chance), retry_after(error) or 0.0)


class Asker:
    """Makes calls at a pace.

    Args:
        pace: the pace and the patience.
        sleep: waits some seconds.
        clock: gives seconds that only grow.
        chance: gives a number uniform in [0, 1).
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
        """Make a call, and make it again after a transient failure.

        Args:
            call: asks the vendor.
            what: the subject of the call, for the log.

        Returns:
            The result of the call.

        Raises:
            Exception: the error of the last attempt, or the first that is not transient.
        """
        for failures in range(1, self._pace.attempts + 1):
            self._take_turn()
            try:
                return call()
            except Exception as error:
                if not may_pass(error) or failures == self._pace.attempts:
                    raise
                seconds = self._pace.wait(failures, error, self._chance())
                logger.info("%s: %s; again in %.1f s", what, scrubbed(str(error)), seconds)
                self._sleep(seconds)
        raise AssertionError("the last attempt returned or raised")

    def _take_turn(self) -> None:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + 60.0 / self._pace.per_minute


def may_pass(error: BaseException) -> bool:
    """True if an error of a call may be gone at the next try."""
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
    """The seconds that the vendor asks to wait; None if the error does not say."""
    seconds = getattr(error, "retry_after", None)
    if seconds is not None:
        return float(seconds)
    headers = getattr(error, "headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    text = headers.get("Retry-After") if headers is not None else None
    try:
        return None if text is None else float(text)
    except ValueError:  # a date: the doubled wait does as well
        return None
