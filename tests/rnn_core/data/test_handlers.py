"""Handlers from qlib's configuration mapping. Oracle: the same handler made by its class."""

from __future__ import annotations

import pandas as pd
import pytest

from rnn_core.data import Alpha158, DatasetH, TSDatasetH, simulate_market
from rnn_core.data.alpha import Alpha158vwap
from rnn_core.data.handlers import HANDLERS, make_handler
from rnn_core.features import compute_features, layout

SESSIONS = pd.bdate_range("2020-01-01", periods=90)
SEGMENTS = {"train": (SESSIONS[60], SESSIONS[80]), "test": (SESSIONS[81], SESSIONS[89])}
MODULE = "qlib.contrib.data.handler"


@pytest.fixture(scope="module")
def bars():
    traded = simulate_market(4, SESSIONS, 5)
    return traded.assign(vwap=traded["amount"] / traded["volume"])


def test_a_dataset_takes_the_mapping_for_the_handler(bars):
    kwargs = {"bars": bars, "start_time": SESSIONS[60]}
    config = {"class": "Alpha158", "module_path": MODULE, "kwargs": kwargs}
    want = DatasetH(Alpha158(**kwargs), SEGMENTS)
    got = DatasetH(config, SEGMENTS)
    assert isinstance(got.handler, Alpha158)
    pd.testing.assert_frame_equal(got.prepare("test"), want.prepare("test"))
    windows = TSDatasetH(config, SEGMENTS, step_len=5).prepare("train")
    assert len(windows) == len(want.prepare("train"))
    assert config["kwargs"] == kwargs


def test_the_vwap_handlers_have_the_return_of_average_prices_as_label(bars):
    """Oracle: `compute_features` of qlib's expression."""
    handler = make_handler({"class": "Alpha158vwap", "kwargs": {"bars": bars}})
    assert isinstance(handler, Alpha158vwap)
    label = compute_features(bars, [("LABEL0", "Ref($vwap, -2)/Ref($vwap, -1) - 1")])
    pd.testing.assert_frame_equal(handler.fetch(col_set="label", data_key="raw"), label)
    assert HANDLERS["Alpha360vwap"].default_label == layout.ALPHA158VWAP_LABEL[1]
    own = make_handler({"class": "Alpha158vwap", "kwargs": {"bars": bars, "label": "$close/$open"}})
    assert own.state()["label"] == ["$close/$open"]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"class": "Alpha159"}, KeyError, r"no handler 'Alpha159'.*did you mean 'Alpha158'"),
        (
            {"class": "Alpha158", "module_path": "my.code"},
            ValueError,
            "'my.code', expected qlib.co",
        ),
        ({"kwargs": {}}, TypeError, "expected a mapping with class, module_path and kwargs"),
        ({"class": "Alpha158", "args": 1}, TypeError, "expected a mapping with class"),
    ],
)
def test_other_mappings_are_refused(config, error, message):
    with pytest.raises(error, match=message):
        make_handler(config)
    with pytest.raises(error, match=message):
        DatasetH(config, SEGMENTS)
