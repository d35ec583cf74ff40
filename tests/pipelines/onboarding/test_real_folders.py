"""`rnn-pipelines init` over folders, indexes and prices as people bring them.

Oracle: the frame that was written.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from pipelines.cli.main import main
from pipelines.config.loader import load_config
from pipelines.sources.files import FilesBars
from tests.pipelines.onboarding.real_files import PLAIN, bars, here, init, read  # noqa: F401

pytestmark = pytest.mark.thorough  # many forms of one claim


@pytest.mark.parametrize(
    "order",
    [["date", "symbol"], pytest.param(["symbol", "date"], marks=pytest.mark.thorough)],
)
def test_folders_of_both_keys(order, bars, here):  # noqa: F811
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
def test_days_in_the_names_of_files(form, pattern, date_format, bars, here):  # noqa: F811
    for day, rows in bars[PLAIN].groupby("date"):
        path = here / "b" / pd.Timestamp(day).strftime(form)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.drop(columns="date").to_csv(path, index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert (source.named, source.date_format) == (("date",), date_format)
    assert source.name_pattern == pattern
    read(bars)


def test_folders_of_files_of_one_name_are_the_instruments(bars, here, capsys):  # noqa: F811
    for name, rows in bars[PLAIN].groupby("instrument"):
        (here / "b" / name).mkdir(parents=True)
        rows.drop(columns="instrument").to_csv(here / "b" / name / "daily.csv", index=False)
    assert init("--path", "b") == 0
    assert "instrument = the name of the folder, as S0001" in capsys.readouterr().out
    read(bars)


def test_codes_in_the_names_of_files_are_qlibs(bars, here):  # noqa: F811
    (here / "b").mkdir()
    for k, (_, rows) in enumerate(bars[PLAIN].groupby("instrument")):
        rows.drop(columns="instrument").to_csv(here / "b" / f"sh.60000{k}.csv", index=False)
    assert init("--path", "b") == 0
    source = load_config("m.yaml").market.source
    assert set(FilesBars(source).fetch(["2018-01-02"])["instrument"]) == {
        f"SH60000{k}" for k in range(10)
    }


def test_a_delimiter_that_is_not_seen_is_asked_for(bars, here, capsys):  # noqa: F811
    bars[PLAIN].to_csv(here / "b.csv", index=False, sep=" ")
    assert init("--path", "b.csv") == 1
    assert "b.csv, line 1: 'date instrument open" in (said := capsys.readouterr().err)
    assert "is one field where the delimiter is ',': say which it is, --delimiter" in said
    assert init("--path", "b.csv", "--delimiter", " ") == 0
    read(bars)


def test_other_files_among_the_bars_are_said(bars, here, capsys):  # noqa: F811
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


def test_an_index_among_the_rows_has_closes_only(bars, here, capsys):  # noqa: F811
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
def test_bars_in_another_writing_are_never_left_out(sep, bars, here, capsys):  # noqa: F811
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


def test_an_index_in_a_provider_folder_has_closes_only(bars, here, capsys):  # noqa: F811
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


def test_days_from_start_to_end(bars, here):  # noqa: F811
    bars[PLAIN].to_parquet(here / "b.parquet")
    days = sorted(bars["date"].unique())
    span = ("--start", days[40], "--end", days[380])
    assert init("--path", "b.parquet", *span) == 0
    market = load_config("m.yaml").market
    assert (str(market.start), str(market.end)) == (days[40], days[380])


# --- prices ---------------------------------------------------------------------------------------


def test_prices_as_traded_are_never_taken_as_adjusted(traded, bars, here, capsys):  # noqa: F811
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


def test_a_previous_close_that_nobody_restated_is_no_basis(traded, here, capsys):  # noqa: F811
    """It states no split, and the prices have some; the adjusted close tells of them."""
    plain = traded.groupby("instrument")["close"].shift().fillna(traded["close"])
    traded.assign(preclose=plain)[[*PLAIN, "preclose", "adj_close"]].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 0
    assert "not preclose: preclose: the prices show" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.basis.adj_close == "adj_close"


def test_a_basis_by_hand_is_taken_and_what_contradicts_it_said(traded, bars, here, capsys):  # noqa: F811
    bars.assign(adj_close=traded["close"])[[*PLAIN, "adj_close"]].to_csv(
        here / "b.csv", index=False
    )
    assert init("--path", "b.csv", "--basis", "adj_close") == 0
    said = capsys.readouterr().out
    assert re.search("adj_close as given, against the prices: .* splits that it states do", said)
    assert load_config("m.yaml").market.source.basis.kind == "adj_close"


def test_a_factor_beside_prices_that_do_not_move_by_it(traded, bars, here, capsys):  # noqa: F811
    """An adjusted close beside closes that are adjusted already would adjust them twice."""
    twice = bars.assign(adj_close=bars["close"] * traded["factor"])
    twice[[*PLAIN, "adj_close"]].to_parquet(here / "b.parquet")
    assert init("--path", "b.parquet") == 0
    assert "splits that it states do not show in the prices" in capsys.readouterr().out
    assert load_config("m.yaml").market.source.basis.kind == "adjusted"


def test_an_own_vwap(bars, here, capsys):  # noqa: F811
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


def test_a_quick_draft_trains_little(bars, here):  # noqa: F811
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
