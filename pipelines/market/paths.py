"""Name the folders and files of a market's state, and of the home that all markets share."""

from __future__ import annotations

import os
from pathlib import Path

ENV_DATA = "RNN_DATA_DIR"
ENV_STATE = "RNN_STATE"


def data_root() -> Path:
    """The folder of all markets' state: `$RNN_DATA_DIR`, else `data/` of the project or here."""
    folder = os.environ.get(ENV_DATA)
    if folder:
        return Path(folder).absolute()
    project = Path(__file__).resolve().parents[2]
    base = project if (project / "workspace.yaml").is_file() else Path.cwd()
    return base / "data"


def dagster_home(data: Path) -> Path:
    """DAGSTER_HOME of all markets of a data folder: Dagster's record of runs, its settings."""
    return data / "dagster"


def state_root(state: str | None, name: str, root: Path) -> str | Path:
    """The place of a market's state: below the YAML's `state`, else `$RNN_STATE`, else its folder.

    Args:
        state: the key of the YAML, which stands for the folder of all markets' state.
        name: the market's name.
        root: its folder on this machine.
    """
    everywhere = state or os.environ.get(ENV_STATE)
    return f"{everywhere.rstrip('/')}/{name}" if everywhere else root


class Paths:
    """The folders and files of a market, all but the home and the page below one folder.

    `warehouse`, `models`, `reports`, `page` and `calendar` lie here unless `state` names another
    place, where they have the same names; the others are this machine's own.

    Attributes:
        dagster: DAGSTER_HOME, shared by all markets of the data root.
        earlier_dagster: the home of the market alone that earlier releases made.
        config: the file that names the market's YAML.
        warehouse: Parquet, one file a table and session.
        catalog: the DuckDB file of views that people open.
        verified: the size, time and inode of files when they were last verified.
        models: model bundles, `MODEL/SESSION/`.
        units: trainings of single seeds that no bundle has joined yet.
        reports: tables and plots of the reports.
        page: the report as one page, beside those of the other markets of the data root.
        served_page: what is served today, beside it.
        calendar: the ledger of sessions, if the calendar is derived from the data.
        downloads: bars of a vendor over the network, so that none is asked for twice.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dagster = dagster_home(root.parent)
        self.earlier_dagster = root / "dagster"
        self.config = root / "config.json"
        self.warehouse = root / "warehouse"
        self.catalog = root / "warehouse.duckdb"
        self.verified = root / "verified.parquet"
        self.models = root / "models"
        self.units = root / "units"
        self.reports = root / "reports"
        self.page = root.parent / "reports" / f"{root.name}.html"
        self.served_page = self.page.with_suffix(".served.html")
        self.calendar = root / "calendar.json"
        self.downloads = root / "downloads"

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders in which most commands write outside of runs: a look into them is short."""
        return self.dagster, self.page.parent, self.root, self.warehouse, self.reports
