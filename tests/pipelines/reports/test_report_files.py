"""The folder of the reports, its pictures drawn.

Oracle: the models of the market, and the form of a PNG.
"""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from pipelines.build import build_definitions
from pipelines.operations.runs import run_assets
from tests.pipelines.conftest import REPORTS
from tests.pipelines.finished_markets import copy_of

pytestmark = pytest.mark.pictures


def test_reports_are_tables_pictures_and_a_page(finished, tmp_path, instance):
    """The reports folder holds tables with a row a model, baselines beside them, PNGs, one page."""
    market, models = copy_of(finished, tmp_path / "tiny"), ["lstm", "gru", "krnn"]
    folder = market.paths.reports
    shutil.rmtree(folder)
    run_assets(build_definitions(market), instance, REPORTS)
    assert list(pd.read_csv(folder / "signal.csv")["model"]) == models
    assert list(pd.read_csv(folder / "portfolio.csv")["model"]) == [*models, "ensemble"]
    compared = pd.read_csv(folder / "comparison.csv", index_col="signal")["kind"]
    assert set(compared.index[compared == "model"]) == set(models)
    assert {"reversal", "ridge"} <= set(compared.index[compared == "baseline"])
    pictures = {p.stem for p in folder.glob("*.png")}
    expected = {"ic", "ic_heatmap", "quantile_returns", "turnover", "decay", "loss_curves"}
    assert expected | {"portfolio", "concentration", "comparison"} <= pictures
    for picture in folder.glob("*.png"):
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert picture.stat().st_size > 3_000  # something is drawn
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert all(name in page for name in models)
