"""All of a market's data at a glance: span, names, gaps, missing values, rows that break rules.

The bars go through the same rules as on their way into the warehouse, with the policies of the
YAML, stretch by stretch, and nothing is written. Whatever the source has beyond the sessions that
have closed is counted from its days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from pipelines.bars.adjustment_state import Carry
from pipelines.bars.bar_versions import in_order
from pipelines.bars.judge import judged
from pipelines.bars.quarantine import counts
from pipelines.config.quarantine import RULES
from pipelines.market.market import Market
from pipelines.sources.base import DatedSource
from pipelines.sources.fetch import fetch_sessions

STRETCH = 500  # sessions in memory at once
EXAMPLES = 3  # rows shown of each rule
VALUES = ("open", "high", "low", "close", "volume", "amount")


@dataclass
class Look:
    """What the data holds.

    Attributes:
        sessions: those that have closed, in order.
        rows: rows of the sessions, those off the calendar included.
        absent: sessions without a row.
        spoiled: sessions of which every row is set aside.
        kept: bars that are kept, by session.
        members: members of the universe among them, by session.
        names: by instrument: `first` and `last` session with a bar and the number of `bars`.
        missing: missing values by column, those of columns without any value left out.
        rules: rows by rule.
        examples: some of them, `LNT 2016-05-19`.
        strays: rows on days that are no sessions, by day.
        before: rows dated before the market's start.
        after: rows dated after its end.
        future: rows dated after the present day, by day.
    """

    sessions: tuple[str, ...]
    rows: int = 0
    absent: tuple[str, ...] = ()
    spoiled: tuple[str, ...] = ()
    kept: pd.Series[int] = field(default_factory=lambda: pd.Series(dtype="int64"))
    members: pd.Series[int] = field(default_factory=lambda: pd.Series(dtype="int64"))
    names: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    strays: Mapping[str, int] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    future: Mapping[str, int] = field(default_factory=dict)

    def gaps(self) -> pd.Series[int]:
        """Sessions without a bar between an instrument's first and last, most first."""
        if self.names.empty:
            return pd.Series(dtype="int64")
        at = {key: i for i, key in enumerate(self.sessions)}
        span = self.names["last"].map(at) - self.names["first"].map(at) + 1
        missing: pd.Series[int] = (span - self.names["bars"]).astype("int64")
        return missing.sort_values(ascending=False, kind="stable")

    def least_share(self, history: int) -> tuple[float, str]:
        """The fewest names of a session against the median of those before it, and when.

        Args:
            history: sessions of the median.
        """
        usual = self.kept.rolling(history, min_periods=1).median().shift()
        share = (self.kept / usual).dropna()
        if share.empty:
            return 1.0, ""
        return float(share.min()), str(share.idxmin())


def look_at(market: Market, today: str | None = None) -> Look:
    """Look at all bars of a market's closed sessions.

    Args:
        market: the market; its warehouse is neither read nor written.
        today: the present day (default: now, in the calendar's time zone).

    Raises:
        SourceError: the source cannot be read, or lacks a column.
    """
    source = market.source
    now = today or str(pd.Timestamp.now(tz=market.sessions.timezone).date())
    keys = tuple(key for key in market.sessions.keys if key < now)
    found = Look(keys)
    there: Sequence[str] = keys
    if isinstance(source, DatedSource):
        there = _days(found, source.days(), market, now)
    carry, parts, members, names = Carry(market, ()), [], [], []
    missing = dict.fromkeys(VALUES, 0)
    for start in range(0, len(there), STRETCH):
        part = list(there[start : start + STRETCH])
        bars = judged(market, in_order(fetch_sessions(source, market.sessions, part)), carry)
        carry.leave(bars)
        good = bars[~bars["aside"]]
        found.rows += len(bars)
        parts.append(good["session"].value_counts().reindex(part, fill_value=0))
        members.append(good["session"][good["member"]].value_counts().reindex(part, fill_value=0))
        names.append(
            good.groupby("instrument")["session"].agg(["min", "max", "size"]).reset_index()
        )
        for name in VALUES:
            missing[name] += int(bars[name].isna().sum())
        _rules(found, bars[bars["rule"] != ""])
    if parts:
        found.kept, found.members = pd.concat(parts), pd.concat(members)
        found.spoiled = tuple(found.kept.index[found.kept == 0])
        found.names = pd.concat(names).groupby("instrument").agg(
            first=("min", "min"), last=("max", "max"), bars=("size", "sum")
        )  # fmt: skip
    found.missing = {name: n for name, n in missing.items() if 0 < n < found.rows}
    if found.future:
        found.rules["future_date"] = sum(found.future.values())
        found.examples["future_date"] = list(found.future)[:EXAMPLES]
    found.rules = {name: found.rules[name] for name in RULES if name in found.rules}
    return found


def _days(found: Look, days: pd.Series[int], market: Market, now: str) -> list[str]:
    """Sort the source's days; returns the closed sessions that have rows."""
    first, last = str(market.config.market.start), found.sessions[-1] if found.sessions else ""
    end = market.config.market.end
    held = {str(day): int(n) for day, n in days.items()}
    found.absent = tuple(key for key in found.sessions if key not in held)
    found.before = sum(n for day, n in held.items() if day < first)
    found.after = sum(n for day, n in held.items() if end and str(end) < day <= now)
    found.future = {day: n for day, n in held.items() if day > now}
    found.strays = {
        day: n for day, n in held.items() if first <= day <= last and day not in market.sessions
    }
    return [key for key in found.sessions if key in held]


def _rules(found: Look, broken: pd.DataFrame) -> None:
    for name, n in counts(list(broken["rule"])).items():
        found.rules[name] = found.rules.get(name, 0) + n
        shown = found.examples.setdefault(name, [])
        named = broken["rule"].str.split("; ").map(lambda rules, name=name: name in rules)
        for row in broken[named].head(EXAMPLES - len(shown)).itertuples():
            shown.append(f"{row.instrument} {row.date}")
