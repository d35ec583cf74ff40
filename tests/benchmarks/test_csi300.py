"""The parts of the CSI300 and training benchmarks that can be wrong without being noticed.

Oracles: the adjusted bars recorded by pyqlib's side (its own adjustment), figures worked out by
hand, and what was put in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def as_traded() -> pd.DataFrame:
    """One name over a 2:1 split, suspended on the third session."""
    return pd.DataFrame(
        {
            "date": pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"]),
            "code": "sh.600000",
            "open": [10.0, 12.0, 12.0, 6.0],
            "high": [10.0, 12.0, 12.0, 6.0],
            "low": [10.0, 12.0, 12.0, 6.0],
            "close": [10.0, 12.0, 12.0, 7.0],
            "preclose": [10.0, 10.0, 12.0, 6.0],
            "volume": [100.0, 100.0, np.nan, 400.0],
            "amount": [1000.0, 1200.0, np.nan, 2400.0],
            "tradestatus": [1, 1, 0, 1],
        }
    )


def test_bars_are_restated_to_the_first_session(load, tmp_path: Path) -> None:
    """By hand: the split doubles later prices and halves later volumes; vwap is amount / volume."""
    as_traded().sample(frac=1, random_state=0).to_parquet(tmp_path / "bars.parquet")
    bars = load("csi300").csi300_bars(tmp_path / "bars.parquet")
    assert bars["instrument"].tolist() == ["SH600000"] * 3
    assert bars["close"].tolist() == [10, 12, 14]
    assert bars["volume"].tolist() == [100, 100, 200]
    assert bars["vwap"].tolist() == [10, 12, 12]
    assert (bars.dtypes[["open", "high", "low", "close", "volume", "vwap"]] == np.float32).all()


def test_bars_are_those_of_pyqlib(load, golden_dir: Path, market_dir: Path) -> None:
    """The recorded panel of 26 names, which another code adjusted."""
    recorded = pd.read_parquet(golden_dir / "cn_panel.parquet")
    bars = load("csi300").csi300_bars(market_dir / "cn_csi300_2020_2025_baostock.parquet")
    keys = ["instrument", "date"]
    ours = bars[bars["instrument"].isin(recorded["instrument"].unique())].set_index(keys)
    theirs = recorded.set_index(keys)
    assert ours.index.equals(theirs.index)
    np.testing.assert_array_max_ulp(
        ours[theirs.columns].to_numpy(), theirs.to_numpy(), maxulp=1, dtype=np.float32
    )


def test_absent_bars_are_said_to_be(load, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no bars at .*give the path of the CSI300 bars"):
        load("csi300").csi300_bars(tmp_path / "none.parquet")
    as_traded().drop(columns="preclose").to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(ValueError, match="has no columns preclose, expected date, code"):
        load("csi300").csi300_bars(tmp_path / "bars.parquet")


def run_of(load, seed: int, scores: list[float]):
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2024-07-01", "2024-07-02"]), ["A", "B", "C"]],
        names=["datetime", "instrument"],
    )
    frame = pd.DataFrame({"score": scores, "label": [1.0, 2.0, 3.0, 3.0, 2.0, 1.0]}, index=index)
    return load("csi300_report").Run("lstm", seed, -0.9, 3, 12.5, 2, frame)


def test_a_finished_run_is_found_again_by_its_key_alone(load, tmp_path: Path) -> None:
    """What was put in; a line cut off by an interruption is passed over."""
    report = load("csi300_report")
    run = run_of(load, 1, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    report.append(tmp_path, "key", run)
    with (tmp_path / "csi300.jsonl").open("a") as lines:
        lines.write(json.dumps({"model": "lstm", "seed": 2})[:-4])
    assert report.finished(tmp_path, "other") == {}
    found = report.finished(tmp_path, "key")
    assert list(found) == [1]
    pd.testing.assert_frame_equal(found[1].scores, run.scores)
    assert (found[1].best_valid, found[1].epochs, found[1].fit_s) == (-0.9, 3, 12.5)
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_a_run_after_an_interrupted_one_is_found(load, tmp_path: Path) -> None:
    """A half line must not swallow the whole one after it."""
    report = load("csi300_report")
    (tmp_path / "csi300.jsonl").write_text('{"model": "ls')
    report.append(tmp_path, "key", run_of(load, 1, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]))
    assert list(report.finished(tmp_path, "key")) == [1]


def test_the_ensemble_is_scored_as_the_mean_of_the_scores(load) -> None:
    """By hand: perfect on the first day and reversed on the second, so the ICs are 1 and -1."""
    report = load("csi300_report")
    runs = [
        run_of(load, 0, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]),
        run_of(load, 1, [2.0, 3.0, 4.0, 2.0, 3.0, 4.0]),
    ]
    both = report.ensemble(runs)
    assert both["score"].tolist() == [1, 2, 3, 1, 2, 3]
    assert report.daily(both)["ic"].tolist() == pytest.approx([1, -1])


def test_recorded_results_are_read_by_column_name(load, tmp_path: Path) -> None:
    """A table written here, with a typographic minus and a thousands separator."""
    (tmp_path / "baseline.md").write_text(
        "# Results\n\n| model, seed | best | IC | fit, s |\n|---|---|---|---|\n"
        "| LSTM 0 | −0.99 | 0.02 | 1,607 |\n| GRU 1 | −0.98 | 0.03 | 20 |\n\nText 3.\n"
    )
    found = load("csi300_report").recorded(tmp_path / "baseline.md")
    assert found.to_dict("records") == [
        {"model": "lstm", "seed": 0, "best": -0.99, "IC": 0.02, "fit, s": 1607.0},
        {"model": "gru", "seed": 1, "best": -0.98, "IC": 0.03, "fit, s": 20.0},
    ]
    assert load("csi300_report").recorded(tmp_path / "none.md").empty


SERVER = """
import sys
sys.path.insert(0, {peers!r})
from contest import serve, take_stdout
replies = take_stdout()
print("chatter of a library")
serve(lambda number: {{"twice": 2 * number}}, replies)
"""


def test_contestants_answer_and_their_end_is_explained(load, tmp_path: Path) -> None:
    """What was asked; a process that fails hands over its last words."""
    script = tmp_path / "server.py"
    script.write_text(SERVER.format(peers=str(BENCHMARKS / "peers")))
    contestant = load("contest").Contestant([sys.executable, script], tmp_path / "log.txt")
    assert [contestant.ask(number=n) for n in (2, 3)] == [{"twice": 4}, {"twice": 6}]
    with pytest.raises(RuntimeError, match=r"(?s)server\.py ended:.*chatter.*TypeError"):
        contestant.ask(other=1)
    contestant.close()
