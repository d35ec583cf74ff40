"""Membership from tables and from spans. Oracle: a loop over days and lists."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from pipelines.market.membership import FOREVER, membership, read_spans, spans_of_lists, table_spans

DATES = [f"2024-0{k}-01" for k in range(1, 8)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.sampled_from("ABCD")), min_size=1, max_size=7))
def test_lists_hold_until_the_next_one(lists):
    """Member on a day: in the newest list that is not after it."""
    held = {d: names for d, names in zip(DATES, lists, strict=False) if names}
    rows = [(d, n) for d, names in held.items() for n in names]
    if not rows:
        return
    spans = spans_of_lists(pd.DataFrame(rows, columns=["date", "instrument"]))
    days = ["2023-12-31", *(f"{d[:8]}{k}" for d in DATES for k in ("01", "02", "28"))]
    bars = pd.DataFrame([(d, n) for d in days for n in "ABCD"], columns=["date", "instrument"])
    newest = [max((h for h in held if h <= d), default=None) for d in bars["date"]]
    wanted = [
        h is not None and n in held[h] for h, n in zip(newest, bars["instrument"], strict=True)
    ]
    assert membership(bars, spans).tolist() == wanted
    assert not spans.duplicated(["instrument", "start"]).any()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_spans_of_a_table(ending, tmp_path):
    path = tmp_path / f"spans.{ending}"
    frame = pd.DataFrame(
        {"instrument": ["000001", "B"], "start": ["2024-01-02", "2024-02-01"],
         "end": ["2024-01-31", None], "weight": [1.0, 2.0]}
    )  # fmt: skip
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    assert table_spans(path).to_numpy().tolist() == [
        ["000001", "2024-01-02", "2024-01-31"],
        ["B", "2024-02-01", FOREVER],
    ]
    frame["date"] = frame.pop("start")
    frame = frame.drop(columns="end")
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    assert table_spans(path)["end"].tolist() == ["2024-01-31", FOREVER]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("code,start,end\nA,2024-01-01,2024-02-01\n", r"has the columns code, start, end; expect"),
        ("instrument,start\nA,soon\n", r"column start: dates that cannot be read, such as 'soon'"),
        ("instrument,start,end\nA,2024-02-01,2024-01-01\n", r"A ends on 2024-01-01, before it"),
    ],
)
def test_a_wrong_table_is_named(content, message, tmp_path):
    path = tmp_path / "spans.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        table_spans(path)
    with pytest.raises(ConfigError, match=r"market.universe.spans: cannot read .*absent.csv"):
        table_spans(tmp_path / "absent.csv")


def test_membership_follows_spans(tmp_path):
    file = tmp_path / "spans.txt"
    file.write_text(
        "A\t2024-01-02\t2024-01-03\nA 2024-01-05 2024-01-08\n\nB 2024-01-01 2025-01-01\n"
    )
    spans = read_spans(file)
    rows = pd.DataFrame(
        {
            "date": ["2024-01-02", "2024-01-04", "2024-01-05", "2024-01-08", "2024-01-02"],
            "instrument": ["A", "A", "A", "A", "C"],
        }
    )
    assert membership(rows, spans).tolist() == [True, False, True, True, False]
    assert membership(rows, "all").all()


@pytest.mark.parametrize("line", ["A 2024-01-02", "A 2024-01-05 2024-01-02", "A soon later"])
def test_a_bad_span_names_its_line(tmp_path, line):
    file = tmp_path / "spans.txt"
    file.write_text(f"B 2024-01-01 2024-01-02\n{line}\n")
    with pytest.raises(ConfigError, match=r"spans\.txt, line 2: expected `instrument start end`"):
        read_spans(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_spans(tmp_path / "absent.txt")
