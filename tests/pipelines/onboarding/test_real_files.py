"""`rnn-pipelines init` over files as people bring them. Oracle: the frame that was written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.errors import SourceError
from pipelines.onboarding.infer_columns import guess_dates, guess_numbers
from pipelines.sources.files import FilesBars

PLAIN = ["date", "instrument", "open", "high", "low", "close", "volume"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own, and nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return tmp_path


@pytest.fixture
def bars(traded) -> pd.DataFrame:
    """The market with prices adjusted."""
    factor = traded["factor"] / traded.groupby("instrument")["factor"].transform("last")
    prices = {name: traded[name] * factor for name in ("open", "high", "low", "close")}
    return traded.assign(**prices)


def init(*flags: str) -> int:
    return main(["init", "--name", "m", "--calendar", "XNYS", *flags])  # the search takes seconds


def read(bars: pd.DataFrame) -> None:
    """The market that was written reads the bars."""
    source = load_config("m.yaml").market.source
    days = sorted(bars["date"].unique())
    got = FilesBars(source).fetch(days[:3])
    wanted = bars[bars["date"].isin(days[:3])]
    for name in PLAIN:
        assert sorted(got[name]) == sorted(wanted[name])


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


def test_decimal_commas_become_a_market(bars, here):
    wanted = bars[PLAIN].round(4)
    wanted.to_csv(here / "b.csv", index=False, sep=";", decimal=",")
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.decimal == ","
    read(wanted)


def test_the_line_that_is_no_bar_is_shown_and_skipped(bars, here, capsys):
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
def test_the_first_rows_have_their_lines(column, value, message, bars, here, capsys):
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
def test_an_encoding_is_seen_or_said(bars, here, encoding, opens, flags):
    """An accent and the letter after it are a character of GB18030 as well."""
    frame = bars[PLAIN].rename(columns={"open": opens})
    frame.to_csv(here / "b.csv", index=False, encoding=encoding)
    assert init("--path", "b.csv", "--column", f"open={opens}", *flags) == 0
    assert load_config("m.yaml").market.source.encoding == encoding
    read(bars)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_with_a_byte_order_mark(bars, here, encoding):
    bars[PLAIN].to_csv(here / "b.csv", index=False, encoding=encoding)
    assert init("--path", "b.csv") == 0
    read(bars)


@pytest.mark.parametrize(("key", "other"), [("symbol", "instrument"), ("date", "date")])
def test_keys_in_the_names_of_folders(bars, here, key, other):
    bars = bars[bars["date"] < "2019-04-01"]
    for value, rows in bars[PLAIN].groupby(other):
        folder = here / "b" / f"{key}={value}"
        folder.mkdir(parents=True)
        rows.drop(columns=other).to_parquet(folder / "part-0.parquet", index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert source.from_name == other
    read(bars)


def test_data_without_a_bar_that_keeps_the_rules_writes_nothing(bars, here, capsys):
    bars.assign(volume=0.0)[PLAIN].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 1
    said = capsys.readouterr().err
    assert "no bar is left" in said
    assert "zero_volume" in said
    assert not (here / "m.yaml").exists()


# --- headers --------------------------------------------------------------------------------------


def yfinance(bars: pd.DataFrame) -> str:
    """Bars as `yfinance.download(…).to_csv()` writes them: fields, tickers, the index' name."""
    table = bars.rename(columns=str.capitalize).pivot_table(
        index="Date", columns="Instrument", values=["Close", "High", "Low", "Open", "Volume"]
    )
    table.columns.names = ["Price", "Ticker"]
    return table.to_csv()


@pytest.mark.parametrize("kind", ["fields above", "tickers above", "one file a ticker"])
def test_a_download_of_yfinance(kind, bars, here):
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


def test_files_of_another_ending(bars, here, capsys):
    (here / "b").mkdir()
    bars[PLAIN].to_csv(here / "b" / "bars.tsv", sep="\t", index=False)
    assert init("--path", "b") == 1
    assert "no file of bars at" in (said := capsys.readouterr().err)
    assert "only bars.tsv" in said
    assert init("--path", "b/*.tsv") == 1
    assert "(--format)" in capsys.readouterr().err
    assert init("--path", "b/*.tsv", "--format", "csv") == 0
    read(bars)


def test_a_row_of_units_below_the_header_is_named(bars, here, capsys):
    head, *lines = bars[PLAIN].to_csv(index=False).splitlines(keepends=True)
    (here / "b.csv").write_text("".join([head, ",,USD,USD,USD,USD,pieces\n", *lines]))
    assert init("--path", "b.csv") == 1
    said = capsys.readouterr().err
    assert "b.csv, line 2: ',,USD,USD,USD,USD,pieces' is no row of a header of 7 columns" in said
    flag = re.search(r"--skip-lines '(.*?)'", said)[1]
    assert init("--path", "b.csv", "--skip-lines", flag) == 0
    read(bars)


def test_title_and_comments_above_the_header(bars, here, capsys):
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


def test_first_rows_without_a_value_are_no_header(bars, here):
    rows = bars[PLAIN].copy()
    rows.loc[:3, ["open", "high", "low", "close", "volume"]] = np.nan
    rows.to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 0
    assert load_config("m.yaml").market.source.header_rows == 1


def test_no_header(bars, here, capsys):
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
def test_a_flag_that_does_not_fit_is_refused(flag, value, message, bars, here, capsys):
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
def test_flags_that_no_data_fits_are_refused_before_it_is_read(flags, message, here, capsys):
    assert main(["init", "--path", "absent", *flags]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_names_in_the_place_of_a_header(bars, here, capsys):
    bars[PLAIN].to_csv(here / "b.csv", index=False, header=list("abcdefg"))
    assert init("--path", "b.csv", "--names", ",".join(PLAIN)) == 1
    assert "b.csv, line 1: 'a,b,c,d,e,f,g' is no bar; if it is a header" in capsys.readouterr().err
    assert init("--path", "b.csv", "--names", ",".join(PLAIN), "--header", "1") == 0
    read(bars)


def test_a_zone_for_days_is_said_to_be_idle(bars, here, capsys):
    bars[PLAIN].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv", "--timezone", "Asia/Tokyo") == 0
    assert "Asia/Tokyo is not used: the dates are days already" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.timezone is None


def test_a_calendar_that_fits_better_than_the_named_one_is_said(bars, here, capsys):
    bars[PLAIN].to_csv(here / "b.csv", index=False)
    words = ["init", "--path", "b.csv", "--name", "m", "--calendar"]
    assert main([*words, "XTSE"]) == 0
    assert re.search(r"XTSE, 9.*better ones are XNYS 100\.0%", capsys.readouterr().out)
    assert main([*words, "XTKS", "--force"]) == 1
    assert "choose another, as XNYS 100.0%" in capsys.readouterr().err


def test_two_columns_of_one_name_are_asked_for(bars, here, capsys):
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


def test_a_wide_table_of_pandas_is_named(bars, here, capsys):
    wide = bars.set_index(["date", "instrument"])[PLAIN[2:]].unstack()  # noqa: PD010
    wide.to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 1
    said = capsys.readouterr().err
    assert "and 31 more: none is recognised as instrument" in said
    assert "fields and instruments of a wide table: write one row a bar" in said


def test_an_index_without_a_name_holds_the_symbol_or_the_day(bars, here):
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


# --- which files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [["date", "symbol"], ["symbol", "date"]])
def test_folders_of_both_keys(order, bars, here):
    bars = bars[(bars["date"] > "2018-05-01") & bars["instrument"].isin(["S0001", "S0002"])]
    names = {"date": "date", "symbol": "instrument"}
    for keys, rows in bars[PLAIN].groupby([names[key] for key in order]):
        folders = "/".join(f"{key}={value}" for key, value in zip(order, keys, strict=True))
        (here / "b" / folders).mkdir(parents=True)
        rows.drop(columns=["date", "instrument"]).to_csv(
            here / "b" / folders / "part-0.csv", index=False
        )
    assert init("--path", "b") == 0
    assert load_config("m.yaml").market.source.named == tuple(names[key] for key in order)
    read(bars)


@pytest.mark.parametrize(
    ("form", "pattern", "date_format"),
    [
        ("%Y_%m_%d.csv", None, "%Y_%m_%d"),
        ("%d-%m-%Y.csv", None, "%d-%m-%Y"),
        ("bars_%Y%m%d_eod.csv", r"(?:^|/)bars_([^/]+?)_eod\.[^/]+$", "%Y%m%d"),
        ("%Y%m%d/bars.csv", "([^/]+)/[^/]+$", "%Y%m%d"),
    ],
)
def test_days_in_the_names_of_files(form, pattern, date_format, bars, here):
    for day, rows in bars[PLAIN].groupby("date"):
        path = here / "b" / pd.Timestamp(day).strftime(form)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.drop(columns="date").to_csv(path, index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert (source.named, source.date_format) == (("date",), date_format)
    assert source.name_pattern == pattern
    read(bars)


def test_folders_of_files_of_one_name_are_the_instruments(bars, here, capsys):
    for name, rows in bars[PLAIN].groupby("instrument"):
        (here / "b" / name).mkdir(parents=True)
        rows.drop(columns="instrument").to_csv(here / "b" / name / "daily.csv", index=False)
    assert init("--path", "b") == 0
    assert "instrument = the name of the folder, as S0001" in capsys.readouterr().out
    read(bars)


def test_codes_in_the_names_of_files_are_qlibs(bars, here):
    (here / "b").mkdir()
    for k, (_, rows) in enumerate(bars[PLAIN].groupby("instrument")):
        rows.drop(columns="instrument").to_csv(here / "b" / f"sh.60000{k}.csv", index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert set(FilesBars(source).fetch(["2018-01-02"])["instrument"]) == {
        f"SH60000{k}" for k in range(10)
    }


def test_a_delimiter_that_is_not_seen_is_asked_for(bars, here, capsys):
    bars[PLAIN].to_csv(here / "b.csv", index=False, sep=" ")
    assert init("--path", "b.csv") == 1
    assert "b.csv, line 1: 'date instrument open" in (said := capsys.readouterr().err)
    assert "is one field where the delimiter is ',': say which it is, --delimiter" in said
    assert init("--path", "b.csv", "--delimiter", " ") == 0
    read(bars)


def test_other_files_among_the_bars_are_said(bars, here, capsys):
    """An index that has closes only, a table of members, a text, and a hidden file."""
    (here / "b").mkdir()
    for name, rows in bars.groupby("instrument"):
        rows[PLAIN].drop(columns="instrument").to_csv(here / "b" / f"{name}.csv", index=False)
    one = bars[bars["instrument"] == "S0001"]
    one[["date", "close"]].to_csv(here / "b" / "^GSPC.csv", index=False)
    (here / "b" / "members.csv").write_text("instrument,start,end\nS0001,2018-01-01,2030-01-01\n")
    (here / "b" / "README.txt").write_text("These are bars.\nOf ten names.\n")
    (here / "b" / "notes.md").write_text("x")
    (here / "b" / ".DS_Store").write_bytes(b"x")
    assert init("--path", "b") == 0
    said = capsys.readouterr().out
    assert "ignored    3 files without the columns of bars: README.txt, ^GSPC.csv, members" in said
    assert "not read   2 files that are no tables: .DS_Store, notes.md" in said
    config = load_config("m.yaml")
    assert set(config.market.source.ignore) == {"README.txt", "^GSPC.csv", "members.csv"}
    assert config.schedule.drop_folder == here / "b"
    read(bars)
    assert main(["validate", "m.yaml"]) == 0
    assert "5 files are not read as bars" in capsys.readouterr().out


def test_an_index_among_the_rows_has_closes_only(bars, here, capsys):
    index = bars[bars["instrument"] == "S0001"].assign(
        instrument="^GSPC", open=np.nan, high=np.nan, low=np.nan, volume=0.0
    )
    pd.concat([bars, index])[PLAIN].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 0
    assert "every row of ^GSPC is set aside, as of an index" in capsys.readouterr().out
    assert init("--path", "b.csv", "--force", "--skip-lines", r",\^GSPC,") == 0
    assert "set aside" not in capsys.readouterr().out
    read(bars)


@pytest.mark.parametrize("sep", [";", ","])
def test_bars_in_another_writing_are_never_left_out(sep, bars, here, capsys):
    """Files of other delimiters or other names of columns."""
    (here / "b").mkdir()
    for name, rows in bars[PLAIN].groupby("instrument"):
        rows.to_csv(here / "b" / f"{name}.csv", index=False)
    other = bars[bars["instrument"] == "S0009"][PLAIN].rename(columns={"close": "Last"})
    other.to_csv(here / "b" / "S0009.csv", index=False, sep=sep)
    assert init("--path", "b") == 1
    said = capsys.readouterr().err
    assert re.search("S0009.csv has no column .*written otherwise than those of the first", said)
    assert not (here / "m.yaml").exists()


def test_an_index_in_a_provider_folder_has_closes_only(bars, here, capsys):
    """And members that were delisted have no folder at all: a remark with their share."""
    days = sorted(bars["date"].unique())
    features = here / "p" / "features"
    for folder, text in (("calendars/day", "\n".join(days)), ("instruments/mine", "")):
        (here / "p" / folder).parent.mkdir(parents=True)
        (here / "p" / f"{folder}.txt").write_text(text)
    for name, rows in bars.groupby("instrument"):
        rows = rows.set_index("date").reindex(days)
        (features / name.lower()).mkdir(parents=True)
        for field in ("open", "high", "low", "close", "volume"):
            values = np.append(0.0, rows[field]).astype("<f4")
            values.tofile(features / name.lower() / f"{field}.day.bin")
    (features / "sh000300").mkdir()
    np.append(0.0, range(1, len(days) + 1)).astype("<f4").tofile(
        features / "sh000300" / "close.day.bin"
    )
    names = [*sorted(bars["instrument"].unique()), "GONE"]
    lines = "".join(f"{name}\t{days[0]}\t{days[-1]}\n" for name in names)
    (here / "p" / "instruments" / "mine.txt").write_text(lines)
    assert init("--path", "p") == 0
    said = capsys.readouterr().out
    assert "1 folders without bars are not read as bars: sh000300" in said
    assert "1 of its 11 names have no bar, 9.1% (GONE)" in said
    config = load_config("m.yaml")
    assert config.market.universe.market == "mine"
    assert config.schedule.drop_folder == here / "p" / "calendars"


def test_days_from_start_to_end(bars, here):
    bars[PLAIN].to_parquet(here / "b.parquet")
    days = sorted(bars["date"].unique())
    span = ("--start", days[40], "--end", days[380])
    assert init("--path", "b.parquet", *span) == 0
    market = load_config("m.yaml").market
    assert (str(market.start), str(market.end)) == (days[40], days[380])


# --- prices ---------------------------------------------------------------------------------------


def test_prices_as_traded_are_never_taken_as_adjusted(traded, bars, here, capsys):
    traded[PLAIN].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 1
    said = capsys.readouterr().err
    assert "no price basis agrees with the prices, and nothing was written: adjusted: the" in said
    assert re.search(r"show \d+ splits that it does not state, such as S\d{4} 201\d", said)
    assert "--basis adjusted" in said
    assert not (here / "m.yaml").exists()
    assert init("--path", "b.parquet", "--basis", "adjusted") == 0, "a person's word"
    bars[PLAIN].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet", "--force") == 0
    assert load_config("m.yaml").market.source.basis.kind == "adjusted"


def test_a_previous_close_that_nobody_restated_is_no_basis(traded, here, capsys):
    """It states no split, and the prices have some; the adjusted close tells of them."""
    plain = traded.groupby("instrument")["close"].shift().fillna(traded["close"])
    traded.assign(preclose=plain)[[*PLAIN, "preclose", "adj_close"]].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 0
    assert "not preclose: preclose: the prices show" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.basis.adj_close == "adj_close"


def test_a_basis_by_hand_is_taken_and_what_contradicts_it_said(traded, bars, here, capsys):
    bars.assign(adj_close=traded["close"])[[*PLAIN, "adj_close"]].to_csv(
        here / "b.csv", index=False
    )
    assert init("--path", "b.csv", "--basis", "adj_close") == 0
    said = capsys.readouterr().out
    assert re.search("adj_close as given, against the prices: .* splits that it states do", said)
    assert load_config("m.yaml").market.source.basis.kind == "adj_close"


def test_a_factor_beside_prices_that_do_not_move_by_it(traded, bars, here, capsys):
    """An adjusted close beside closes that are adjusted already would adjust them twice."""
    twice = bars.assign(adj_close=bars["close"] * traded["factor"])
    twice[[*PLAIN, "adj_close"]].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 0
    assert "splits that it states do not show in the prices" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.basis.kind == "adjusted"


def test_an_own_vwap(bars, here, capsys):
    """A column inside low and high is taken, one outside is not, and a row outside is set aside."""
    vwap = (bars["low"] + 0.1 * (bars["high"] - bars["low"])).round(2)
    bars = bars.round({"open": 2, "high": 2, "low": 2, "close": 2}).assign(vwap=vwap)
    day = bars["date"].iloc[200]
    bars.loc[200, "vwap"] = bars.loc[200, "high"] + 0.02
    bars[[*PLAIN, "vwap"]].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv") == 0
    said = capsys.readouterr().out
    assert "vwap       the column vwap, which lies in the bars" in said
    assert "1 vwap_outside (the vwap that the data states lies outside low and high), set" in said
    assert f"{bars['instrument'].iloc[200]} {day}" in said
    config = load_config("m.yaml")
    assert (config.market.source.columns["vwap"], config.market.vwap) == ("vwap", "amount")
    bars.assign(vwap=bars["close"] * 3)[[*PLAIN, "vwap"]].to_csv(here / "b.csv", index=False)
    assert init("--path", "b.csv", "--force") == 0
    assert "the column vwap does not lie between low and high" in capsys.readouterr().out
    assert load_config("m.yaml").market.vwap == "typical"


def test_a_quick_draft_trains_little(bars, here):
    bars[PLAIN].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet", "--quick") == 0
    config = load_config("m.yaml")
    assert {model["n_epochs"] for model in config.models.values()} == {5}
    trained = sum(str(config.training.first_trained) <= d for d in bars["date"].unique())
    assert config.training.retrain_every * 2 >= trained
    assert config.checks.model.rank_ic == "warn"
    assert main(["validate", "m.yaml"]) == 0
    assert init("--path", "b.parquet", "--force") == 0
    assert load_config("m.yaml").checks.model.rank_ic == "block"
