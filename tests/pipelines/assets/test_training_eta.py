"""The time that trainings still take; oracle: the arithmetic of trainings of a known length."""

from __future__ import annotations

import pytest

from pipelines.assets.training_eta import TrainingEta
from rnn_core.training import EpochReport


def report(epoch: int, best: int, most: int = 200) -> EpochReport:
    return EpochReport(epoch, most, 1.0, -1.0, best, 1000.0)


def test_the_first_epoch_gives_an_estimate():
    now = [0.0]
    eta = TrainingEta(early_stop=10, clock=lambda: now[0])
    now[0] = 4.0
    # Ten epochs more at the soonest, and two trainings of eleven.
    assert eta.after(report(0, 0), later=2) == pytest.approx(4.0 * (10 + 2 * 11))


def test_later_trainings_are_as_long_as_the_finished_ones():
    now = [0.0]
    eta = TrainingEta(early_stop=3, clock=lambda: now[0])
    for epoch in range(9):  # best after six epochs, ended by three without a better one
        now[0] += 2.0
        left = eta.after(report(epoch, min(epoch, 5)), later=1)
    assert left == pytest.approx(2.0 * 9)
    now[0] += 2.0
    assert eta.after(report(0, 0), later=0) == pytest.approx(2.0 * 3)


def test_no_training_is_longer_than_its_last_epoch():
    now = [0.0]
    eta = TrainingEta(early_stop=10, clock=lambda: now[0])
    now[0] = 5.0
    assert eta.after(report(0, 0, most=2), later=0) == pytest.approx(5.0)
    now[0] = 10.0
    assert eta.after(report(1, 1, most=2), later=0) == 0.0


def test_trainings_side_by_side_share_the_time():
    now = [0.0]
    eta = TrainingEta(early_stop=10, clock=lambda: now[0])
    now[0] = 4.0
    eta.after(report(0, 0), later=1, training="a")
    # Two epochs in four seconds, ten more of each at the soonest, and one training of eleven.
    assert eta.after(report(0, 0), later=1, training="b") == pytest.approx(2.0 * (20 + 11))
