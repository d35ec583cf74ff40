"""Bars from files in every layout. Oracle: the frame that was written, and pandas."""

from __future__ import annotations

import gzip
import re

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pipelines.bars.quarantine import broken_rules
from pipelines.errors import BarsNotArrivedError, SourceError
from pipelines.sources import files as files_module
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.fetch import fetch_bars
from tests.pipelines.sources.conftest import DAYS, in_order

BARS = ["date", "instrument", "open", "high", "low", "close", "volume", "amount"]
BASES = {
    "factor": {"factor": "factor"},
    "adj_close": {"adj_close": "adj_close"},
    "preclose": {"preclose": "preclose"},
    "ratio": {"ratio": "adj_ratio"},
}


def check(source, market: pd.DataFrame, keys=DAYS, *, ratio: bool = False) -> None:
    """The source gives the market's bars of the sessions."""
    got = in_order(fetch_bars(source, keys))
    wanted = in_order(market[market["date"].isin(keys)])
    assert tuple(got.columns) == RAW_COLUMNS
    pd.testing.assert_frame_equal(got[BARS], wanted[BARS], rtol=1e-12)
    np.testing.assert_allclose(got["adj_ratio"], wanted["adj_ratio"] if ratio else 1.0, rtol=1e-11)


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "feather"])
def test_one_file_for_all(ending, market, files, tmp_path):
    path = tmp_path / f"bars.{ending}"
    if ending == "parquet":
        market.to_parquet(path, index=False)
    elif ending == "feather":
        pyarrow.feather.write_feather(pa.Table.from_pandas(market), path)
    else:
        market.to_csv(path, index=False)
    source = files(f"bars.{ending}", basis={"factor": "factor"})
    check(source, market, ratio=True)
    assert source.days().to_dict() == market["date"].value_counts().to_dict()


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("basis", list(BASES))
def test_one_file_a_symbol(ending, basis, market, files, tmp_path):
    for name, rows in market.groupby("instrument"):
        rows = rows.drop(columns="instrument")
        path = tmp_path / f"us_{name}.{ending}"
        rows.to_parquet(path, index=False) if ending == "parquet" else rows.to_csv(
            path, index=False
        )
    (tmp_path / f".us_DDD.{ending}").write_text("being written")
    source = files(f"us_*.{ending}", from_name="instrument", name_pattern="us_([A-Z]+)",
                   basis=BASES[basis])  # fmt: skip
    check(source, market, ratio=True)


def test_one_file_a_day_reads_only_the_days_asked_for(market, files, tmp_path):
    folder = tmp_path / "daily"
    folder.mkdir()
    for day, rows in market.groupby("date"):
        name = f"{day.replace('-', '')}.csv"
        rows.drop(columns="date").to_csv(folder / name, index=False)
    source = files("daily", from_name="date", date_format="%Y%m%d")
    assert source.days().to_dict() == market["date"].value_counts().to_dict()
    (folder / "20240102.csv").write_text("not,a,table\n1,2,3")
    check(source, market, DAYS[1:])
    with pytest.raises(SourceError, match=r"20240102\.csv has no column 'instrument' for instr"):
        source.fetch(DAYS[:1])


def test_hive_folders_name_the_day(market, files, tmp_path):
    for day, rows in market.groupby("date"):
        folder = tmp_path / "bars" / f"date={day}"
        folder.mkdir(parents=True)
        rows.drop(columns="date").to_parquet(folder / "part-0.parquet", index=False)
    check(files("bars", from_name="date", name_pattern=r"date=([\d-]+)/"), market)


def test_any_fsspec_url(market, files):
    fs = fsspec.filesystem("memory")
    with fs.open("/market/bars.csv", "wb") as file:
        file.write(market.to_csv(index=False).encode())
    source = files("x")
    source = type(source)(source._settings.model_copy(update={"path": "memory://market/*.csv"}))
    check(source, market)
    fs.rm("/market", recursive=True)


@pytest.mark.parametrize("basis", list(BASES))
def test_a_session_alone_has_the_bits_of_a_range(basis, market, files, tmp_path):
    """Oracle: one fetch of everything. BBB's previous row lies three sessions back."""
    market.to_parquet(tmp_path / "bars.parquet", index=False)
    source = files(basis=BASES[basis])
    whole = in_order(source.fetch(DAYS))
    for keys in ([DAYS[4]], [DAYS[3], DAYS[5]], list(DAYS[2:6])):
        alone = in_order(source.fetch(keys))
        wanted = whole[whole["date"].isin(keys)].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, wanted, check_exact=True)


def test_the_previous_row_may_lie_years_back(files, tmp_path):
    frame = pd.DataFrame({"date": ["2019-03-01", "2024-01-02"], "instrument": "OLD"})
    frame = frame.assign(open=9.0, high=9.0, low=9.0, close=[9.0, 9.0], volume=1.0)
    frame.assign(preclose=[9.0, 3.0]).to_csv(tmp_path / "bars.csv", index=False)
    (row,) = files("bars.csv", basis={"preclose": "preclose"}).fetch(["2024-01-02"]).itertuples()
    assert row.adj_ratio == 3.0


def test_tables_of_splits_and_dividends(market, files, tmp_path):
    market.to_parquet(tmp_path / "bars.parquet", index=False)
    (tmp_path / "splits.csv").write_text(
        f"date,instrument,ratio\n{DAYS[3]},AAA,2\n{DAYS[2]},BBB,1.25\n"
    )
    (tmp_path / "paid.csv").write_text(f"date,instrument,amount\n{DAYS[5]},AAA,0.4\n")
    paths = {"splits": str(tmp_path / "splits.csv"), "dividends": str(tmp_path / "paid.csv")}
    check(files(basis=paths), market, ratio=True)
    (tmp_path / "splits.csv").write_text(f"date,instrument,ratio\n{DAYS[3]},AAA,0\n")
    with pytest.raises(SourceError, match=r"splits: .*the ratio of AAA on 2024-01-05 is 0, expec"):
        files(basis=paths).fetch(DAYS)


def test_adjusted_prices_with_their_factor_become_prices_as_traded(market, files, tmp_path):
    given = market.copy()
    for name in ("open", "high", "low", "close"):
        given[name] *= given["factor"]
    given["volume"] /= given["factor"]
    given.to_parquet(tmp_path / "bars.parquet", index=False)
    check(files(basis={"factor": "factor", "prices": "adjusted"}), market, ratio=True)
    given["factor"] = 1.0 / given["factor"]
    given.to_parquet(tmp_path / "bars.parquet", index=False)
    basis = {"factor": "factor", "prices": "adjusted", "inverse": True}
    check(files(basis=basis), market, ratio=True)


def test_their_names_units_and_numbers(market, files, tmp_path):
    """German notation, lots of a hundred, codes with a place, rows that are no trades."""
    theirs = pd.DataFrame({
        "Tag": pd.to_datetime(market["date"]).dt.strftime("%d.%m.%Y"),
        "Code": market["instrument"].map(
            {"AAA": "sh.600000", "BBB": "000001.SZ", "CCC": "430047.BJ"}),
        **{c.title(): [f"{x:,.4f}".translate(str.maketrans(",.", ".,")) for x in 1000 * market[c]]
           for c in ("open", "high", "low", "close")},
        "Lots": [f"{x:.2f}".replace(".", ",") for x in market["volume"] / 100],
        "Status": 1,
    })  # fmt: skip
    closed = theirs.iloc[:1].assign(Status=0, Close="-")
    pd.concat([theirs, closed]).to_csv(
        tmp_path / "bars.csv", sep=";", index=False, encoding="latin-1"
    )
    source = files(
        "bars.csv", delimiter=";", decimal=",", thousands=".", encoding="latin-1",
        columns={"date": "Tag", "instrument": "Code", "open": "Open", "high": "High", "low": "Low",
                 "close": "Close", "volume": "Lots"},
        scale={"volume": 100, "open": 0.001, "high": 0.001, "low": 0.001, "close": 0.001},
        date_format="%d.%m.%Y", codes="qlib", keep={"Status": 1},
    )  # fmt: skip
    got = fetch_bars(source, DAYS)
    assert set(got["instrument"]) == {"SH600000", "SZ000001", "BJ430047"}
    assert len(got) == len(market)
    wanted = market.assign(instrument=market["instrument"].map(
        {"AAA": "SH600000", "BBB": "SZ000001", "CCC": "BJ430047"}))  # fmt: skip
    numbers = ["open", "high", "low", "close", "volume"]
    np.testing.assert_allclose(in_order(got)[numbers], in_order(wanted)[numbers], rtol=1e-6)
    assert got["amount"].isna().all()


def test_leading_zeros_and_names_that_look_missing_survive(market, files, tmp_path):
    given = market.assign(
        instrument=market["instrument"].map({"AAA": "000001", "BBB": "NA", "CCC": "nan"})
    )
    given.to_csv(tmp_path / "bars.csv", index=False)
    assert set(files("bars.csv").fetch(DAYS)["instrument"]) == {"000001", "NA", "nan"}


@pytest.mark.parametrize("column", ["int32", "date", "nanoseconds", "categories", "floats"])
def test_types_of_parquet(column, market, files, tmp_path):
    keys, given = {}, market.copy()
    if column == "int32":
        given["date"] = given["date"].str.replace("-", "").astype("int32")
        keys = {"date_format": "%Y%m%d"}
    elif column == "floats":
        given["date"] = given["date"].str.replace("-", "").astype("float64")
        keys = {"date_format": "%Y%m%d"}
    elif column == "date":
        given["date"] = pd.to_datetime(given["date"]).dt.date
    elif column == "nanoseconds":
        given["date"] = pd.to_datetime(given["date"]).astype("datetime64[ns]")
    else:
        given["date"] = given["date"].astype("category")
        given["instrument"] = given["instrument"].astype("category")
    given["volume"] = given["volume"].astype("int64")
    given["close"] = given["close"].astype("float64")
    given.to_parquet(tmp_path / "bars.parquet", index=False)
    check(files(**keys), market)
    check(files(**keys), market, DAYS[3:4])


def test_files_need_not_agree_on_types(market, files, tmp_path):
    for k, (name, rows) in enumerate(market.groupby("instrument")):
        rows = rows.astype({"volume": "int64" if k else "float64"})
        if k == 1:
            rows["date"] = pd.to_datetime(rows["date"])
        rows.to_parquet(tmp_path / f"{name}.parquet", index=False)
    check(files("*.parquet"), market)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_times_with_a_zone_need_the_markets(form, market, files, tmp_path):
    """Midnight in New York is the day before in UTC's next morning: the day is the market's."""
    stamps = pd.to_datetime(market["date"]).dt.tz_localize("America/New_York")
    given = market.assign(date=stamps.dt.tz_convert("UTC") if form == "parquet" else stamps)
    path = tmp_path / f"bars.{form}"
    given.to_parquet(path, index=False) if form == "parquet" else given.to_csv(path, index=False)
    with pytest.raises(SourceError, match=r"column date holds times with a time zone.*source\.ti"):
        files(path.name).fetch(DAYS)
    check(files(path.name, timezone="America/New_York"), market)
    check(files(path.name, timezone="America/New_York"), market, DAYS[2:3])


def test_epochs_of_a_market_that_never_closes(market, files, tmp_path):
    stamps = pd.to_datetime(market["date"]).astype("datetime64[ms]").astype("int64")
    market.assign(date=stamps).to_parquet(tmp_path / "bars.parquet", index=False)
    check(files(date_format="epoch_ms"), market)
    check(files(date_format="epoch_ms"), market, DAYS[4:5])
    with pytest.raises(SourceError, match=r"holds numbers such as 17\d+: say what they are"):
        files().fetch(DAYS)


def test_only_row_groups_of_the_days_are_read(market, files, tmp_path, monkeypatch):
    """Oracle: the rows that pyarrow hands over, of a file with one row group a day."""
    path = tmp_path / "bars.parquet"
    rows = market.sort_values("date").assign(date=lambda f: pd.to_datetime(f["date"]))
    with pq.ParquetWriter(path, pa.Table.from_pandas(rows[BARS], preserve_index=False).schema) as w:
        for _, day in rows.groupby("date"):
            w.write_table(pa.Table.from_pandas(day[BARS], preserve_index=False))
    seen = []
    read = files_module.read_file
    monkeypatch.setattr(files_module, "read_file", lambda *a: seen.append(read(*a)) or seen[-1])
    check(files(), market, DAYS[6:7])
    days = set(seen[0]["date"].to_pandas().dt.strftime("%Y-%m-%d"))
    assert days <= set(DAYS[5:])
    assert seen[0].column_names == BARS


# --- what is wrong is named --------------------------------------------------------------------


def test_no_file(files, tmp_path):
    for path in ("absent.parquet", "*.parquet"):
        with pytest.raises(SourceError, match=r"no file of bars at .*set market\.source\.path"):
            files(path).fetch(DAYS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"columns": {"close": "Clsoe"}}, r"no column 'Clsoe' that source.columns gives for close"),
        ({"columns": {"close": "clse"}}, r"did you mean 'close'"),
        ({"basis": {"preclose": "prevclose"}}, r"'prevclose' that source.basis names \(preclose\)"),
        ({"keep": {"status": 1}}, r"no column 'status' that source.keep names"),
        ({"columns": {"close": "instrument"}}, r"column instrument: 'AAA' is no number"),
        ({"date_format": "%d/%m/%Y"}, r"dates that cannot be read, such as '2024-01-02'"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_named(keys, message, market, files, tmp_path):
    market.to_parquet(tmp_path / "bars.parquet", index=False)
    with pytest.raises(SourceError, match=message):
        files(**keys).fetch(DAYS)


def test_an_amount_that_vwap_needs(market, files, tmp_path):
    market.drop(columns="amount").to_parquet(tmp_path / "bars.parquet", index=False)
    check(files(), market.assign(amount=np.nan))
    with pytest.raises(SourceError, match=r"no column 'amount' for amount: .*market.vwap: typical"):
        files(needs_amount=True).fetch(DAYS)


def test_a_date_that_is_no_date_is_an_error_wherever_it_stands(market, files, tmp_path):
    """Even where only another day is asked for: it might be that day's."""
    given = market.copy()
    for bad, shown in (("soon", "'soon'"), (None, "an empty one")):
        given["date"] = given["date"].astype(object)
        given.loc[0, "date"] = bad
        given.to_parquet(tmp_path / "bars.parquet", index=False)
        with pytest.raises(SourceError, match=rf"dates that cannot be read, such as ({shown}|'')"):
            files().fetch(DAYS)


@pytest.mark.parametrize("content", [b"", b"PAR1 torn"])
def test_a_damaged_file_is_named(content, files, tmp_path):
    (tmp_path / "bars.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"bars\.parquet cannot be read as parquet"):
        files().fetch(DAYS)
    (tmp_path / "bars.csv").write_bytes(b"")
    with pytest.raises(SourceError, match=r"bars\.csv is empty: fill it, or leave it out"):
        files("bars.csv").fetch(DAYS)
    (tmp_path / "bars.csv.gz").write_bytes(gzip.compress(b"date,instrument\n" * 9)[:-20])
    with pytest.raises(SourceError, match=r"bars\.csv\.gz "):
        files("bars.csv.gz").fetch(DAYS)


def test_sessions_that_are_absent_and_sessions_that_are_late(market, files, tmp_path):
    market[market["date"] != DAYS[3]].to_parquet(tmp_path / "bars.parquet", index=False)
    with pytest.raises(BarsNotArrivedError, match=r"2024-01-12: the newest .* 2024-01-11, so"):
        fetch_bars(files(), [DAYS[-1], "2024-01-12"])
    with pytest.raises(SourceError, match=rf"{DAYS[3]}, though it reaches 2024-01-11") as error:
        fetch_bars(files(), [*DAYS, "2024-01-12"])
    assert not isinstance(error.value, BarsNotArrivedError)
    with pytest.raises(BarsNotArrivedError, match=r"2030-01-02: the newest session that it has is"):
        fetch_bars(files(), ["2030-01-02"])


def test_wrong_values_reach_the_rules(market, files, tmp_path):
    """Nothing is dropped or repaired on the way: copies, zeros, negative and missing values."""
    given = pd.concat([market, market.iloc[[0]]], ignore_index=True)
    given.loc[1, "close"] = -1.0
    given.loc[2, "volume"] = 0.0
    given.loc[3, "open"] = np.nan
    given.loc[4, "instrument"] = None
    for ending in ("parquet", "csv"):
        path = tmp_path / f"bars.{ending}"
        given.to_parquet(path) if ending == "parquet" else given.to_csv(path, index=False)
        bars = fetch_bars(files(path.name, basis={"preclose": "preclose"}), DAYS)
        assert len(bars) == len(given)
        found = {rule for rule, rows in broken_rules(bars).items() if rows.any()}
        assert found >= {"duplicate", "non_positive_price", "zero_volume", "missing_price",
                         "no_instrument"}, ending  # fmt: skip


def test_a_file_replaced_while_it_is_read_is_read_again(market, files, tmp_path, monkeypatch):
    path = tmp_path / "bars.parquet"
    market.to_parquet(path, index=False)
    newer = market.assign(close=market["close"] * 1.001)
    read, calls = files_module.read_file, []

    def replacing(*args):
        table = read(*args)
        if not calls:
            newer.to_parquet(tmp_path / "new", index=False)
            (tmp_path / "new").replace(path)
        calls.append(1)
        return table

    monkeypatch.setattr(files_module, "read_file", replacing)
    monkeypatch.setattr(files_module, "_PAUSE_SECONDS", 0.0)
    check(files(), newer)
    assert len(calls) == 2


def test_a_file_that_keeps_changing_is_an_error(market, files, tmp_path, monkeypatch):
    path = tmp_path / "bars.csv"
    market.to_csv(path, index=False)
    read, count = files_module.read_file, iter(range(9))

    def growing(*args):
        with path.open("a") as file:
            file.write(f"2024-02-0{next(count) + 1},AAA,1,1,1,1,1\n")
        return read(*args)

    monkeypatch.setattr(files_module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(files_module, "read_file", growing)
    with pytest.raises(SourceError, match=rf"{re.escape(str(path))} was replaced while it was rea"):
        files("bars.csv", keep={"date": list(DAYS)}).fetch(DAYS)


def test_the_fingerprint_follows_the_files(market, files, tmp_path):
    path = tmp_path / "bars.parquet"
    market.to_parquet(path, index=False)
    before = files().fingerprint()
    assert files().fingerprint() == before
    market.iloc[:-1].to_parquet(path, index=False)
    assert files().fingerprint() != before
