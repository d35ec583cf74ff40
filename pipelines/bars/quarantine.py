"""Find the bars that break a rule, and set them aside or accept them by policy.

A bar that breaks a rule is never repaired. It is set aside in `ohlcv_quarantine` as the source gave
it, or kept as a bar, warned of and counted: `market.quarantine` of the YAML decides rule by rule
(`config/quarantine.py`). Some rules leave no choice, since their bars cannot be stored or are of no
use downstream; `RULES` gives the reason.

`jump` alone compares two bars: the adjusted close with that of the instrument's newest earlier bar
that no other rule sets aside. So a split that the source states is no jump, and neither is the way
back from a bad tick that was set aside. A bar set aside for its jump alone counts in the next
comparison: a level that has shifted for good is one jump, not one every session.

`future_date` is never met by the ingest, which asks for nothing later than the newest closed
session; `init` and `validate`, which look at all of the data, report it.

Shape letters: R rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.quarantine import RULES, Policy
from pipelines.sources.base import PRICES

Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]

JOIN = "; "


def broken_rules(
    bars: pd.DataFrame, *, own_vwap: bool = False, extra: Sequence[str] = ()
) -> dict[str, Bools]:
    """Find the rows that break each rule that needs one session: all but `future_date` and `jump`.

    Args:
        bars: rows as of `sources.base.BarSource`; with a column `session`, the partition of each,
            a row dated otherwise is off the calendar.
        own_vwap: the data states a vwap, and `amount` is vwap × volume.
        extra: the columns of numbers beside the bars.

    Returns:
        By rule in the order of `RULES`, [R].
    """
    prices = bars[list(PRICES)].to_numpy(dtype="float64")
    volume = bars["volume"].to_numpy(dtype="float64")
    amount = bars["amount"].to_numpy(dtype="float64")
    ratio = bars["adj_ratio"].to_numpy(dtype="float64")
    o, h, low, c = prices.T
    finite = np.isfinite(prices).all(axis=1)
    nameless = bars["instrument"].isna().to_numpy()
    twice = bars.duplicated(["date", "instrument"], keep=False).to_numpy()
    differs = _contradicted(bars, twice) & ~nameless
    repeated = np.zeros(len(bars), dtype=bool)
    repeated[twice] = bars[twice].duplicated().to_numpy()
    outside = np.zeros(len(bars), dtype=bool)
    infinite = np.isinf(bars[list(extra)].to_numpy(dtype="float64")).any(axis=1)
    strays = np.zeros(len(bars), dtype=bool)
    if "session" in bars:
        strays = (bars["session"] != bars["date"]).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        if own_vwap:
            outside = _outside(amount / volume, low, h) & finite & (volume > 0)
        return {
            "no_instrument": nameless,
            "missing_price": ~finite,
            "non_positive_price": finite & (prices <= 0).any(axis=1),
            "high_below_low": finite & (h < low),
            "low_above_body": finite & (h >= low) & (low > np.minimum(o, c)),
            "high_below_body": finite & (h >= low) & (h < np.maximum(o, c)),
            "zero_volume": volume == 0,
            "missing_volume": ~np.isfinite(volume),
            "negative_volume": np.isfinite(volume) & (volume < 0),
            "negative_amount": np.isfinite(amount) & (amount < 0),
            "vwap_outside": outside,
            "bad_adj_ratio": ~(np.isfinite(ratio) & (ratio > 0)),
            "duplicate": repeated & ~differs & ~nameless,
            "contradicting_duplicate": differs,
            "off_calendar": strays,
            "infinite_extra": infinite,
        }


def _outside(vwap: Floats, low: Floats, high: Floats) -> Bools:
    """The rows whose vwap lies outside low and high by more than their writing rounds, [R]."""
    slack = _rounding(vwap) + np.maximum(_rounding(low), _rounding(high))
    return np.isfinite(vwap) & ((vwap <= 0) | (vwap < low - slack) | (vwap > high + slack))


_LEAST_DECIMALS, _MOST_DECIMALS = 2, 12  # a price without a fraction is exact to the cent


def _rounding(values: Floats) -> Floats:
    """Half a unit of the last decimal in which each value is written, [R]."""
    out = np.full(len(values), 0.5 * 10.0**-_MOST_DECIMALS)
    for decimals in range(_MOST_DECIMALS - 1, _LEAST_DECIMALS - 1, -1):
        scaled = values * 10.0**decimals
        is_exact = np.abs(scaled - np.rint(scaled)) <= 1e-9 + 1e-12 * np.abs(scaled)
        out[is_exact] = 0.5 * 10.0**-decimals
    return out


def _contradicted(bars: pd.DataFrame, twice: Bools) -> Bools:
    """Find the rows that differ from another one of their instrument and day."""
    keys = ["date", "instrument"]
    marked = np.zeros(len(bars), dtype=bool)
    if twice.any():
        rows = bars[twice]
        distinct = (~rows.duplicated()).groupby([rows[k] for k in keys], dropna=False)
        marked[twice] = (distinct.transform("sum") > 1).to_numpy()
    return marked


def any_of(broken: Mapping[str, Bools], names: Sequence[str], rows: int) -> Bools:
    """The rows that break one of some rules, [R]."""
    masks = (broken[name] for name in names if name in broken)
    return np.asarray(np.any([np.zeros(rows, dtype=bool), *masks], axis=0))


def jumps(
    bars: pd.DataFrame, adjusted_close: Floats, stands: Bools, prior: pd.Series, limit: float
) -> tuple[Bools, Floats]:
    """Find the rows whose adjusted close jumped, and the close for the next comparison.

    A jump is a rise by more than `limit` or a fall of the same size in logarithms: below 1 ÷ (1 +
    limit) of what it was, so that 1:2 and 2:1 are equally far.

    Args:
        bars: rows with date and instrument, in any order; of several equal ones the first stands.
        adjusted_close: close × adj_factor, [R].
        stands: rows that no other rule sets aside, [R].
        prior: the adjusted close before the first row, by instrument; absent if there is none.
        limit: simple return.

    Returns:
        A mask of the rows that jumped, and the newest close that stands up to and including each
        row, NaN for none, [R].
    """
    code, names = pd.factorize(bars["instrument"])  # -1 for none
    day, _ = pd.factorize(bars["date"], sort=True)
    order = np.lexsort((day, code))
    x, ok, c = adjusted_close[order], stands[order], code[order]
    at = np.arange(len(order))
    start = np.maximum.accumulate(np.where(np.append(True, c[1:] != c[:-1])[: len(c)], at, 0))
    newest = np.maximum.accumulate(np.where(ok, at, -1))
    before = np.append(-1, newest[:-1])[: len(c)]
    entering = np.append(prior.reindex(names).to_numpy(dtype="float64"), np.nan)[c]  # -1: the NaN
    was = np.where(before >= start, x[before], entering)
    with np.errstate(invalid="ignore", over="ignore"):
        far = ok & ((x > was * (1.0 + limit)) | (x * (1.0 + limit) < was))
    jumped, last = np.empty(len(order), dtype=bool), np.empty(len(order))
    jumped[order] = far
    last[order] = np.where(newest >= start, x[newest], entering)
    return jumped, last


@dataclass(frozen=True)
class Verdict:
    """The verdict on each row, [R].

    Attributes:
        rule: the names of the rules that the row breaks, joined by `; `; empty for a good row.
        policy: the policy of each of these rules, joined likewise.
        aside: True for a row that is set aside.
    """

    rule: NDArray[np.object_]
    policy: NDArray[np.object_]
    aside: Bools


def verdict(broken: Mapping[str, Bools], policies: Mapping[str, Policy]) -> Verdict:
    """Apply the policies.

    Args:
        broken: rows by rule, [R]; at least one rule.
        policies: of every rule.
    """
    names = [name for name in RULES if name in broken]
    table = np.stack([broken[name] for name in names], axis=1)  # [R, rules]
    set_aside = np.array([policies[name] == "quarantine" for name in names])
    rule = np.full(len(table), "", dtype=object)
    policy = rule.copy()
    for row in np.flatnonzero(table.any(axis=1)):
        mine = [names[k] for k in np.flatnonzero(table[row])]
        rule[row] = JOIN.join(mine)
        policy[row] = JOIN.join(policies[name] for name in mine)
    return Verdict(rule, policy, np.asarray(table[:, set_aside].any(axis=1)))


def counts(rules: Sequence[str]) -> dict[str, int]:
    """Count the rows that break each rule, in the order of `RULES`, rules without a row left out.

    Args:
        rules: joined names, one text a row.
    """
    names = [name for text in rules if text for name in text.split(JOIN)]
    return {name: names.count(name) for name in RULES if name in names}


def examples(rows: pd.DataFrame, limit: int = 5) -> str:
    """Show some rows in a log line: `LNT: low_above_body, DHR: missing_price … (7 in all)`.

    Args:
        rows: with instrument and rule.
        limit: the most rows to show.
    """
    lines = [f"{r.instrument}: {r.rule}" for r in rows.head(limit).itertuples()]
    more = f" … ({len(rows)} in all)" if len(rows) > limit else ""
    return ", ".join(lines) + more
