"""Infer the section `market.source` of data that nobody has described yet.

Files show their columns, types and first rows; a qlib provider folder shows everything by its
layout. Databases and vendors over the network are not examined: their configurations ship with the
package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from pipelines.config.sources import COLUMNS, NUMBERS, FilesSource, QlibBinSource, anchored
from pipelines.errors import ConfigError, PipelineError, SourceError, did_you_mean
from pipelines.onboarding.infer_columns import (
    guess_codes,
    guess_columns,
    guess_dates,
    guess_numbers,
    is_number,
    is_status,
    missing_columns,
)
from pipelines.onboarding.infer_paths import folder_keys, said_by_paths
from pipelines.onboarding.sniff import Peek, peek, whole_column
from pipelines.sources.columns import shown_columns
from pipelines.sources.csv_lines import CsvStyle, twins_hint
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars
from rnn_core.suggestions import near_matches

KINDS = ("files", "qlib_bin")
_INDEX = re.compile(r"|index|level_\d+|__index_level_\d+__|Unnamed: \d+")
_SHOWN = 5  # files named in a note
MARKS = ("ratio", "preclose", "factor", "adj_close")  # of a basis, the surest first


@dataclass(frozen=True)
class Described:
    """A source as its columns describe it.

    Attributes:
        section: `market.source`, with the surest basis that a column names, else `adjusted`.
        columns: our word -> their name, for all recognised columns.
        notes: lines for a person.
        spans: files of membership beside the data, or universes of a provider.
    """

    section: Mapping[str, Any]
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()


def describe(
    kind: str,
    path: str,
    *,
    columns: Mapping[str, str] | None = None,
    date_format: str | None = None,
    writing: Mapping[str, Any] | None = None,
) -> Described:
    """Infer the section for the data at a path.

    Args:
        kind: `files` or `qlib_bin`.
        path: the path of the data, seen from the working folder.
        columns: our name -> theirs, as far as a person said.
        date_format: the form of dates, if a person said it.
        writing: keys of the files that a person said, as `decimal`, `header` or `ignore`.

    Raises:
        ConfigError: `kind` is another kind, or a key that a person said is wrong.
        SourceError: there is no such data, or columns of bars are not found in it.
    """
    whole = anchored(path, Path.cwd())
    if kind == "files":
        return _files(whole, dict(columns or {}), date_format, dict(writing or {}))
    if kind == "qlib_bin":
        return _provider(whole)
    raise ConfigError(
        f"source {kind!r}: the kinds that can be looked at are {', '.join(KINDS)}"
        f"{near_matches(kind, KINDS)}; for a database or a vendor copy one of the configurations "
        f"in pipelines/config/shipped and check it with `rnn-pipelines validate`"
    )


def _files(
    path: str, wishes: dict[str, str], date_format: str | None, writing: dict[str, Any]
) -> Described:
    # A person's columns come first; the others are recognised by name.
    _require_valid(writing | ({} if date_format is None else {"date_format": date_format}))
    sample = peek(path, writing, wishes.values())
    _require_csv(sample, writing)
    columns = sample.head.column_names
    for ours, theirs in wishes.items():
        if theirs not in columns:
            raise SourceError(
                f"--column {ours}={theirs}: {sample.path} has no such column; "
                f"{did_you_mean(theirs, columns)}"
            )
    others = [name for name in columns if name not in wishes.values()]
    names = {**guess_columns(others), **wishes}
    names |= _unnamed(sample, names)
    known = [*names, *folder_keys(sample.path, names)]
    missing = missing_columns(known, files=len(sample.paths))
    if missing:
        raise SourceError(
            f"{sample.path} has the columns {shown_columns(columns)}: none is recognised as "
            f"{', '.join(missing)}; {_way_to(missing[0], columns)}"
        )
    for ours, theirs in names.items():
        if ours not in wishes and f"{theirs}.1" in columns:
            raise SourceError(f"{sample.path}{twins_hint(theirs)}")
    # The section names only keys that differ from their defaults.
    section: dict[str, Any] = {"kind": "files", "path": path}
    if sample.form == "csv":
        plain, style = CsvStyle(), sample.style
        for key in ("delimiter", "encoding", "skip_lines", "header"):
            value = getattr(style, key)
            section |= {key: value} if value != getattr(plain, key) else {}
        if not style.header:
            section["header"] = "none"
    section |= writing
    if sample.form == "csv" and not writing.keys() & {"decimal", "thousands"}:
        section |= guess_numbers(_texts(sample, names), sample.where)
    said = said_by_paths(sample.paths, sample.path, names)
    if said.named:
        section["from_name"] = said.named[0] if len(said.named) == 1 else list(said.named)
    if said.pattern is not None:
        section["name_pattern"] = said.pattern
    is_said = {ours: ours in wishes or names[ours] != ours for ours in names}
    differ = {ours: names[ours] for ours in COLUMNS if is_said.get(ours)}
    differ.pop("vwap", None)  # it is read only if it is named, and the prices decide that
    if differ:
        section["columns"] = differ
    if date_format is not None:
        section["date_format"] = date_format
        is_moment = date_format.startswith("epoch") or "%z" in date_format
        section |= {"timezone": "UTC"} if is_moment else {}
    elif "date" in names:
        column = names["date"]
        kind = sample.head.schema.field(column).type
        try:
            section |= guess_dates(kind, sample.distinct(column), column)
        except SourceError:  # the beginning may hold one month; the whole column may tell
            whole = whole_column(sample, path, column)
            section |= guess_dates(kind, whole.distinct(column), column, whole.where)
    elif said.values.get("date"):
        section |= guess_dates(pa.string(), said.values["date"], f"date, the name of {said.place},")
    of_column = sample.distinct(names["instrument"]) if "instrument" in names else ()
    codes = guess_codes(said.values.get("instrument", of_column))
    section |= {"codes": codes} if codes != "as_is" else {}
    # Rows that did not trade are left out, and the price basis is the surest column.
    notes = _wide_note(sample)
    status = names.get("tradestatus")
    if status is not None and is_status(sample.distinct(status)):
        section["keep"] = {status: 1}
        notes.append(f"kept       rows whose {status} is 1; the others did not trade")
    st = next((name for name in columns if name.lower() in ("isst", "is_st")), None)
    if st is not None:
        notes.append(
            f"           names under special treatment are in; `{st}: 0` under keep ends it"
        )
    mark = next((name for name in MARKS if name in names), None)
    section["basis"] = "adjusted" if mark is None else {mark: names[mark]}
    source = FilesBars(FilesSource.model_validate(section))
    place = f"{said.place}, as {source.said_by(sample.path)}"
    shown = _recognised(columns, names, said.named, place)
    notes = [shown, *notes, *_leave_out_strays(source, section, len(sample.paths))]
    return Described(section, names, tuple(notes), _spans_beside(path))


def _require_valid(said: Mapping[str, Any]) -> None:
    """Refuse a key of files that a person said wrong.

    Raises:
        ConfigError: the message names the flag, its value and the expectation.
    """
    try:
        FilesSource.model_validate({"kind": "files", "path": "", "basis": "adjusted", **said})
    except ValidationError as error:
        first = error.errors()[0]
        text = first["msg"].removeprefix("Value error, ")
        place = str((first["loc"] or (text,))[0])  # a problem of two keys begins with the first
        key = next((key for key in said if place.startswith(key)), None)
        flag = "" if key is None else f"--{key.replace('_', '-')} {said[key]!r}: "
        raise ConfigError(f"{flag}{text}") from None


_OF_CSV = ("encoding", "delimiter", "header", "names", "skip_lines")


def _require_csv(sample: Peek, writing: Mapping[str, Any]) -> None:
    """Refuse keys of a CSV for files of another form.

    Raises:
        ConfigError: a key is given that says nothing of the file.
    """
    idle = [f"--{key.replace('_', '-')}" for key in _OF_CSV if key in writing]
    if idle and sample.form != "csv":
        raise ConfigError(f"{', '.join(idle)}: of a CSV, and {sample.path} is {sample.form}")


def _way_to(missing: str, columns: list[str]) -> str:
    """Advise on a column that is not recognised."""
    if any(name.startswith("('") for name in columns):
        return (
            "they are fields and instruments of a wide table: write one row a bar, as "
            "`frame.stack(level=1)` does, or a CSV, whose header of several rows is read"
        )
    return f"name them, --column {missing}=THEIR_NAME"


def _texts(sample: Peek, names: Mapping[str, str]) -> dict[str, list[str]]:
    """The texts of the columns of numbers."""
    marks = [name for name in MARKS if name in names][:1]  # the others are not read
    columns = {names[ours] for ours in (*NUMBERS, *marks) if ours in names}
    return {name: sample.head[name].drop_null().to_pylist() for name in sorted(columns)}


def _unnamed(sample: Peek, names: Mapping[str, str]) -> dict[str, str]:
    """The date and the instrument in columns without a name of their own, as pandas' indexes."""
    found: dict[str, str] = {}
    for column in sample.head.column_names:
        kind = sample.head.schema.field(column).type
        values = sample.distinct(column)
        if not _INDEX.fullmatch(column) or column in names.values() or not values:
            continue
        if "date" not in names and "date" not in found and _are_dates(kind, values, column):
            found["date"] = column
        elif "instrument" not in {*names, *found} and not any(is_number(str(v)) for v in values):
            found["instrument"] = column
    return found


def _are_dates(kind: pa.DataType, values: list[Any], column: str) -> bool:
    try:
        guess_dates(kind, values, column)
    except SourceError:
        return False
    return True


def _wide_note(sample: Peek) -> list[str]:
    if sample.style.header < 2:
        return []
    return [f"header     {sample.style.header} rows: a column for each field and instrument"]


_MOST_STRAYS = 0.5  # of the files; with more the columns differ, and none is a stray


def _leave_out_strays(source: FilesBars, section: dict[str, Any], files: int) -> list[str]:
    """Name the files without the columns of bars under `ignore`, and the unread ones in notes.

    Raises:
        SourceError: most files lack a column, or one holds bars in another writing.
    """
    strays = source.strays() if files > 1 else {}
    if len(strays) > _MOST_STRAYS * files:
        raise SourceError(next(iter(strays.values())))
    for url, error in strays.items():
        _require_no_bars(url, error)
    notes = []
    unread = source.unread()
    if strays:
        section["ignore"] = [*section.get("ignore", ()), *map(source.below, strays)]
        shown = _some([source.below(url) for url in strays])
        notes.append(f"ignored    {len(strays)} files without the columns of bars: {shown}")
        notes.append(f"           as in: {next(iter(strays.values()))}")
    if unread:
        notes.append(f"not read   {len(unread)} files that are no tables: {_some(unread)}")
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _require_no_bars(path: str, error: str) -> None:
    """Confirm that a file which cannot be read like the others holds no bars in another writing.

    Raises:
        SourceError: it has the columns of bars.
    """
    try:
        columns = peek(path).head.column_names
    except SourceError:
        return
    if not missing_columns(guess_columns(columns), files=2):
        raise SourceError(
            f"{error}; it has columns of bars, written otherwise than those of the first file: "
            f"write all files alike, or make it a market of its own"
        )


def _recognised(
    columns: list[str], recognised: Mapping[str, str], named: Sequence[str], place: str
) -> str:
    text = ", ".join(a if a == b else f"{a} = {b}" for a, b in recognised.items())
    text += f", {' and '.join(named)} = the name of {place}" if named else ""
    rest = [name for name in columns if name not in recognised.values()]
    unused = f"; not used: {', '.join(rest)} (source.columns.extra takes them in)" if rest else ""
    return f"columns    {text}{unused}"


_BESIDE = ("universe", "members", "membership", "constituents", "instruments")


def _spans_beside(path: str) -> tuple[str, ...]:
    """Find files beside the data whose names say that they hold members.

    A folder of bars is not searched itself: every table in it is read as bars.
    """
    if "://" in path or any(c in path for c in "*?["):
        return ()
    data = Path(path)
    return tuple(
        str(file)
        for file in sorted(data.parent.iterdir())
        if file != data
        and file.stem.lower() in _BESIDE
        and file.suffix.lower() in (".txt", ".csv", ".parquet")
        and file.is_file()
    )


def _provider(path: str) -> Described:
    source = QlibBars(QlibBinSource(kind="qlib_bin", path=path))
    try:
        source.days()
    except PipelineError as error:
        raise SourceError(
            f"{error}; expected a folder with calendars, features and instruments, as qlib makes it"
        ) from error
    listed = sorted(file.stem for file in (Path(path) / "instruments").glob("*.txt"))
    universes = tuple(name for name in listed if name != "all")
    fields = {
        file.name.split(".")[0]
        for folder in list((Path(path) / "features").iterdir())[:50]
        if folder.is_dir()
        for file in folder.glob("*.day.bin")
    }
    return Described(
        {"kind": "qlib_bin", "path": path},
        {name: name for name in sorted(fields)},
        (f"fields     {', '.join(sorted(fields))}",),
        universes,
    )
