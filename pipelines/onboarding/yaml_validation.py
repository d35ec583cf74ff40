"""Find every problem that would stop a market or make its scores worthless, all at once.

`problems_of` checks the market and its data for problems that a run would meet one by one, hours
apart. A problem says the value, the expectation and the remedy; a remark stops nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from pipelines.config.own_source import OwnSource
from pipelines.config.portfolio_section import TOPK_DROPOUT
from pipelines.config.sources import NetworkSource
from pipelines.errors import ConfigError, PipelineError, name_sessions
from pipelines.market.calendar_end import calendar_end, way_on
from pipelines.market.dataset import Dataset
from pipelines.market.input_versions import learning_window
from pipelines.market.market import Market
from pipelines.onboarding.misdated import misdated
from pipelines.onboarding.profile import Profile, profile_market
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars

_LEAST_FIT = 20  # sessions of the fit window
_LONGEST_BREAK = 12  # calendar days without a session
_UNKNOWN = 5  # names shown
_MOST_UNKNOWN = 0.5  # of the members; with more the two write names differently


@dataclass
class Findings:
    """The findings about a market.

    Attributes:
        problems: problems, each of which would stop a run or make it worthless.
        remarks: remarks for a person.
        profile: the profile of the data; None if the data was not or could not be read.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    profile: Profile | None = None


def problems_of(market: Market, today: str | None = None) -> Findings:
    """Check everything; nothing is written.

    Args:
        market: the market.
        today: the present day (default: now).
    """
    findings = Findings()
    now = today or str(pd.Timestamp.now(tz=market.sessions.timezone).date())
    end = calendar_end(market.config.market, market.sessions, now)
    if end is not None:
        findings.remarks.append(end)
    findings.remarks += _programs(market)
    for question in (_spans, _windows, _universe, _functions, _ensemble, _books, _returns):
        _ask(findings, question, market)
    if isinstance(market.config.market.source, NetworkSource | OwnSource):
        findings.remarks.append(
            f"source: {market.config.market.source.kind} is asked by the first backfill, and was "
            f"not looked at"
        )
        return findings
    try:
        findings.profile = profile_market(market, today)
    except PipelineError as error:
        if str(error) not in findings.problems:  # as of a universe that cannot be read
            findings.problems.append(f"market.source: {error}")
        return findings
    for question_of_data in (misdated, _sessions, _coverage, _members, _amounts, _portfolio):
        _ask(findings, question_of_data, market, findings.profile)
    _unknown_members(findings, market, findings.profile)
    findings.remarks += _remarks(market, findings.profile)
    return findings


def _ask(
    findings: Findings, question: Callable[..., Iterator[str]], *about: Market | Profile
) -> None:
    try:
        findings.problems += list(question(*about))
    except PipelineError as error:
        findings.problems.append(str(error))


# --- the configuration and the calendar ------------------------------------------------------


def _spans(market: Market) -> Iterator[str]:
    end, sessions = market.config.market.end, market.sessions
    last = pd.Timestamp(sessions.keys[-1])
    if end is not None and (pd.Timestamp(end) - last).days > _LONGEST_BREAK:
        way = way_on(market.config.market.calendar)
        yield (
            f"market.end: {end} is given, and calendar {sessions.calendar} is known to "
            f"{sessions.keys[-1]}; end there, or say how it goes on: {way}"
        )


def _more_sessions(dataset: Dataset, count: int) -> str:
    """Advise how a fit window comes to hold more sessions."""
    fit = dataset.config.fit
    if fit is None:
        return "move fit_end later"
    if fit.window_sessions == count:
        return f"raise {dataset.spec.path[1]}.fit.rolling.window_sessions"
    return "move training.first_trained later"


def _windows(market: Market) -> Iterator[str]:
    config, sessions = market.config, market.sessions
    first = market.plan.first_trained
    for dataset in market.datasets:
        path = dataset.spec.path[1]
        try:
            fit = dataset.fit_sessions(first)
        except ConfigError as error:
            yield f"{path}: {error}; move the fit window into the market's sessions"
        else:
            if len(fit) < _LEAST_FIT:
                yield (
                    f"{path}: the fit window {fit[0]} to {fit[-1]} holds {len(fit)} sessions, at "
                    f"least {_LEAST_FIT} are expected to fit processors on; "
                    + _more_sessions(dataset, len(fit))
                )
    try:
        for dataset in market.datasets:
            learning_window(dataset, first)
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


def _functions(market: Market) -> Iterator[str]:
    """Feature functions that read the future, or more than the look-back that they declare."""
    from rnn_core.features.reach import reach_problems

    for dataset in market.datasets:
        for problem in reach_problems(dataset.feature_set):
            yield f"{dataset.spec.path[0]}.set: {problem}"


def _ensemble(market: Market) -> Iterator[str]:
    if market.config.ensemble is not None:
        market.require_ensemble()  # raises where it has too few models
    yield from ()


def _books(market: Market) -> Iterator[str]:
    first, end = market.config.portfolio.first, market.config.market.end
    if first is not None and end is not None and first > end:
        yield (
            f"portfolio.first: {first} is given, and the market ends with {end}, so no book would "
            f"open; choose an earlier day"
        )


def _returns(market: Market) -> Iterator[str]:
    """A look-back of mean_variance of which the market never knows the half."""
    settings, known = market.config.portfolio, len(market.sessions.keys) - 1
    if settings.strategy == "mean_variance" and settings.needs.look_back > 2 * known:
        yield (
            f"portfolio.options.sessions: {settings.needs.look_back} is given, and the market has "
            f"{known} sessions with a return: no name ever has half of them, so nothing would be "
            f"held; lower it"
        )


# --- the data --------------------------------------------------------------------------------


def _sessions(market: Market, profile: Profile) -> Iterator[str]:
    if not profile.sessions:
        yield (
            f"market.start: {market.config.market.start} is given, and no session of the market "
            f"has closed yet; choose an earlier one"
        )
        return
    if profile.kept.empty:
        yield (
            f"market.source: no row of {profile.sessions[0]} to {profile.sessions[-1]}; expected "
            f"bars of these sessions: check source.path and the dates"
        )
        return
    newest = profile.kept.index[-1]
    late = [key for key in profile.absent if key > newest]
    early = [key for key in profile.absent if key < profile.kept.index[0]]
    inside = [key for key in profile.absent if key not in {*late, *early}]
    if early:
        yield (
            f"market.start: {market.config.market.start} is given, and the data begins on "
            f"{profile.kept.index[0]} ({len(early)} sessions later); set market.start to it"
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
    if profile.spoiled:
        yield (
            f"market.source: every row of {name_sessions(profile.spoiled)} is set aside; look at "
            f"them, or accept their rule under market.quarantine"
        )


def _coverage(market: Market, profile: Profile) -> Iterator[str]:
    checks = market.config.checks.bars
    share, when = profile.least_share(checks.history_sessions)
    if checks.coverage == "block" and share < checks.min_coverage:
        yield (
            f"checks.bars.min_coverage: {checks.min_coverage} is given, and {when} has "
            f"{int(profile.kept[when])} names, {share:.0%} of the usual: the ingest would stop "
            f"there; bring the others, or lower it to {int(share * 100) / 100}"
        )


def _members(market: Market, profile: Profile) -> Iterator[str]:
    if isinstance(market.universe, str) or profile.names.empty:
        return
    first = min(d.fit_sessions(market.plan.first_trained)[0] for d in market.datasets)
    empty = [str(key) for key in profile.members.index[profile.members == 0] if key >= first]
    if empty:
        yield (
            f"market.universe: no member has a bar on {name_sessions(empty)}; expected members "
            f"from {first} on, where the fit window of the processors begins: extend the spans"
        )


def _unknown_members(findings: Findings, market: Market, profile: Profile) -> None:
    """Find the members without a bar: a remark, and a problem where most are missing."""
    spans = market.universe
    if isinstance(spans, str) or profile.names.empty:
        return
    members = set(spans["instrument"][(spans["end"] >= profile.sessions[0])
                                    & (spans["start"] <= profile.sessions[-1])])  # fmt: skip
    unknown = sorted(members - set(profile.names.index))
    if not unknown:
        return
    examples = ", ".join(unknown[:_UNKNOWN]) + (" …" if len(unknown) > _UNKNOWN else "")
    share = len(unknown) / len(members)
    text = (
        f"market.universe: {len(unknown):,} of its {len(members):,} names have no bar, "
        f"{share:.1%} ({examples}); "
    )
    if share > _MOST_UNKNOWN:
        findings.problems.append(
            f"{text}the data has names such as {', '.join(list(profile.names.index)[:3])}: bring "
            f"their bars, or write both alike (source.codes)"
        )
    else:
        findings.remarks.append(
            f"{text}returns are too good where these were delisted: bring their bars if you can"
        )


def _amounts(market: Market, profile: Profile) -> Iterator[str]:
    if market.config.market.vwap == "amount" and profile.rows:
        missing = profile.missing.get("amount", 0)
        if missing > 0.5 * profile.rows:
            yield (
                f"market.vwap: amount is given, and {missing:,} of {profile.rows:,} rows have no "
                f"amount; map the column (source.columns), or choose typical"
            )


def _portfolio(market: Market, profile: Profile) -> Iterator[str]:
    if profile.members.empty or profile.members.median() == 0:
        return
    usual, settings = int(profile.members.median()), market.config.portfolio
    topk = settings.topk
    if settings.strategy == TOPK_DROPOUT and topk > usual:
        yield (
            f"portfolio.topk: {topk} is given, and a usual session has {usual} members; expected "
            f"fewer than these, such as {max(1, usual // 5)}"
        )


def _programs(market: Market) -> Iterator[str]:
    """Remark programs of `alerts` that are not found here; another host may have them."""
    for key in ("on_failure", "on_signal"):
        command = getattr(market.config.alerts, key)
        if command and shutil.which(command[0]) is None:
            yield (
                f"alerts.{key}: no program {command[0]!r} is found here that can be run; where the "
                f"schedule runs it must be, give its whole path"
            )


def _remarks(market: Market, profile: Profile) -> list[str]:
    remarks, quantiles = [], market.config.evaluation.quantiles
    unread = market.source.unread() if isinstance(market.source, FilesBars | QlibBars) else []
    if unread:
        shown = ", ".join(unread[:_UNKNOWN]) + (" …" if len(unread) > _UNKNOWN else "")
        what = "files" if isinstance(market.source, FilesBars) else "folders without bars"
        remarks.append(f"source.path: {len(unread):,} {what} are not read as bars: {shown}")
    if len(profile.members) and quantiles > profile.members.median() > 0:
        remarks.append(
            f"evaluation.quantiles: {quantiles} are more than the {int(profile.members.median())} "
            f"members of a usual session; some stay empty"
        )
    if profile.barless and len(profile.names):
        shown = ", ".join(profile.barless[:_UNKNOWN])
        more = " …" if len(profile.barless) > _UNKNOWN else ""
        remarks.append(
            f"market.source: every row of {shown}{more} is set aside, as of an index that has "
            f"closes only; leave these rows out (source.skip_lines, source.keep), or accept their "
            f"rule under market.quarantine"
        )
    if profile.strays:
        remarks.append(
            f"{sum(profile.strays.values()):,} rows on {name_sessions(profile.strays)}, which are "
            f"no sessions: set aside as off_calendar; if one was, name it under "
            f"market.extra_sessions"
        )
    if profile.beyond:
        remarks.append(
            f"{sum(profile.beyond.values()):,} rows on {name_sessions(profile.beyond, unit='days')}"
            f" are not read: they lie after the last session that the calendar knows"
        )
    if profile.before:
        remarks.append(f"{profile.before:,} rows before market.start are not read")
    if profile.after:
        remarks.append(f"{profile.after:,} rows after market.end are not read")
    if profile.future:
        remarks.append(
            f"{sum(profile.future.values()):,} rows dated in the future "
            f"({name_sessions(profile.future)}) are not read before these sessions are over; look "
            f"whether day and month are swapped"
        )
    return remarks
