"""A report in the UI and its inputs. Oracle: the report's own tables and pictures, by name."""

from __future__ import annotations

import logging
import shutil
from types import SimpleNamespace

import pandas as pd

from pipelines.assets.reports import _report_stage
from pipelines.assets.stages import stages
from pipelines.errors import NothingToReportError
from pipelines.market.stage import WHOLE, Kind
from pipelines.reports.report_record import write_record
from pipelines.reports.report_tables import COMPARISON_TABLE, SIGNAL_TABLE, Report, publish
from pipelines.staleness.causes import why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.warehouse.partition_file import Provenance
from tests.pipelines.finished_markets import copy_of


def published(market, make):
    """The figures that a report of a function shows in the UI, and the stage."""
    shown = {}
    stage = _report_stage(
        market, "a_report", make, after=[], reads=[], config={"top": 3}, description=""
    )
    run = SimpleNamespace(
        market=market,
        log=logging.getLogger("test"),
        publish=lambda version, **metadata: shown.update(metadata, version=version),
        provenance=lambda key, versions, status: Provenance(
            stage.name, stage.code_version, stage.config_hash, stage.inputs(key, versions), status
        ),
    )
    stage.make(run)
    return shown, stage


def test_a_picture_does_not_replace_the_table_of_its_name(finished, tmp_path):
    market = copy_of(finished, tmp_path / "copy")
    rows = pd.DataFrame({"days": [3], "ic": [0.5]}, index=pd.Index(["lstm"], name="model"))
    report = Report(
        {SIGNAL_TABLE: rows, COMPARISON_TABLE: rows}, {"comparison": b"png", "ic": b"png"}, []
    )
    publish(market, report.tables, report.pictures)
    shown, stage = published(market, lambda run: report)
    assert set(shown) == {
        "models", "comparison_table", "comparison", "ic", "folder", "status", "version",
    }  # fmt: skip
    assert "lstm" in shown["comparison_table"].value
    assert shown["comparison"].value.startswith("![comparison](data:image/png")
    assert shown["version"] == stage.recorded(market).digest


def test_nothing_to_report_is_a_report_without_tables(finished, tmp_path):
    """The tables of before are gone, so that nobody reads them as today's."""
    market = copy_of(finished, tmp_path / "copy")
    signal = next(stage for stage in stages(market) if stage.name == "signal_report")
    assert (market.paths.reports / SIGNAL_TABLE).is_file()

    def nothing(run):
        raise NothingToReportError("no session has been evaluated yet")

    shown, stage = published(market, nothing)
    assert shown["status"] == "no session has been evaluated yet"
    assert stage.recorded(market).provenance.status == "no session has been evaluated yet"
    made = signal.recorded(market).provenance
    write_record(market, made, [])
    assert not (market.paths.reports / SIGNAL_TABLE).exists()


def test_a_report_is_made_from_all_that_is_stored(finished, tmp_path):
    """Bars, predictions and evaluations; one changed partition is another input."""
    market = copy_of(finished, tmp_path / "copy")
    for stage in (stage for stage in stages(market) if stage.kind is Kind.REPORT):
        info = stage.recorded(market)
        now = StoredVersions(market, stages(market))
        assert info.provenance.inputs == stage.inputs(WHOLE, now)
        assert {"ohlcv", "gru_prediction"} <= set(info.provenance.inputs)
        assert info.provenance.code_version == stage.code_version
        assert info.provenance.config == stage.config_hash
    key = market.sessions.keys[-1]
    shutil.rmtree(market.paths.warehouse / "gru_evaluation" / f"date={key}")
    signal, portfolio = (s for s in stages(market) if s.kind is Kind.REPORT)
    now = StoredVersions(market, stages(market))
    assert str(why_not_current(signal, WHOLE, now)) == "inputs: gru_evaluation"
    assert why_not_current(portfolio, WHOLE, now) is None
