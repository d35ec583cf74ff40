"""The folders and files of a market's state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENV_DATA = "RNN_DATA_DIR"


def data_root() -> Path:
    """Where markets keep their state: `$RNN_DATA_DIR`, else `data/` of the project or here."""
    given = os.environ.get(ENV_DATA)
    if given:
        return Path(given).absolute()
    project = Path(__file__).resolve().parents[2]
    base = project if (project / "workspace.yaml").is_file() else Path.cwd()
    return base / "data"


@dataclass(frozen=True)
class Paths:
    """All state of a market lies under one folder."""

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
        """The sessions seen so far, where the calendar is derived from the data."""
        return self.root / "calendar.json"

    @property
    def downloads(self) -> Path:
        """Bars of a vendor over the network, so that each is asked for once."""
        return self.root / "downloads"
