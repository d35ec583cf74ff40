"""Frames of other libraries, in and out: polars, DuckDB, Arrow, whatever speaks Arrow's C stream.

`as_frame` stands at every door through which a frame of bars, features, scores or labels enters.
It knows no library: an object with `__arrow_c_stream__` is read, and one without is handed on as it
is, so that the message about a wrong object stays that of the door. `to_arrow` and `to_polars` are
the way out, for results that are large; a frame that goes out and in again is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from rnn_core.panel.session_labels import LEVELS

if TYPE_CHECKING:
    import polars

_DATES = ("datetime", "date")


def as_frame(values: Any, *, groups: bool = False) -> Any:
    """Read a table of another library as a frame; anything else comes back as it is.

    Args:
        values: a polars frame, an Arrow table, a DuckDB relation …: columns `date` (or `datetime`)
            and `instrument`, and numbers.
        groups: give the columns the two levels of a handler's frame: those whose name begins with
            LABEL are labels, the others features.

    Returns:
        A frame with the index (datetime, instrument); of a table without instruments, as that of a
        benchmark, with the index datetime.

    Examples:
        >>> table = to_arrow(bars.set_index(["date", "instrument"]))
        >>> list(as_frame(table).index.names)
        ['datetime', 'instrument']
    """
    if isinstance(values, (pd.DataFrame, pd.Series)) or not hasattr(values, "__arrow_c_stream__"):
        return values
    try:
        table = pa.table(values)
    except (TypeError, ValueError, pa.ArrowException):  # a column by itself has no keys
        return values
    frame = table.to_pandas(date_as_object=False)
    for column in frame.columns[frame.dtypes == "category"]:
        frame[column] = frame[column].astype(frame[column].cat.categories.dtype)
    date = next((name for name in _DATES if name in frame), None)
    if date is None:
        return frame
    keys = [date, *(["instrument"] if "instrument" in frame else [])]
    frame = frame.set_index(keys).rename_axis(list(LEVELS[: len(keys)]))
    if groups:
        kinds = ["label" if str(name).upper().startswith("LABEL") else "feature" for name in frame]
        frame.columns = pd.MultiIndex.from_arrays([kinds, frame.columns])
    return frame


def to_arrow(values: pd.DataFrame | pd.Series[Any]) -> pa.Table:
    """Write a result as an Arrow table, its index as columns.

    Args:
        values: a frame, or a series with a name. Of columns in two levels the names remain.

    Raises:
        ValueError: two columns would have one name.

    Examples:
        >>> to_arrow(bars.set_index(["date", "instrument"])).column_names
        ['date', 'instrument', 'close']
    """
    frame = values.to_frame() if isinstance(values, pd.Series) else values.copy(deep=False)
    if frame.columns.nlevels > 1:
        frame.columns = frame.columns.get_level_values(-1)
    frame = frame.reset_index() if frame.index.names != [None] else frame
    frame.columns = [str(name) for name in frame.columns]
    if not frame.columns.is_unique:
        repeats = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise ValueError(f"two columns are called {repeats[0]!r}: choose a group, e.g. df['label']")
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()


def to_polars(values: pd.DataFrame | pd.Series[Any]) -> polars.DataFrame:
    """Write a result as a polars frame; see `to_arrow`.

    Raises:
        ModuleNotFoundError: polars is not installed.

    Examples:
        >>> to_polars(bars.set_index(["date", "instrument"])).shape
        (3, 3)
    """
    import polars as pl

    frame = pl.from_arrow(to_arrow(values))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table, not of a column
    return frame
