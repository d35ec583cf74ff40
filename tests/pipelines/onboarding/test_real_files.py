"""`rnn-pipelines init` over files as people bring them. Oracle: the frame that was written."""

from __future__ import annotations

from pathlib import Path

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


def init(*flags: str) -> int:
    return main(["init", "--name", "m", *flags])


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
    ],
)
def test_the_writing_of_numbers_is_seen(texts, section):
    assert guess_numbers({"close": texts}) == section


@pytest.mark.parametrize("text", ["1.2M", "$49.79", "300K", "49.79 EUR", "12%"])
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
    assert f"row {len(bars) + 1} below the header: dates that cannot be read" in said
    assert "'Total rows: 99'" in said
    assert "--skip-lines" in said
    assert not (here / "m.yaml").exists()
    assert init("--path", "b.csv", "--skip-lines", "^Total") == 0
    read(bars)


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
