"""`open_market`: the tables of a market in a notebook. Oracle: the files, as pandas reads them."""

from __future__ import annotations

import re
import shlex
import shutil

import pandas as pd
import pytest

from pipelines import open_market
from pipelines.cli.main import parse
from pipelines.errors import ConfigError, MissingSessionsError, WarehouseError
from pipelines.instance.market_list import keep_config
from tests.pipelines.conftest import partition_bytes
from tests.pipelines.finished_markets import named_copy_of


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market whose YAML the environment names."""
    return named_copy_of(finished, tmp_path, monkeypatch)


def test_a_table_gives_the_stored_rows_of_a_range_and_writes_nothing(market):
    before = partition_bytes(market)
    table = open_market()["lstm_prediction"]
    first, last = table.sessions[-2:]
    rows = table.read(first)
    files = [
        pd.read_parquet(market.paths.warehouse / table.name / f"date={key}" / "part-0.parquet")
        for key in (first, last)
    ]
    assert rows["score"].tolist() == pd.concat(files)["score"].tolist()
    assert sorted(set(rows["date"])) == [pd.Timestamp(first), pd.Timestamp(last)]
    assert set(table.columns) == set(rows.columns)
    scores = table.read(last, last, columns=["instrument", "score"])
    assert list(scores.columns) == ["date", "instrument", "score"]
    assert partition_bytes(market) == before


def test_opening_reads_no_table(market):
    for file in market.paths.warehouse.glob("gru_prediction/date=*/*"):
        file.write_bytes(b"damaged")
    opened = open_market()
    assert {"ohlcv", "alpha158", "lstm_prediction", "gru_portfolio"} <= set(opened)
    assert len(opened) == len(list(opened)) and "lstm_prediction" in repr(opened)
    with pytest.raises(WarehouseError, match="gru_prediction"):
        opened["gru_prediction"].read()


def test_errors_say_what_there_is(market):
    opened = open_market()
    with pytest.raises(KeyError, match="lstm_prediction"):
        opened["lstm_predictions"]
    last = opened["label"].sessions[-1]
    with pytest.raises(WarehouseError, match=rf"from 2030-01-01 to the end: .*{last} are stored"):
        opened["label"].read("2030-01-01")
    with pytest.raises(WarehouseError) as error:
        opened["label"].read("1999-01-01", "1999-02-01")
    (command,) = re.findall("`rnn-pipelines (.*)`", str(error.value))
    assert parse(shlex.split(command)).command == "backfill"
    assert last in repr(opened["label"]) and last in opened["label"]._repr_html_()


@pytest.mark.parametrize("named", ["start", "end"])
def test_a_day_is_written_as_a_day(market, named):
    table = open_market()["label"]
    other = {"start": "end", "end": "start"}[named]
    rows = table.read(**{named: "2020-4-9", other: "2020-04-09"})
    assert set(rows["date"]) == {pd.Timestamp("2020-04-09")}
    for wrong in ("April", "2020-04-31", "20200409"):
        with pytest.raises(ValueError, match=rf"{named}='{wrong}' is not a date; write YYYY-MM-DD"):
            table.read(**{named: wrong})


def test_a_session_that_is_absent_inside_the_range_is_named(market):
    keys = market.warehouse.sessions("label")
    gap, place = keys[-3], market.paths.warehouse / "label"
    shutil.rmtree(place / f"date={gap}")
    table = open_market()["label"]
    for first, last in ((None, None), (keys[-5], keys[-2]), (gap, gap), (gap, None)):
        with pytest.raises(MissingSessionsError, match=f"label lacks {gap}, .*--end {gap}"):
            table.read(first, last)
    rows = table.read(keys[-5], allow_gaps=True)
    files = [pd.read_parquet(place / f"date={key}" / "part-0.parquet") for key in keys[-5:]
             if key != gap]  # fmt: skip
    assert len(rows) == sum(map(len, files)) and pd.Timestamp(gap) not in set(rows["date"])
    assert len(table.read(keys[-2])) == sum(map(len, files[-2:]))  # the gap is outside


def test_a_market_of_the_data_folder_is_opened_by_its_name(market, tmp_path, monkeypatch):
    keep_config(market.paths, tmp_path / "tiny.yaml")
    monkeypatch.delenv("RNN_CONFIG")
    opened = open_market("tiny")
    assert opened.name == "tiny"
    assert opened["label"].sessions == market.warehouse.sessions("label")
    assert open_market(tmp_path / "tiny.yaml").name == "tiny"
    market.paths.config.unlink()  # as of an earlier release, which kept no path
    with pytest.raises(ConfigError, match="no market tiny whose YAML is known"):
        open_market("tiny")
