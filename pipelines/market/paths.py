"""Name the folders and files of a market's state."""

from __future__ import annotations

import os
from pathlib import Path

ENV_DATA = "RNN_DATA_DIR"


def data_root() -> Path:
    """The folder of all markets' state: `$RNN_DATA_DIR`, else `data/` of the project or here."""
    folder = os.environ.get(ENV_DATA)
    if folder:
        return Path(folder).absolute()
    project = Path(__file__).resolve().parents[2]
    base = project if (project / "workspace.yaml").is_file() else Path.cwd()
    return base / "data"


class Paths:
    """The folders and files of a market, all below one folder.

    Attributes:
        dagster: DAGSTER_HOME, Dagster's record of runs and materializations.
        warehouse: Parquet, one file a table and session.
        catalog: the DuckDB file of views that people open.
        models: model bundles, `MODEL/SESSION/`.
        reports: tables and plots of the reports.
        page: the report as one page, beside those of the other markets of the data root.
        calendar: the ledger of sessions, if the calendar is derived from the data.
        downloads: bars of a vendor over the network, so that none is asked for twice.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dagster = root / "dagster"
        self.warehouse = root / "warehouse"
        self.catalog = root / "warehouse.duckdb"
        self.models = root / "models"
        self.reports = root / "reports"
        self.page = root.parent / "reports" / f"{root.name}.html"
        self.calendar = root / "calendar.json"
        self.downloads = root / "downloads"
