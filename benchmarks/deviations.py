"""Count the cells of two real markets that each repair of the strict semantics changes.

    python benchmarks/deviations.py --golden ../shared/golden

Compares pyqlib 0.9.7's recorded features with the strict ones, on the rows that exist unless said
otherwise. A cell is changed if one side is missing and the other is not, or if they differ by more
than rtol 1e-4 and atol 1e-6. Each changed cell is booked under the first rule that explains it;
whatever no rule explains is counted last, and should be 0. Prints the table of docs/deviations.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from rnn_core.features import ALPHA158_NAMES, alpha158_panel
from rnn_core.features.layout import ALPHA158_EXPRESSIONS
from rnn_core.panel.panel import Panel

MARKETS = ("us", "cn")
WINDOWS = np.array([int("".join(filter(str.isdigit, name)) or 0) for name in ALPHA158_NAMES])
FAMILIES = np.array([name.rstrip("0123456789") for name in ALPHA158_NAMES])


def family(*names: str) -> np.ndarray:
    """[1, 158], which columns belong to the families."""
    return np.isin(FAMILIES, names)[None]


def effects(folder: Path, market: str) -> dict[str, tuple[int, int]]:
    """Repair to (changed cells, cells it could have changed)."""
    bars = pd.read_parquet(folder / f"{market}_panel.parquet")
    recorded = pd.read_parquet(folder / f"{market}_alpha158.parquet")
    panel = Panel.from_frame(bars)
    name = panel.instruments.get_indexer(recorded["instrument"])
    day = panel.sessions.get_indexer(recorded["date"])
    q = recorded[list(ALPHA158_NAMES)].to_numpy(np.float64)  # [R, 158]
    s = alpha158_panel(panel)[:, name, day].T.astype(np.float64)  # [R, 158]
    row = panel.present[name, day][:, None]  # [R, 1]

    with np.errstate(invalid="ignore"):
        far = ~(np.abs(q - s) <= 1e-6 + 1e-4 * np.abs(q)) & ~(np.isnan(q) & np.isnan(s))
    one_missing = np.isnan(q) != np.isnan(s)
    sessions = np.arange(len(panel.sessions))
    positions = np.where(panel.present, sessions, len(sessions))
    first = positions.min(axis=1)[name]
    oldest = np.array(
        [positions[i, max(t - 60, 0) : t + 1].min() for i, t in zip(name, day, strict=True)]
    )
    span = np.minimum(WINDOWS[None], (day - first)[:, None] + 1)
    local = np.minimum(WINDOWS[None], (day - oldest)[:, None] + 1)
    located = family("IMAX", "IMIN", "IMXD")
    regressions = family("BETA", "RSQR", "RESI")
    pairs = family("CORR", "CORD")
    guards = np.array(["+1e-12)" in text for text in ALPHA158_EXPRESSIONS.values()])[None]

    rules = {
        "absent rows": (far & ~row, ~row & np.ones_like(far)),
        "infinite": (np.isinf(q), np.ones_like(far)),
        "local length": (
            far & (span != local) & (located | family("CNTP", "CNTN", "CNTD")),
            row & (located | family("CNTP", "CNTN", "CNTD")),
        ),
        "Q1": (far & located, row & located),
        "Q3": (far & one_missing & (pairs | family("RSQR")), row & (pairs | family("RSQR"))),
        "Q7": (pairs & (np.abs(q) > 1), row & pairs),
        "Q2": (far & regressions, row & regressions),
        "float64 inputs": (far & (pairs | family("WVMA")), row & (pairs | family("WVMA"))),
        "guards": (far & guards, row & guards),
        "unexplained": (far, row & np.ones_like(far)),
    }
    booked = np.zeros_like(far)
    result = {}
    for rule, (cells, could) in rules.items():
        mine = cells & ~booked & (row if rule != "absent rows" else ~row)
        booked |= mine
        result[rule] = (int(mine.sum()), int((could & np.ones_like(far)).sum()))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--golden", type=Path, required=True, help="folder of recorded outputs")
    folder = parser.parse_args().golden
    tables = {market: effects(folder, market) for market in MARKETS}
    print("| repair | " + " | ".join(MARKETS) + " |")
    print("|---" * (1 + len(MARKETS)) + "|")
    for rule in tables[MARKETS[0]]:
        cells = (f"{tables[m][rule][0]:,} of {tables[m][rule][1]:,}" for m in MARKETS)
        print(f"| {rule} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
