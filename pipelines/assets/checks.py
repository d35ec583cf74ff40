"""Checks of partitions: pure functions from counts and shares to findings.

An asset calls a check before it writes. A finding of severity `block` stops the run before anything
of the session is published; one of `warn` is shown beside the partition. `check_results.py` turns
findings into Dagster's check evaluations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.market.stage import Check, Finding

FloatArray: TypeAlias = NDArray[np.float64]


def coverage(names: int, earlier: Sequence[int], min_share: float) -> Finding:
    """Compare the number of names with the median of the sessions before.

    Args:
        names: number of names of the session.
        earlier: numbers of the sessions before; without any the check passes.
        min_share: smallest share of the median.
    """
    usual = median(earlier) if earlier else names
    share = names / usual if usual else 1.0
    return Finding(
        "coverage",
        share >= min_share,
        f"{names} names have bars, {share:.0%} of the usual {usual:g} (the median of the "
        f"{len(earlier)} sessions before); {min_share:.0%} are expected: wait until the source "
        f"has them all, or lower checks.bars.min_coverage",
        {"names": names, "usual": float(usual), "share": round(share, 4)},
    )


def quarantined(
    aside: int, bars: int, max_share: float, rules: Mapping[str, int] | None = None
) -> Finding:
    """Compare the bars set aside with all bars of the session.

    Args:
        aside: bars set aside.
        bars: all bars.
        max_share: largest share of bars set aside.
        rules: number of bars set aside by each rule.
    """
    share = aside / bars if bars else 0.0
    shown = ", ".join(f"{name} {count}" for name, count in (rules or {}).items())
    return Finding(
        "quarantined",
        share <= max_share,
        f"{aside} of {bars} bars break a rule and are set aside, more than {max_share:.0%}"
        f"{f' ({shown})' if shown else ''}; see the table ohlcv_quarantine for the rows",
        {"quarantined": aside, "share": round(share, 4), **(rules or {})},
    )


def finite(infinite: Mapping[str, int]) -> Finding:
    """Check that no value is infinite.

    Args:
        infinite: number of infinite values by column, columns without any are left out.
    """
    shown = ", ".join(f"{name} {count}" for name, count in list(infinite.items())[:5])
    return Finding(
        "finite",
        not infinite,
        f"{len(infinite)} columns hold infinite values ({shown}); look at the bars of these "
        f"instruments, or add ProcessInf to dataset.infer_processors and set "
        f"checks.features.finite: warn",
        {"columns": len(infinite)},
    )


def nan_rise(
    columns: Sequence[str],
    shares: FloatArray,
    usual: FloatArray | None,
    max_rise: float,
) -> Finding:
    """Compare each column's share of missing values with its recent mean.

    Args:
        columns: names, [F].
        shares: shares of the session, [F].
        usual: means of the sessions before, [F]; None without any.
        max_rise: largest rise of a share above its mean.
    """
    if usual is None:
        return Finding("nan_share", True, "no sessions before to compare with")
    rise = shares - usual  # [F]
    worst = [f for f in np.argsort(-rise, kind="stable")[:5] if rise[f] > max_rise]
    shown = ", ".join(f"{columns[f]} {usual[f]:.0%} → {shares[f]:.0%}" for f in worst)
    count = int((rise > max_rise).sum())
    return Finding(
        "nan_share",
        not worst,
        f"{count} of {len(columns)} columns miss more values than usual ({shown}); look at what "
        f"the source gave for this session",
        {"columns": count, "largest_rise": round(float(rise.max(initial=0.0)), 4)},
    )


def drift(shifts: Mapping[str, float], most: float) -> Finding:
    """Compare how far the centres of columns moved between two fits of the processors.

    Args:
        shifts: of each column, in units of its scale at the fit before.
        most: largest shift.
    """
    far = {name: value for name, value in shifts.items() if value > most}
    worst = sorted(far, key=lambda name: -far[name])[:5]
    shown = ", ".join(f"{name} {far[name]:.2f}" for name in worst)
    return Finding(
        "drift",
        not far,
        f"{len(far)} of {len(shifts)} columns moved by more than {most:g} scales since the fit "
        f"before ({shown}); look at their bars, or raise checks.dataset.max_drift",
        {"columns": len(far), "largest": round(max(shifts.values(), default=0.0), 4)},
    )


def cross_section(names: int, least: int) -> Finding:
    """Check that enough names have a label to rank."""
    return Finding(
        "cross_section",
        names >= least,
        f"{names} labels matured, at least {least} are expected for ranks across names",
        {"names": names},
    )


def in_force_finding(passed_over: Mapping[str, Sequence[str]]) -> Finding:
    """Check that the newest model is the one in force.

    Args:
        passed_over: reasons by newer anchor, newest first.
    """
    shown = "; ".join(f"{anchor}: {', '.join(why)}" for anchor, why in passed_over.items())
    return Finding(
        "in_force",
        not passed_over,
        f"{len(passed_over)} newer models are not in force ({shown}); look at their loss curves, "
        f"or change checks.model",
        {"passed_over": len(passed_over)},
    )


def model_age(sessions: int, most: int, as_of: str) -> Finding:
    """Check the number of sessions since the model in force was trained."""
    return Finding(
        "age",
        sessions <= most,
        f"the model in force is of {as_of}, {sessions} sessions old, and {most} are allowed: newer "
        f"ones were not trained or did not pass their checks",
        {"age_sessions": sessions},
    )


def score_coverage(scores: int, members: int, min_share: float) -> Finding:
    """Compare the number of scores with that of members with a bar."""
    share = scores / members if members else 1.0
    return Finding(
        "coverage",
        share >= min_share,
        f"{scores} of {members} members with a bar have a score, {min_share:.0%} are expected",
        {"scores": scores, "members": members},
    )


def score_spread(spread: float, scores: int) -> Finding:
    """Check that scores of more than one name differ."""
    return Finding(
        "varied",
        scores < 2 or spread > 0.0,
        f"all {scores} scores are equal: they order nothing; look at the features of this session "
        f"and the loss curve of the model, or roll back with training.pin",
        {"spread": spread},
    )


def look_ahead(key: str, as_of: str, newest_label: str) -> Finding:
    """Check that the model of a session used no label that matured after the session."""
    return Finding(
        "look_ahead",
        as_of <= key and newest_label <= key,
        f"the model of {as_of} that scores {key} learned from labels that matured up to "
        f"{newest_label}: this session could not know them",
        {"as_of": as_of, "newest_label": newest_label},
    )


def ic_decay(recent: Sequence[float], least: float, enough: int) -> Finding:
    """Check the mean rank IC over recent sessions.

    Args:
        recent: rank ICs of the recent sessions without undefined ones.
        least: smallest mean.
        enough: smallest number of sessions; with fewer the check passes.
    """
    mean = sum(recent) / len(recent) if recent else least
    return Finding(
        "ic_decay",
        len(recent) < enough or mean >= least,
        f"the mean rank IC of the last {len(recent)} evaluated sessions is {mean:.4f}, at least "
        f"{least:g} is expected: the signal may have decayed",
        {"recent_rank_ic": mean, "sessions": str(len(recent))},
    )


def blocking(findings: Iterable[Finding], checks: Sequence[Check]) -> list[Finding]:
    """The findings that stop a session."""
    stops = {check.name for check in checks if check.severity == "block"}
    return [f for f in findings if not f.passed and f.check in stops]
