"""Columns beside the bars from every kind of source. Oracle: the frame that was put into it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from pydantic import TypeAdapter

from pipelines.config.market_file import MarketConfig
from pipelines.config.own_source import OwnSource
from pipelines.config.sources import QlibBinSource, SourceConfig, SqlSource
from pipelines.errors import SourceError
from pipelines.sources.columns import categories
from pipelines.sources.database import SqlBars
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.qlib_bin import QlibBars
from tests.pipelines.sources.conftest import DAYS
from tests.pipelines.sources.test_qlib_bin import ALL, dump

COLUMNS = {"pe": "P/E", "extra": ["pe", {"industry": "category"}]}
NAMES = ["date", "instrument", "pe", "industry"]


@pytest.fixture
def market(market):
    """The market with a number, some missing, and a code that begins with a zero."""
    market["P/E"] = 10.0 + 0.25 * np.arange(len(market))
    market.loc[1, "P/E"] = np.nan
    market["industry"] = market["instrument"].map({"AAA": "010", "BBB": " Steel ", "CCC": None})
    return market


def expected(market):
    """The rows in order, the texts without space around."""
    rows = market.rename(columns={"P/E": "pe"})[NAMES]
    rows["industry"] = rows["industry"].str.strip()
    return rows.sort_values(["date", "instrument"], ignore_index=True)


def given(source, extra, keys=DAYS):
    """The columns as the ingest gets them."""
    rows = fetch_bars(source, keys, extra=extra)[NAMES]
    return rows.sort_values(["date", "instrument"], ignore_index=True)


def same(rows, market):
    pd.testing.assert_frame_equal(rows, expected(market), check_dtype=False)
    assert rows["pe"].dtype == np.float64
    assert rows["industry"].dtype == pd.Series(["text"], dtype="str").dtype


@pytest.mark.parametrize("ending", ["parquet", "csv", "feather"])
def test_of_files(ending, market, files, tmp_path):
    path = tmp_path / f"bars.{ending}"
    if ending == "parquet":
        market.to_parquet(path, index=False)
    elif ending == "feather":
        market["industry"] = market["industry"].astype("category")
        pyarrow.feather.write_feather(pa.Table.from_pandas(market), path)
    else:
        market.to_csv(path, index=False)
    source = files(f"bars.{ending}", basis={"factor": "factor"}, columns=COLUMNS)
    same(given(source, source._settings.extra), market)
    # A session alone looks at rows before it for its ratio, and gives the same values.
    alone = given(source, source._settings.extra, DAYS[4:5])
    rows = expected(market)
    assert alone.equals(rows[rows["date"] == DAYS[4]].reset_index(drop=True).astype(alone.dtypes))


def test_a_number_in_another_writing_is_read_like_the_others(market, files, tmp_path):
    """Thousands and decimals of a CSV hold for the columns beside the bars."""
    market["P/E"] = [f"1.{k:03d},50" for k in range(len(market))]
    for name in ("open", "high", "low", "close", "volume", "factor"):
        market[name] = market[name].map(lambda value: f"{value:.4f}".replace(".", ","))
    market.drop(columns="amount").to_csv(tmp_path / "bars.csv", index=False, sep=";")
    source = files(
        "bars.csv", basis={"factor": "factor"}, columns=COLUMNS, delimiter=";", decimal=",",
        thousands=".",
    )  # fmt: skip
    rows = given(source, source._settings.extra).merge(market[["date", "instrument", "P/E"]])
    written = rows.pop("P/E").str.replace(".", "").str.replace(",", ".").astype(float)
    assert rows["pe"].tolist() == written.tolist()


def test_of_a_query(market, tmp_path):
    import duckdb

    path = tmp_path / "bars.duckdb"
    with duckdb.connect(path) as connection:
        connection.register("given", market)
        connection.execute("CREATE TABLE bars AS SELECT * REPLACE (date::DATE AS date) FROM given")
    settings = SqlSource.model_validate({
        "kind": "sql", "url": f"duckdb:///{path}", "basis": {"factor": "factor"},
        "query": "SELECT * FROM bars WHERE date BETWEEN :start AND :end", "columns": COLUMNS,
    })  # fmt: skip
    same(given(SqlBars(settings), settings.extra), market)


def test_of_a_qlib_folder(market, tmp_path):
    """A field has a file a name; a name without it has no value. Codes become texts."""
    market["industry"] = market["instrument"].map({"AAA": 10.0, "BBB": 20.0, "CCC": np.nan})
    root = dump(tmp_path / "cn", market.rename(columns={"P/E": "pe_ttm"}),
                (*ALL, "pe_ttm", "industry"))  # fmt: skip
    (root / "features" / "ccc" / "pe_ttm.day.bin").unlink()
    columns = {**COLUMNS, "pe": "PE_TTM"}
    settings = QlibBinSource.model_validate(
        {"kind": "qlib_bin", "path": str(root), "columns": columns}
    )
    market.loc[market["instrument"] == "CCC", "P/E"] = np.nan
    market["industry"] = market["instrument"].map({"AAA": "10", "BBB": "20", "CCC": None})
    same(given(QlibBars(settings), settings.extra), market)
    settings = QlibBinSource.model_validate(
        {"kind": "qlib_bin", "path": str(root), "columns": {"extra": ["pb"]}}
    )
    with pytest.raises(SourceError, match=r"no column 'pb' for pb.*it has: .*pe_ttm.*vwap"):
        fetch_bars(QlibBars(settings), DAYS, extra=settings.extra)


class Feed:
    """A source of somebody else's."""

    def __init__(self, sessions=None):
        self.rows = pd.DataFrame()

    def fetch(self, keys):
        return self.rows[self.rows["date"].isin(keys)]


def test_of_a_source_of_another_package(market):
    name = f"{__name__}:Feed"
    settings = OwnSource.model_validate({"kind": name, "columns": {"extra": COLUMNS["extra"]}})
    source = Feed()
    source.rows = market.rename(columns={"P/E": "pe"})
    same(given(source, settings.extra), market)
    source.rows = source.rows.assign(pe="dear")
    with pytest.raises(
        SourceError, match=r"Feed gave pe as .*expected numbers; if these are texts"
    ):
        given(source, settings.extra)
    source.rows = market
    with pytest.raises(SourceError, match=r"Feed has no column 'pe' for pe.*P/E, industry; write"):
        given(source, settings.extra)
    with pytest.raises(ValueError, match=r"columns: 'close' is no column of columns\.extra"):
        OwnSource.model_validate({"kind": name, "columns": {"close": "Last", "extra": ["pe"]}})


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([10.0, np.nan, 20.5], ["10", None, "20.5"]),
        ([7, 8, 7], ["7", "8", "7"]),
        ([" Oil", "NA", ""], ["Oil", None, None]),
        (pd.Categorical(["b", "a", None]), ["b", "a", None]),
        ([None, None, None], [None, None, None]),
    ],
)
def test_a_category_is_text(values, texts):
    got = categories(pd.Series(values))
    assert got.astype(object).where(got.notna(), None).tolist() == texts


def test_a_kind_without_columns_of_its_own_refuses_them():
    """The simulated market and the vendors give bars alone."""
    with pytest.raises(ValueError, match="columns"):
        TypeAdapter(SourceConfig).validate_python(
            {"kind": "simulated", "columns": {"extra": ["pe"]}}
        )
    raw = {"source": {"kind": "simulated"}, "calendar": "XNYS", "start": "2020-01-02",
           "vwap": "amount"}  # fmt: skip
    assert MarketConfig.model_validate(raw).extra == ()


def test_what_is_listed_is_no_part_of_the_market(tmp_path):
    """Neither the identity nor the configuration of the bars knows the columns beside them."""
    section = {"kind": "files", "path": "x", "basis": "adjusted"}
    plain = TypeAdapter(SourceConfig).validate_python(section)
    more = TypeAdapter(SourceConfig).validate_python({**section, "columns": COLUMNS})
    assert more.model_dump(mode="json") == plain.model_dump(mode="json")
    with pytest.raises(ValueError, match="extra belongs under columns"):
        TypeAdapter(SourceConfig).validate_python({**section, "extra": ["pe"]})
