"""`ohlcv` from a file with a bad row for every rule, and in stretches. Oracle: the rows written."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.assets import ohlcv as market_asset
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config.loader import CONFIGS, parse_config
from pipelines.errors import SourceError
from pipelines.market.chunks import Stretches
from pipelines.market.market import Market
from pipelines.operations.runs import RunFailedError, run_assets
from pipelines.sources.fetch import fetch_sessions
from pipelines.staleness.survey import survey
from tests.pipelines.conftest import key_of, make_market, materialize, own_record, partition_bytes
from tests.pipelines.dirty_market import (
    DAY,
    MONDAY,
    SATURDAY,
    aside_of,
    clean_bars,
    file_market,
    ingest,
    soiled,
    stored,
)

DATA = ["ohlcv", "alpha158", "label", "processors", "dataset_infer", "dataset_learn"]


@pytest.fixture(scope="module")
def dirt(tmp_path_factory) -> tuple[pd.DataFrame, dict[tuple[str, str], str]]:
    return soiled(clean_bars(tmp_path_factory.mktemp("clean")))


def test_a_bad_row_of_every_rule_lands_where_it_should(dirt, tmp_path):
    """With the defaults all are set aside but the jump, which is kept, and counted."""
    bars, expected = dirt
    market = file_market(tmp_path, bars)
    instance = ingest(market)
    (jump,) = [key for key, rule in expected.items() if rule == "jump"]
    assert aside_of(market) == {k: r for k, r in expected.items() if k != jump}
    rows = stored(market, "ohlcv_quarantine")
    stray = rows[rows["rule"] == "off_calendar"].iloc[0]
    assert str(stray["date"].date()) == MONDAY, "under the session that follows"
    assert set(rows["source"]) == {"files bars.parquet"}
    assert set(rows["policy"]) == {"quarantine"}
    given = bars[bars["volume"] == -5.0].iloc[0]
    kept = rows[rows["rule"] == "negative_volume"].iloc[0]
    names = ["open", "high", "low", "close", "volume", "amount", "adj_ratio"]
    assert kept[names].tolist() == given[names].tolist(), "as given"
    good = stored(market, "ohlcv")
    assert len(good) + len(rows) == len(bars)
    assert ((good["instrument"] == jump[0]) & (good["date"] == jump[1])).sum() == 1
    told = {
        record.partition_key: record.asset_materialization.metadata
        for record in instance.fetch_materializations(key_of("ohlcv"), limit=500).records
    }
    assert told[jump[1]]["rules"].value == {"jump": 1}
    assert (told[jump[1]]["accepted"].value, told[jump[1]]["quarantined"].value) == (1, 0)
    after = told[next(d for n, d in expected if n == "S0001")]
    assert after["quarantined"].value == 4
    assert after["rules"].value == {
        "missing_price": 1, "non_positive_price": 1, "zero_volume": 1, "missing_volume": 1,
    }  # fmt: skip
    assert "rules" not in told[DAY]


def test_the_same_rows_whether_sessions_come_alone_or_in_a_range(dirt, tmp_path):
    """Jumps set aside: what a session is compared with lies in a partition before it."""
    bars, expected = dirt
    whole = file_market(tmp_path / "whole", bars, jump="quarantine", jump_limit=0.5)
    ingest(whole)
    assert aside_of(whole) == expected, "one jump, not one every session from there on"
    alone = file_market(tmp_path / "alone", bars, jump="quarantine", jump_limit=0.5)
    keys = alone.sessions.keys
    k = keys.index(SATURDAY[:8] + "07")
    ingest(alone, (keys[0], keys[k]), *((key, key) for key in keys[k + 1 : k + 12]),
           (keys[k + 12], keys[-1]))  # fmt: skip
    assert partition_bytes(alone) == partition_bytes(whole)


@pytest.mark.thorough
def test_stretches_give_the_partitions_of_the_whole(dirt, tmp_path, monkeypatch):
    bars, _ = dirt
    whole = file_market(tmp_path / "whole", bars, jump="quarantine")
    ingest(whole)
    monkeypatch.setattr(market_asset, "_STRETCH", 7)
    parts = file_market(tmp_path / "parts", bars, jump="quarantine")
    instance = ingest(parts)
    assert partition_bytes(parts) == partition_bytes(whole)
    keys = parts.sessions.keys
    materialize(parts, ["ohlcv"], keys[3], keys[40], instance)  # judged first, then written
    assert partition_bytes(parts) == partition_bytes(whole)


@pytest.mark.thorough
def test_a_stretch_that_fails_leaves_the_sessions_before_behind_or_nothing(
    dirt, tmp_path, monkeypatch
):
    """New: those before it stay, complete. Made again: later sessions build on it, none changes."""
    bars, _ = dirt
    monkeypatch.setattr(market_asset, "_STRETCH", 10)
    market = file_market(tmp_path, bars)
    keys = market.sessions.keys
    gone = bars[bars["date"] != keys[24]]
    gone.to_parquet(tmp_path / "bars.parquet", index=False)
    with pytest.raises(RunFailedError, match=f"no bar at all for {keys[24]}"):
        ingest(market)
    assert market.warehouse.sessions("ohlcv") == list(keys[:24])
    bars.to_parquet(tmp_path / "bars.parquet", index=False)
    ingest(market, (keys[20], keys[-1]))
    fresh = file_market(tmp_path / "fresh", bars)
    ingest(fresh)
    assert partition_bytes(market) == partition_bytes(fresh)

    doubled = gone.copy()
    doubled.loc[(doubled["date"] == keys[2]), "adj_ratio"] = 2.0
    doubled.to_parquet(tmp_path / "bars.parquet", index=False)
    before = partition_bytes(market)
    with pytest.raises(RunFailedError, match=f"no bar at all for {keys[24]}"):
        ingest(market)
    assert partition_bytes(market) == before
    with pytest.raises(RunFailedError, match=r"adjustment factors of S0001, .* change, and"):
        ingest(market, (keys[0], keys[12]))
    assert partition_bytes(market) == before


def stale(market: Market, instance: dg.DagsterInstance) -> dict[str, str]:
    """Why each session of `ohlcv` is not current."""
    keys = market.sessions.keys
    found = survey(market, stages(market), instance, {"ohlcv": keys}, served=None)
    return {key: str(why) for key, why in found.reasons["ohlcv"].items()}


@pytest.mark.thorough
def test_a_run_killed_while_it_replaces_is_seen_and_made_good(dirt, tmp_path, monkeypatch):
    """New factors in front of old ones: what was not reached no longer fits what enters it."""
    bars, _ = dirt
    monkeypatch.setattr(market_asset, "_STRETCH", 10)
    market = file_market(tmp_path, bars)
    instance, keys = ingest(market), market.sessions.keys
    split = bars.copy()
    split.loc[(split["date"] == keys[2]) & (split["instrument"] == "S0002"), "adj_ratio"] = 2.0
    split.to_parquet(tmp_path / "bars.parquet", index=False)
    write, written = market_asset._write, []

    def killed(run, rows, days):
        if written:
            raise SourceError("killed")
        written.append(days)
        write(run, rows, days)

    monkeypatch.setattr(market_asset, "_write", killed)
    with pytest.raises(RunFailedError, match="killed"):
        materialize(market, ["ohlcv"], keys[0], keys[-1], instance)
    monkeypatch.setattr(market_asset, "_write", write)
    found = stale(market, instance)
    assert set(found) == set(keys[10:])
    assert set(found.values()) == {"inputs: bars of sessions before"}
    materialize(market, ["ohlcv"], keys[10], keys[-1], instance)
    assert stale(market, instance) == {}
    fresh = file_market(tmp_path / "fresh", split)
    ingest(fresh)
    assert partition_bytes(market) == partition_bytes(fresh)


def test_the_source_is_asked_once_for_what_is_written(dirt, tmp_path, monkeypatch):
    """What was judged is what is written, also where sessions are replaced."""
    bars, _ = dirt
    monkeypatch.setattr(market_asset, "_STRETCH", 10)
    market = file_market(tmp_path, bars)
    instance, keys = ingest(market), market.sessions.keys
    asked: list[str] = []

    def counted(source, sessions, some, extra):
        asked.extend(some)
        return fetch_sessions(source, sessions, some, extra)

    monkeypatch.setattr(market_asset, "fetch_sessions", counted)
    before = partition_bytes(market)
    materialize(market, ["ohlcv"], keys[0], keys[-1], instance)
    assert asked == list(keys)
    assert partition_bytes(market) == before


def test_a_factor_that_changes_behind_a_suspension_is_refused(dirt, tmp_path):
    """The name has no row on the last session of the run; what leaves the run counts."""
    bars, _ = dirt
    keys = file_market(tmp_path / "calendar", bars).sessions.keys
    quiet = (bars["instrument"] == "S0002") & (bars["date"] == keys[22])
    bars = bars[~quiet]
    market = file_market(tmp_path, bars)
    ingest(market)
    split = bars.copy()
    split.loc[(split["date"] == keys[21]) & (split["instrument"] == "S0002"), "adj_ratio"] = 2.0
    split.to_parquet(tmp_path / "bars.parquet", index=False)
    before = partition_bytes(market)
    with pytest.raises(RunFailedError, match="adjustment factors of S0002 change"):
        ingest(market, (keys[20], keys[22]))
    assert partition_bytes(market) == before


@pytest.mark.thorough
def test_a_close_that_later_jumps_were_judged_by_may_not_change_alone(dirt, tmp_path):
    """Only where a jump sets a bar aside: otherwise no stored bar depends on the close before."""
    bars, _ = dirt
    for jump in ("quarantine", "accept"):
        market = file_market(tmp_path / jump, bars, jump=jump)
        ingest(market)
        keys = market.sessions.keys
        other = bars.copy()
        row = (other["date"] == keys[22]) & (other["instrument"] == "S0002")
        other.loc[row, ["open", "high", "low", "close"]] *= 1.1
        other.to_parquet(tmp_path / jump / "bars.parquet", index=False)
        if jump == "accept":
            ingest(market, (keys[22], keys[22]))
            continue
        with pytest.raises(RunFailedError, match="factors or closes of S0002 change"):
            ingest(market, (keys[22], keys[22]))


def test_noise_in_a_factor_is_no_restatement(dirt, tmp_path):
    bars, _ = dirt
    market = file_market(tmp_path, bars)
    ingest(market)
    keys = market.sessions.keys
    noisy = bars.copy()
    noisy.loc[noisy["date"] == keys[5], "adj_ratio"] *= 1 + 1e-12
    noisy.to_parquet(tmp_path / "bars.parquet", index=False)
    ingest(market, (keys[5], keys[5]))
    noisy.loc[noisy["date"] == keys[5], "adj_ratio"] *= 1 + 1e-6
    noisy.to_parquet(tmp_path / "bars.parquet", index=False)
    with pytest.raises(RunFailedError, match="adjustment factors of S0001"):
        ingest(market, (keys[5], keys[5]))


def test_a_changed_policy_makes_bars_stale(dirt, tmp_path):
    bars, _ = dirt
    market = file_market(tmp_path, bars)
    instance, keys = ingest(market), market.sessions.keys

    def reasons(other: Market) -> set[str]:
        found = survey(other, stages(other), instance, {"ohlcv": keys}, served=None)
        return {str(why) for why in found.reasons["ohlcv"].values()}

    assert reasons(market) == set()
    assert reasons(file_market(tmp_path, bars, zero_volume="accept")) == {"configuration"}


@pytest.mark.parametrize("vwap", ["amount", pytest.param("typical", marks=pytest.mark.thorough)])
def test_accepted_bars_are_stored_and_the_rest_can_use_them(dirt, tmp_path, vwap):
    """All that may be accepted is; suspended names have rows without volume for a fortnight."""
    bars, expected = dirt
    quiet = (bars["instrument"] == "S0006") & bars["date"].between("2020-03-02", "2020-03-13")
    bars = bars.copy()
    bars.loc[quiet, ["volume", "amount"]] = 0.0
    rules = ("high_below_low", "low_above_body", "high_below_body", "zero_volume",
             "negative_amount", "bad_adj_ratio")  # fmt: skip
    market = file_market(tmp_path, bars, vwap=vwap, **dict.fromkeys(rules, "accept"))
    with own_record() as instance:
        run_assets(build_definitions(market), instance, DATA,
                   (market.sessions.first, market.sessions.keys[-1]))  # fmt: skip
    assert set(aside_of(market).values()) == set(expected.values()) - {*rules, "jump"}
    good = stored(market, "ohlcv")
    assert (good["volume"] == 0).sum() == 1 + quiet.sum()
    features = stored(market, "alpha158").drop(columns=["date", "instrument", "member"])
    assert not np.isinf(features.to_numpy()).any()
    learn = stored(market, "dataset_learn")
    assert np.isfinite(learn["label"]).all()


def test_a_source_that_only_knows_sessions_has_no_strays(tmp_path):
    market = make_market(tmp_path)
    keys = market.sessions.keys[:3]
    rows = fetch_sessions(market.source, market.sessions, keys)
    assert (rows["session"] == rows["date"]).all()


def test_rows_off_the_calendar_are_seen_with_the_session_that_follows(dirt, tmp_path):
    """However the range is cut; a stretch without a row for a session is an error as ever."""
    bars, _ = dirt
    market = file_market(tmp_path, bars)
    friday, monday = "2020-02-07", MONDAY
    for keys in ((monday,), (friday, monday)):
        rows = fetch_sessions(market.source, market.sessions, keys)
        assert rows.loc[rows["date"] == SATURDAY, "session"].tolist() == [monday]
    assert SATURDAY not in set(fetch_sessions(market.source, market.sessions, (friday,))["date"])
    bars[bars["date"] != monday].to_parquet(tmp_path / "bars.parquet", index=False)
    with pytest.raises(SourceError, match=f"no bar at all for {monday}"):
        fetch_sessions(market.source, market.sessions, (monday,))


def test_every_bar_of_a_session_set_aside_is_an_error(dirt, tmp_path):
    bars, _ = dirt
    bars = bars.copy()
    bars.loc[bars["date"] == DAY, "volume"] = 0.0
    market = file_market(tmp_path, bars)
    with pytest.raises(RunFailedError, match=rf"every bar of {DAY} breaks a rule .*zero_volume"):
        ingest(market)


@pytest.mark.golden
@pytest.mark.thorough  # `test_a_bad_row_of_every_rule_lands_where_it_should` has each of its rules
def test_the_dirt_of_a_real_market_lands_where_it_should(market_dir, tmp_path):
    """What the file's description lists, rule by rule; jumps are set aside here."""
    raw = yaml.safe_load((CONFIGS / "us_files.yaml").read_text())
    raw["market"]["source"]["path"] = str(market_dir / "us_sp500_2013_2018.parquet")
    raw["market"]["quarantine"] = {"jump": "quarantine"}
    market = Market(parse_config(raw), root=tmp_path)
    ingest(market)
    rows = stored(market, "ohlcv_quarantine")
    rows["day"] = rows["date"].dt.strftime("%Y-%m-%d")
    found = {(r.instrument, r.day): r.rule for r in rows.itertuples()}
    assert sum("missing_price" in rule for rule in found.values()) == 11
    assert sum("zero_volume" in rule for rule in found.values()) == 4
    assert found["AOS", "2014-05-19"] == "high_below_low"
    body = {k for k, rule in found.items() if rule in ("low_above_body", "high_below_body")}
    assert len(body) == 11
    assert body >= {("BBY", "2016-03-14"), ("LNT", "2016-05-19")}
    jumps = {k for k, rule in found.items() if rule == "jump"}
    assert jumps >= {("EBAY", "2015-07-20"), ("DISCA", "2014-08-07"), ("NI", "2015-07-02")}
    assert ("LNT", "2016-05-20") not in jumps, "back from the bad tick"
    assert len(found) == len(rows) == 11 + 1 + 11 + len(jumps)
    assert len(stored(market, "ohlcv")) == 619_040 - len(rows)


@pytest.mark.parametrize(
    ("bars", "known", "lengths"),
    [
        (500, 0, [50, 500, 450]),  # unknown at first, then as many sessions as are allowed at all
        (5_000, 0, [50, 300, 300, 300, 50]),  # 1.5 million bars
        (50_000, 0, [50, *[30] * 31, 20]),
        (5_000, 5_000, [300, 300, 300, 100]),
        (3_000_000, 3_000_000, [1] * 1_000),
    ],
)
def test_a_stretch_has_so_many_bars(bars, known, lengths):
    keys = [f"{k:04d}" for k in range(1_000)]
    stretches = Stretches(keys, known, market_asset._STRETCH, market_asset._STRETCH_ROWS)
    made = []
    for stretch in stretches:
        stretches.held(bars * len(stretch), stretch)
        made.append(stretch)
    assert [len(stretch) for stretch in made] == lengths
    assert [key for stretch in made for key in stretch] == keys
