"""Checks as pure functions; oracles are the numbers in the cases."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.assets.checks import (
    Check,
    blocking,
    coverage,
    cross_section,
    finite,
    ic_decay,
    look_ahead,
    model_age,
    nan_rise,
    quarantined,
    score_coverage,
    score_spread,
)

AB = ["A", "B"]


@pytest.mark.parametrize(
    ("finding", "passed", "words"),
    [
        (coverage(8, [10, 10, 11], 0.8), True, ""),
        (coverage(7, [10, 10, 11], 0.8), False, "7 names have bars, 70% of the usual 10"),
        (coverage(3, [], 0.8), True, ""),  # the first session has nothing to compare with
        (coverage(0, [4], 0.8), False, "wait until the source has them all"),
        (quarantined(1, 20, 0.05), True, ""),
        (quarantined(2, 20, 0.05), False, "2 of 20 bars break a rule"),
        (quarantined(0, 0, 0.05), True, ""),
        (finite({}), True, ""),
        (finite({"RSQR5": 2}), False, "1 columns hold infinite values (RSQR5 2)"),
        (nan_rise(AB, np.array([0.3, 0.1]), np.array([0.1, 0.1]), 0.25), True, ""),
        (nan_rise(AB, np.array([0.9, 0.1]), np.array([0.1, 0.1]), 0.25), False, "A 10% → 90%"),
        (nan_rise(AB, np.array([1.0, 1.0]), None, 0.25), True, ""),
        (cross_section(2, 2), True, ""),
        (cross_section(1, 2), False, "1 labels matured, at least 2"),
        (model_age(10, 10, "2024-01-02"), True, ""),
        (model_age(11, 10, "2024-01-02"), False, "is of 2024-01-02, 11 sessions old"),
        (score_coverage(9, 10, 0.9), True, ""),
        (score_coverage(8, 10, 0.9), False, "8 of 10 members"),
        (score_coverage(0, 0, 0.9), True, ""),
        (score_spread(0.0, 3), False, "all 3 scores are equal"),
        (score_spread(0.0, 1), True, ""),
        (look_ahead("2024-03-01", "2024-03-01", "2024-03-01"), True, ""),
        (look_ahead("2024-03-01", "2024-03-04", "2024-03-01"), False, "could not know them"),
        (look_ahead("2024-03-01", "2024-02-01", "2024-03-04"), False, "up to 2024-03-04"),
        (ic_decay([0.1, -0.05], 0.0, 2), True, ""),
        (ic_decay([0.01, -0.05], 0.0, 2), False, "is -0.0200, at least 0"),
        (ic_decay([0.01, -0.05], 0.0, 3), True, ""),
        (ic_decay([], 0.0, 1), True, ""),
    ],
)
def test_findings(finding, passed: bool, words: str) -> None:
    assert finding.passed is passed
    assert words in finding.message


def test_only_failed_checks_of_that_severity_stop_a_session() -> None:
    checks = [Check("coverage", "block", ""), Check("quarantined", "warn", "")]
    findings = [coverage(1, [10], 0.8), quarantined(9, 10, 0.1)]
    assert blocking(findings, checks) == findings[:1]
    assert blocking([coverage(9, [10], 0.8)], checks) == []
