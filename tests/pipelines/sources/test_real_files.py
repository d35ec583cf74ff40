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

COLUMNS = ["date", "instrument", "open", "high", "low", "close", "volume"]


def wide(market: pd.DataFrame, levels=("Price", "Ticker"), *, index: bool = True) -> str:
    """The bars as pandas writes columns of two levels: fields above instruments."""
    table = market.rename(columns=str.capitalize).pivot_table(
        index="Date", columns="Instrument", values=["Close", "High", "Low", "Open", "Volume"]
    )
    table.columns.names = list(levels)
    table.index.name = "Date" if index else None
    return table.to_csv()


FIELDS = {name: name.capitalize() for name in ("open", "high", "low", "close", "volume")}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("index", [True, False])
def test_fields_and_instruments_above_each_other_are_a_wide_table(
    swapped, index, market, files, tmp_path
):
    """A name without a value on a day has no bar on it."""
    text = wide(market, index=index)
    rows = 3 if index else 2
    if swapped:
        above, below, *rest = text.splitlines(keepends=True)
        text = "".join([below, above, *rest])
    (tmp_path / "b.csv").write_text(text)
    columns = {"instrument": "Ticker", "date": "Date" if index else "", **FIELDS}
    source = files("b.csv", header=rows, columns=columns)
    check(source, market)
    assert source.days().to_dict() == market["date"].value_counts().to_dict()


def test_a_file_a_symbol_with_the_symbol_in_its_header(market, files, tmp_path):
    for name, rows in market.groupby("instrument"):
        (tmp_path / f"file of {name}.csv").write_text(wide(rows))
    columns = {"instrument": "Ticker", "date": "Date", **FIELDS}
    check(files("*.csv", header=3, columns=columns), market)


def test_merged_cells_of_an_upper_row(market, files, tmp_path):
    """Excel leaves the cells of a merged heading empty but for the first."""
    one = market[market["instrument"] == "AAA"]
    body = one[["date", *COLUMNS[2:]]].to_csv(index=False, header=False)
    (tmp_path / "b.csv").write_text(",AAA,,,,\nDate,Open,High,Low,Close,Volume\n" + body)
    check(files("b.csv", header=2, columns={"date": "Date", **FIELDS}), one)


@pytest.mark.parametrize(
    ("head", "rows", "message"),
    [
        ("Date,Open,High,Low,Close,Volume\n,USD,USD,USD,USD,pieces\n", 2, "skip_lines"),
        ("a,b,c,d,e,f\ng,h,i,j,k,l\nm,n,o,p,q,r\n", 3, "has 3 rows of header"),
        (
            ",AAA,AAA,AAA,AAA,AAA\nDate,Open,Open,Low,Close,Volume\n",
            2,
            "two columns 'AAA', 'Open' in",
        ),
    ],
)
def test_rows_that_are_no_header_are_refused(head, rows, message, market, files, tmp_path):
    one = market[market["instrument"] == "AAA"]
    body = one[["date", *COLUMNS[2:]]].to_csv(index=False, header=False)
    (tmp_path / "b.csv").write_text(head + body)
    with pytest.raises(SourceError, match=rf"b\.csv.*{message}"):
        files("b.csv", header=rows, columns={"date": "Date", **FIELDS}).fetch(DAYS)


def test_names_take_the_place_of_a_header(market, files, tmp_path):
    market[COLUMNS].to_csv(tmp_path / "b.csv", index=False, header=False)
    check(files("b.csv", names=COLUMNS), market)
    check(files("b.csv", names=COLUMNS, header="none"), market)
    with pytest.raises(SourceError, match=r"line 1 has 7 fields.*source.names \(--names\) has 6"):
        files("b.csv", names=COLUMNS[:-1]).fetch(DAYS)
    with pytest.raises(ValidationError, match="header: none needs names"):
        files("b.csv", header="none")
    market[COLUMNS].to_csv(tmp_path / "b.csv", index=False, header=list("abcdefg"))
    check(files("b.csv", names=COLUMNS, header=1), market)


@pytest.mark.parametrize("end", [",,,,,,\n", "\n\n", "  \n", ""])
def test_repeated_headers_and_blank_rows_are_no_bars(end, market, files, tmp_path):
    head, *lines = market[COLUMNS].to_csv(index=False).splitlines(keepends=True)
    (tmp_path / "b.csv").write_text("".join([head, *lines[:4], head, *lines[4:]]) + end)
    check(files("b.csv"), market)


@pytest.mark.parametrize("line", ["Total rows: 18", "Total,18", "Total rows: 18,,,,,,"])
def test_a_footer_of_any_width_is_shown_with_its_line(line, market, files, tmp_path):
    text = market[COLUMNS].to_csv(index=False)
    (tmp_path / "b.csv").write_text(text + line + "\n")
    with pytest.raises(
        SourceError, match=rf"b\.csv.*, line {len(market) + 2}: .*Total.*skip_lines"
    ):
        files("b.csv").fetch(DAYS)
    check(files("b.csv", skip_lines="^Total"), market)


@pytest.mark.parametrize("value", ["n.a.", "12%", "(5)", "1.5 USD/t"])
def test_a_value_that_is_no_number_is_shown_with_its_line(value, market, files, tmp_path):
    texts = market[COLUMNS].astype(str)
    texts.loc[7, "volume"] = value
    texts.to_csv(tmp_path / "b.csv", index=False)
    shown = value.replace("(", r"\(").replace(")", r"\)")
    message = rf"b\.csv, column volume, line 9: '{shown}' is no number.*source\.decimal.*skip_lines"
    with pytest.raises(SourceError, match=message):
        files("b.csv").fetch(DAYS)


def test_currencies_and_units_are_read_everywhere(market, files, tmp_path):
    """The same in a CSV and in a column of text of a Parquet file."""
    market = market.assign(volume=([1500.0, 1.2e6, 3e9] * 6)[: len(market)])
    units = {1500.0: "1.5K", 1.2e6: "1.2M", 3e9: "3bn"}
    texts = market[COLUMNS].assign(
        volume=market["volume"].map(units), close="$" + market["close"].astype(str)
    )
    texts.to_csv(tmp_path / "b.csv", index=False)
    texts.to_parquet(tmp_path / "b.parquet")
    check(files("b.csv"), market)
    check(files("b.parquet"), market)
    texts.loc[2, "close"] = "€1.5"
    texts.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(SourceError, match=r"column close, line 4: '€1\.5', and other rows are in "):
        files("b.csv").fetch(DAYS)


def test_two_columns_of_one_name_are_never_chosen_silently(market, files, tmp_path):
    twice = market[[*COLUMNS, "close"]].copy()
    twice.columns = [*COLUMNS, "close"]
    twice.iloc[:, -1] *= 2
    twice.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(SourceError, match=r"b\.csv has several columns named 'close'.*'close\.1'"):
        files("b.csv").fetch(DAYS)
    check(files("b.csv", columns={"close": "close"}), market)
    other = in_order(fetch_bars(files("b.csv", columns={"close": "close.1"}), DAYS))
    assert other["close"].tolist() == (2 * in_order(market)["close"]).tolist()


def test_an_encoding_that_is_not_that_of_the_file_is_named_with_the_line(market, files, tmp_path):
    text = market[COLUMNS].assign(instrument=market["instrument"].str.replace("CCC", "Ä"))
    content = text.to_csv(index=False).encode("latin-1")
    (tmp_path / "b.csv").write_bytes(content)
    line = content[: content.index(b"\xc4")].count(b"\n") + 1
    with pytest.raises(SourceError, match=rf"line {line} is not utf-8 \(source\.encoding\)"):
        files("b.csv").fetch(DAYS)
    check(files("b.csv", encoding="latin-1"), text)


def test_a_large_file_is_never_read_line_by_line(market, files, tmp_path, monkeypatch):
    """Its lines would take the memory of many machines; the value is shown without its line."""
    texts = market[COLUMNS].astype(str)
    texts.loc[7, "volume"] = "many"
    texts.to_csv(tmp_path / "b.csv", index=False)
    monkeypatch.setattr("pipelines.sources.file_formats._LINES_BYTES", 10)
    monkeypatch.setattr("pipelines.sources.file_formats.split_lines", None)
    with pytest.raises(SourceError, match=r"b\.csv cannot be read.*many.*source\.skip_lines"):
        files("b.csv").fetch(DAYS)


# --- which files ---------------------------------------------------------------------------------


def test_folders_that_say_the_day_and_the_instrument(market, files, tmp_path):
    for (day, name), rows in market.groupby(["date", "instrument"]):
        folder = tmp_path / "bars" / f"date={day}" / f"symbol={name}"
        folder.mkdir(parents=True)
        rows.drop(columns=["date", "instrument"]).to_parquet(folder / "part-0.parquet")
    pattern = r"date=([^/]+)/symbol=([^/]+)/"
    source = files("bars", from_name=["date", "instrument"], name_pattern=pattern)
    check(source, market)
    assert len(source._listed(DAYS[0], DAYS[0])) == (market["date"] == DAYS[0]).sum()
    with pytest.raises(ValidationError, match="one group for each, in their order"):
        files("bars", from_name=["date", "instrument"], name_pattern=r"date=([^/]+)/")


def test_files_that_hold_no_bars_are_told_and_left_out(market, files, tmp_path):
    folder = tmp_path / "bars"
    (folder / ".cache").mkdir(parents=True)
    market.to_csv(folder / "b.csv", index=False)
    market.to_csv(folder / ".cache" / "old.csv", index=False)
    (folder / "README.md").write_text("bars")
    (folder / ".DS_Store").write_bytes(b"x")
    source = files("bars")
    check(source, market)
    assert source.unread() == [".DS_Store", ".cache/old.csv", "README.md"]
    (folder / "index.csv").write_text("date,close\n2024-01-02,1.0\n")
    with pytest.raises(
        SourceError, match=r"index\.csv has no column.*source\.ignore: \['index\.csv'"
    ):
        files("bars").fetch(DAYS)
    source = files("bars", ignore="index*")
    check(source, market)
    assert "index.csv" in source.unread()
    (stray,) = files("bars").strays()
    assert files("bars").below(stray) == "index.csv"


def test_a_column_names_the_instrument_whatever_the_file_is_called(market, files, tmp_path):
    for name, rows in market.groupby("instrument"):
        rows.to_csv(tmp_path / f"{name.lower()}_us_daily.csv", index=False)
    check(files("*.csv"), market)


# --- vwap -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["adjusted", {"factor": "factor", "prices": "adjusted"}])
def test_a_vwap_that_is_named_becomes_the_amount(basis, market, files, tmp_path):
    """Oracle: amount = vwap × volume; a vwap that is adjusted goes with a volume that is."""
    market = market.assign(vwap=market["close"] * 0.995)
    wanted = (market["vwap"] * market["volume"]).tolist()
    given = market.drop(columns="amount")
    if basis != "adjusted":
        for name in ("open", "high", "low", "close", "vwap"):
            given[name] *= given["factor"]
        given["volume"] /= given["factor"]
    given.rename(columns={"vwap": "VW"}).to_csv(tmp_path / "b.csv", index=False)
    got = in_order(fetch_bars(files("b.csv", basis=basis, columns={"vwap": "VW"}), DAYS))
    assert got["amount"].tolist() == pytest.approx(wanted, rel=1e-12)
    assert fetch_bars(files("b.csv", basis=basis), DAYS)["amount"].isna().all()


def test_a_vwap_is_read_only_if_it_is_named(market, files, tmp_path):
    market.assign(vwap=1.0).to_csv(tmp_path / "b.csv", index=False)
    got = in_order(fetch_bars(files("b.csv"), DAYS))
    assert got["amount"].tolist() == in_order(market)["amount"].tolist()
    with pytest.raises(ValidationError, match=r"vwap and amount are both named"):
        files("b.csv", columns={"vwap": "vwap", "amount": "amount"})
    with pytest.raises(SourceError, match=r"no column 'VW' that source\.columns gives for vwap"):
        files("b.csv", needs_amount=True, columns={"vwap": "VW"}).fetch(DAYS)
