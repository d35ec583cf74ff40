"""Datasets whose rows hold their whole window, as those of Alpha360. Oracle: cuts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from pipelines.assets.stages import stages
from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.training.registry import find_bundle
from pipelines.training.windows import training_data
from rnn_core.data import ColumnSteps, TSDataSampler
from tests.pipelines.conftest import TINY, materialize, merged, model_assets

STEPS = {f"C{d}": f"Ref($close, {d})/$close" for d in (2, 1)} | {"C0": "$close/$close"}
STEPS |= {f"V{d}": f"Ref($volume, {d})/$volume" for d in (2, 1)} | {"V0": "$volume/$volume"}
COLUMNS = {
    "features": {"set": {"features": STEPS}},
    "infer_processors": ["RobustZScoreNorm", "Fillna"],
    "layout": "columns",
    "step_len": 3,
}


def market_of(root, **own):
    """The tiny market, with a dataset of windows in columns beside its own."""
    config = merged(TINY, {})
    day = config.pop("dataset")
    config["datasets"] = {"day": day, "steps": {**day, **COLUMNS, **own}}
    gru = config["models"]["gru"]
    config["models"] = {"gru": gru, "gru_steps": {**gru, "family": "gru", "dataset": "steps"}}
    return Market(parse_config(config), root=root)


def test_windows_are_cut_from_the_columns_of_a_row():
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2020-01-02", "2020-01-03"]), ["a", "b"]],
        names=["datetime", "instrument"],
    )
    rows = pd.DataFrame(np.arange(28.0).reshape(4, 7), index=index, columns=list("uvwxyzL"))
    sampler = TSDataSampler(rows, index[0][0], index[-1][0], 1)
    windows = ColumnSteps(sampler, 3, has_label=True)
    assert len(windows) == 4
    batch = windows.batch(torch.arange(4), torch.device("cpu"))
    for window, key in zip(batch, windows.get_index(), strict=True):
        row = rows.loc[key].to_numpy()
        expected = np.column_stack([row[:3], row[3:6], np.full(3, row[6])])
        np.testing.assert_array_equal(window, expected)
    later = windows.between("2020-01-03", "2020-01-03")
    assert list(later.get_index().get_level_values("instrument")) == ["a", "b"]
    plain = ColumnSteps(TSDataSampler(rows.iloc[:, :6], *index.levels[0], 1), 3, has_label=False)
    np.testing.assert_array_equal(
        plain.batch(torch.arange(4), torch.device("cpu")), batch[:, :, :2]
    )


@pytest.mark.parametrize(("steps", "length"), [(4, 1), (3, 2)])
def test_columns_that_cannot_be_cut_are_refused(steps, length):
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2020-01-02", "2020-01-03"]), ["a"]], names=["datetime", "instrument"]
    )
    rows = pd.DataFrame(np.zeros((2, 6)), index=index, columns=list("uvwxyz"))
    sampler = TSDataSampler(rows, index[0][0], index[-1][0], length)
    with pytest.raises(ValueError, match=f"cannot be cut into {steps} steps"):
        ColumnSteps(sampler, steps, has_label=False)


def test_a_model_of_steps_in_columns_is_trained_and_served(tmp_path, instance):
    market = market_of(tmp_path / "tiny")
    first = market.plan.first_trained
    last = market.sessions.keys[market.sessions.position(first) + 1]
    data = [s.name for s in stages(market) if s.tables and s.first is None]
    fitted = ["processors", "steps_processors"]
    materialize(market, [*data, *fitted], market.sessions.first, last, instance)
    materialize(market, model_assets(market), first, last, instance)
    bundle = find_bundle(market, "gru_steps", first)
    assert bundle.columns == ("C0", "V0") and bundle.config["layout"] == "columns"
    assert "layout" not in find_bundle(market, "gru", first).config
    # Scores by hand: the columns of the session's rows, cut and given to the network.
    read = market.warehouse.read
    rows = read("steps_dataset_infer", [last], needed_by="the test").frame.query("member")
    flat = rows[list(STEPS)].to_numpy(dtype="float32")
    with torch.no_grad():
        windows = torch.from_numpy(flat).reshape(len(flat), 2, 3).transpose(1, 2)
        expected = bundle.network(windows).numpy()
    scores = read("gru_steps_prediction", [last], needed_by="the test").frame["score"]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    learn = training_data(market, market.datasets[1], first, "the test")
    assert isinstance(learn.valid, ColumnSteps) and len(learn.valid) > 0
    batch = learn.valid.batch(torch.arange(2), torch.device("cpu"))
    assert batch.shape == (2, 3, 3)  # two features and the label


ALPHA20 = ["RESI5", "WVMA5", "RSQR5", "KLEN"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"step_len": 4}, "column 1 is C2, expected C3"),
        ({"step_len": 2}, "column 1 is C2, expected C1"),
        (
            {"features": {"set": "alpha360"}, "step_len": 30},
            "column 1 is CLOSE59, expected CLOSE29",
        ),
        (
            {
                "features": {"set": "alpha158"},
                "infer_processors": [{"FilterCol": {"col_list": ALPHA20}}],
                "step_len": 4,
            },
            "column 1 is KLEN, expected KLEN3",
        ),
        (
            {
                "features": {"set": "alpha360"},
                "infer_processors": [
                    {
                        "FilterCol": {
                            "col_list": [f"{n}{d}" for n in ("CLOSE", "OPEN") for d in range(30)]
                        }
                    }
                ],
                "step_len": 60,
            },
            "column 1 is CLOSE29, expected CLOSE59",
        ),
    ],
)
def test_the_columns_must_be_whole_windows_in_order(tmp_path, own, message):
    with pytest.raises(ConfigError, match=rf"datasets\.steps\.layout is columns.*{message}"):
        market_of(tmp_path / "tiny", **own)


def test_alpha360_is_whole_windows(tmp_path):
    market = market_of(tmp_path / "tiny", features={"set": "alpha360"}, step_len=60)
    assert market.datasets[1].window_columns == (
        "CLOSE0", "OPEN0", "HIGH0", "LOW0", "VWAP0", "VOLUME0"
    )  # fmt: skip
