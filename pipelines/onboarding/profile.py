"""Profile all of a market's data: span, names, gaps, missing values, rows that break rules.

The bars go through the same rules as on their way into the warehouse, with the policies of the
YAML, stretch by stretch, and nothing is written. Rows outside the closed sessions are counted from
the days of the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
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
class Profile:
    """The profile of a market's data.

    Attributes:
        sessions: the closed sessions, in order.
        rows: number of rows of the sessions, rows off the calendar included.
        absent: sessions without a row.
        spoiled: sessions of which every row is set aside.
        kept: number of bars that are kept, by session.
        members: number of members of the universe among them, by session.
        names: by instrument: `first` and `last` session with a bar, and the number of `bars`.
        barless: instruments of which every row is set aside.
        missing: number of missing values by column; one of the bars without any is left out.
        rules: number of rows by broken rule.
        examples: some of these rows by rule, `LNT 2016-05-19`.
        strays: number of rows by day, for days that are no sessions.
        before: number of rows before the market's start.
        after: number of rows after its end.
        beyond: number of rows by day, for days after the last session that the calendar knows.
        future: number of rows by day, for days after the present one.
    """

    sessions: tuple[str, ...]
    rows: int = 0
    absent: tuple[str, ...] = ()
    spoiled: tuple[str, ...] = ()
    kept: pd.Series[int] = field(default_factory=lambda: pd.Series(dtype="int64"))
    members: pd.Series[int] = field(default_factory=lambda: pd.Series(dtype="int64"))
    names: pd.DataFrame = field(default_factory=pd.DataFrame)
    barless: tuple[str, ...] = ()
    missing: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    strays: Mapping[str, int] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    beyond: Mapping[str, int] = field(default_factory=dict)
    future: Mapping[str, int] = field(default_factory=dict)

    def gaps(self) -> pd.Series[int]:
        """Count the sessions without a bar between an instrument's first and last, most first."""
        if self.names.empty:
            return pd.Series(dtype="int64")
        at = {key: i for i, key in enumerate(self.sessions)}
        span = self.names["last"].map(at) - self.names["first"].map(at) + 1
        missing: pd.Series[int] = (span - self.names["bars"]).astype("int64")
        return missing.sort_values(ascending=False, kind="stable")

    def least_share(self, history: int) -> tuple[float, str]:
        """The least share of the usual number of names in a session, and that session.

        Sessions without a bar, absent or spoiled, are another fault.

        Args:
            history: the number of sessions before, whose median is usual.
        """
        usual = self.kept.rolling(history, min_periods=1).median().shift()
        share = (self.kept / usual)[self.kept > 0].dropna()
        if share.empty:
            return 1.0, ""
        return float(share.min()), str(share.idxmin())


def profile_market(market: Market, today: str | None = None) -> Profile:
    """Profile all bars of a market's closed sessions.

    Args:
        market: the market; its warehouse is neither read nor written.
        today: the present day (default: now, in the calendar's time zone).

    Raises:
        SourceError: the source cannot be read, or lacks a column.
    """
    # The source's days come first: sessions without a row need no fetch.
    source = market.source
    now = today or str(pd.Timestamp.now(tz=market.sessions.timezone).date())
    keys = tuple(key for key in market.sessions.keys if key < now)
    profile = Profile(keys)
    sessions: Sequence[str] = keys
    if isinstance(source, DatedSource):
        sessions = _days(profile, source.days(), market, now)
    # Bars are judged stretch by stretch, as the ingest does.
    carry, names = Carry(market.warehouse, ()), list[pd.DataFrame]()
    parts, members = list[pd.Series](), list[pd.Series]()
    extra = market.config.market.extra
    missing, seen = dict.fromkeys([*VALUES, *(one.name for one in extra)], 0), set[str]()
    for start in range(0, len(sessions), STRETCH):
        stretch = list(sessions[start : start + STRETCH])
        rows = fetch_sessions(source, market.sessions, stretch, extra)
        bars = judged(market, in_order(rows), carry)
        carry.leave(bars)
        good = bars.loc[~bars["aside"], ["instrument", "session", "member"]]
        index = pd.Index(stretch, dtype="str", name="session")
        at = index.get_indexer(pd.Index(good["session"]))
        seen.update(bars["instrument"].dropna().unique())
        profile.rows += len(bars)
        for counted, of in ((parts, at), (members, at[good["member"].to_numpy()])):
            counted.append(pd.Series(np.bincount(of, minlength=len(stretch)), index, name="count"))
        spans = good[["instrument"]].assign(at=at + start).groupby("instrument")["at"]
        names.append(spans.agg(["min", "max", "size"]).reset_index())
        for name in missing:
            missing[name] += int(bars[name].isna().sum())
        _rules(profile, bars[bars["rule"] != ""])
    if parts:
        profile.kept, profile.members = pd.concat(parts), pd.concat(members)
        profile.spoiled = tuple(profile.kept.index[profile.kept == 0])
        profile.names = pd.concat(names).groupby("instrument").agg(
            first=("min", "min"), last=("max", "max"), bars=("size", "sum")
        )  # fmt: skip
        for end in ("first", "last"):
            profile.names[end] = pd.array(sessions, dtype="str").take(profile.names[end].to_numpy())
    profile.barless = tuple(sorted(seen - set(profile.names.index)))
    profile.missing = {
        name: n for name, n in missing.items() if 0 < n < profile.rows + (name not in VALUES)
    }
    if profile.future:
        profile.rules["future_date"] = sum(profile.future.values())
        profile.examples["future_date"] = list(profile.future)[:EXAMPLES]
    profile.rules = {name: profile.rules[name] for name in RULES if name in profile.rules}
    return profile


def _days(profile: Profile, days: pd.Series[int], market: Market, now: str) -> list[str]:
    """Sort the source's days into the profile, and return the closed sessions that have rows."""
    first, last = str(market.config.market.start), profile.sessions[-1] if profile.sessions else ""
    end = market.config.market.end
    rows = {str(day): int(n) for day, n in days.items()}
    profile.absent = tuple(key for key in profile.sessions if key not in rows)
    profile.before = sum(n for day, n in rows.items() if day < first)
    profile.after = sum(n for day, n in rows.items() if end and str(end) < day <= now)
    known_to = market.sessions.known_to
    if known_to is not None and (end is None or str(end) > known_to):
        profile.beyond = {day: n for day, n in rows.items() if known_to < day < now}
    profile.future = {day: n for day, n in rows.items() if day > now}
    profile.strays = {
        day: n for day, n in rows.items() if first <= day <= last and day not in market.sessions
    }
    return [key for key in profile.sessions if key in rows]


def _rules(profile: Profile, broken: pd.DataFrame) -> None:
    for name, n in counts(list(broken["rule"])).items():
        profile.rules[name] = profile.rules.get(name, 0) + n
        examples = profile.examples.setdefault(name, [])
        breaks_rule = broken["rule"].str.split("; ").map(lambda rules, name=name: name in rules)
        for row in broken[breaks_rule].head(EXAMPLES - len(examples)).itertuples():
            name = row.instrument if isinstance(row.instrument, str) else "(no name)"
            examples.append(f"{name} {row.date}")
