"""Infer the draft of a market's YAML from its data, with the evidence for every choice.

Each step builds on those before it: columns, days, calendar, prices, windows. A person's word
(`Wishes`) goes before every inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from pipelines.calendar.exchanges import exchanges_since
from pipelines.config.market_file import RESERVED
from pipelines.config.sources import (
    FilesSource,
    QlibBinSource,
    SourceConfig,
    SqlSource,
    anchored,
)
from pipelines.errors import ConfigError, SourceError, name_sessions
from pipelines.onboarding.infer_calendar import (
    CalendarFit,
    Choice,
    choose,
    market_days,
    require_known,
    shown_names,
)
from pipelines.onboarding.infer_prices import with_basis, with_vwap
from pipelines.onboarding.infer_source import Described, describe
from pipelines.onboarding.infer_timezone import USUAL_ZONES, datings
from pipelines.onboarding.training_windows import plan_windows
from pipelines.onboarding.yaml_template import Draft
from pipelines.sources.database import SqlBars
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars
from pipelines.sources.session_dates import MOMENTS

MOST_EXCEPTIONS = 40  # days listed in the YAML; more, and the calendar is not the market's


@dataclass(frozen=True)
class Wishes:
    """The wishes of a person, by flags of the command.

    Attributes:
        kind: the source's kind.
        path: the path of the data.
        calendar: a name of `exchange_calendars`, or `data`.
        timezone: the time zone in which moments have their day.
        name: the market's name.
        universe: a file of membership, or the name of one of a qlib provider.
        columns: our name -> theirs.
        date_format: the form of dates.
        writing: keys of the files, as `decimal`, `header` or `ignore`.
        basis: the price basis: `adjusted`, or our word for the column that tells of splits.
        start: the first day that is read, `YYYY-MM-DD`.
        end: the last one.
        quick: train small models, in minutes.
    """

    kind: str
    path: str
    calendar: str | None = None
    timezone: str | None = None
    name: str | None = None
    universe: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    date_format: str | None = None
    writing: Mapping[str, Any] = field(default_factory=dict)
    basis: str | None = None
    start: str | None = None
    end: str | None = None
    quick: bool = False


def assemble(wishes: Wishes) -> tuple[Draft, list[str]]:
    """Infer the draft of a market's YAML, and lines of evidence for people.

    Raises:
        SourceError: the data cannot be read.
        ConfigError: the data has too few sessions, or the calendar that was named does not fit.
        UndecidedError: several calendars or time zones fit the data equally well.
    """
    _require_fitting(wishes)
    # The columns of the source come first, then its days.
    description = describe(
        wishes.kind,
        wishes.path,
        columns=wishes.columns,
        date_format=wishes.date_format,
        writing=wishes.writing,
    )
    notes = list(description.notes)
    if wishes.calendar not in (None, "data"):
        require_known(str(wishes.calendar))
    # Calendar and time zone decide which days are sessions, the bars decide the price basis.
    choice = _choice(description.section, wishes)
    fit, counts = _checked(choice, wishes, notes), choice.dating.counts
    days = market_days(counts)
    zone = choice.zone or wishes.timezone or "UTC"
    if wishes.timezone is not None and choice.zone is None and fit is not None:
        notes.append(f"time zone  {wishes.timezone} is not used: the dates are days already")
    calendar = fit.name if fit is not None else _derived(counts, zone)
    zoned = {} if choice.zone is None else {"timezone": choice.zone}
    description = replace(description, section={**description.section, **zoned})
    section, bars, remarks = with_basis(description, days, wishes.basis, notes)
    section, vwap = with_vwap(description, section, bars, days, wishes.columns, notes, remarks)
    remarks |= _reasons(choice, wishes)
    closed = fit.absent if fit is not None else ()
    if closed:
        remarks["closed"] = "the data has no row at all on them"
    extra = fit.extra if fit is not None else ()
    keys = days if fit is None else list(fit.sessions)
    per_day = bars.groupby("date").size().reindex(keys)
    draft = Draft(
        name=wishes.name or market_name(wishes.path),
        data=f"{bars['instrument'].nunique():,} names, {keys[0]} to {keys[-1]}, from "
        f"{wishes.path.rstrip('/').rsplit('/', 1)[-1]}.",
        source=section,
        calendar=calendar,
        closed=closed,
        extra=extra,
        start=keys[0],
        end=keys[-1],
        universe=_universe(wishes, description, notes),
        vwap=vwap,
        plan=plan_windows(keys, quick=wishes.quick),
        names=int(per_day.median()),
        remarks=remarks,
        quick=wishes.quick,
        drop_folder=_drop_folder(section),
    )
    return draft, notes


def require_market_name(name: str) -> None:
    """Refuse a name that no market may have.

    Raises:
        ConfigError: the message says one that it may have.
    """
    if market_name(name) != name:
        raise ConfigError(
            f"--name {name!r} is no name of a market: expected lower-case letters, digits "
            f"and _, and no reserved word, as in {market_name(name)}"
        )


def _require_fitting(wishes: Wishes) -> None:
    """Refuse wishes that no data can fulfil.

    Raises:
        ConfigError: the message names the flag.
    """
    if wishes.name is not None:
        require_market_name(wishes.name)
    if wishes.start is not None and wishes.end is not None and wishes.end < wishes.start:
        raise ConfigError(f"--end {wishes.end} lies before --start {wishes.start}")
    of_files = {"column": wishes.columns, "date-format": wishes.date_format, "basis": wishes.basis,
                **wishes.writing}  # fmt: skip
    idle = [f"--{name.replace('_', '-')}" for name, value in of_files.items() if value]
    if wishes.kind == "qlib_bin" and idle:
        raise ConfigError(f"{', '.join(idle)}: of files, and a qlib folder has a form of its own")
    spans = wishes.universe if wishes.kind == "files" else None
    if spans is not None and not Path(spans).expanduser().is_file():
        raise ConfigError(
            f"--universe {spans}: there is no such file; expected one of spans, `instrument start "
            f"end`"
        )


def _drop_folder(section: Mapping[str, Any]) -> str | None:
    """The folder in which new bars arrive; None for a URL, and for a single file.

    The working folder and those above it hold the state of markets as well, which changes.
    """
    path = str(section["path"])
    if "://" in path:
        return None
    if section["kind"] == "qlib_bin":
        return str(Path(path) / "calendars")  # a dump renews the calendar last
    fixed, *pattern = re.split(r"[*?\[]", path, maxsplit=1)
    folder = Path(f"{fixed}x").parent if pattern else Path(fixed)
    return None if not folder.is_dir() or Path.cwd().is_relative_to(folder) else str(folder)


def market_name(path: str) -> str:
    """Derive a market's name from the name of its data."""
    last = path.rstrip("/").rsplit("/", 1)[-1]
    if any(c in last for c in "*?[") and "/" in path:
        last = path.rstrip("/").rsplit("/", 2)[-2]
    plain = re.sub(r"[^a-z0-9]+", "_", last.split(".")[0].lower()).strip("_")
    is_free = re.match(r"[a-z]", plain) and plain not in RESERVED
    return plain if is_free else f"market_{plain}".rstrip("_")


def moment_counts(source: FilesSource | SqlSource | QlibBinSource) -> pd.Series[int]:
    """Count the rows of a source by moment, or by day where dates are days.

    Raises:
        SourceError: the data cannot be read.
    """
    if isinstance(source, QlibBinSource):
        return QlibBars(source).days()
    if isinstance(source, SqlSource):
        return SqlBars(source.model_copy(update={"timezone": MOMENTS})).days()
    return FilesBars(source.model_copy(update={"timezone": MOMENTS})).days()


def choice_of(
    moments: pd.Series[int],
    *,
    stated: str | None = None,
    timezone: str | None = None,
    calendar: str | None = None,
    start: str | None = None,
    end: str | None = None,
) -> Choice:
    """Choose the days that rows before the present day have, and the calendar that they follow.

    Args:
        moments: number of rows by moment or by day, in order.
        stated: the time zone that the data states.
        timezone: the time zone that a person named; no other is tried.
        calendar: the calendar that a person named, or `data`.
        start: the first day that counts, `YYYY-MM-DD`.
        end: the last one.

    Raises:
        SourceError: there is no row before the present day, or none between `start` and `end`.
        UndecidedError: several time zones or calendars fit equally well.
        ConfigError: the calendar that was named is not known for these years.
    """
    today = str(pd.Timestamp.now().date())
    moments = moments[(moments > 0) & (moments.index < today)]
    if moments.empty:
        raise SourceError("no row is dated before today")
    day_before = pd.Timestamp(market_days(moments)[0][:10]) - pd.Timedelta(days=1)
    exchanges = exchanges_since(str(day_before.date()))
    own = (exchange.timezone for exchange in exchanges)
    zones = (*filter(None, [stated]), *USUAL_ZONES, *own) if timezone is None else (timezone,)
    found = []
    for dating in datings(moments, zones, only=timezone is not None):
        counts = dating.counts[dating.counts.index < today]
        kept = counts[(counts.index >= (start or "")) & (counts.index <= (end or "9"))]
        if kept.empty:
            ends = {"--start": start, "--end": end}
            said = " and ".join(f"{flag} {day}" for flag, day in ends.items() if day is not None)
            raise SourceError(
                f"{said}: no day is left of {counts.index[0]} to {counts.index[-1]}, the days of "
                f"the data"
            )
        found.append(replace(dating, counts=kept))
    return choose(found, exchanges, calendar=calendar, stated=stated)


def _choice(section: Mapping[str, Any], wishes: Wishes) -> Choice:
    """The days of the data and the calendar that they follow."""
    config = TypeAdapter[Any](SourceConfig).validate_python(dict(section))
    zone = section.get("timezone", "UTC")
    moments = moment_counts(config)
    try:
        return choice_of(
            moments,
            stated=None if zone == "UTC" else zone,
            timezone=wishes.timezone,
            calendar=wishes.calendar,
            start=wishes.start,
            end=wishes.end,
        )
    except SourceError as error:
        raise SourceError(f"{wishes.path}: {error}") from error


def _checked(choice: Choice, wishes: Wishes, notes: list[str]) -> CalendarFit | None:
    """The calendar of a choice, in words; None if sessions are to be derived from the data.

    Raises:
        ConfigError: a calendar that was named differs from the data on too many days.
    """
    fit = choice.fit
    if choice.zone is not None:
        notes.append(f"time zone  {choice.zone}: {_zone_reason(choice, wishes)}")
    others = ", ".join(f"{name} {share:.1%}" for name, share in choice.others)
    if fit is None:
        if wishes.calendar is None:
            best = f"the best are {others}" if others else "none is known so far back"
            notes.append(f"calendar   from the data: no exchange's fits its days ({best})")
        return None
    exceptions = len(fit.absent) + len(fit.extra)
    if exceptions > MOST_EXCEPTIONS:
        raise ConfigError(
            f"calendar {fit.name} differs from the days of the data on {exceptions} days "
            f"(no row on {name_sessions(fit.absent) or 'none'}; no session on "
            f"{name_sessions(fit.extra) or 'none'}); choose another"
            f"{f', as {others}' if others else ''}, or --calendar data"
            f"{', or leave out --timezone' if wishes.timezone is not None else ''}"
        )
    word = "then" if wishes.calendar is None else "better ones are"
    notes.append(f"calendar   {fit.name}, {fit.share:.1%} of days in common"
                 + (f" ({word} {others})" if others else ""))  # fmt: skip
    if choice.same:
        until = "" if choice.parts is None else f"; one of them differs on {choice.parts}"
        notes.append(f"           the same sessions: {', '.join(choice.same)}{until}")
    if fit.absent:
        notes.append(f"           its sessions without a row: {name_sessions(fit.absent)} (closed)")
    if fit.extra:
        notes.append(f"           days with bars that it has not: {name_sessions(fit.extra)} "
                     f"(extra_sessions)")  # fmt: skip
    return fit


def _zone_reason(choice: Choice, wishes: Wishes) -> str:
    """Say why a time zone was taken."""
    zone, dating = choice.zone, choice.dating
    if wishes.timezone is not None:
        return "as given"
    if zone in (*dating.midnights, *dating.elsewhere):
        return "moments are midnights there"
    if choice.fit is not None and zone == choice.fit.timezone:
        return f"that of {choice.fit.name}"
    return "the days that fit best; other zones give the same"


def _reasons(choice: Choice, wishes: Wishes) -> dict[str, str]:
    """Remarks for the YAML on time zone and calendar."""
    fit, remarks = choice.fit, {}
    if choice.zone is not None:
        remarks["timezone"] = f"in which a moment's day is read: {_zone_reason(choice, wishes)}"
    if fit is not None:
        same = f"; the same as {shown_names(choice.same)}" if choice.same else ""
        reason = "as given" if wishes.calendar is not None else f"{fit.share:.1%} of days in common"
        remarks["calendar"] = f"partitions are its sessions: {reason}{same}"
    return remarks


def _derived(counts: pd.Series[int], zone: str) -> dict[str, Any]:
    return {
        "from": "data",
        "timezone": zone,
        "min_instruments": max(1, int(0.2 * counts.median())),
    }


def _universe(wishes: Wishes, description: Described, notes: list[str]) -> Any:
    key = "market" if description.section["kind"] == "qlib_bin" else "spans"
    if wishes.universe is not None:  # a file as seen from here; the YAML may lie elsewhere
        file = key == "spans"
        return {key: anchored(wishes.universe, Path.cwd()) if file else wishes.universe}
    if len(description.spans) == 1:
        notes.append(f"universe   {description.spans[0]}")
        return {key: description.spans[0]}
    if description.spans:
        notes.append(f"universe   all; also there: {', '.join(description.spans)} (--universe)")
    return "all"
