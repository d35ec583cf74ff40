"""Name the folders and files of a market's state."""

from __future__ import annotations

import os
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Paths:
    """The folders and files of a market, all below one folder."""

    root: Path

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: Dagster's record of runs and materializations."""
        return self.root / "dagster"

    @property
    def warehouse(self) -> Path:
        """Parquet, one file a table and session."""
        return self.root / "warehouse"

    @property
    def catalog(self) -> Path:
        """The DuckDB file of views that people open."""
        return self.root / "warehouse.duckdb"

    @property
    def models(self) -> Path:
        """Model bundles: `MODEL/SESSION/`."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        """Tables and plots of the reports."""
        return self.root / "reports"

    @property
    def page(self) -> Path:
        """The report as one page, beside those of the other markets of the data root."""
        return self.root.parent / "reports" / f"{self.root.name}.html"

    @property
    def calendar(self) -> Path:
        """The ledger of sessions, if the calendar is derived from the data."""
        return self.root / "calendar.json"

    @property
    def downloads(self) -> Path:
        """Bars of a vendor over the network, so that none is asked for twice."""
        return self.root / "downloads"
