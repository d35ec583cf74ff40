"""Rows on their way into a partition. Oracle: pandas' own sort, and a file written from a frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.assets.features import _rows_of
from pipelines.warehouse.arrow_rows import (
    RowsError,
    columns_of,
    from_columns,
    ordered_rows,
    rows_by_day,
)
from pipelines.warehouse.identity import Identity
from pipelines.warehouse.partition_file import Provenance, encode
from pipelines.warehouse.schemas import LABEL, OHLCV_QUARANTINE, feature_table
from rnn_core.data import Panel

TABLE = feature_table("features", "", {"A": "a", "B": "b"})
MADE = Provenance("features", "1", "c0ffee")
PLACE = Identity("x", "table", "features", "2024-01-02")


def frame(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "instrument": [f"S{i:03d}" for i in rng.permutation(n)],
            "member": rng.random(n) < 0.5,
            "A": rng.normal(size=n).astype("float32"),
            "B": np.where(rng.random(n) < 0.2, np.nan, 1.0).astype("float32"),
        }
    )


def as_arrow(rows: pd.DataFrame) -> pa.Table:
    return from_columns(TABLE, [rows[name].to_numpy() for name in TABLE.names])


def written(rows: pd.DataFrame | pa.Table) -> bytes:
    return encode(ordered_rows(TABLE, rows), MADE, PLACE)[0]


def test_a_frame_and_its_arrow_table_make_the_same_file():
    rows = frame()
    assert encode(ordered_rows(TABLE, rows), MADE, PLACE) == encode(
        ordered_rows(TABLE, as_arrow(rows)), MADE, PLACE
    )


def test_a_slice_of_a_longer_table_makes_the_file_of_its_rows_alone():
    """A range is one table cut into sessions; a session alone is not cut from anything."""
    rows = frame().sort_values("instrument")
    alone = encode(ordered_rows(TABLE, as_arrow(rows.iloc[13:30])), MADE, PLACE)
    assert encode(ordered_rows(TABLE, as_arrow(rows).slice(13, 17)), MADE, PLACE) == alone
    blocks = columns_of(rows[["A", "B"]].to_numpy().T[:, 13:30].copy())  # [F, N]
    names, member = (rows[c].to_numpy()[13:30] for c in ("instrument", "member"))
    assert encode(from_columns(TABLE, [names, member, *blocks]), MADE, PLACE) == alone


def test_missing_numbers_are_null_in_the_file_and_nan_when_read():
    a, b, empty = columns_of(np.array([[1, np.nan], [np.nan, np.inf], [0, -0.0]], "float32"))
    assert a.to_pylist() == [1.0, None]
    assert b.to_pylist() == [None, np.inf]
    assert empty.null_count == 0
    assert np.isnan(a.to_numpy(zero_copy_only=False)[1])
    assert [len(c) for c in columns_of(np.empty((3, 0), "float32"))] == [0, 0, 0]


def test_rows_are_sorted_as_pandas_sorts_them_missing_last():
    rows = pd.DataFrame(
        {
            "instrument": ["b", None, "a", "b", "B", "ä", "b"],
            **{c: [1.0] * 7 for c in ("open", "high", "low", "volume", "amount", "adj_factor")},
            "close": [3.0, 1.0, np.nan, 2.0, 1.0, 1.0, 2.0],
            "rule": ["x", "x", "x", "y", "x", "x", "x"],
            "bar_date": [pd.Timestamp("2024-01-02").date()] * 7,
            **{c: [1.0] * 7 for c in ("adj_ratio", "last_close")},
            **{c: ["x"] * 7 for c in ("policy", "source")},
        }
    ).assign(open=range(7))
    expected = rows.sort_values(list(OHLCV_QUARANTINE.sort_by), kind="stable")["open"]
    found = ordered_rows(OHLCV_QUARANTINE, rows)["open"]
    assert found.to_pylist() == expected.tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (as_arrow(frame()).drop_columns("B"), r"Arrow table of 3 columns .*expected 4 columns"),
        (LABEL.schema.empty_table(), r"decision_date date32\[day\] not null.*rows.from_columns"),
        (frame().drop(columns="A"), r"columns \['A'\] are missing"),
        (as_arrow(frame().assign(instrument=None)), "40 of 40 values of instrument are missing"),
    ],
)
def test_rows_that_do_not_fit_say_how(rows, message):
    with pytest.raises(RowsError, match=message):
        ordered_rows(TABLE, rows)


def test_a_session_of_features_is_a_slice_of_the_rows_of_all():
    """Oracle: the frame of the same session, turned and written by itself."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 4, 7)).astype("float32")  # [F, N, T]
    values[0, 1, 4] = np.nan
    present, member = rng.random((4, 7)) < 0.7, rng.random((4, 7)) < 0.5
    present[:, 5] = False  # a session without a row
    days = pd.date_range("2024-01-01", periods=7)
    names = pd.Index(list("abcd"), name="instrument")
    panel = Panel(days, names, {"member": member.astype(float)}, present)
    block, rows, counts = _rows_of(TABLE, panel, values, 2)
    assert counts == present[:, 2:].sum(axis=0).tolist()
    assert block.shape == (2, sum(counts))
    start = 0
    for t, count in enumerate(counts, start=2):
        x, at = values[:, :, t], present[:, t]
        alone = {"instrument": names[at], "member": member[at, t], "A": x[0, at], "B": x[1, at]}
        got, wanted = rows.slice(start, count), pd.DataFrame(alone)
        assert written(got) == written(wanted)
        start += count


def test_rows_by_day_are_those_that_each_session_would_write_alone():
    """Oracle: the groups of the frame, and the empty frame; days in any order."""
    rows = frame().assign(date=pd.to_datetime("2024-01-02"))
    rows.loc[rows.index[::3], "date"] = pd.Timestamp("2024-01-01")
    keys = ["2024-01-01", "2024-01-02", "2024-01-03"]
    got = rows_by_day(TABLE, rows, "date", keys)
    assert list(got) == keys
    for key in keys:
        wanted = rows[rows["date"] == key][list(TABLE.names)]
        assert written(got[key]) == written(wanted if len(wanted) else TABLE.empty())
