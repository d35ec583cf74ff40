"""Processors with a fit: statistics of the fit window shift and scale each column.

All three map x to (x - centre) / scale, column by column, and differ in the statistics only.
Columns are matched by name, the fit window [fit_start_time, fit_end_time] includes both ends, and
the arithmetic stays in the frame's own type, float32 for float32.

`semantics="qlib"` gives qlib's numbers, quirks included. `semantics="strict"`, the default:
  - an infinite value counts as missing in the fit (in qlib one makes mean, deviation or range
    infinite or NaN, and so the whole column);
  - a column without spread in the fit window becomes 0 wherever it has a value, and a warning
    names the column (qlib's RobustZScoreNorm saturates it at ±3, the two others do not scale it);
  - a column without a finite value in the fit window is an error (qlib: NaN, later filled by 0);
  - means and deviations are summed in float64 and then rounded to the frame's type.

Rule matched: qlib data/dataset/processor.py `MinMaxNorm`, `ZScoreNorm`, `RobustZScoreNorm`.
"""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.processors.processor import (
    CellProcessor,
    decode_array,
    encode_array,
)
from rnn_core.panel.frames import (
    Group,
    Semantics,
    float_values,
    group_positions,
    rows_between,
)
from rnn_core.panel.session_labels import DateLike, session_bound
from rnn_core.suggestions import near_matches

logger = logging.getLogger(__name__)

EPS = 1e-12
"""Summand of the median absolute deviation before ×1.4826 (qlib constant.py `EPS`). In float32
it is lost beside any deviation above about 1e-5."""

MAD_TO_STD = 1.4826
"""1 / Φ⁻¹(3/4), rounded as in qlib: the deviation of a normal variable over its MAD."""

CLIP = 3.0
"""Bound of a clipped robust score, in deviations (qlib processor.py `RobustZScoreNorm`)."""


class FittedNorm(CellProcessor):
    """Base of (x - centre) / scale with the statistics of the fit window."""

    unstored = frozenset()  # here the semantics decides the numbers

    clip: ClassVar[bool] = False
    """True if the class has `clip_outlier`."""

    def __init__(
        self,
        fit_start_time: DateLike | None,
        fit_end_time: DateLike,
        fields_group: Group | None = None,
        semantics: Semantics = "strict",
    ) -> None:
        name = type(self).__name__
        self.fit_start_time = session_bound(fit_start_time)
        end = session_bound(fit_end_time, last=True)
        if end is None:
            raise ValueError(f"{name} needs fit_end_time: without it the fit would read the future")
        self.fit_end_time: pd.Timestamp = end
        if self.fit_start_time is not None and self.fit_start_time > end:
            raise ValueError(
                f"{name} was given fit_start_time={fit_start_time} after fit_end_time="
                f"{fit_end_time}: swap them"
            )
        super().__init__(fields_group, semantics)
        self.semantics: Semantics = semantics
        self.columns: list[tuple[str, str]] | None = None
        self.centre: NDArray[Any] = np.empty(0)  # [G]
        self.scale: NDArray[Any] = np.empty(0)  # [G]
        self.flat: NDArray[np.bool_] = np.empty(0, dtype=bool)  # [G] no spread: becomes 0

    @abstractmethod
    def _statistics(self, x: NDArray[Any]) -> tuple[Any, Any]:
        """Return centre and scale of the values of one column in the fit window.

        Args:
            x: [rows of the window]; finite values only in strict, all of them in qlib semantics.
        """

    def _window(self) -> str:
        start = (
            "the beginning" if self.fit_start_time is None else f"{self.fit_start_time:%Y-%m-%d}"
        )
        return f"[{start}, {self.fit_end_time:%Y-%m-%d}]"

    def fit(self, df: pd.DataFrame) -> Self:
        """Learn centre and scale of every column of the group from the fit window.

        Args:
            df: a long frame with two-level columns.

        Returns:
            Itself.

        Raises:
            ValueError: no row lies in the window; in strict, a column has no finite value there.
        """
        name = type(self).__name__
        positions = group_positions(df, self.fields_group, name)
        inside = rows_between(df, self.fit_start_time, self.fit_end_time)
        if not inside.any():
            raise ValueError(
                f"{name} has no row in its fit window {self._window()}, the frame has "
                f"{len(df)} rows: give a frame that covers the window"
            )
        # The statistics of one column after the other.
        columns = _names(df, positions)
        centre, scale, flat = [], [], []
        for p, column in zip(positions, columns, strict=True):
            x = float_values(df, np.array([p]))[0][inside]
            if self.semantics == "strict":
                x = x[np.isfinite(x)]
                if not len(x):
                    raise ValueError(
                        f"{name} found no finite value of column {column} in its fit window "
                        f"{self._window()}: drop the column with FilterCol or DropCol, or move "
                        f"the window"
                    )
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", RuntimeWarning)  # qlib: an all-NaN column is NaN
                c, s = self._statistics(x)
            flat.append(self.semantics == "strict" and not s > 0)
            centre.append(c)
            scale.append(s)
        # The fit is stored only now, so that a failed one changes nothing.
        dtype = np.result_type(*centre)
        self.columns = columns
        self.centre = np.array(centre, dtype=dtype)
        self.scale = np.array(scale, dtype=dtype)
        self.flat = np.array(flat, dtype=bool)
        if self.flat.any():
            names = ", ".join(c[1] for c, f in zip(columns, flat, strict=True) if f)
            logger.warning(
                "%s: no spread in the fit window %s, these columns become 0: %s",
                name,
                self._window(),
                names,
            )
        return self

    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Scale in place; NaN stays NaN, and ±inf stays ±inf unless it is clipped.

        Raises:
            RuntimeError: not fitted.
            KeyError: the group's columns are not those of the fit.
        """
        name = type(self).__name__
        if self.columns is None:
            raise RuntimeError(f"{name} is not fitted: call fit(df) or load_state(state) first")
        order = self._order(self.columns, _names(df, positions))
        clip = self.clip and bool(getattr(self, "clip_outlier", False))
        for g, k in enumerate(order):
            x = values[g]
            if self.flat[k]:
                x[~np.isnan(x)] = 0
                continue
            # The statistics in the column's type: float32 in, float32 arithmetic throughout.
            with np.errstate(all="ignore"):
                x -= self.centre[k].astype(x.dtype)
                x /= self.scale[k].astype(x.dtype)
            if clip:
                np.clip(x, -CLIP, CLIP, out=x)

    def _order(self, fitted: list[tuple[str, str]], present: list[tuple[str, str]]) -> list[int]:
        """Return the place in the fit of each column of the frame's group."""
        place = {c: k for k, c in enumerate(fitted)}
        extra = [c for c in present if c not in place]
        missing = [c for c in fitted if c not in set(present)]
        if extra or missing:
            hint = near_matches(extra[0][1], [c[1] for c in missing]) if extra and missing else ""
            raise KeyError(
                f"{type(self).__name__} was fitted on {len(place)} columns; the frame lacks "
                f"{missing[:5]} and adds {extra[:5]}{hint}: fit again or give the same columns"
            )
        return [place[c] for c in present]

    def state(self) -> dict[str, Any] | None:
        """Return columns, centres and scales; None before the fit."""
        if self.columns is None:
            return None
        return {
            "columns": [list(c) for c in self.columns],
            "centre": encode_array(self.centre),
            "scale": encode_array(self.scale),
            "flat": self.flat.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Restore a state that `state` returned.

        Raises:
            ValueError: the state lacks an entry, or the entries differ in length.
        """
        entries = {"columns", "centre", "scale", "flat"}
        if set(state) != entries:
            raise ValueError(
                f"{type(self).__name__} was given a state with {sorted(state)}, expected "
                f"{sorted(entries)}: load it into the class that wrote it"
            )
        centre, scale = decode_array(state["centre"]), decode_array(state["scale"])
        columns = [(str(g), str(n)) for g, n in state["columns"]]
        flat = np.array(state["flat"], dtype=bool)
        if not len(columns) == len(centre) == len(scale) == len(flat):
            raise ValueError(
                f"{type(self).__name__} was given a state whose entries differ in length "
                f"({len(columns)} columns, {len(centre)} centres, {len(scale)} scales): write it "
                f"anew"
            )
        self.columns, self.centre, self.scale, self.flat = columns, centre, scale, flat
        return self


def _names(df: pd.DataFrame, positions: NDArray[np.intp]) -> list[tuple[str, str]]:
    """Return (group, name) of the columns at `positions`."""
    levels = (df.columns.get_level_values(k)[positions] for k in (0, 1))
    return [(str(g), str(n)) for g, n in zip(*levels, strict=True)]


class MinMaxNorm(FittedNorm):
    """(x - min) / (max - min), with the extremes of the fit window.

    Args:
        fit_start_time: first session of the fit, or None for the frame's first.
        fit_end_time: last session of the fit, included.
        fields_group: the group or groups to scale.
        semantics: "strict" or "qlib", see the module.

    Examples:
        >>> norm = MinMaxNorm(None, "2024-01-02", "feature").fit(frame)
        >>> norm(frame)["feature", "X"].tolist()
        [0.0, nan, 1.0, 0.5, inf, 2.5]
    """

    def _statistics(self, x: NDArray[Any]) -> tuple[Any, Any]:
        low, high = np.nanmin(x), np.nanmax(x)
        if self.semantics == "qlib" and low == high:
            return x.dtype.type(0), x.dtype.type(1)  # left as it is
        return low, high - low


class ZScoreNorm(FittedNorm):
    """(x - mean) / deviation of the fit window, with ddof 0 (numpy's nanstd).

    Args:
        fit_start_time: first session of the fit, or None for the frame's first.
        fit_end_time: last session of the fit, included.
        fields_group: the group or groups to scale.
        semantics: "strict" or "qlib", see the module.

    Examples:
        >>> norm = ZScoreNorm(None, "2024-01-02", "feature").fit(frame)
        >>> norm(frame)["feature", "X"].tolist()
        [-1.0, nan, 1.0, 0.0, inf, 4.0]
    """

    def _statistics(self, x: NDArray[Any]) -> tuple[Any, Any]:
        if self.semantics == "qlib":
            mean, std = np.nanmean(x), np.nanstd(x)
            return (x.dtype.type(0), x.dtype.type(1)) if std == 0 else (mean, std)
        if x.min() == x.max():  # equal values whose mean is rounded would leave a residue
            return x[0], x.dtype.type(0)
        wide = x.astype(np.float64)
        return x.dtype.type(wide.mean()), x.dtype.type(wide.std())


class RobustZScoreNorm(FittedNorm):
    """(x - median) / (1.4826 · MAD), clipped to ±3; MAD is the median of |x - median|.

    Robust scale: P. J. Huber, Robust Statistics, 1981, section 5.1. If more than half of a column's
    values equal their median, its MAD is 0 although the column may vary: strict semantics turns the
    column into 0 with a warning. Use ZScoreNorm for such a column.

    Args:
        fit_start_time: first session of the fit, or None for the frame's first.
        fit_end_time: last session of the fit, included.
        fields_group: the group or groups to scale.
        clip_outlier: whether to clip to ±3, ±inf included.
        semantics: "strict" or "qlib", see the module; "qlib" also adds 1e-12 to the MAD.

    Examples:
        >>> norm = RobustZScoreNorm(None, "2024-01-02", "feature").fit(frame)
        >>> norm(frame)["feature", "X"].round(2).tolist()
        [-0.67, nan, 0.67, 0.0, 3.0, 2.7]
    """

    clip = True

    def __init__(
        self,
        fit_start_time: DateLike | None,
        fit_end_time: DateLike,
        fields_group: Group | None = None,
        clip_outlier: bool = True,
        semantics: Semantics = "strict",
    ) -> None:
        super().__init__(fit_start_time, fit_end_time, fields_group, semantics)
        self.clip_outlier = clip_outlier

    def _statistics(self, x: NDArray[Any]) -> tuple[Any, Any]:
        median = np.nanmedian(x)
        mad = np.nanmedian(np.abs(x - median))
        eps = EPS if self.semantics == "qlib" else 0.0
        return median, (mad + eps) * MAD_TO_STD
