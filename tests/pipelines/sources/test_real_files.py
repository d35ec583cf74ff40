"""Files as people bring them: moments of several units, lines that are no bars, marks in numbers.

Oracle: the frame that was written.
"""

from __future__ import annotations

import gzip

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipelines.config.sources import FilesSource, SqlSource
from pipelines.errors import SourceError
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.session_dates import session_keys
from tests.pipelines.sources.conftest import DAYS, in_order

UNITS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}


def moments(days, unit: str, shift: int = 0) -> list[int]:
    return [(pd.Timestamp(day).value // 10**9 + shift) * UNITS[unit] for day in days]


def check(source, market: pd.DataFrame) -> None:
    got = in_order(fetch_bars(source, DAYS))
    wanted = in_order(market)
    for name in ("date", "instrument", "open", "high", "low", "close", "volume"):
        assert got[name].tolist() == wanted[name].tolist()


@pytest.mark.parametrize("actual", list(UNITS))
@pytest.mark.parametrize("stated", list(UNITS))
def test_a_unit_that_is_not_the_stated_one_is_an_error(stated, actual):
    right = moments(DAYS[:2], stated)
    values = pa.array([*right, *moments(DAYS[2:], actual)])
    if stated == actual:
        assert session_keys(values, stated, None, "x").to_pylist() == list(DAYS)
        return
    message = rf"^f\.csv, line 13: {values[2]} is no moment in {stated}, but one "
    with pytest.raises(SourceError, match=message + f"in {actual}.*source.date_format: epoch"):
        session_keys(values, stated, None, "f.csv", where=lambda row: f", line {row + 11}")
    assert session_keys(values, "epoch", None, "x").to_pylist() == list(DAYS)


@pytest.mark.parametrize("unit", list(UNITS))
def test_bars_of_long_ago_keep_their_days(unit):
    """Midnights of New York and London, and the last moment of a day, in 1962 and 1970."""
    days = ["1962-01-02", "1969-12-31", "1970-01-02", "1970-01-19", "1970-02-27", "1999-12-31"]
    for shift in (0, 5 * 3600, 14 * 3600 + 1800, 86_399):
        keys = session_keys(pa.array(moments(days, unit, shift)), unit, "UTC", "x")
        assert keys.to_pylist() == days


def test_the_file_whose_unit_differs_is_named(market, files, tmp_path):
    early = market["date"] < DAYS[4]
    for name, rows, unit in (("a", market[early], "epoch_ms"), ("b", market[~early], "epoch_us")):
        rows.assign(date=moments(rows["date"], unit)).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(SourceError, match=r"b\.csv, column date, line 2: \d{16} "):
        files("*.csv", date_format="epoch_ms").days()
    check(files("*.csv", date_format="epoch"), market)


@pytest.mark.parametrize(
    ("form", "day"),
    [
        ("%Y/%m/%d", "{0.year}/{0.month}/{0.day}"),
        ("%Y-%m-%d", "{0.year}-{0.month}-{0.day}"),
        (None, " {0:%Y-%m-%d}"),
        (None, "{0:%Y%m%d}"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_days_whose_texts_sort_otherwise_are_all_read(ending, form, day, market, files, tmp_path):
    """Months without a zero, blanks before a date: no filter on texts leaves out a row."""
    frame = market.assign(date=[day.format(x) for x in pd.to_datetime(market["date"])])
    path = tmp_path / f"bars.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    source = files(path.name, date_format=form)
    for key in DAYS:
        assert len(source.fetch([key])) == (market["date"] == key).sum()


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (None, ["2018-01-02 00:00:00-05", "2018-07-02 00:00:00-04"]),  # as PostgreSQL writes them
        (None, ["2018-01-02T00:00:00-0500", "2018-07-02T04:00:00Z"]),
        ("%m/%d/%Y %H:%M %z", ["01/02/2018 00:00 -0500", "07/02/2018 00:00 -0400"]),
    ],
)
def test_offsets_of_summer_and_winter(form, texts):
    keys = session_keys(pa.array(texts), form, "America/New_York", "x")
    assert keys.to_pylist() == ["2018-01-02", "2018-07-02"]
    with pytest.raises(SourceError, match=r"set source\.timezone to the market's"):
        session_keys(pa.array(texts), form, None, "x")


def test_a_query_is_bound_in_one_unit():
    with pytest.raises(ValidationError, match="bound in one unit"):
        SqlSource.model_validate(
            {"kind": "sql", "url": "sqlite:///x", "basis": "adjusted", "date_format": "epoch",
             "query": "SELECT * FROM b WHERE d BETWEEN :start AND :end"}
        )  # fmt: skip


TOTAL, TITLE = "Total rows: 18,,,,,,\n", "Daily bars of our desk\n"


def test_a_line_that_is_no_bar_is_shown_with_its_row(market, files, tmp_path):
    path = tmp_path / "bars.csv"
    text = market[["date", *market.columns.drop("date")]].to_csv(index=False)
    commas = "," * text.splitlines()[0].count(",")
    rows = len(market)
    path.write_text(text + f"Total rows: {rows}{commas}\n")
    with pytest.raises(
        SourceError,
        match=rf"bars\.csv, column date, line {rows + 2}: dates that cannot be "
        rf"read, such as 'Total rows: {rows}'.*source\.skip_lines",
    ):
        files("bars.csv").days()


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_titles_comments_totals_and_repeated_headers_are_skipped(
    ending, encoding, market, files, tmp_path
):
    market = market.drop(columns=["amount"])[["date", *market.columns.drop(["date", "amount"])]]
    head, *lines = market.to_csv(index=False).splitlines(keepends=True)
    text = "".join([TITLE, "# by hand\n", head, *lines[:5], "again,date\n", *lines[5:], TOTAL])
    content = text.encode(encoding)
    (tmp_path / f"b.{ending}").write_bytes(gzip.compress(content) if "gz" in ending else content)
    skip = "^(Daily|#|again|Total)"
    check(files(f"b.{ending}", skip_lines=skip, encoding=encoding), market)


def test_keys_of_the_writing_are_no_part_of_a_markets_identity():
    plain = {"kind": "files", "path": "b.csv", "basis": "adjusted"}
    writing = {"skip_lines": "^#", "encoding": "utf-16", "decimal": ",", "thousands": ".",
               "header": 3, "names": ["date"], "ignore": ["README*"]}  # fmt: skip
    one, two = (FilesSource.model_validate({**plain, **more}) for more in ({}, writing))
    assert one.model_dump(mode="json") == two.model_dump(mode="json")
    assert set(one.model_dump()) == {
        "kind", "columns", "basis", "date_format", "timezone", "codes", "scale", "keep"
    }  # fmt: skip


@pytest.mark.parametrize("skip", ["(", "[a"])
def test_an_expression_that_is_none_is_refused(skip):
    with pytest.raises(ValidationError, match="no regular expression"):
        FilesSource.model_validate(
            {"kind": "files", "path": "b", "basis": "adjusted", "skip_lines": skip}
        )


def test_a_number_in_another_writing_names_the_keys(market, files, tmp_path):
    market.to_csv(tmp_path / "b.csv", index=False, sep=";", decimal=",")
    with pytest.raises(
        SourceError, match=r"b\.csv, column open, line 2: '[\d,]+'.*source\.decimal"
    ):
        files("b.csv", delimiter=";").fetch(DAYS)
    check(files("b.csv", delimiter=";", decimal=","), market)


@pytest.mark.parametrize(
    ("keys", "volume", "message"),
    [
        ({"thousands": ","}, "49,7968", r"line 5: '49,7968' is no .* source.thousands is ','"),
        ({"thousands": ","}, "1,23", r"line 5: '1,23' is no .* source.thousands is ','"),
        ({"decimal": ","}, "1.234", r"line 5: '1.234' is no .* source.decimal is ','"),
    ],
)
def test_a_mark_in_the_wrong_place_is_an_error(keys, volume, message, market, files, tmp_path):
    texts = market.assign(volume="1000").astype(str)
    if "decimal" in keys:
        texts = texts.apply(lambda column: column.str.replace(".", ",", regex=False))
    texts.loc[3, "volume"] = volume
    texts.to_csv(tmp_path / "b.csv", index=False, sep=";")
    with pytest.raises(SourceError, match=message):
        files("b.csv", delimiter=";", **keys).fetch(DAYS)


def test_indian_groups_are_thousands(market, files, tmp_path):
    texts = market.assign(volume="12,34,567.5").astype(str)
    texts.to_csv(tmp_path / "b.csv", index=False, sep=";")
    check(files("b.csv", delimiter=";", thousands=","), market.assign(volume=1234567.5))


# --- lines that pyarrow does not read ----------------------------------------------------------
