"""Columns beside the bars, from a file into the warehouse and into expressions.

Oracles: the frame that was put into the file, a market without such columns, pandas.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.errors import ConfigError, SourceError
from pipelines.market.shown_tables import update_catalog
from pipelines.onboarding.yaml_validation import problems_of
from pipelines.operations.runs import RunFailedError
from pipelines.staleness.status_report import status_report
from tests.pipelines.conftest import key_of, materialize, own_record, partition_bytes
from tests.pipelines.extra_market import EXTRA, extra_bars, extra_market

OWN = {"A": "$close/Ref($close, 1) - 1"}
WITH_PE = {**OWN, "B": "Mean($pe, 3)/$pe"}
DATA = ("ohlcv", "alpha158", "label")


def features(formulas):
    """Changes that give the market these features."""
    return {"features": {"set": {"features": formulas}}, "dataset": {"infer_processors": []}}


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return extra_bars(tmp_path_factory.mktemp("bars"))


def wide_of(rows, column):
    """One column by date and instrument."""
    return rows.pivot_table(column, "date", "instrument", aggfunc="first", dropna=False)


def run(market, assets, record, last=20):
    """Make some assets of the first sessions."""
    keys = market.sessions.keys
    materialize(market, assets, keys[0], keys[last], record)


def current(market, record, last=20):
    """The number of current sessions of each data asset, and the first reason of the others."""
    report = status_report(market, stages(market), record)
    found = {asset.asset: asset for asset in report.assets}
    limit = market.sessions.keys[last]
    return {
        name: sorted(
            f"{finding.cause}: {finding.detail}"
            for finding in found[name].findings
            if any(key <= limit for key in finding.keys)
        )
        for name in DATA
    }


def test_columns_come_and_go_and_only_their_readers_turn_stale(bars, tmp_path):
    """The partitions of `ohlcv` keep their bytes; `status` names what has to be made again.

    Oracle: the files of a market without columns beside the bars, and the status before and after.
    """
    plain = extra_market(tmp_path, None, features(OWN), bars)
    with own_record() as record:
        run(plain, DATA, record)
        before = partition_bytes(plain)
        assert not any(path.startswith("ohlcv_extra") for path in before)

        more = extra_market(tmp_path, ("pe",), features(OWN))
        assert current(more, record) == {
            "ohlcv": ["absent: ohlcv_extra"], "alpha158": [], "label": [],
        }  # fmt: skip
        run(more, ("ohlcv",), record)
        assert current(more, record) == {"ohlcv": [], "alpha158": [], "label": []}
        after = partition_bytes(more)
        assert {path: after[path] for path in before} == before

        # A reader of one column is not stale when another is listed.
        reader = extra_market(tmp_path, ("pe",), features(WITH_PE))
        run(reader, ("alpha158",), record)
        both = extra_market(tmp_path, EXTRA, features(WITH_PE))
        stale = {"ohlcv": ["configuration: columns industry, mktcap"], "alpha158": [], "label": []}
        assert current(both, record) == stale
        run(both, ("ohlcv",), record)
        assert current(both, record) == {"ohlcv": [], "alpha158": [], "label": []}

        # Read from another column of the file, `pe` is another one, and its reader is stale.
        columns = {"pe": "mktcap", "extra": ["pe"]}
        moved = extra_market(tmp_path, columns, features(WITH_PE))
        assert current(moved, record)["alpha158"] == ["inputs: column pe"]
        assert current(moved, record)["label"] == []
        # Taken off the list, the columns leave what does not read them as it is.
        assert current(plain, record)["ohlcv"] == []
        assert current(plain, record)["label"] == []


def test_values_arrive_as_given_and_bars_stay(bars, tmp_path):
    """Missing is null and no bar less, infinite is null and counted; texts are texts.

    Oracle: the frame in the file.
    """
    given = bars.copy()
    at = given.index[given["date"] == "2020-01-08"]
    given.loc[at[0], "pe"] = np.inf
    given.loc[at[1], "industry"] = None
    market = extra_market(tmp_path, EXTRA, features(OWN), given)
    with own_record() as record:
        run(market, ("ohlcv",), record)
        event = record.fetch_materializations(key_of("ohlcv"), limit=50).records
    told = {r.partition_key: r.asset_materialization.metadata for r in event}["2020-01-08"]
    keys = market.sessions.keys[:21]
    stored = market.warehouse.read("ohlcv_extra", keys, needed_by="test").frame
    good = market.warehouse.read("ohlcv", keys, needed_by="test").frame
    assert stored[["date", "instrument"]].equals(good[["date", "instrument"]])
    expected = given.assign(date=pd.to_datetime(given["date"]))
    expected["pe"] = expected["pe"].replace(np.inf, np.nan)
    columns = ["pe", "mktcap", "industry"]
    expected = stored[["date", "instrument"]].merge(expected, on=["date", "instrument"])
    pd.testing.assert_frame_equal(
        stored[columns], expected[columns].astype({"industry": stored["industry"].dtype})
    )
    count = len(at)
    missing = 1 + bars.loc[at[1:], "pe"].isna().sum()
    assert told["known"].value == {
        "pe": round(1 - missing / count, 6), "mktcap": 1.0, "industry": round(1 - 1 / count, 6),
    }  # fmt: skip
    assert told["rules"].value == {"infinite_extra": 1}
    assert told["accepted"].value == 1

    update_catalog(market, stages(market))
    with duckdb.connect(str(market.paths.catalog), read_only=True) as connection:
        seen = connection.execute(
            "SELECT close, pe, mktcap, industry FROM ohlcv ORDER BY date, instrument"
        ).df()
    assert len(seen) == len(good)
    np.testing.assert_array_equal(seen["pe"], stored["pe"])


def test_an_infinite_value_sets_the_bar_aside_where_the_rule_says_so(bars, tmp_path):
    given = bars.copy()
    row = given.index[given["date"] == "2020-01-03"][0]
    given.loc[row, "pe"] = -np.inf
    market = extra_market(
        tmp_path, EXTRA, {"market": {"quarantine": {"infinite_extra": "quarantine"}}}, given
    )
    with own_record() as record:
        run(market, ("ohlcv",), record, last=2)
    aside = market.warehouse.read("ohlcv_quarantine", ["2020-01-03"], needed_by="test").frame
    assert aside["rule"].tolist() == ["infinite_extra"]
    assert aside["instrument"].tolist() == [given.loc[row, "instrument"]]


def test_a_feature_reads_the_session_and_those_before_it(bars, tmp_path):
    """Oracle: pandas, over the sessions of the calendar; no later value changes a feature."""
    market = extra_market(tmp_path, EXTRA, features(WITH_PE), bars)
    keys = market.sessions.keys[:21]
    with own_record() as record:
        run(market, ("ohlcv", "alpha158"), record)
        before = market.warehouse.read("alpha158", keys, needed_by="test").frame
        wide = wide_of(bars, "pe").reindex(keys)
        mean = wide.rolling(3, min_periods=1).mean() / wide
        got = before.assign(date=before["date"].dt.strftime("%Y-%m-%d"))
        got = wide_of(got, "B")
        np.testing.assert_allclose(got, mean.reindex_like(got), rtol=1e-6)

        # A value of session 11 changes nothing before it.
        changed = bars.copy()
        changed.loc[changed["date"] == keys[10], "pe"] *= 2.0
        again = extra_market(tmp_path, EXTRA, features(WITH_PE), changed)
        report = status_report(again, stages(again), record, check_source=True)
        assert report.restated == (keys[10],)
        run(again, ("ohlcv", "alpha158"), record)
        after = again.warehouse.read("alpha158", keys, needed_by="test").frame
    earlier = before["date"] < keys[10]
    pd.testing.assert_frame_equal(before[earlier], after[earlier])
    assert not before["B"].equals(after["B"])
    for key in keys[:10]:
        assert again.warehouse.info("alpha158", key) == market.warehouse.info("alpha158", key)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (["close"], "columns.extra: 'close' is a column of the bars already"),
        (["Date"], "'Date' is a column of the bars already"),
        (["pe", "PE"], "'PE' cannot be told from 'pe' in SQL"),
        (["pe", "pe"], "'pe' is listed twice"),
        (["p/e"], r"'p/e' cannot be written \$name in an expression"),
        ([7], "expected NAME or `NAME: category`, got 7"),
        ([{"pe": "float"}], "pe is 'float', expected number or category"),
    ],
)
def test_a_name_that_cannot_stand_beside_the_others_is_refused(columns, told, tmp_path):
    with pytest.raises(ConfigError, match=f"market.source: .*{told}"):
        extra_market(tmp_path, columns)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"set": {"features": {"A": "$industry + 1"}}}, r"features.set: \$industry is a category"),
        ({"label": "Ref($industry, -1)"}, r"features.label: \$industry is a category"),
        ({"set": {"features": {"A": "$mktcp"}}}, r"no field \$mktcp .* did you mean 'mktcap'"),
    ],
)
def test_an_expression_reads_numbers_that_there_are(changes, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        extra_market(tmp_path, EXTRA, {"features": changes})


def test_validate_counts_missing_values_of_the_columns(bars, tmp_path):
    """Oracle: the frame in the file."""
    market = extra_market(tmp_path, EXTRA, features(OWN), bars)
    profile = problems_of(market, "2021-01-01").profile
    assert profile.missing["pe"] == bars["pe"].isna().sum()
    assert "industry" not in profile.missing


def test_a_column_that_the_source_lacks_or_cannot_give_is_named(bars, tmp_path):
    """The error of the ingest says what there is, and what to write."""
    there = "open, high, low, close, volume, amount, adj_ratio, pe, mktcap, industry"
    for columns, told in (
        (["pe_ttm"], f"no column 'pe_ttm' for pe_ttm of source.columns.extra.*{there}"),
        (["industry"], "column industry: 'Steel' is no number; if these are texts"),
    ):
        market = extra_market(tmp_path, columns, features(OWN), bars)
        with own_record() as record, pytest.raises((RunFailedError, SourceError), match=told):
            run(market, ("ohlcv",), record, last=2)
