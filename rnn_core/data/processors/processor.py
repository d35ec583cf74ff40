"""The interface of all processors: fit on a window, call for a new frame, state as JSON.

A processor never writes to the frame that it is given (qlib's do), keeps every constructor argument
under its own name, and holds its fit as plain arrays that survive JSON bit for bit. So a fitted
chain can be stored beside a model and read back without running any code.

A row-wise processor gives a row the same bits whatever other rows the frame has; a cross-sectional
one gives a session the same bits whatever other sessions the frame has.

Rule matched: qlib data/dataset/processor.py, `Processor`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.panel.frames import (
    Group,
    Semantics,
    float_values,
    group_names,
    group_positions,
    with_values,
)

FIELDS = "field"
"""The column group of what processors read beside features and labels: an industry, a size.

Examples:
    >>> FIELDS
    'field'
"""

_ABSENT = object()
_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


class Processor(ABC):
    """One step from frame to frame.

    Every constructor argument that is stored is kept as an attribute of the same name, where
    `kwargs` reads it.
    A subclass may be written as qlib's are: `fit` may return nothing, and `__call__` may write to
    its frame, which then is a copy.

    Examples:
        >>> class Halve(Processor):
        ...     def __call__(self, frame):
        ...         return frame / 2
        >>> Halve()(frame)["feature", "X"].tolist()[:3]
        [0.5, nan, 1.5]
    """

    unstored: ClassVar[frozenset[str]] = frozenset({"semantics"})
    """Arguments that are no part of the stored form, since they decide about the others only."""

    def fit(self, df: pd.DataFrame) -> Self:
        """Learn from `df`; a class without a fit learns nothing.

        Args:
            df: the output of the previous processor.

        Returns:
            Itself.
        """
        return self

    @abstractmethod
    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Process `df` into a new frame."""

    def fields(self) -> Mapping[str, Literal["number", "category"]]:
        """Return the columns of the group `FIELDS` that the processor reads, by name their kind.

        These are columns beside features and labels, as an industry or a market value; in the
        pipeline those of `source.columns.extra`, of the rows' own sessions.
        """
        return {}

    def is_for_infer(self) -> bool:
        """True if the processor may run while labels are unknown."""
        return True

    def kwargs(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON-able values.

        Raises:
            TypeError: the class does not keep an argument under its own name.
        """
        kept = self._kept()
        for name, value in kept.items():
            if value is _ABSENT:
                raise TypeError(
                    f"{type(self).__name__} does not keep its argument {name!r}: set self.{name} "
                    f"in __init__, so that the processor can be stored"
                )
        return kept

    def state(self) -> dict[str, Any] | None:
        """Return the fit as JSON-able values: {} for a class without a fit, None before `fit`.

        Raises:
            TypeError: the class has a `fit` of its own, and no `state`.
        """
        if type(self).fit is not Processor.fit and type(self).state is Processor.state:
            raise TypeError(
                f"{type(self).__name__} learns in fit and cannot be stored: define state and "
                f"load_state"
            )
        return {}

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Restore a state that `state` returned.

        Args:
            state: the state of a processor of the same class.

        Returns:
            Itself.

        Raises:
            ValueError: the state is of another class.
        """
        if state:
            raise ValueError(
                f"{type(self).__name__} learns nothing, was given a state with {sorted(state)}: "
                f"load it into the class that wrote it"
            )
        return self

    def __repr__(self) -> str:
        kept = {name: value for name, value in self._kept().items() if value is not _ABSENT}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in kept.items())})"

    def _kept(self) -> dict[str, Any]:
        """Return the stored arguments as JSON-able values; `_ABSENT` for one that is not kept."""
        names = [k for k in inspect.signature(type(self)).parameters if k not in self.unstored]
        return {name: _plain(getattr(self, name, _ABSENT)) for name in names}


class CellProcessor(Processor):
    """A processor that changes the cells of a group and keeps rows, columns and types.

    A chain runs neighbours of the same group over one copy of the group's cells, so that such a
    run needs the memory of one frame, however long it is.

    Args:
        fields_group: the group or groups to change.
        semantics: "strict", or "qlib", where None as `fields_group` takes every column, the label
            included, with a warning.

    Raises:
        ValueError: `fields_group` is empty, or None in strict semantics; another `semantics`.

    Examples:
        >>> issubclass(Fillna, CellProcessor), issubclass(DropnaLabel, CellProcessor)
        (True, False)
    """

    def __init__(self, fields_group: Group | None = None, semantics: Semantics = "strict") -> None:
        self.fields_group = group_names(fields_group, type(self).__name__, semantics)

    @abstractmethod
    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Change cells in place.

        Args:
            values: [G, R], float32 or float64, changed in place.
            df: the frame that holds index and column names; its cells may be older than `values`.
            positions: [G], the columns of `df`.
        """

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the changed frame."""
        positions = group_positions(df, self.fields_group, type(self).__name__)
        values = float_values(df, positions)  # [G, R]
        self.change(values, df, positions)
        return with_values(df, positions, values)


def encode_array(values: NDArray[Any]) -> dict[str, Any]:
    """Encode a float array as JSON-able values that decode to the same bits.

    A float32 is written as the shortest decimal of its float64 value, which reads back exactly. NaN
    and the infinities, which JSON lacks, are written as words.
    """
    numbers = [
        x if np.isfinite(x) else "NaN" if np.isnan(x) else "Infinity" if x > 0 else "-Infinity"
        for x in values.astype(np.float64).tolist()
    ]
    return {"dtype": values.dtype.name, "values": numbers}


def decode_array(encoded: Mapping[str, Any]) -> NDArray[Any]:
    """Decode an array that `encode_array` wrote.

    Raises:
        ValueError: the type is neither float32 nor float64.
    """
    if encoded["dtype"] not in ("float32", "float64"):
        raise ValueError(f"a state holds {encoded['dtype']!r}, expected float32 or float64")
    numbers = [_WORDS[x] if isinstance(x, str) else x for x in encoded["values"]]
    return np.array(numbers, dtype=np.float64).astype(encoded["dtype"])


def _plain(value: Any) -> Any:
    """Convert an argument to a JSON value."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat() if value != value.normalize() else f"{value:%Y-%m-%d}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
