"""Test feature functions for what they may not read: the future, and more than their look-back.

A value of session D must be the same, to the bit of the float32 that is stored, whatever sessions
follow D and whatever sessions lie further back than the look-back. So the function is computed on a
panel and on the panel cut after some sessions, then before some. The market is simulated
(`simulate`): the answer is a property of the code, and no data is needed to find it. A branch that
only certain data reach is not seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.features.own_features import OwnFeature, own_values
from rnn_core.features.sets import FeatureSet
from rnn_core.panel.panel import Panel

CUTS = 5
"""Sessions at which a panel is cut, spread over it; the last two of them among them."""
_NAMES, _MORE_SESSIONS = 12, 40
_LONGEST = 2_000  # sessions of a test panel


def reach_problems(features: FeatureSet, seed: int = 0) -> list[str]:
    """Find the functions of a set that read further than they say.

    Args:
        features: the set; its expressions need no test.
        seed: of the simulated market.

    Returns:
        A sentence for each, with the session and the instrument at which it shows.
    """
    problems = []
    for name, node in zip(features, features.nodes, strict=True):
        if isinstance(node, OwnFeature):
            try:
                problem = _problem(_market(node, seed), node)
            except ValueError as error:
                problem = str(error)
            if problem:
                problems.append(f"{name}: {problem}")
    return problems


def _problem(panel: Panel, node: OwnFeature) -> str:
    """The first problem of a function on a panel; empty for none."""
    whole, length, back = _stored(panel, node), panel.shape[1], node.look_back
    if not _same(whole, _stored(panel, node)).all():
        return f"{node.name} gives other values when it is called again: it may not use chance"
    # The last session but one first: what peeks one session ahead shows there.
    for stop in dict.fromkeys([length - 1, *np.linspace(2, length - 2, CUTS).astype(int)]):
        part = _stored(_between(panel, 0, stop), node)
        at = _first_difference(whole[:, :stop], part)
        if at is not None:
            place, was, now = _shown(panel, at, whole[:, :stop], part)
            return (
                f"{node.name} looks ahead: its value of {place} is {now} when "
                f"{panel.sessions[stop - 1]:%Y-%m-%d} is the last session, and {was} when others "
                f"follow; a value may read its session and those before it"
            )
    for start in dict.fromkeys([1, *np.linspace(2, max(2, length - back - 2), CUTS).astype(int)]):
        if start + back >= length:
            break
        known = start + back  # the first session with all of its look-back
        part = _stored(_between(panel, start, length), node)[:, back:]
        at = _first_difference(whole[:, known:], part)
        if at is not None:
            place, was, now = _shown(_between(panel, known, length), at, whole[:, known:], part)
            return (
                f"{node.name} says look_back = {back} and reads further: its value of {place} is "
                f"{was}, and {now} when the panel begins at {panel.sessions[start]:%Y-%m-%d}; "
                f"raise look_back"
            )
    return ""


def _stored(panel: Panel, node: OwnFeature) -> NDArray[np.float32]:
    """The values as they are stored, [N, T]."""
    with np.errstate(over="ignore"):
        return own_values(panel, node).astype(np.float32)


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _first_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[int, int] | None:
    """The position (session, instrument) of the last session's first difference; None for none."""
    differs = np.argwhere(~_same(a, b).T)
    return None if not len(differs) else (int(differs[0][0]), int(differs[0][1]))


def _shown(
    panel: Panel, at: tuple[int, int], a: NDArray[np.float32], b: NDArray[np.float32]
) -> tuple[str, str, str]:
    session, name = at
    place = f"{panel.instruments[name]} on {panel.sessions[session]:%Y-%m-%d}"
    return place, f"{a[name, session]:.9g}", f"{b[name, session]:.9g}"


def _between(panel: Panel, start: int, stop: int) -> Panel:
    """The sessions start … stop-1 of a panel."""
    fields = {name: np.ascontiguousarray(x[:, start:stop]) for name, x in panel.fields.items()}
    present = np.ascontiguousarray(panel.present[:, start:stop])
    return Panel(panel.sessions[start:stop], panel.instruments, fields, present)


def _market(node: OwnFeature, seed: int) -> Panel:
    """Random walks of some names with suspensions and missing values, of the function's fields."""
    rng = np.random.default_rng(seed)
    length = min(2 * node.look_back + _MORE_SESSIONS, _LONGEST)
    shape = (_NAMES, length)
    sessions = pd.bdate_range("2020-01-01", periods=length, name="datetime")
    names = pd.Index([f"S{k:02d}" for k in range(_NAMES)], name="instrument")
    present = rng.random(shape) > 0.03
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, shape), axis=1))
    spread = close * np.abs(rng.normal(0.0, 0.01, shape))
    known: dict[str, NDArray[np.float64]] = {
        "close": close,
        "open": close + spread * rng.uniform(-1.0, 1.0, shape),
        "high": close + spread,
        "low": close - spread,
        "volume": np.exp(rng.normal(12.0, 1.0, shape)),
        "vwap": close + 0.5 * spread * rng.uniform(-1.0, 1.0, shape),
    }
    fields = {}
    for name in sorted(node.fields):
        values = known.get(name)
        if values is None:  # a column beside the bars may be missing
            values = np.where(rng.random(shape) > 0.05, np.exp(rng.normal(3.0, 1.0, shape)), np.nan)
        fields[name] = np.where(present, values, np.nan)
    return Panel(sessions, names, fields, present)
