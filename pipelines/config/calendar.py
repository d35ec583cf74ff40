"""The sections `market.calendar` and `market.universe` of the YAML: session days and members."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from pipelines.config.types import How, PositiveInt, Section, TimeZone
from pipelines.errors import did_you_mean

COMMON = ("XNYS", "XSHG", "XHKG", "XTKS", "XLON", "24/7", "XETR", "XPAR", "XTSE", "XASX", "XKRX",
          "XTAI", "XBOM", "BVMF", "XSWX", "XAMS", "XMIL", "XMAD", "XSTO", "XSES", "XJSE", "CMES",
          "24/5")  # fmt: skip
"""The calendars that come first where several have the same sessions."""


def _calendar_name(name: str) -> str:
    if name in COMMON:  # known without the library, whose import takes 0.1 seconds
        return name
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if name not in names:
        raise ValueError(f"unknown calendar {name!r}; {did_you_mean(name, names)}")
    return name


CalendarName = Annotated[str, AfterValidator(_calendar_name)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class OwnCalendar(Section):
    """The keys that a calendar of a file and one of the data share."""

    opens: Annotated[TimeOfDay, How] = "09:30"


class FileCalendar(OwnCalendar):
    """Sessions listed in a file: a date a line, or a column of a CSV or Parquet file."""

    file: Annotated[Path, How]
    column: Annotated[str | None, How] = None
    timezone: TimeZone = "UTC"


class DataCalendar(OwnCalendar):
    """Sessions that are the days with bars."""

    from_: Literal["data"] = Field(alias="from")
    timezone: TimeZone
    min_instruments: PositiveInt = 1


class ExchangeCalendar(Section):
    """An exchange's calendar that goes on with weekdays after the last day that it knows.

    `closures` are those of these weekdays on which the exchange is closed, complete up to
    `closures_to`; later weekdays are provisional, and one without bars turns out a holiday once a
    later day has bars.
    """

    exchange: CalendarName
    closures: Annotated[tuple[dt.date, ...], How] = ()
    closures_to: Annotated[dt.date | None, How] = None

    @model_validator(mode="after")
    def _inside(self) -> ExchangeCalendar:
        last = max(self.closures, default=None)
        if self.closures_to is not None and last is not None and last > self.closures_to:
            raise ValueError(
                f"closures names {last}, and closures_to says that they are complete up to "
                f"{self.closures_to}: name a later day there"
            )
        return self


def exchange_of(calendar: Any) -> str | None:
    """The name of the exchange's calendar; None for a calendar of a file or of the data."""
    if isinstance(calendar, ExchangeCalendar):
        return calendar.exchange
    return calendar if isinstance(calendar, str) else None


def _calendar_tag(value: Any) -> str:
    if isinstance(value, ExchangeCalendar) or (isinstance(value, dict) and "exchange" in value):
        return "calendar_exchange"
    if isinstance(value, FileCalendar) or (isinstance(value, dict) and "file" in value):
        return "calendar_file"
    if isinstance(value, DataCalendar | dict):
        return "calendar_data"
    return "calendar_name"


CalendarConfig = Annotated[
    Annotated[CalendarName, Tag("calendar_name")]
    | Annotated[ExchangeCalendar, Tag("calendar_exchange")]
    | Annotated[FileCalendar, Tag("calendar_file")]
    | Annotated[DataCalendar, Tag("calendar_data")],
    Discriminator(_calendar_tag),
]


def calendar_identity(dumped: Any) -> Any:
    """Select the values of a dumped calendar that make a market this one and no other."""
    if not isinstance(dumped, Mapping):
        return dumped
    if "exchange" in dumped:  # what follows the end of a calendar makes no other market
        return dumped["exchange"]
    return (DataCalendar if "from" in dumped else FileCalendar).identity_of(dumped)


class UniverseSpans(Section):
    """Point-in-time membership from a file: spans (instrument, start, end) or lists of a date."""

    spans: Path


class UniverseOfProvider(Section):
    """Point-in-time membership from `instruments/NAME.txt` of the qlib provider folder."""

    market: str


def _universe_tag(value: Any) -> str:
    if isinstance(value, UniverseOfProvider) or (isinstance(value, dict) and "market" in value):
        return "universe_market"
    return "universe_spans" if isinstance(value, UniverseSpans | dict) else "universe_all"


UniverseConfig = Annotated[
    Annotated[Literal["all"], Tag("universe_all")]
    | Annotated[UniverseSpans, Tag("universe_spans")]
    | Annotated[UniverseOfProvider, Tag("universe_market")],
    Discriminator(_universe_tag),
]


def check_days(closed: Iterable[dt.date], extra: Iterable[dt.date]) -> None:
    """Refuse a day that is declared both closed and a session.

    Raises:
        ValueError: a day is declared both; the message names it.
    """
    both = sorted(set(closed) & set(extra))
    if both:
        raise ValueError(
            f"{', '.join(map(str, both))} in both closed and extra_sessions: a day is either"
        )
