"""Infer the section `market.source` of data that nobody has described yet.

Files show their columns, types and first rows; a qlib provider folder shows everything by its
layout. Databases and vendors over the network are not examined: their configurations ship with the
package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.config.sources import COLUMNS, NUMBERS, QlibBinSource, anchored
from pipelines.errors import ConfigError, PipelineError, SourceError, did_you_mean
from pipelines.onboarding.infer_columns import (
    guess_codes,
    guess_columns,
    guess_dates,
    guess_numbers,
    is_status,
    missing_columns,
)
from pipelines.onboarding.sniff import Peek, distinct_dates, peek
from pipelines.sources.qlib_bin import QlibBars

KINDS = ("files", "qlib_bin")
_MARKS = ("ratio", "preclose", "factor", "adj_close")  # of a basis, the surest first


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
    writing: Mapping[str, str] | None = None,
) -> Described:
    """Infer the section for the data at a path.

    Args:
        kind: `files` or `qlib_bin`.
        path: the path of the data, seen from the working folder.
        columns: our name -> theirs, as far as a person said.
        date_format: the form of dates, if a person said it.
        writing: keys of a CSV that a person said: `decimal`, `thousands`, `skip_lines`.

    Raises:
        ConfigError: `kind` is another kind.
        SourceError: there is no such data, or columns of bars are not found in it.
    """
    whole = anchored(path, Path.cwd())
    if kind == "files":
        return _files(whole, dict(columns or {}), date_format, dict(writing or {}))
    if kind == "qlib_bin":
        return _provider(whole)
    raise ConfigError(
        f"source {kind!r}: the kinds that can be looked at are {', '.join(KINDS)}; "
        f"{did_you_mean(kind, KINDS)}. For a database or a vendor copy one of the configurations "
        f"in pipelines/config/shipped and check it with `rnn-pipelines validate`"
    )


def _files(
    path: str, wishes: dict[str, str], date_format: str | None, writing: dict[str, str]
) -> Described:
    # A person's columns come first; the others are recognised by name.
    sample = peek(path, writing.get("skip_lines"))
    columns = sample.head.column_names
    for ours, theirs in wishes.items():
        if theirs not in columns:
            raise SourceError(
                f"--column {ours}={theirs}: {sample.path} has no such column; "
                f"{did_you_mean(theirs, columns)}"
            )
    others = [name for name in columns if name not in wishes.values()]
    names = {**guess_columns(others), **wishes}
    folders = _folder_keys(sample.path, names)
    missing = missing_columns([*names, *folders], files=sample.files)
    if missing:
        raise SourceError(
            f"{sample.path} has the columns {', '.join(columns)}: none is recognised as "
            f"{', '.join(missing)}; name them, --column {missing[0]}=THEIR_NAME"
        )
    # The section names only keys that differ from their defaults.
    section: dict[str, Any] = {"kind": "files", "path": path}
    if sample.form == "csv":
        section |= {"delimiter": sample.delimiter} if sample.delimiter != "," else {}
        section |= {"encoding": sample.encoding} if sample.encoding != "utf-8" else {}
        section |= writing
        if not writing.keys() & {"decimal", "thousands"}:
            section |= guess_numbers(_texts(sample, names))
    from_name = next((name for name in ("instrument", "date") if name not in names), None)
    if from_name is not None:
        section["from_name"] = from_name
    if from_name in folders:
        section["name_pattern"] = rf"(?:^|/){re.escape(folders[from_name][0])}=([^/]+)/"
    differ = {ours: names[ours] for ours in COLUMNS if ours in names and names[ours] != ours}
    if differ:
        section["columns"] = differ
    if date_format is not None:
        section["date_format"] = date_format
        is_moment = date_format.startswith("epoch") or "%z" in date_format
        section |= {"timezone": "UTC"} if is_moment else {}
    elif "date" in names:
        kind = sample.head.schema.field(names["date"]).type
        values = sample.head[names["date"]].unique().drop_null().to_pylist()
        try:
            section |= guess_dates(kind, values, names["date"])
        except SourceError:  # the beginning may hold one month; the whole column may tell
            section |= guess_dates(kind, distinct_dates(sample, path, names["date"]), names["date"])
    elif "date" in folders:
        section |= guess_dates(pa.string(), [folders["date"][1]], "date of the folders")
    if "instrument" in names:
        codes = guess_codes(sample.head[names["instrument"]].unique().drop_null().to_pylist())
        section |= {"codes": codes} if codes != "as_is" else {}
    # Rows that did not trade are left out, and the price basis is the surest column.
    place = f"the folder {folders[from_name][0]}=…" if from_name in folders else "the file"
    notes = [_recognised(columns, names, from_name, place)]
    status = names.get("tradestatus")
    if status is not None and is_status(sample.head[status].unique().drop_null().to_pylist()):
        section["keep"] = {status: 1}
        notes.append(f"kept       rows whose {status} is 1; the others did not trade")
    st = next((name for name in columns if name.lower() in ("isst", "is_st")), None)
    if st is not None:
        notes.append(
            f"           names under special treatment are in; `{st}: 0` under keep ends it"
        )
    mark = next((name for name in _MARKS if name in names), None)
    section["basis"] = "adjusted" if mark is None else {mark: names[mark]}
    return Described(section, names, tuple(notes), _spans_beside(path))


def _texts(sample: Peek, names: Mapping[str, str]) -> dict[str, list[str]]:
    """The texts of the columns of numbers."""
    marks = [name for name in _MARKS if name in names][:1]  # the others are not read
    columns = {names[ours] for ours in (*NUMBERS, *marks) if ours in names}
    return {name: sample.head[name].drop_null().to_pylist() for name in sorted(columns)}


def _folder_keys(path: str, names: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The keys that folders such as `symbol=AAA` say: our word -> their name and the value.

    Raises:
        SourceError: folders say both the date and the instrument.
    """
    said = dict(re.findall(r"(?:^|/)([^/=]+)=([^/]+)(?=/)", path))
    ours = guess_columns(said)
    keys: dict[str, tuple[str, str]] = {
        name: (ours[name], said[ours[name]])
        for name in ("date", "instrument")
        if name in ours and name not in names
    }
    if len(keys) == 2:
        raise SourceError(
            f"{path}: date and instrument are both in the names of folders, and the files hold "
            f"neither; one of the two is read from names (source.from_name): write the other "
            f"into the files as a column"
        )
    return keys


def _recognised(
    columns: list[str], recognised: Mapping[str, str], from_name: str | None, place: str
) -> str:
    text = ", ".join(a if a == b else f"{a} = {b}" for a, b in recognised.items())
    text += f", {from_name} = the name of {place}" if from_name else ""
    rest = [name for name in columns if name not in recognised.values()]
    return f"columns    {text}{'; not used: ' + ', '.join(rest) if rest else ''}"


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
