"""The whole graph on a tiny simulated market: what a partition holds, and what it may depend on.

Oracle: the principle that partition D holds what became knowable at the close of D. It is checked
on the bytes of the files.
"""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.bars.adjustment import load_bars
from pipelines.build import build_definitions
from pipelines.operations.runs import RunFailedError, run_assets
from tests.pipelines.conftest import (
    DATA_ASSETS,
    ChangedBars,
    key_of,
    make_market,
    market_of,
    materialize,
    model_assets,
    partition_bytes,
    run_everything,
)
from tests.pipelines.finished_markets import part_of


def up_to(files: dict[str, str], key: str) -> dict[str, str]:
    return {path: h for path, h in files.items() if path.split("date=")[1][:10] <= key}


@pytest.mark.parametrize("cut_after_fit_end", [pytest.param(0, marks=pytest.mark.thorough), 27])
@pytest.mark.parametrize("change", ["altered", pytest.param("removed", marks=pytest.mark.thorough)])
def test_no_partition_depends_on_later_bars(
    finished, tmp_path, instance, change, cut_after_fit_end
):
    """Altering or removing every bar after D leaves every file up to D as it is, D ≥ fit_end."""
    sessions = finished.sessions
    fit_end = sessions.position(sessions.at_or_before(finished.config.dataset.fit_end))
    cut = sessions.keys[fit_end + cut_after_fit_end]

    def altered(bars: pd.DataFrame) -> pd.DataFrame:
        later = bars["date"] > cut
        for column in ("open", "high", "low", "close", "amount"):
            bars.loc[later, column] *= 1.7
        bars.loc[later, "volume"] *= 3.0
        return bars

    def removed(bars: pd.DataFrame) -> pd.DataFrame:
        return bars[bars["date"] <= cut]

    source = ChangedBars(finished.source, {"altered": altered, "removed": removed}[change])
    other = make_market(tmp_path / "other", source=source)
    if change == "altered":
        run_everything(other, instance)
    else:
        materialize(other, [*DATA_ASSETS, "processors"], sessions.first, cut, instance)
        if cut >= finished.plan.first_trained:
            materialize(other, model_assets(other), finished.plan.first_trained, cut, instance)
    original, changed = partition_bytes(finished), partition_bytes(other)
    expected = up_to(original, cut)
    assert up_to(changed, cut) == expected
    assert len(expected) > 7 * 40
    if change == "altered":
        assert changed != original, "the alteration must reach the files after the cut"


def test_a_partition_alone_has_the_bytes_it_has_in_a_range(finished, tmp_path, instance):
    """Sessions run one by one write the files that one range wrote; of one model, for time."""
    alone = part_of(finished, tmp_path / "alone", "krnn")
    expected = partition_bytes(alone)
    keys = [finished.plan.first_trained, *finished.sessions.keys[-2:]]
    for key in keys:
        for folder in alone.paths.warehouse.glob(f"*/date={key}"):
            shutil.rmtree(folder)
    shutil.rmtree(alone.paths.models)
    fresh = market_of(alone.paths.root, "krnn")
    anchors = [k for k in fresh.sessions.keys if fresh.plan.trains(k)]
    for key in sorted({*keys, *anchors}):
        materialize(fresh, [*DATA_ASSETS, *model_assets(fresh)], key, key, instance)
    assert partition_bytes(fresh) == expected


def test_a_range_writes_exactly_that_range_and_again_the_same_bytes(finished, tmp_path, instance):
    """Rerunning ten sessions of a copy touches those ten and changes nothing."""
    market = make_market(tmp_path / "again")
    shutil.copytree(finished.paths.root, market.paths.root)
    before = partition_bytes(market)
    stamps = {p: p.stat().st_mtime_ns for p in market.paths.warehouse.glob("*/date=*/*")}
    keys = market.sessions.keys[-20:-10]
    materialize(market, [*DATA_ASSETS, *model_assets(market)], keys[0], keys[-1], instance)
    touched = {
        str(path.relative_to(market.paths.warehouse))
        for path, stamp in stamps.items()
        if path.stat().st_mtime_ns != stamp
    }
    assert partition_bytes(market) == before
    made = {*DATA_ASSETS, *model_assets(market)}
    tables = [table.name for s in stages(market) if s.name in made for table in s.tables]
    assert touched == {f"{table}/date={key}/part-0.parquet" for table in tables for key in keys}


def test_a_range_on_an_empty_warehouse_writes_only_that_range(market, instance):
    """Materializing the first twelve sessions of ohlcv leaves twelve partitions and no more."""
    keys = market.sessions.keys[:12]
    materialize(market, ["ohlcv"], keys[0], keys[-1], instance)
    assert market.warehouse.sessions("ohlcv") == list(keys)
    recorded = instance.get_materialized_partitions(key_of("ohlcv"))
    assert recorded == set(keys)


def test_missing_look_back_names_the_sessions_and_writes_nothing(market, instance):
    """alpha158 of a session whose history has a hole fails, naming the hole."""
    keys = market.sessions.keys
    materialize(market, ["ohlcv"], keys[0], keys[30], instance)
    shutil.rmtree(market.paths.warehouse / "ohlcv" / f"date={keys[17]}")
    with pytest.raises(RunFailedError, match=rf"alpha158 reads ohlcv .*{keys[17]}.*materialize"):
        materialize(market, ["alpha158"], keys[30], keys[30], instance)
    assert market.warehouse.sessions("alpha158") == []
    assert not list(market.paths.warehouse.glob("**/*.tmp"))


def test_a_source_without_bars_names_the_sessions_and_writes_those_before(tmp_path, instance):
    """Two sessions without a single bar: the run fails, and has what comes before them."""
    plain = make_market(tmp_path / "plain")
    absent = plain.sessions.keys[3:5]
    source = ChangedBars(plain.source, lambda bars: bars[~bars["date"].isin(absent)])
    market = make_market(tmp_path / "holes", source=source)
    with pytest.raises(RunFailedError, match=rf"no bar at all for {absent[0]}, {absent[1]}"):
        materialize(market, ["ohlcv"], market.sessions.first, market.sessions.keys[9], instance)
    assert market.warehouse.sessions("ohlcv") == list(market.sessions.keys[:3])


def test_an_unwritable_warehouse_is_a_clear_error(tmp_path, instance):
    """The warehouse's folder cannot be made, because a file lies in its way."""
    root = tmp_path / "blocked"
    root.mkdir()
    (root / "warehouse").write_text("in the way")
    market = make_market(root)
    with pytest.raises(RunFailedError, match=r"cannot write to the warehouse .*writable"):
        materialize(market, ["ohlcv"], market.sessions.first, market.sessions.keys[3], instance)
    assert [p.name for p in root.iterdir()] == ["warehouse"]


def test_what_was_written_before_a_failure_is_recorded(finished, tmp_path, instance, monkeypatch):
    """A run that fails half-way has the good keys materialized and those never made not.

    The one that it could not replace is on record as it was before.
    """
    market = make_market(tmp_path / "half")
    shutil.copytree(finished.paths.root, market.paths.root)
    keys = market.sessions.keys[-6:]
    damaged = market.paths.warehouse / "lstm_prediction" / f"date={keys[3]}" / "part-0.parquet"
    original = type(market.warehouse).write

    def failing(self, table, name, key, frame, provenance):
        if key == keys[3] and name == "lstm_prediction":
            raise OSError("disk on fire")
        return original(self, table, name, key, frame, provenance)

    for key in keys[4:]:
        shutil.rmtree(market.paths.warehouse / "lstm_prediction" / f"date={key}")
    monkeypatch.setattr(type(market.warehouse), "write", failing)
    before = damaged.read_bytes()
    with pytest.raises(RunFailedError, match="disk on fire"):
        materialize(market, ["lstm_prediction"], keys[0], keys[-1], instance)
    recorded = instance.get_materialized_partitions(key_of("lstm_prediction"))
    assert recorded == set(keys[:4])
    assert damaged.read_bytes() == before


def test_warm_up_partitions_say_which_session_is_the_first_trained(finished, tmp_path, instance):
    """Before the first trained session models, predictions and evaluations hold no row."""
    market = make_market(tmp_path / "warm")
    shutil.copytree(finished.paths.root, market.paths.root)
    key = market.sessions.back(market.plan.first_trained, 1)
    materialize(market, model_assets(market), key, key, instance)
    for table in ("lstm_model", "gru_prediction", "krnn_evaluation"):
        info = market.warehouse.info(table, key)
        assert info.rows == 0
    assert market.plan.first_trained in market.warehouse.info("lstm_model", key).provenance.status


def test_a_session_needs_the_bundle_of_its_anchor(finished, tmp_path, instance):
    """A model partition after an anchor whose bundle is gone names the key to run."""
    market = make_market(tmp_path / "gone")
    shutil.copytree(finished.paths.root, market.paths.root)
    anchor = market.plan.first_trained
    shutil.rmtree(market.paths.models / "lstm" / anchor)
    key = market.sessions.keys[market.sessions.position(anchor) + 1]
    with pytest.raises(RunFailedError, match=f"materialize lstm_model of {anchor} first"):
        materialize(market, ["lstm_model"], key, key, instance)


def test_another_processor_state_is_refused_downstream(finished, tmp_path, instance):
    """Datasets made with one state are refused once another is in force, naming the repair."""
    market = make_market(tmp_path / "state")
    shutil.copytree(finished.paths.root, market.paths.root)
    refitted = make_market(market.paths.root, {"dataset": {"fit_end": "2020-03-06"}})
    run_assets(build_definitions(refitted), instance, ["processors"])
    key = refitted.sessions.keys[-1]
    with pytest.raises(
        RunFailedError, match=r"another processor state .*materialize dataset_infer"
    ):
        materialize(refitted, ["lstm_prediction"], key, key, instance)


def test_labels_mature_at_their_session(finished):
    """label[D] holds close[D] / close[D-1] - 1 on the adjusted basis, for the decision of D-2."""
    keys = finished.sessions.keys[40:43]
    bars, _ = load_bars(finished, keys, "test")
    close = bars.pivot_table(index="date", columns="instrument", values="close")
    expected = (close.iloc[2] / close.iloc[1] - 1).dropna()
    rows = finished.warehouse.read("label", [keys[2]], needed_by="test").frame
    assert (pd.to_datetime(rows["decision_date"]) == pd.Timestamp(keys[0])).all()
    got = rows.set_index("instrument")["label"]
    assert list(got.index) == sorted(expected.index)
    np.testing.assert_allclose(got, expected.astype("float32"), rtol=1e-6)


def test_learning_rows_are_members_with_features_and_a_label(finished):
    """dataset_learn[D] = dataset_infer[D-2] joined with label[D], ranked within the session."""
    key = finished.sessions.keys[50]
    decision = finished.sessions.back(key, 2)
    read = finished.warehouse.read
    learn = read("dataset_learn", [key], needed_by="test").frame
    infer = read("dataset_infer", [decision], needed_by="test").frame
    label = read("label", [key], needed_by="test").frame
    both = set(infer["instrument"]) & set(label["instrument"])
    assert set(learn["instrument"]) == both
    ranks = learn.set_index("instrument")["raw_label"].rank(pct=True)
    expected = ((ranks - 0.5) * 3.46).astype("float32")
    np.testing.assert_allclose(learn["label"], expected, rtol=1e-6)


def test_predictions_name_their_model(finished):
    """Every score carries the as-of date and fingerprint of a bundle trained at or before it."""
    for name in ("lstm", "gru", "krnn"):
        keys = [k for k in finished.sessions.keys if k >= finished.plan.first_trained]
        rows = finished.warehouse.read(f"{name}_prediction", keys, needed_by="test").frame
        assert (pd.to_datetime(rows["as_of"]) <= rows["date"]).all()
        assert rows["as_of"].nunique() == sum(finished.plan.trains(k) for k in keys)
        assert np.isfinite(rows["score"]).all()
        assert rows.groupby("date")["score"].nunique().min() > 1


def test_a_set_of_ones_own_flows_through_to_the_dataset(tmp_path, instance):
    """Only its columns, from only the sessions that it looks back on, under its own formulas."""
    own = {"GAP": "$open/Ref($close, 2)-1", "RANGE": "($high-$low)/$close"}
    market = make_market(
        tmp_path / "own",
        {"features": {"set": {"features": own}}, "dataset": {"infer_processors": ["Fillna"]}},
    )
    keys = market.sessions.keys
    fit = market.datasets[0].fit_sessions()
    materialize(market, ["ohlcv"], keys[0], fit[-1], instance)
    assert market.sessions.position(fit[0]) < 60
    shutil.rmtree(market.paths.warehouse / "ohlcv" / f"date={keys[2]}")  # beyond the look-back
    materialize(market, ["alpha158", "label"], fit[0], fit[-1], instance)
    run_assets(build_definitions(market), instance, ["processors"])
    materialize(market, ["dataset_infer"], fit[-1], fit[-1], instance)

    bars, _ = load_bars(market, fit, "test")
    wide = {
        field: bars.pivot_table(index="date", columns="instrument", values=field)
        for field in ("open", "high", "low", "close")
    }
    gap = wide["open"].iloc[-1] / wide["close"].iloc[-3] - 1
    spread = (wide["high"] - wide["low"]).iloc[-1] / wide["close"].iloc[-1]
    rows = market.warehouse.read("alpha158", [fit[-1]], needed_by="test").frame
    assert list(rows.columns) == ["date", "instrument", "member", "GAP", "RANGE"]
    rows = rows.set_index("instrument")
    np.testing.assert_allclose(rows["GAP"], gap[rows.index].astype("float32"), rtol=1e-5)
    np.testing.assert_allclose(rows["RANGE"], spread[rows.index].astype("float32"), rtol=1e-5)
    served = market.warehouse.read("dataset_infer", [fit[-1]], needed_by="test").frame
    served = served.set_index("instrument")
    assert list(served.columns) == ["date", "member", "GAP", "RANGE"]
    expected = rows[["GAP", "RANGE"]].fillna(0)
    pd.testing.assert_frame_equal(served[["GAP", "RANGE"]], expected.loc[served.index])
