"""The section `market.source` of the YAML: one class a kind of source.

Keys that say what the bars *are* (price basis, codes) belong to a warehouse's identity and to the
configuration hash of `ohlcv`. Keys that say how they are *read* (columns, dates), marked `Reading`,
belong to the hash alone: bars read otherwise are made again, and the market is the same. Keys that
say how bars are *got* (paths, credentials, pace) are left out of both by `How`: a moved folder or a
new password makes no other market and no stale partition. Keys at their default are no part of the
identity. The hash holds them, so a key that is added is `How`, or is left out of the dump at its
default: otherwise every stored partition turns stale.
"""

from __future__ import annotations

import codecs
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from pipelines.config.extra_columns import WithExtra
from pipelines.config.own_source import ENTRY_POINTS, OwnSource
from pipelines.config.price_basis import Basis
from pipelines.config.types import (
    EPOCH,
    EPOCHS,
    How,
    PositiveInt,
    Reading,
    Section,
    Share,
    TimeZone,
)
from pipelines.errors import did_you_mean
from rnn_core.own_parts import is_own
from rnn_core.suggestions import near_matches

REQUIRED = ("date", "instrument", "open", "high", "low", "close", "volume")
COLUMNS = (*REQUIRED, "amount", "vwap")
"""Our names of the columns that a table of bars can have; `vwap` is read only if it is named."""
NUMBERS = tuple(name for name in COLUMNS if name not in ("date", "instrument"))


class BokehSampleSource(Section):
    """Five real US stocks, 2000-03-01 to 2013-03-01, from the package `bokeh-sampledata`."""

    kind: Literal["bokeh_sample"]


class SimulatedSource(Section):
    """A seeded market of any size with a planted, recoverable signal."""

    kind: Literal["simulated"]
    instruments: Annotated[int, Field(ge=1, le=100_000)] = 50
    seed: int = 0
    signal: Annotated[float, Field(ge=0.0, le=0.9)] = 0.05
    suspension_rate: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    split_rate: Share = 0.0005
    late_listing_share: Share = 0.1
    regime_rate: Share = 0.0


class TableSource(WithExtra):
    """The keys of every table of bars: columns, dates, codes, units, price basis."""

    columns: Annotated[dict[str, str], Reading] = Field(default_factory=dict)
    basis: Basis
    date_format: Annotated[str | None, Reading] = None
    timezone: Annotated[TimeZone | None, Reading] = None
    codes: Literal["as_is", "upper", "qlib"] = "as_is"
    scale: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    keep: dict[str, Any] = Field(default_factory=dict)

    @field_validator("columns", "scale")
    @classmethod
    def _ours(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name not in COLUMNS:
                raise ValueError(
                    f"{name!r} is no column of ours (they map ours to yours, "
                    f"`close: Last`); {did_you_mean(name, COLUMNS)}; a column beside these is "
                    f"listed in columns.extra as well"
                )
        return values

    @field_validator("columns")
    @classmethod
    def _one_turnover(cls, values: dict[str, str]) -> dict[str, str]:
        if "vwap" in values and "amount" in values:
            raise ValueError(
                "vwap and amount are both named, and amount is vwap × volume; name one of them"
            )
        return values

    @field_validator("date_format")
    @classmethod
    def _format(cls, value: str | None) -> str | None:
        words = (*EPOCHS, EPOCH)
        if value is None or value in words:
            return value
        if "%" not in value:
            near = near_matches(value, words)
            raise ValueError(f"expected a form such as '%d/%m/%Y', or {', '.join(words)}{near}")
        try:  # a form that reads what it writes
            dt.datetime.strptime(dt.datetime(2024, 1, 31, tzinfo=dt.UTC).strftime(value), value)
        except ValueError as error:
            raise ValueError(f"no form of dates: {error}") from error
        return value

    @field_validator("keep")
    @classmethod
    def _listed(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: v if isinstance(v, list) else [v] for name, v in values.items()}


_Named = Literal["instrument", "date"]


class FilesSource(TableSource):
    """CSV, Parquet or Feather files: one for all, one a symbol, or one a day."""

    kind: Literal["files"]
    path: Annotated[str, How]
    format: Annotated[Literal["parquet", "csv", "feather"] | None, How] = None
    ignore: Annotated[tuple[str, ...], How] = ()
    from_name: Annotated[_Named | tuple[_Named, ...] | None, How] = None
    name_pattern: Annotated[str | None, How] = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1, exclude=True)] = ","
    decimal: Annotated[str, Field(min_length=1, max_length=1, exclude=True)] = "."
    thousands: Annotated[str | None, Field(min_length=1, max_length=1, exclude=True)] = None
    encoding: Annotated[str, How] = "utf-8"
    skip_lines: Annotated[str | None, How] = None
    header: Annotated[Literal["none"] | Annotated[int, Field(ge=1, le=3)] | None, How] = None
    names: Annotated[tuple[str, ...], How] = ()

    @property
    def header_rows(self) -> int:
        """The number of rows of a CSV's header: 1, or none if `names` are given, unless said."""
        if self.header is None:
            return 0 if self.names else 1
        return 0 if self.header == "none" else self.header

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that names of files say, in the order of the pattern's groups."""
        if self.from_name is None:
            return ()
        return (self.from_name,) if isinstance(self.from_name, str) else self.from_name

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError("no encoding; expected one as utf-8, cp1252 or gb18030") from None
        return value

    @field_validator("skip_lines")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value

    @field_validator("name_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            groups = 1 if value is None else re.compile(value).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if not groups:
            raise ValueError("expected a group in parentheses, as in 'bars_(.+)'")
        return value

    @field_validator("ignore", "names", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names(self) -> FilesSource:
        if self.name_pattern is not None and self.from_name is None:
            raise ValueError("name_pattern needs from_name: instrument or date")
        groups = 1 if self.name_pattern is None else re.compile(self.name_pattern).groups
        if self.named and len(self.named) != groups:
            raise ValueError(
                f"name_pattern has {groups} groups in parentheses, and from_name names "
                f"{' and '.join(self.named)}: expected one group for each, in their order"
            )
        if self.header == "none" and not self.names:
            raise ValueError(
                "header: none needs names: the columns in order, as in date,open,high,low,close"
            )
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}")
        return self


class QlibBinSource(WithExtra):
    """A qlib provider folder as it lies on disk."""

    kind: Literal["qlib_bin"]
    path: Annotated[str, How]
    instruments: str | None = None
    tolerance: Annotated[float, Field(ge=0.0, lt=0.1)] = 1e-6


class SqlSource(TableSource):
    """A query with the bound parameters :start and :end over a database."""

    kind: Literal["sql"]
    url: Annotated[str, How]
    query: str

    @field_validator("query")
    @classmethod
    def _bounds(cls, query: str) -> str:
        unbound = [p for p in (":start", ":end") if not re.search(rf"(?<!:){p}\b", query)]
        if unbound:
            raise ValueError(
                f"has no {' and no '.join(unbound)}: the first and the last day wanted are bound "
                f"to them, as in `WHERE day BETWEEN :start AND :end`"
            )
        return query.strip().rstrip(";")

    @model_validator(mode="after")
    def _one_unit(self) -> SqlSource:
        if self.date_format == EPOCH:
            raise ValueError(
                f"date_format: {EPOCH} is for files; :start and :end are bound in one unit: "
                f"expected {', '.join(EPOCHS)}"
            )
        return self


class NetworkSource(Section):
    """The keys of every vendor over the network: its symbols, and the pace of asking."""

    symbols: Annotated[tuple[str, ...] | Path, How]
    attempts: Annotated[PositiveInt, How] = 5
    wait_seconds: Annotated[float, Field(gt=0, exclude=True)] = 2.0
    max_wait_seconds: Annotated[float, Field(gt=0, exclude=True)] = 120.0
    per_minute: Annotated[float, Field(gt=0, exclude=True)] = 60.0
    max_failed: Annotated[Share, How] = 0.0


class YahooSource(NetworkSource):
    """Yahoo Finance through the package `yfinance`."""

    kind: Literal["yahoo"]


class BaostockSource(NetworkSource):
    """A-shares from baostock, as traded with the previous close."""

    kind: Literal["baostock"]


_Shipped: TypeAlias = (
    BokehSampleSource
    | SimulatedSource
    | FilesSource
    | QlibBinSource
    | SqlSource
    | YahooSource
    | BaostockSource
)
SOURCES: dict[str, type[Section]] = {
    get_args(source.model_fields["kind"].annotation)[0]: source for source in get_args(_Shipped)
}
"""The section of every shipped source, by its `kind`."""
OWN = "own"


def _tag_of(value: Any) -> str | None:
    """The kind of a source, or OWN for one of another package."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if isinstance(kind, str) and kind not in SOURCES and is_own(kind, ENTRY_POINTS):
        return OWN
    return None if kind is None else str(kind)


SourceConfig = Annotated[
    Annotated[BokehSampleSource, Tag("bokeh_sample")]
    | Annotated[SimulatedSource, Tag("simulated")]
    | Annotated[FilesSource, Tag("files")]
    | Annotated[QlibBinSource, Tag("qlib_bin")]
    | Annotated[SqlSource, Tag("sql")]
    | Annotated[YahooSource, Tag("yahoo")]
    | Annotated[BaostockSource, Tag("baostock")]
    | Annotated[OwnSource, Tag(OWN)],
    Discriminator(_tag_of),
]


def source_identity(dumped: Mapping[str, Any]) -> dict[str, Any]:
    """Select the values of a dumped source that make a market this one and no other."""
    section = SOURCES.get(str(dumped.get("kind")))
    return dict(dumped) if section is None else section.identity_of(dumped)


def source_label(source: Section) -> str:
    """The kind and file of a source, for people: `files us.parquet`, without the folder."""
    path = getattr(source, "path", None)
    name = "" if path is None else f" {str(path).rstrip('/').rsplit('/', 1)[-1]}"
    return f"{getattr(source, 'kind', '')}{name}"


_PATHS = (
    ("source", "path"),
    ("source", "symbols"),
    ("source", "basis", "splits"),
    ("source", "basis", "dividends"),
    ("calendar", "file"),
    ("universe", "spans"),
)


def anchor_paths(market: Any, folder: Path) -> None:
    """Make the paths in the raw section `market` absolute, as seen from the YAML's folder.

    `~` is the home folder; URLs (`s3://…`) stay as they are. Changes the mapping in place.
    """
    for *sections, key in _PATHS:
        section = market
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = anchored(section[key], folder)


def anchored(path: str, folder: Path) -> str:
    """A path as seen from a folder; a URL as it is."""
    return path if "://" in path else str(folder.absolute() / Path(path).expanduser())
