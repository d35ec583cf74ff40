"""Retry policy: the wait after which a step with a transient failure is executed again.

Waits double, with some randomness so that two runs do not come back in step.
`sources/transient.py` says which failures are transient. The schedule's retries, hours later, are
another matter (`next_session.py`).
"""

from __future__ import annotations

from typing import Any

import dagster as dg

TRANSIENT_POLICY = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)  # after about 5, 15 and 35 s


def retry_later(context: Any) -> dg.RetryRequested:
    """The request that a step raises to be executed again after a wait, a few times at most.

    Args:
        context: the context of the step.
    """
    return dg.RetryRequested(
        max_retries=TRANSIENT_POLICY.max_retries,
        seconds_to_wait=max(0.0, TRANSIENT_POLICY.calculate_delay(context.retry_number + 1)),
    )
