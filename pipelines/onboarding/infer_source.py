"""The section `market.source` of data that nobody has described yet.

Files say their columns, types and first rows; a qlib provider folder says everything by its layout.
Databases and vendors over the network are not looked at: their configurations ship with the
package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.sources import COLUMNS, QlibBinSource, anchored
from pipelines.errors import ConfigError, PipelineError, SourceError, did_you_mean
from pipelines.onboarding.infer_columns import (
    guess_codes,
    guess_columns,
    guess_dates,
    is_status,
    missing_columns,
)
from pipelines.onboarding.sniff import distinct_dates, peek
from pipelines.sources.qlib_bin import QlibBars

KINDS = ("files", "qlib_bin")
_MARKS = ("ratio", "preclose", "factor", "adj_close")  # of a basis, the surest first


@dataclass(frozen=True)
class Described:
    """A source as far as its columns go.

    Attributes:
        section: `market.source`, the basis being the surest that a column names, else `adjusted`.
        columns: our word -> their name, of all that is recognised.
        notes: lines for a person.
        spans: files of membership that lie beside the data, or universes of a provider.
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
) -> Described:
    """The section for data at a path.

    Args:
        kind: `files` or `qlib_bin`.
        path: of the data, as seen from here.
        columns: our name -> theirs, where a person said so.
        date_format: how dates are written, where a person said so.

    Raises:
        ConfigError: another kind.
        SourceError: there is no such data, or columns of bars are not found in it.
    """
    whole = anchored(path, Path.cwd())
    if kind == "files":
        return _files(whole, dict(columns or {}), date_format)
    if kind == "qlib_bin":
        return _provider(whole)
    raise ConfigError(
        f"source {kind!r}: the kinds that can be looked at are {', '.join(KINDS)}; "
        f"{did_you_mean(kind, KINDS)}. For a database or a vendor copy one of the configurations "
        f"in pipelines/config/shipped and check it with `rnn-pipelines validate`"
    )


def _files(path: str, named: dict[str, str], date_format: str | None) -> Described:
    seen = peek(path)
    there = seen.head.column_names
    for ours, theirs in named.items():
        if theirs not in there:
            raise SourceError(
                f"--column {ours}={theirs}: {seen.path} has no such column; "
                f"{did_you_mean(theirs, there)}"
            )
    left = [name for name in there if name not in named.values()]
    found = {**guess_columns(left), **named}
    absent = missing_columns(found, files=seen.files)
    if absent:
        raise SourceError(
            f"{seen.path} has the columns {', '.join(there)}: none is recognised as "
            f"{', '.join(absent)}; name them, --column {absent[0]}=THEIR_NAME"
        )
    section: dict[str, Any] = {"kind": "files", "path": path}
    if seen.form == "csv":
        section |= {"delimiter": seen.delimiter} if seen.delimiter != "," else {}
        section |= {"encoding": seen.encoding} if seen.encoding != "utf-8" else {}
    from_name = next((name for name in ("instrument", "date") if name not in found), None)
    if from_name is not None:
        section["from_name"] = from_name
    differ = {ours: found[ours] for ours in COLUMNS if ours in found and found[ours] != ours}
    if differ:
        section["columns"] = differ
    if date_format is not None:
        section["date_format"] = date_format
        section |= {"timezone": "UTC"} if date_format.startswith("epoch") else {}
    elif "date" in found:
        kind = seen.head.schema.field(found["date"]).type
        values = seen.head[found["date"]].unique().drop_null().to_pylist()
        try:
            section |= guess_dates(kind, values, found["date"])
        except SourceError:  # the beginning may hold one month; the whole column may tell
            section |= guess_dates(kind, distinct_dates(seen, path, found["date"]), found["date"])
    if "instrument" in found:
        codes = guess_codes(seen.head[found["instrument"]].unique().drop_null().to_pylist())
        section |= {"codes": codes} if codes != "as_is" else {}
    notes = [_recognised(there, found, from_name)]
    status = found.get("tradestatus")
    if status is not None and is_status(seen.head[status].unique().drop_null().to_pylist()):
        section["keep"] = {status: 1}
        notes.append(f"kept       rows whose {status} is 1; the others did not trade")
    st = next((name for name in there if name.lower() in ("isst", "is_st")), None)
    if st is not None:
        notes.append(
            f"           names under special treatment are in; `{st}: 0` under keep ends it"
        )
    mark = next((name for name in _MARKS if name in found), None)
    section["basis"] = "adjusted" if mark is None else {mark: found[mark]}
    return Described(section, found, tuple(notes), _spans_beside(path))


def _recognised(there: list[str], found: Mapping[str, str], from_name: str | None) -> str:
    said = ", ".join(a if a == b else f"{a} = {b}" for a, b in found.items())
    said += f", {from_name} = the name of the file" if from_name else ""
    rest = [name for name in there if name not in found.values()]
    return f"columns    {said}{'; not used: ' + ', '.join(rest) if rest else ''}"


_BESIDE = ("universe", "members", "membership", "constituents", "instruments")


def _spans_beside(path: str) -> tuple[str, ...]:
    """Files beside the data whose name says that they hold members.

    Beside a folder, not in it: whatever table lies in a folder of bars is read as bars.
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
