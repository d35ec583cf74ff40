"""Read small tables beside the bars: splits, dividends, membership, a calendar's column.

A table is CSV or Parquet and is read whole. Its dates become session keys; a value that cannot be
read is an error that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from pipelines.config.price_basis import Basis
from pipelines.errors import SourceError, did_you_mean
from pipelines.sources.file_formats import UNREADABLE, validated
from pipelines.sources.session_dates import session_keys
from rnn_core.text_encoding import marked_encoding

TABLE_ENDINGS = (".csv", ".parquet")
DATES = ("date", "start", "end")


def read_table(
    path: Path,
    columns: Sequence[str],
    what: str,
    dates: Sequence[str] = DATES,
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """Read columns of a CSV or Parquet file, dates as session keys.

    Args:
        path: the file.
        columns: the columns to read.
        what: the purpose of the file, for messages: a key of the YAML.
        dates: the columns that are dates.
        optional: the dates that may be missing.

    Raises:
        SourceError: no such file, another ending, no such column, or a date that cannot be read.
    """
    table = _load(path, what, dates)
    absent_columns = [name for name in columns if name not in table.column_names]
    if absent_columns:
        raise SourceError(
            f"{what}: {path} has no column {absent_columns[0]!r}, expected {', '.join(columns)}; "
            f"{did_you_mean(absent_columns[0], table.column_names)}"
        )
    out = {}
    for name in columns:
        values = table[name]
        if name in dates:
            place = f"{what}: {path}, column {name}"
            values = session_keys(values, None, None, place, optional=name in optional)
        elif name == "instrument":
            values = values.cast("string")
        out[name] = values
    frame: pd.DataFrame = pa.table(out).to_pandas()
    return frame


def read_events(basis: Basis) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Read the tables of splits and of dividends that a price basis names; None for no table.

    Returns:
        date, instrument and value, each.

    Raises:
        SourceError: as `read_table`, or a value is no positive number.
    """
    return (
        _events(basis.splits, "ratio", "source.basis.splits"),
        _events(basis.dividends, "amount", "source.basis.dividends"),
    )


def _events(path: Path | None, value: str, what: str) -> pd.DataFrame | None:
    """A table of one kind of event."""
    if path is None:
        return None
    events = read_table(path, ("date", "instrument", value), what)
    numbers = pd.to_numeric(events[value], errors="coerce")
    bad = ~(numbers > 0)
    if bad.any():
        row = events[bad].iloc[0]
        raise SourceError(
            f"{what}: {path}: the {value} of {row['instrument']} on {row['date']} is "
            f"{row[value]}, expected a positive number"
        )
    return events[["date", "instrument"]].assign(value=numbers.astype("float64"))


def column_names(path: Path, what: str) -> list[str]:
    """The columns of a CSV or Parquet file."""
    return list(_load(path, what).column_names)


def _load(path: Path, what: str, dates: Sequence[str] = DATES) -> pa.Table:
    ending = path.suffix.lower()
    if ending not in TABLE_ENDINGS:
        raise SourceError(
            f"{what}: {path} is {ending or 'no file type'}, expected {' or '.join(TABLE_ENDINGS)}"
        )
    try:
        if ending == ".parquet":
            return validated(pq.read_table(path))
        texts = {name: pa.string() for name in (*dates, "instrument")}
        options = pcsv.ConvertOptions(
            column_types=texts, null_values=[""], strings_can_be_null=True
        )
        with path.open("rb") as file:
            encoding = marked_encoding(file.read(4)) or "utf-8"
        read = pcsv.ReadOptions(encoding="utf-8" if encoding == "utf-8-sig" else encoding)
        return pcsv.read_csv(path, read_options=read, convert_options=options)
    except UNREADABLE as error:
        raise SourceError(f"{what}: cannot read {path}: {error}") from error
