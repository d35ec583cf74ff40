"""Small tables beside the bars: splits, dividends, membership, a calendar's column.

CSV or Parquet, read whole. Dates become session keys; what cannot be read is an error that shows
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from pipelines.config.sources import Basis
from pipelines.errors import SourceError, did_you_mean
from pipelines.sources.session_dates import session_keys

TABLE_ENDINGS = (".csv", ".parquet")
DATES = ("date", "start", "end")


def read_table(
    path: Path,
    columns: Sequence[str],
    what: str,
    dates: Sequence[str] = DATES,
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """Columns of a CSV or Parquet file, dates as session keys.

    Args:
        path: the file.
        columns: the columns wanted.
        what: what the file is for, for messages: a key of the YAML.
        dates: those that are dates.
        optional: dates that may be missing.

    Raises:
        SourceError: no such file, another ending, no such column, or a date that cannot be read.
    """
    table = _load(path, what, dates)
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise SourceError(
            f"{what}: {path} has no column {absent[0]!r}, expected {', '.join(columns)}; "
            f"{did_you_mean(absent[0], table.column_names)}"
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
    """The tables of splits and of dividends that a price basis names; None for one that it lacks.

    Returns:
        date, instrument and value, each.

    Raises:
        SourceError: as `read_table`, or a value that is no positive number.
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
            return pq.read_table(path)
        texts = {name: pa.string() for name in (*dates, "instrument")}
        options = pcsv.ConvertOptions(
            column_types=texts, null_values=[""], strings_can_be_null=True
        )
        return pcsv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{what}: cannot read {path}: {error}") from error
