"""Processors that choose columns, drop rows or fill cells, without a fit.

Rule matched: qlib data/dataset/processor.py `FilterCol`, `DropCol`, `DropnaProcessor`,
`DropnaLabel`, `Fillna`, `TanhProcess`. Apart from qlib: unknown names are an error, `fields_group`
has no default that reaches the label (in qlib semantics it has, with a warning), and nothing is
written to the caller's frame or to `col_list`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.processors.processor import CellProcessor, Processor
from rnn_core.panel.frames import (
    EVERY,
    Group,
    Semantics,
    group_names,
    group_positions,
)
from rnn_core.suggestions import near_matches


def _known(names: Sequence[str], existing: pd.Index, owner: str, where: str) -> None:
    """Raise for names that a frame lacks, each with the nearest existing names."""
    unknown = [n for n in names if n not in existing]
    if unknown:
        hints = " ".join(f"{n!r}{near_matches(n, existing)}" for n in unknown)
        raise KeyError(f"{owner} was given names that {where} lacks: {hints}")


def _name_list(col_list: Sequence[str], owner: str) -> tuple[str, ...]:
    """Return `col_list` as a tuple; a lone string, an empty list or another value is an error."""
    names = () if isinstance(col_list, str) or not isinstance(col_list, Iterable) else [*col_list]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{owner} was given col_list={col_list!r:.200}, expected a list of one column name or "
            f"more"
        )
    return tuple(names)


class FilterCol(Processor):
    """Keep the named columns of a group, and every column outside it.

    The result keeps the frame's column order, as qlib's, whatever the order of `col_list`.

    Args:
        fields_group: the group to filter.
        col_list: names to keep.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Raises:
        ValueError: `col_list` is empty or a lone string.

    Examples:
        >>> FilterCol("feature", ["X"])(frame).columns.tolist()
        [('feature', 'X'), ('label', 'LABEL0')]
    """

    def __init__(
        self,
        fields_group: Group | None = "feature",
        col_list: Sequence[str] = (),
        semantics: Semantics = "strict",
    ) -> None:
        self.fields_group = group_names(fields_group, "FilterCol", semantics)
        self.col_list = _name_list(col_list, "FilterCol")

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the chosen columns of the group.

        Raises:
            KeyError: the group lacks a name of `col_list`.
        """
        inside = group_positions(df, self.fields_group, "FilterCol")
        names = df.columns.get_level_values(1)
        _known(self.col_list, names[inside], "FilterCol", f"group {self.fields_group!r}")
        keep = np.ones(df.shape[1], dtype=bool)
        keep[inside] = names[inside].isin(self.col_list)
        return df.loc[:, keep]


class DropCol(Processor):
    """Drop columns by name, in any group.

    Args:
        col_list: names to drop.

    Raises:
        ValueError: `col_list` is empty or a lone string.

    Examples:
        >>> DropCol(["X"])(frame).columns.tolist()
        [('label', 'LABEL0')]
    """

    def __init__(self, col_list: Sequence[str] = ()) -> None:
        self.col_list = _name_list(col_list, "DropCol")

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the frame without the columns.

        Raises:
            KeyError: the frame lacks a name of `col_list`.
        """
        names = df.columns.get_level_values(-1)
        _known(self.col_list, names, "DropCol", "the frame")
        return df.loc[:, ~names.isin(self.col_list)]


class DropnaProcessor(Processor):
    """Drop the rows with a NaN in any column of the group; infinities stay.

    Args:
        fields_group: the group or groups that must be complete.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> len(DropnaProcessor("feature")(frame))
        5
    """

    def __init__(self, fields_group: Group | None = None, semantics: Semantics = "strict") -> None:
        self.fields_group = group_names(fields_group, type(self).__name__, semantics)

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the complete rows."""
        positions = group_positions(df, self.fields_group, type(self).__name__)
        missing = np.zeros(len(df), dtype=bool)
        for p in positions:
            missing |= _isna(df, p)
        return df.loc[~missing] if missing.any() else df.copy(deep=False)


class DropnaLabel(DropnaProcessor):
    """Drop the rows whose label is NaN. For learning only: serving has no labels yet.

    Args:
        fields_group: the group of the labels.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> len(frame), len(DropnaLabel()(frame))
        (6, 3)
    """

    def __init__(
        self, fields_group: Group | None = "label", semantics: Semantics = "strict"
    ) -> None:
        super().__init__(fields_group, semantics)

    def is_for_infer(self) -> bool:
        """False, since labels are unknown in serving."""
        return False


class Fillna(CellProcessor):
    """Replace NaN by a number; infinities stay.

    Args:
        fields_group: the group or groups to fill.
        fill_value: the number, 0 as in qlib: the centre of a standardised column.
        semantics: "strict" or "qlib", see `CellProcessor`.

    Examples:
        >>> Fillna("feature")(frame)["feature", "X"].tolist()
        [1.0, 0.0, 3.0, 2.0, inf, 6.0]
    """

    def __init__(
        self,
        fields_group: Group | None = None,
        fill_value: float = 0,
        semantics: Semantics = "strict",
    ) -> None:
        super().__init__(fields_group, semantics)
        self.fill_value = fill_value

    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Fill in place, a column at a time."""
        for column in values:
            column[np.isnan(column)] = self.fill_value


class TanhProcess(CellProcessor):
    """tanh(x - 1) squashes noise into (-1, 1); NaN stays NaN, ±inf becomes ±1.

    The shift by 1 suits features that are ratios to the close and lie around 1, as Alpha158's and
    Alpha360's do; a column that is centred at 0 loses its symmetry. qlib has no group here: it
    takes every column whose name does not contain "LABEL", and so also a label that is named by its
    expression.

    Args:
        fields_group: the group or groups to squash.
        semantics: "strict" or "qlib", where None takes the columns that qlib takes.

    Examples:
        >>> TanhProcess("feature")(frame)["feature", "X"].round(2).tolist()
        [0.0, nan, 0.96, 0.76, 1.0, 1.0]
    """

    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Squash in place."""
        names = df.columns.get_level_values(1)
        for column, position in zip(values, positions, strict=True):
            if self.fields_group != EVERY or "LABEL" not in str(names[position]):
                np.subtract(column, 1, out=column)
                np.tanh(column, out=column)


def _isna(df: pd.DataFrame, position: int) -> NDArray[np.bool_]:
    return np.asarray(df.iloc[:, position].isna())
