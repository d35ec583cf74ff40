"""The time that the trainings of a run still take, by the rate that this machine has shown.

Nobody knows when a training will stop early. It ends `early_stop` epochs after its best one at the
soonest, and the trainings that follow are taken to be as long as those that are finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnn_core.training import EpochReport


class TrainingEta:
    """Counts epochs and seconds since it was made.

    Args:
        early_stop: epochs in a row without a better score that end a training.
        clock: returns seconds.
    """

    def __init__(self, early_stop: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._early_stop, self._clock = early_stop, clock
        self._began, self._epochs = clock(), 0
        self._lengths: list[int] = []  # epochs of the finished trainings
        self._left: dict[Hashable, int] = {}  # epochs of the trainings at work

    def after(self, report: EpochReport, later: int, training: Hashable = None) -> float:
        """Count an epoch, and estimate the seconds until the last training is finished.

        Args:
            report: of the epoch.
            later: trainings of the run that have not begun.
            training: tells trainings apart that go on side by side.

        Returns:
            Seconds, too few rather than too many.
        """
        self._epochs += 1
        # Seconds an epoch, with all around it; where trainings go on side by side so much less.
        rate = (self._clock() - self._began) / self._epochs
        done = report.epoch + 1
        end = min(report.n_epochs, report.best_epoch + 1 + self._early_stop)
        self._left[training] = max(end - done, 0)
        if done >= end:
            self._lengths.append(done)
        usual = sum(self._lengths) / len(self._lengths) if self._lengths else end
        return rate * (sum(self._left.values()) + later * usual)
