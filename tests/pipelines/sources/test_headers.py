"""Headers, rows and folders of files as people bring them. Oracle: the frame that was written."""

from __future__ import annotations

import pandas as pd
import pytest
from pydantic import ValidationError

from pipelines.errors import SourceError
from pipelines.sources.fetch import fetch_bars
from tests.pipelines.sources.conftest import DAYS, in_order
from tests.pipelines.sources.test_real_files import check

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
