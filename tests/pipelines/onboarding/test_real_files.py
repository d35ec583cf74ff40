"""`rnn-pipelines init` over files as people bring them. Oracle: the frame that was written."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.errors import SourceError
from pipelines.onboarding.infer_columns import guess_dates, guess_numbers
from tests.pipelines.onboarding.real_files import PLAIN, bars, here, init, read  # noqa: F401


@pytest.mark.parametrize(
    ("texts", "section"),
    [
        (["49.79", "1e6", "-", "12"], {}),
        (["49,7968", "12"], {"decimal": ","}),
        (["1.234,5", "12"], {"decimal": ",", "thousands": "."}),
        (["1,234.5", "12"], {"thousands": ","}),
        (["1,234,567", "12"], {"thousands": ","}),
        (["12,34,567", "12.5"], {"thousands": ","}),
        (["1 234,5"], {"decimal": ",", "thousands": " "}),
        (["1'234.5"], {"thousands": "'"}),
        (["49,79", "123.456"], {"decimal": ",", "thousands": "."}),
        (["123,456", "49.79"], {"thousands": ","}),
        (["1.2M", "$49.79", "300K", "49.79 EUR"], {}),
        (["1,2M", "49,79 EUR"], {"decimal": ","}),
    ],
)
def test_the_writing_of_numbers_is_seen(texts, section):
    assert guess_numbers({"close": texts}) == section


@pytest.mark.parametrize("text", ["12%", "1.2X", "(5)", "49.79 EUR/t"])
def test_what_is_no_number_is_shown(text):
    with pytest.raises(SourceError, match=r"column vol holds .* which is no number"):
        guess_numbers({"close": ["1.5"], "vol": ["100", text]})


def test_what_may_be_both_is_asked_for():
    with pytest.raises(SourceError, match=r"'1,234' \(column vol\).*--decimal MARK"):
        guess_numbers({"vol": ["1,234", "12"]})


@pytest.mark.thorough
def test_decimal_commas_become_a_market(bars, here):  # noqa: F811
    wanted = bars[PLAIN].round(4)
    wanted.to_csv(here / "b.csv", index=False, sep=";", decimal=",")
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.decimal == ","
    read(wanted)


def test_the_line_that_is_no_bar_is_shown_and_skipped(bars, here, capsys):  # noqa: F811
    text = bars[PLAIN].to_csv(index=False)
    (here / "b.csv").write_text(text + "Total rows: 99,,,,,,\n")
    assert init("--path", "b.csv") != 0
    said = capsys.readouterr().err
    assert f"b.csv, column date, line {len(bars) + 2}: dates that cannot be read" in said
    assert "'Total rows: 99'" in said
    assert "--skip-lines" in said
    assert not (here / "m.yaml").exists()
    assert init("--path", "b.csv", "--skip-lines", "^Total") == 0
    read(bars)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("date", "soon", "and holds 'soon' among dates such as"), ("volume", "12%", "no number")],
)
def test_the_first_rows_have_their_lines(column, value, message, bars, here, capsys):  # noqa: F811
    """A value that fails before anything is read in full is shown with file and line as well."""
    texts = bars[PLAIN].astype(str).head(1000)
    texts.loc[700, column] = value
    texts.to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 1
    said = capsys.readouterr().err
    assert re.search(rf"b\.csv, line 702: column {column} .*{message}", said)


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%Y%m%d"])
def test_the_values_that_fail_are_shown_in_every_form(form):
    days = list(pd.date_range("2022-01-03", periods=40).strftime(form))
    with pytest.raises(SourceError, match="holds 'End of file' among dates"):
        guess_dates(pa.string(), [*days, "End of file"], "Date")


def test_moments_of_several_units_in_one_file():
    values = [1640995200000, 1672531200000000]
    assert guess_dates(pa.int64(), values, "t") == {"date_format": "epoch", "timezone": "UTC"}
    with pytest.raises(SourceError, match=r"numbers such as 17\.0"):
        guess_dates(pa.int64(), [*values, 17], "t")


@pytest.mark.parametrize(
    ("encoding", "opens", "flags"),
    [("cp1252", "Eröffnung €", []), ("gb18030", "开盘价", []), ("cp1250", "Zahajovací",
      ["--encoding", "cp1250"])],
)  # fmt: skip
def test_an_encoding_is_seen_or_said(bars, here, encoding, opens, flags):  # noqa: F811
    """An accent and the letter after it are a character of GB18030 as well."""
    frame = bars[PLAIN].rename(columns={"open": opens})
    frame.to_csv(here / "b.csv", index=False, encoding=encoding)
    assert init("--path", "b.csv", "--column", f"open={opens}", *flags) == 0
    assert load_config("m.yaml").market.source.encoding == encoding
    read(bars)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_with_a_byte_order_mark(bars, here, encoding):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False, encoding=encoding)
    assert init("--path", "b.csv") == 0
    read(bars)


@pytest.mark.thorough
@pytest.mark.parametrize(("key", "other"), [("symbol", "instrument"), ("date", "date")])
def test_keys_in_the_names_of_folders(bars, here, key, other):  # noqa: F811
    bars = bars[bars["date"] < "2019-04-01"]
    for value, rows in bars[PLAIN].groupby(other):
        folder = here / "b" / f"{key}={value}"
        folder.mkdir(parents=True)
        rows.drop(columns=other).to_parquet(folder / "part-0.parquet", index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert source.from_name == other
    read(bars)


def test_data_without_a_bar_that_keeps_the_rules_writes_nothing(bars, here, capsys):  # noqa: F811
    bars.assign(volume=0.0)[PLAIN].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 1
    said = capsys.readouterr().err
    assert "no bar is left" in said
    assert "zero_volume" in said
    assert not (here / "m.yaml").exists()


# --- headers --------------------------------------------------------------------------------------


def yfinance(bars: pd.DataFrame) -> str:  # noqa: F811
    """Bars as `yfinance.download(…).to_csv()` writes them: fields, tickers, the index' name."""
    table = bars.rename(columns=str.capitalize).pivot_table(
        index="Date", columns="Instrument", values=["Close", "High", "Low", "Open", "Volume"]
    )
    table.columns.names = ["Price", "Ticker"]
    return table.to_csv()


@pytest.mark.parametrize("kind", ["fields above", "tickers above", "one file a ticker"])
def test_a_download_of_yfinance(kind, bars, here):  # noqa: F811
    """All tickers in one file, by either order of the levels, or each in its own."""
    (here / "b").mkdir()
    if kind == "one file a ticker":
        for name, rows in bars.groupby("instrument"):
            (here / "b" / f"x{name}.csv").write_text(yfinance(rows))
    else:
        above, below, *rest = yfinance(bars).splitlines(keepends=True)
        order = [above, below] if kind == "fields above" else [below, above]
        (here / "b" / "all.csv").write_text("".join([*order, *rest]))
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert (source.header, source.columns["instrument"]) == (3, "Ticker")
    read(bars)


def test_files_of_another_ending(bars, here, capsys):  # noqa: F811
    (here / "b").mkdir()
    bars[PLAIN].to_csv(here / "b" / "bars.tsv", sep="\t", index=False)
    assert init("--path", "b") == 1
    assert "no file of bars at" in (said := capsys.readouterr().err)
    assert "only bars.tsv" in said
    assert init("--path", "b/*.tsv") == 1
    assert "(--format)" in capsys.readouterr().err
    assert init("--path", "b/*.tsv", "--format", "csv") == 0
    read(bars)


def test_a_row_of_units_below_the_header_is_named(bars, here, capsys):  # noqa: F811
    head, *lines = bars[PLAIN].to_csv(index=False).splitlines(keepends=True)
    (here / "b.csv").write_text("".join([head, ",,USD,USD,USD,USD,pieces\n", *lines]))
    assert init("--path", "b.csv") == 1
    said = capsys.readouterr().err
    assert "b.csv, line 2: ',,USD,USD,USD,USD,pieces' is no row of a header of 7 columns" in said
    flag = re.search(r"--skip-lines '(.*?)'", said)[1]
    assert init("--path", "b.csv", "--skip-lines", flag) == 0
    read(bars)


def test_title_and_comments_above_the_header(bars, here, capsys):  # noqa: F811
    text = bars[PLAIN].to_csv(index=False)
    (here / "b.csv").write_text("# by hand\n#\n" + text)
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.skip_lines == "^#"
    read(bars)
    (here / "b.csv").write_text("Bars of our desk, 2019\n\n" + text)
    assert init("--path", "b.csv", "--force") == 1
    said = capsys.readouterr().err
    assert "line 1: 'Bars of our desk, 2019' is no row of a header of 7 columns and no" in said
    flag = re.search(r"--skip-lines '(.*?)'", said)[1]
    assert init("--path", "b.csv", "--force", "--skip-lines", flag) == 0
    read(bars)


def test_first_rows_without_a_value_are_no_header(bars, here):  # noqa: F811
    rows = bars[PLAIN].copy()
    rows.loc[:3, ["open", "high", "low", "close", "volume"]] = np.nan
    rows.to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.header_rows == 1


def test_no_header(bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False, header=False)
    assert init("--path", "b.csv") == 1
    assert "is a bar, and there is no header above it" in capsys.readouterr().err
    assert init("--path", "b.csv", "--header", "none") == 1
    assert "--header 'none': header: none needs names" in capsys.readouterr().err
    assert init("--path", "b.csv", "--names", ",".join(PLAIN)) == 0
    assert load_config("m.yaml").market.source.names == tuple(PLAIN)
    read(bars)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--header", "2", "--header: of a CSV, and .*b.parquet is parquet"),
        ("--start", "2030-01-01", "--start 2030-01-01: no day is left of 2018-01-02 to 2019-0"),
        ("--end", "2001-01-01", "--end 2001-01-01: no day is left of 2018-01-02 to 2019-0"),
        ("--basis", "factor", "--basis factor: no column of it is known; there are adjusted"),
        ("--basis", "adjclose", "--basis adjclose: no such price basis; did you mean 'adj_close'"),
        ("--date-format", "epoc_ms", "--date-format 'epoc_ms': .* did you mean 'epoch_ms'"),
        ("--date-format", "%d/%Q", "--date-format '%d/%Q': no form of dates: 'Q' is a bad"),
        ("--decimal", "::", "--decimal '::': .* at most 1 character"),
        ("--encoding", "utf8x", "--encoding 'utf8x': no encoding; expected one as utf-8"),
        ("--thousands", ".", "--thousands '.': thousands and decimal are both '.'"),
        ("--skip-lines", "(", r"--skip-lines '\(': no regular expression"),
        ("--universe", "absent.csv", "--universe absent.csv: there is no such file"),
        ("--timezone", "Europe/Berlín", "--timezone Europe/Berlín: unknown .* 'Europe/Berlin'"),
    ],
)
def test_a_flag_that_does_not_fit_is_refused(flag, value, message, bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet", flag, value) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (here / "m.yaml").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--name", "My Market"], "--name 'My Market' is no name .* as in my_market"),
        (["--start", "2019-02-01", "--end", "2019-01-01"], "--end 2019-01-01 lies before --start"),
        (["--source", "qlib_bin", "--basis", "factor", "--header", "2"],
         "--basis, --header: of files, and a qlib folder has a form of its own"),
    ],
)  # fmt: skip
def test_flags_that_no_data_fits_are_refused_before_it_is_read(flags, message, here, capsys):  # noqa: F811
    assert main(["init", "--path", "absent", *flags]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_names_in_the_place_of_a_header(bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False, header=list("abcdefg"))
    assert init("--path", "b.csv", "--names", ",".join(PLAIN)) == 1
    assert "b.csv, line 1: 'a,b,c,d,e,f,g' is no bar; if it is a header" in capsys.readouterr().err
    assert init("--path", "b.csv", "--names", ",".join(PLAIN), "--header", "1") == 0
    read(bars)


def test_a_zone_for_days_is_said_to_be_idle(bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv", "--timezone", "Asia/Tokyo") == 0
    assert "Asia/Tokyo is not used: the dates are days already" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.timezone is None


def test_a_calendar_that_fits_better_than_the_named_one_is_said(bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False)
    words = ["init", "--path", "b.csv", "--name", "m", "--calendar"]
    assert main([*words, "XTSE"]) == 0
    assert re.search(r"XTSE, 9.*better ones are XNYS 100\.0%", capsys.readouterr().out)
    assert main([*words, "XTKS", "--force"]) == 1
    assert "choose another, as XNYS 100.0%" in capsys.readouterr().err


def test_two_columns_of_one_name_are_asked_for(bars, here, capsys):  # noqa: F811
    """Though the name is not ours, and the first of both can be chosen."""
    names = ["Date", "Symbol", "Open", "High", "Low", "Close", "Volume", "Close"]
    bars[[*PLAIN, "open"]].to_csv(here / "b.csv", index=False, header=names)
    assert init("--path", "b.csv") == 1
    assert "has several columns named 'Close': say which one" in capsys.readouterr().err
    assert init("--path", "b.csv", "--column", "close=Close") == 0
    read(bars)
    names = [*PLAIN, "close"]
    bars[[*PLAIN, "open"]].to_csv(here / "b.csv", index=False, header=names)
    assert init("--path", "b.csv", "--column", "close=close", "--force") == 0
    read(bars)


def test_a_wide_table_of_pandas_is_named(bars, here, capsys):  # noqa: F811
    wide = bars.set_index(["date", "instrument"])[PLAIN[2:]].unstack()  # noqa: PD010
    wide.to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 1
    said = capsys.readouterr().err
    assert "and 31 more: none is recognised as instrument" in said
    assert "fields and instruments of a wide table: write one row a bar" in said


def test_an_index_without_a_name_holds_the_symbol_or_the_day(bars, here):  # noqa: F811
    bars[PLAIN].set_index("instrument").to_csv(here / "b.csv", index_label="")
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.columns == {"instrument": ""}
    read(bars)
    indexed = bars[PLAIN].set_index(["date", "instrument"])
    indexed.index.names = [None, None]
    indexed.to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet", "--force") == 0
    columns = load_config("m.yaml").market.source.columns
    assert columns == {"date": "__index_level_0__", "instrument": "__index_level_1__"}
    read(bars)
