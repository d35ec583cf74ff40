"""A report in the UI. Oracle: the report's own tables and pictures, by name."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pandas as pd

from pipelines.assets.reports import _report_stage
from pipelines.reports.report_tables import COMPARISON_TABLE, SIGNAL_TABLE, Report


def test_a_picture_does_not_replace_the_table_of_its_name(market):
    rows = pd.DataFrame({"days": [3], "ic": [0.5]}, index=pd.Index(["lstm"], name="model"))
    report = Report(
        {SIGNAL_TABLE: rows, COMPARISON_TABLE: rows}, {"comparison": b"png", "ic": b"png"}, []
    )
    published = {}
    run = SimpleNamespace(
        market=market,
        log=logging.getLogger("test"),
        publish=lambda version, **metadata: published.update(metadata),
    )
    stage = _report_stage("a_report", lambda run: report, reads=[], description="")
    stage.make(run)
    assert set(published) == {"models", "comparison_table", "comparison", "ic", "folder"}
    assert "lstm" in published["comparison_table"].value
    assert published["comparison"].value.startswith("![comparison](data:image/png")
