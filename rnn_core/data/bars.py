"""From bars to the frame of a handler: sources of bars, and the rows of feature sets.

The sets are evaluated on all sessions, one chunk of instruments after the other, and the selected
rows of each chunk are spread into the one block of the frame. The memory is that of these rows.

Shape letters: T sessions, N instruments, F features, C instruments of a chunk, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.features.evaluate import evaluate
from rnn_core.features.expression import Call, Expression
from rnn_core.features.own_features import OwnFeature
from rnn_core.features.sets import FeatureSet
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.frames import Semantics
from rnn_core.panel.panel import KEYS, Panel

Bars = pd.DataFrame | Panel | str | Path

BUFFER_VALUES = 3_000_000
"""Values of a chunk of instruments, 12 MB of float32."""


def bars_panel(bars: Bars, fields: frozenset[str], owner: str) -> Panel:
    """Read bars as a panel of the fields that a feature set needs.

    Args:
        bars: a long frame, a panel, or a path to a frame.
        fields: names of the fields.
        owner: the feature set that needs them, for messages.

    Returns:
        The panel, of these fields only.

    Raises:
        ValueError: a field is absent, or has no value at all; and as `Panel.from_frame`.
        TypeError: `bars` is neither a frame, a panel nor a path.
    """
    bars = _read(Path(bars)) if isinstance(bars, (str, Path)) else as_frame(bars)
    if not isinstance(bars, (pd.DataFrame, Panel)):
        raise TypeError(f"bars is {type(bars).__name__}, expected a frame, a Panel or a path")
    names = bars.fields if isinstance(bars, Panel) else bars.columns
    missing = sorted(fields - set(names))
    if not missing:
        if isinstance(bars, Panel):
            arrays = {name: bars.fields[name] for name in sorted(fields)}
            panel = Panel(bars.sessions, bars.instruments, arrays, bars.present)
        else:
            keys = [key for key in KEYS if key in bars.columns]
            panel = Panel.from_frame(bars[[*keys, *sorted(fields)]])
        missing = [name for name, x in panel.fields.items() if x.size and np.isnan(x).all()]
        if not missing:
            return panel
    raise ValueError(
        f"{owner} and its label need the fields {sorted(fields)}, the bars have no values of "
        f"{missing}: add them (without traded amounts vwap may be (high + low + close) / 3), or "
        f"leave out what reads them with feature_set=alpha158_set().without_field({missing[0]!r})"
    )


def _read(path: Path) -> pd.DataFrame:
    """Read a file of bars."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":  # codes as text: one may be 000001, or NA
        names = pd.read_csv(path, nrows=0).columns
        missing = {name: ["", "NA", "NaN", "nan"] for name in names if name != KEYS[1]}
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(KEYS, str),
            keep_default_na=False,
            na_values=missing,
        )
    raise ValueError(f"{path} is {path.suffix or 'no file type'}, expected .parquet or .csv")


def spans(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the sessions from each instrument's first row to its last.

    Args:
        present: [N, T], True where the row exists.

    Returns:
        bool [N, T].
    """
    begun = np.logical_or.accumulate(present, axis=1)
    ahead = np.logical_or.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(begun & ahead)


def compute_rows(
    panel: Panel,
    rows: NDArray[np.bool_],
    sets: Mapping[str, FeatureSet],
    semantics: Semantics,
    threads: int | None,
) -> pd.DataFrame:
    """Compute feature sets for some rows, as one frame.

    Args:
        panel: the market.
        rows: [N, T], True for the cells to compute.
        sets: column group to feature set; all are evaluated together.
        semantics: "strict" or "qlib".
        threads: by default one per available core.

    Returns:
        One row per such cell, sorted by (datetime, instrument); float32 columns (group, name),
        in one block.
    """
    from rnn_core.panel.spread import spread

    nodes = [node for features in sets.values() for node in features.nodes]
    names = [(group, name) for group, features in sets.items() for name in features]
    places, index = panel.long_rows(rows=rows)
    block = np.empty((len(nodes), len(index)), dtype=np.float32)  # [F, R]
    instruments = np.flatnonzero(rows.any(axis=1))
    step = max(1, BUFFER_VALUES // (len(nodes) * panel.shape[1]))
    if any(_names_another(node) for node in nodes):
        instruments, step = np.arange(panel.shape[0]), panel.shape[0]
    for first in range(0, len(instruments), step):
        some = instruments[first : first + step]
        fields = {name: values[some] for name, values in panel.fields.items()}
        part = Panel(panel.sessions, panel.instruments[some], fields, panel.present[some])
        buffer = np.empty((len(nodes), len(some), panel.shape[1]), dtype=np.float32)  # [F, C, T]
        evaluate(part, nodes, buffer, semantics=semantics, threads=threads)
        spread(buffer, places[some], block)
    columns = pd.MultiIndex.from_tuples(names)
    return pd.DataFrame(block.T, index=index, columns=columns, copy=False)


def _names_another(node: Expression) -> bool:
    """True if a node reads other instruments, and so needs all of them at once."""
    if isinstance(node, OwnFeature):
        return True
    if not isinstance(node, Call):
        return False
    return node.name == "Mask" or any(_names_another(argument) for argument in node.arguments)
