"""The table of trainings; oracle: bundles and evaluations read one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.reports import trainings as module
from pipelines.reports.trainings import trainings
from pipelines.training.registry import find_bundle
from rnn_core.evaluation.report_training import trainings_table


@pytest.fixture(scope="module")
def evaluations(finished):
    keys = finished.warehouse.sessions("gru_evaluation")
    frame = finished.warehouse.read("gru_evaluation", keys, needed_by="the test").frame
    return {"gru": frame[frame["as_of"].notna()].set_index("date")}


def test_each_training_stands_beside_what_its_scores_earned(finished, evaluations):
    table, notes = trainings(finished, evaluations)
    rows = evaluations["gru"]
    assert list(table["as_of"]) == sorted(pd.to_datetime(rows["as_of"]).unique())
    assert table["sessions"].sum() == rows["rank_ic"].notna().sum()
    for row in table.itertuples():
        bundle = find_bundle(finished, "gru", f"{row.as_of:%Y-%m-%d}")
        (seed,) = bundle.manifest["seeds"]
        assert (row.epochs, row.best_epoch) == (len(bundle.history), seed["best_epoch"])
        own = rows["rank_ic"][pd.to_datetime(rows["as_of"]) == row.as_of]
        assert row.rank_ic == pytest.approx(own.mean(), nan_ok=True)
    assert notes == []


def test_of_many_the_newest_are_read_and_the_page_says_so(finished, evaluations, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    count = evaluations["gru"]["as_of"].nunique()
    assert count > 1
    table, notes = trainings(finished, evaluations)
    assert len(table) == 1
    assert notes == [
        f"trainings: the newest 1 of {count} of gru; the table gru_evaluation has the realised IC "
        f"of all"
    ]


def test_the_page_shows_three_of_a_model_and_folds_the_rest():
    days = pd.bdate_range("2020-01-01", periods=5)
    frame = pd.DataFrame(
        {
            "model": "gru",
            "as_of": days,
            "epochs": 9.0,
            "best_epoch": [0.0, 1.0, 2.0, 3.0, np.nan],
            "valid_rank_ic": 0.01,
            "sessions": 5,
            "rank_ic": -0.02,
        }
    )
    text = trainings_table(frame, {})
    above, _, below = text.partition("<details>")
    assert above.count("<tr><th>gru</th>") == 3
    assert "2020-01-07" in above
    assert "2020-01-01" not in above
    assert "All 5 trainings" in below
    assert below.count("<tr><th>gru</th>") == 5
    assert trainings_table(frame.iloc[:0], {}) == ""
