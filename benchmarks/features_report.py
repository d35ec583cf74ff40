"""How the contestants' values compare, and the tables in which the contest is told.

A cell is far from pyqlib's if one side is missing and the other is not, or if they differ by more
than rtol 1e-4 and atol 1e-6 (the measure of `deviations.py`). Against KunQuant only sessions count
whose last 61 rows all exist: it has no notion of a missing one.

Shape letters: `T` sessions, `N` instruments, `R` rows that are compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LOOK_BACK = 61
RTOL, ATOL = 1e-4, 1e-6


def gapless(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[N, T], whether the last 61 rows all exist."""
    held = np.cumsum(np.pad(present, ((0, 0), (1, 0))), axis=1)
    whole = np.zeros_like(present)
    whole[:, LOOK_BACK - 1 :] = held[:, LOOK_BACK:] - held[:, :-LOOK_BACK] == LOOK_BACK
    return whole


def missing_share(values: NDArray[np.float32], rows: NDArray[np.bool_]) -> float:
    """Share of NaN in the rows."""
    return float(np.mean([np.isnan(feature[rows]).mean() for feature in values]))


def compare(
    values: NDArray[np.float32],
    reference: NDArray[np.float32],
    rows: NDArray[np.bool_],
    names: Sequence[str],
) -> dict[str, object]:
    """Differences between two [158, N, T] on the rows, feature by feature to save memory.

    Returns:
        `cells`; `bits`, how many numbers differ in any bit; `masks`, how many are missing on one
        side only; `far`, the share of cells that are far; `largest`, the largest absolute
        difference of finite numbers; `families`, far cells by family of features, most first.
    """
    bits = masks = far = cells = 0
    largest = 0.0
    families: dict[str, int] = {}
    for name, ours, theirs in zip(names, values, reference, strict=True):
        a, b = ours[rows], theirs[rows]  # [R], [R]
        one, other = np.isnan(a), np.isnan(b)
        mask = one != other
        bits += int(((a.view(np.uint32) != b.view(np.uint32)) & ~one & ~other).sum())
        with np.errstate(invalid="ignore"):
            gap = np.abs(a.astype(np.float64) - b)
            wide = mask | (~(gap <= ATOL + RTOL * np.abs(b)) & ~one & ~other & (a != b))
        largest = max(largest, float(np.max(gap, initial=0.0, where=np.isfinite(gap))))
        masks, far, cells = masks + int(mask.sum()), far + int(wide.sum()), cells + len(a)
        family = name.rstrip("0123456789")
        families[family] = families.get(family, 0) + int(wide.sum())
    ordered = sorted(families.items(), key=lambda item: -item[1])
    return {
        "cells": cells,
        "bits": bits,
        "masks": masks,
        "far": far / max(cells, 1),
        "largest": largest,
        "families": {family: count for family, count in ordered if count},
    }


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None becomes a dash."""
    cells = [header, ["---"] * len(header), *rows]
    lines = ["| " + " | ".join("–" if c is None else str(c) for c in row) + " |" for row in cells]
    return "\n".join(lines)


def write_ratios(path: Path | None, rows: Sequence[tuple[str, str, float, float]]) -> None:
    """Write what `against_peers.py` gathers; nothing without a path.

    Args:
        path: the file.
        rows: the work, the peer, seconds here and of the peer.
    """
    if path is not None:
        keys = ("work", "peer", "here_s", "peer_s")
        path.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))


def write_section(path: Path, section: str, script: str = "benchmarks/features.py") -> None:
    """Put the section between its script's markers, or at the end of a file without them.

    Raises:
        ValueError: if only one of the markers is there.
    """
    text = path.read_text() if path.exists() else "# Measurements\n"
    begin, end = (f"<!-- {script}: {word} -->" for word in ("begin", "end"))
    block = f"{begin}\n{section.strip()}\n{end}"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + block + rest.split(end, 1)[1]
    elif begin in text or end in text:
        raise ValueError(f"{path} has one of the markers {begin} and {end}: put both or none")
    else:
        text = text.rstrip() + "\n\n" + block + "\n"
    path.write_text(text)
