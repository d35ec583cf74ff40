"""The sections of a market's YAML that say which days are sessions, and who is a member on them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from pipelines.config.types import How, PositiveInt, Section, TimeZone
from pipelines.errors import did_you_mean


def _calendar_name(name: str) -> str:
    import exchange_calendars

    known = exchange_calendars.get_calendar_names()
    if name not in known:
        raise ValueError(f"unknown calendar {name!r}; {did_you_mean(name, known)}")
    return name


CalendarName = Annotated[str, AfterValidator(_calendar_name)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class OwnCalendar(Section):
    """What calendars that are no exchange's share."""

    opens: Annotated[TimeOfDay, How] = "09:30"

    def identity(self) -> dict[str, Any]:
        """What makes another calendar of it."""
        return self.model_dump(mode="json", by_alias=True)


class FileCalendar(OwnCalendar):
    """Sessions listed in a file: a date a line, or a column of a CSV or Parquet file."""

    file: Annotated[Path, How]
    column: Annotated[str | None, How] = None
    timezone: TimeZone = "UTC"


class DataCalendar(OwnCalendar):
    """Sessions are the days that have bars."""

    from_: Literal["data"] = Field(alias="from")
    timezone: TimeZone
    min_instruments: PositiveInt = 1


def _calendar_tag(given: Any) -> str:
    if isinstance(given, FileCalendar) or (isinstance(given, dict) and "file" in given):
        return "calendar_file"
    if isinstance(given, DataCalendar | dict):
        return "calendar_data"
    return "calendar_name"


CalendarConfig = Annotated[
    Annotated[CalendarName, Tag("calendar_name")]
    | Annotated[FileCalendar, Tag("calendar_file")]
    | Annotated[DataCalendar, Tag("calendar_data")],
    Discriminator(_calendar_tag),
]


class UniverseSpans(Section):
    """Point-in-time membership from a file: spans (instrument, start, end) or lists of a date."""

    spans: Path


class UniverseOfProvider(Section):
    """Point-in-time membership from `instruments/NAME.txt` of the qlib provider folder."""

    market: str


def _universe_tag(given: Any) -> str:
    if isinstance(given, UniverseOfProvider) or (isinstance(given, dict) and "market" in given):
        return "universe_market"
    return "universe_spans" if isinstance(given, UniverseSpans | dict) else "universe_all"


UniverseConfig = Annotated[
    Annotated[Literal["all"], Tag("universe_all")]
    | Annotated[UniverseSpans, Tag("universe_spans")]
    | Annotated[UniverseOfProvider, Tag("universe_market")],
    Discriminator(_universe_tag),
]


def check_days(closed: Iterable[dt.date], extra: Iterable[dt.date]) -> None:
    """Refuse a day that is declared both closed and a session.

    Raises:
        ValueError: naming them.
    """
    both = sorted(set(closed) & set(extra))
    if both:
        raise ValueError(
            f"{', '.join(map(str, both))} in both closed and extra_sessions: a day is either"
        )
