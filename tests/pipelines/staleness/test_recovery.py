"""A planted signal comes out at the other end of the graph, at the sessions where it belongs.

Oracle: the simulated market plants a quantity with a rank correlation of 0.4 with the label of the
same decision. An error of one session anywhere between bars, labels, windows, predictions and
evaluations would leave nothing of it.
"""

from __future__ import annotations

import numpy as np

from tests.pipelines.conftest import DATA_STAGE, make_market, materialize

STRONG = {
    "market": {
        "source": {"instruments": 40, "signal": 0.4, "suspension_rate": 0.01},
        "end": "2020-08-31",
    },
    "dataset": {
        "fit_start": "2020-02-03",
        "fit_end": "2020-05-29",
        "infer_processors": [
            {"FilterCol": {"col_list": ["KSFT2", "ROC20", "KMID", "STD5"]}},
            "RobustZScoreNorm",
            "Fillna",
        ],
    },
    "training": {
        "first_trained": "2020-06-15",
        "window_sessions": 90,
        "valid_sessions": 15,
        "retrain_every": 100,
    },
    "models": {"lstm": {"hidden_size": 8, "lr": 0.01, "batch_size": 256, "n_epochs": 25}},
}


def test_the_planted_signal_is_recovered(tmp_path, instance):
    market = make_market(tmp_path / "strong", STRONG)
    first, last = market.sessions.first, market.sessions.keys[-1]
    materialize(market, DATA_STAGE, first, last, instance)
    assets = ["lstm_model", "lstm_prediction", "lstm_evaluation"]
    materialize(market, assets, market.plan.first_trained, last, instance)
    keys = [k for k in market.sessions.keys if k > market.plan.first_trained]
    rows = market.warehouse.read("lstm_evaluation", keys, needed_by="test").frame
    rank_ic = rows["rank_ic"].to_numpy()
    assert len(rank_ic) > 40
    standard_error = rank_ic.std(ddof=1) / np.sqrt(len(rank_ic))
    # The most there is to find is 0.4; noise of 40 names gives a standard error of about 0.02.
    assert 0.25 < rank_ic.mean() < 0.45 + 2 * standard_error
    assert (rows["long_short"] > 0).mean() > 0.7
