"""Choose windows that fit a history: first training, learning and validation.

The first 60 of T sessions give features their full history. The first model learns from those that
follow, and the last third, at least half a year, is scored by models trained before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import ConfigError

LOOK_BACK = 60  # sessions of Alpha158's longest window
LEAST_WINDOW = 120  # sessions that a model learns from, the held-out ones included
LEAST_TRAINED = 126  # half a year of scores
NEEDED = LOOK_BACK + LEAST_WINDOW + LEAST_TRAINED
MOST_WINDOW, MOST_VALID = 750, 120
QUICK_WINDOW = 250
RETRAIN = 63  # sessions, a quarter


@dataclass(frozen=True)
class Plan:
    """Sessions and lengths for the sections `dataset` and `training`."""

    first_trained: str
    window_sessions: int
    valid_sessions: int
    retrain_every: int


def plan_windows(keys: Sequence[str], *, quick: bool = False) -> Plan:
    """Choose the windows for a history.

    Args:
        keys: its sessions, in order.
        quick: learn from a year at most, and train twice.

    Raises:
        ConfigError: the history is too short; the message says how many sessions are needed.
    """
    total = len(keys)
    if total < NEEDED:
        raise ConfigError(
            f"the data has {total} sessions, and at least {NEEDED} are needed: {LOOK_BACK} before "
            f"features have their full history, {LEAST_WINDOW} to learn from and "
            f"{LEAST_TRAINED} to score; give a longer history, or write a YAML by hand with a "
            f"smaller feature set (pipelines/config/shipped/sample.yaml explains every key)"
        )
    first = total - max(LEAST_TRAINED, total // 3)
    window = min(QUICK_WINDOW if quick else MOST_WINDOW, first - LOOK_BACK)
    return Plan(
        first_trained=keys[first],
        window_sessions=window,
        valid_sessions=min(MOST_VALID, window // 6),
        retrain_every=max(RETRAIN, math.ceil((total - first) / 2)) if quick else RETRAIN,
    )
