"""What would stop a market, or make its scores worth nothing: every problem at once, one a line.

`problems_of` asks the market and its data the questions that a run would come upon one by one,
hours apart. A problem says what is given, what is expected and what to do; a remark lets it run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from pipelines.config.sources import NetworkSource
from pipelines.errors import ConfigError, PipelineError, name_sessions
from pipelines.market.input_versions import learning_window
from pipelines.market.market import Market
from pipelines.onboarding.profile import Look, look_at

_LEAST_FIT = 20  # sessions of the fit window
_LONGEST_BREAK = 12  # calendar days without a session
_UNKNOWN = 5  # names shown


@dataclass
class Found:
    """What was found.

    Attributes:
        problems: of each of them a run would stop or be worthless.
        remarks: what a person may want to know.
        look: the data; None where it was not or could not be looked at.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    look: Look | None = None


def problems_of(market: Market, today: str | None = None) -> Found:
    """Ask everything; nothing is written.

    Args:
        market: the market.
        today: the present day (default: now).
    """
    found = Found()
    for question in (_spans, _windows, _universe):
        _ask(found, question, market)
    if isinstance(market.config.market.source, NetworkSource):
        found.remarks.append(
            f"source: {market.config.market.source.kind} is asked over the network, and was not: "
            f"the first backfill does"
        )
        return found
    try:
        found.look = look_at(market, today)
    except PipelineError as error:
        found.problems.append(f"market.source: {error}")
        return found
    for question_of_data in (_sessions, _coverage, _members, _amounts, _portfolio):
        _ask(found, question_of_data, market, found.look)
    found.remarks += _remarks(market, found.look)
    return found


def _ask(found: Found, question: Callable[..., Iterator[str]], *about: Market | Look) -> None:
    try:
        found.problems += list(question(*about))
    except PipelineError as error:
        found.problems.append(str(error))


# --- the configuration and the calendar ------------------------------------------------------


def _spans(market: Market) -> Iterator[str]:
    end, sessions = market.config.market.end, market.sessions
    known = pd.Timestamp(sessions.keys[-1])
    if end is not None and (pd.Timestamp(end) - known).days > _LONGEST_BREAK:
        yield (
            f"market.end: {end} is given, and calendar {sessions.calendar} is known to "
            f"{sessions.keys[-1]}; end there, or leave market.end out for a market that goes on"
        )


def _windows(market: Market) -> Iterator[str]:
    config, sessions = market.config, market.sessions
    dataset, first = config.dataset, market.plan.first_trained
    try:
        fit = len(market.fit_sessions)
    except ConfigError as error:
        yield f"dataset: {error}; move fit_start and fit_end into the market's sessions"
    else:
        if fit < _LEAST_FIT:
            yield (
                f"dataset: {dataset.fit_start} to {dataset.fit_end} holds {fit} sessions, at least "
                f"{_LEAST_FIT} are expected to fit processors on; move fit_end later"
            )
    try:
        learning_window(market, first)
    except ConfigError as error:
        yield f"training: {error}"
    position, window = sessions.position(first), config.training.window_sessions
    if position + 1 < window:
        yield (
            f"training.window_sessions: {window} is given, and {first}, the first trained session, "
            f"has {position} before it; lower it to {position} or move first_trained later"
        )


def _universe(market: Market) -> Iterator[str]:
    spans = market.universe  # raises what is wrong with the file
    if not isinstance(spans, str) and spans.empty:
        yield "market.universe: the file names no member; expected `instrument start end`"


# --- the data --------------------------------------------------------------------------------


def _sessions(market: Market, look: Look) -> Iterator[str]:
    if not look.sessions:
        yield (
            f"market.start: {market.config.market.start} is given, and no session of the market "
            f"has closed yet; choose an earlier one"
        )
        return
    if look.kept.empty:
        yield (
            f"market.source: no row of {look.sessions[0]} to {look.sessions[-1]}; expected bars of "
            f"these sessions: check source.path and the dates"
        )
        return
    newest = look.kept.index[-1]
    late = [key for key in look.absent if key > newest]
    early = [key for key in look.absent if key < look.kept.index[0]]
    inside = [key for key in look.absent if key not in {*late, *early}]
    if early:
        yield (
            f"market.start: {market.config.market.start} is given, and the data begins on "
            f"{look.kept.index[0]} ({len(early)} sessions later); set market.start to it"
        )
    if late and market.config.market.end is not None:
        yield (
            f"market.end: {market.config.market.end} is given, and the data ends on {newest}; set "
            f"market.end to it, or bring the data of {name_sessions(late)}"
        )
    if inside:
        yield (
            f"market.calendar: {name_sessions(inside)} are sessions of {market.sessions.calendar} "
            f"without any row; bring their bars, or name them under market.closed"
        )
    if look.spoiled:
        yield (
            f"market.source: every row of {name_sessions(look.spoiled)} is set aside; look at "
            f"them, or accept their rule under market.quarantine"
        )


def _coverage(market: Market, look: Look) -> Iterator[str]:
    checks = market.config.checks.bars
    share, when = look.least_share(checks.history_sessions)
    if checks.coverage == "block" and share < checks.min_coverage:
        yield (
            f"checks.bars.min_coverage: {checks.min_coverage} is given, and {when} has "
            f"{int(look.kept[when])} names, {share:.0%} of the usual: the ingest would stop there; "
            f"bring the others, or lower it to {int(share * 100) / 100}"
        )


def _members(market: Market, look: Look) -> Iterator[str]:
    spans = market.universe
    if isinstance(spans, str) or look.names.empty:
        return
    named = set(spans["instrument"][(spans["end"] >= look.sessions[0])
                                    & (spans["start"] <= look.sessions[-1])])  # fmt: skip
    unknown = sorted(named - set(look.names.index))
    if unknown:
        shown = ", ".join(unknown[:_UNKNOWN]) + (" …" if len(unknown) > _UNKNOWN else "")
        yield (
            f"market.universe: {len(unknown)} of its {len(named)} names have no bar ({shown}); the "
            f"data has names such as {', '.join(list(look.names.index)[:3])}: bring their bars, or "
            f"write both alike (source.codes)"
        )
    first = str(market.config.dataset.fit_start)
    empty = [str(key) for key in look.members.index[look.members == 0] if key >= first]
    if empty:
        yield (
            f"market.universe: no member has a bar on {name_sessions(empty)}; expected members "
            f"from dataset.fit_start {first} on: extend the spans"
        )


def _amounts(market: Market, look: Look) -> Iterator[str]:
    if market.config.market.vwap == "amount" and look.rows:
        missing = look.missing.get("amount", 0)
        if missing > 0.5 * look.rows:
            yield (
                f"market.vwap: amount is given, and {missing:,} of {look.rows:,} rows have no "
                f"amount; map the column (source.columns), or choose typical"
            )


def _portfolio(market: Market, look: Look) -> Iterator[str]:
    if look.members.empty or look.members.median() == 0:
        return
    usual, topk = int(look.members.median()), market.config.portfolio.topk
    if topk > usual:
        yield (
            f"portfolio.topk: {topk} is given, and a usual session has {usual} members; expected "
            f"fewer than these, such as {max(1, usual // 5)}"
        )


def _remarks(market: Market, look: Look) -> list[str]:
    said, quantiles = [], market.config.evaluation.quantiles
    if len(look.members) and quantiles > look.members.median() > 0:
        said.append(
            f"evaluation.quantiles: {quantiles} are more than the {int(look.members.median())} "
            f"members of a usual session; some stay empty"
        )
    if look.strays:
        said.append(
            f"{sum(look.strays.values()):,} rows on {name_sessions(look.strays)}, which are no "
            f"sessions: set aside as off_calendar; if one was, name it under market.extra_sessions"
        )
    if look.before:
        said.append(f"{look.before:,} rows before market.start are not read")
    if look.after:
        said.append(f"{look.after:,} rows after market.end are not read")
    if look.future:
        said.append(
            f"{sum(look.future.values()):,} rows dated in the future "
            f"({name_sessions(look.future)}) are not read before these sessions are over; look "
            f"whether day and month are swapped"
        )
    return said
