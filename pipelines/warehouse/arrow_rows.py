"""Turn rows into the Arrow table of a partition: checked, sorted, NaN as null.

An asset passes a frame, or an Arrow table if it makes partitions by the thousand: a pandas frame of
160 columns costs more than the Parquet file. NaN becomes null here, once, for frames and tables
alike: SQL expects a null for a missing number, and readers get NaN back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.errors import WarehouseError
from pipelines.warehouse.schemas import Table

Rows: TypeAlias = pd.DataFrame | pa.Table
_PIECE = 1 << 20  # values, a multiple of eight, whose bits are found at once
_NO_BITS = np.empty(0, dtype=np.uint8)


class RowsError(ValueError):
    """Rows do not fit their table."""


def from_columns(table: Table, columns: Sequence[Any]) -> pa.Table:
    """Make the Arrow table of arrays in the table's order; NaN and None become null.

    Raises:
        pa.ArrowException: a value does not fit its type, or lengths differ.
    """
    arrays = [
        values
        if isinstance(values, pa.Array)
        else pa.array(values, type=column.type, from_pandas=True)
        for column, values in zip(table.columns, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def rows_by_day(
    table: Table, rows: pd.DataFrame, days: str, keys: Sequence[str]
) -> dict[str, pa.Table]:
    """The rows of each session, slices of one Arrow table.

    Args:
        table: the table.
        rows: with the table's columns among theirs.
        days: the column that says the session of a row.
        keys: the sessions, in order; one without a row gets an empty table.

    Raises:
        WarehouseError: a value does not fit its type.
    """
    if not rows[days].is_monotonic_increasing:
        rows = rows.sort_values(days, kind="stable")
    try:
        whole = from_columns(table, [rows[name].to_numpy() for name in table.names])
    except pa.ArrowException as error:
        raise WarehouseError(f"{table.name} from {keys[0]} to {keys[-1]}: {error}") from error
    days_of, sessions = (np.asarray(x, dtype="datetime64[D]") for x in (rows[days], keys))
    starts, ends = (np.searchsorted(days_of, sessions, side=side) for side in ("left", "right"))
    spans = zip(keys, starts.tolist(), ends.tolist(), strict=True)
    return {key: whole.slice(start, end - start) for key, start, end in spans}


def columns_of(block: NDArray[np.float32]) -> list[pa.Array]:
    """Make a column of each row of a block [F, N], NaN as null; the block may not change later.

    The columns are slices of one Arrow array over the block's own memory: converting 160 of them
    one by one takes three times as long, and takes the interpreter's lock, which writers need.
    """
    flat = block.reshape(-1)  # [F·N]
    pieces = (flat[i : i + _PIECE] for i in range(0, len(flat), _PIECE))
    valid = np.concatenate([_NO_BITS, *(np.packbits(x == x, bitorder="little") for x in pieces)])
    buffers = [pa.py_buffer(valid), pa.py_buffer(flat)]
    values = pa.Array.from_buffers(pa.float32(), len(flat), buffers)
    n = block.shape[1]
    return [values.slice(f * n, n) for f in range(len(block))]


def ordered_rows(table: Table, rows: Rows) -> pa.Table:
    """Check that rows have exactly the table's columns and required values, and sort them.

    Args:
        table: columns and order.
        rows: a frame with the columns in any order, or an Arrow table of the table's schema.

    Raises:
        RowsError: the columns differ, or a column that must have no missing value has one.
        pa.ArrowException: a value does not fit its type.
    """
    if isinstance(rows, pd.DataFrame):
        odd = sorted(set(rows.columns) ^ set(table.names))
        if odd:
            raise RowsError(
                f"columns {odd} are missing or not the table's ({', '.join(table.names[:6])} …)"
            )
        rows = from_columns(table, [rows[name].to_numpy() for name in table.names])
    elif rows.schema != table.schema:
        raise RowsError(
            f"an Arrow table of {_shown(rows.schema)}, expected {_shown(table.schema)}; make it "
            f"with `rows.from_columns`"
        )
    for column in table.columns:
        nulls = 0 if column.nullable else rows.column(column.name).null_count
        if nulls:
            raise RowsError(
                f"{nulls} of {len(rows)} values of {column.name} are missing, and it must have none"
            )
    order = pc.sort_indices(rows, [(name, "ascending") for name in table.sort_by])
    in_order = np.array_equal(order.to_numpy(), np.arange(len(rows)))
    return rows if in_order else rows.take(order)


def _shown(schema: pa.Schema) -> str:
    fields = [f"{f.name} {f.type}{'' if f.nullable else ' not null'}" for f in schema]
    return f"{len(fields)} columns ({', '.join(fields[:6])}{' …' if len(fields) > 6 else ''})"
