"""The workflow path against pyqlib on two real markets.

Oracle: pyqlib's recorded infer and learn frames of the same provider, processors and segments.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.data.qlib_bins import FIELDS
from rnn_core.workflow import load_document, read_workflow
from rnn_core.workflow.build_data import load_material
from tests.fixtures.workflow.dump_provider import dump_provider
from tests.rnn_core.workflow.workflow_cases import FILES

SEGMENTS = {
    "us": {
        "train": ("2013-02-08", "2016-06-30"),
        "valid": ("2016-07-01", "2017-03-31"),
        "test": ("2017-04-03", "2018-02-07"),
    },
    "cn": {
        "train": ("2020-01-02", "2023-06-30"),
        "valid": ("2023-07-03", "2024-06-28"),
        "test": ("2024-07-01", "2025-04-07"),
    },
}


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_frames_of_the_lstm_file_are_pyqlibs(market, golden_dir, tmp_path):
    """The benchmark file with dates and provider overridden, nothing else."""
    bars = pd.read_parquet(golden_dir / f"{market}_panel.parquet")
    dump_provider(tmp_path / "data", bars, fields=FIELDS, market=market)
    segments = SEGMENTS[market]
    start, end, fit_end = segments["train"][0], segments["test"][1], segments["train"][1]
    overrides = [
        f"market={market}",
        f"data_handler_config.start_time={start}",
        f"data_handler_config.end_time={end}",
        f"data_handler_config.fit_start_time={start}",
        f"data_handler_config.fit_end_time={fit_end}",
        *(f"task.dataset.kwargs.segments.{k}=[{a}, {b}]" for k, (a, b) in segments.items()),
        "task.record={class: SignalRecord}",
    ]
    document = load_document(FILES / "lstm_alpha158.yaml", overrides)
    made = load_material(read_workflow(document, provider_uri=str(tmp_path / "data")))
    for view in ("infer", "learn"):
        got = made.dataset.handler.fetch(data_key=view).reset_index()
        want = pd.read_parquet(golden_dir / f"{market}_{view}.parquet")
        want = want.sort_values(["date", "instrument"], ignore_index=True)
        want.columns = got.columns  # qlib calls the label by its expression
        assert got["instrument"].tolist() == want["instrument"].tolist()
        np.testing.assert_array_equal(got["datetime"].to_numpy(), want["datetime"].to_numpy())
        np.testing.assert_allclose(
            got.iloc[:, 2:], want.iloc[:, 2:], rtol=1e-4, atol=1e-6, err_msg=view
        )
        assert got.columns[2:5].tolist() == ["KLEN", "KLOW", "ROC60"]
