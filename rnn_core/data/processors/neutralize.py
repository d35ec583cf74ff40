"""`CSNeutralize`: what is left of a column when industry and size of the session are taken out.

Each column x of a session is regressed by ordinary least squares, with equal weights, on a dummy of
every industry and on the logarithm of size,

    x[i] = Σ_k b[k]·1(industry[i] = k) + c·ln(size[i]) + e[i],

and becomes its residual e. So within every industry its mean is 0, and it does not correlate with
ln(size). The industry factors of the Barra models have the same exposures: J. Menchero, D. Orr,
J. Wang, The Barra US Equity Model (USE4), Methodology Notes, MSCI 2011, sections 2 and 3 (there
regressions of returns are weighted by the root of the market value; neutral scores are not).

The dummies are not inverted: by the theorem of Frisch and Waugh (Econometrica 1, 1933; Lovell, JASA
58, 1963) the residual is that of x less its industry's mean on ln(size) less its industry's mean.
Sums run over rows in order, in float64, so a session has the same bits alone and in a range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.processors.processor import FIELDS, CellProcessor
from rnn_core.panel.frames import Group, Semantics, index_level
from rnn_core.suggestions import near_matches

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


class CSNeutralize(CellProcessor):
    """Replace each column by its residual on industry dummies and the logarithm of size.

    Industry and size are columns of the group `field` of the frame, rows of the same session: join
    them with `pd.concat({"feature": x, "field": exposures}, axis=1)`. In the pipeline they are
    columns of `market.source.columns.extra`.

    A value that is NaN or infinite becomes NaN and counts for nothing, column by column; so does
    the whole row of a name whose industry is missing, or whose size is not positive and finite.
    `Fillna` puts such names at 0, the mean of their industry. The only name of an industry with a
    value becomes 0, and so does every name of a session that has no more values than regressors:
    industry and size leave nothing to tell them apart. Sizes that do not differ inside any industry
    say nothing beside it and are left out.

    Args:
        fields_group: the group or groups to neutralise, the label's included.
        industry: the column of industries, texts or codes; None to take out size alone (with the
            mean of the session).
        size: the column of sizes, as the market value in currency; None for industries alone.
        semantics: "strict" or "qlib", see `CellProcessor` (qlib has no such processor).

    Raises:
        ValueError: neither industry nor size.

    Examples:
        >>> known = frame.copy()
        >>> known[(FIELDS, "industry")] = list("aaabbb")
        >>> CSNeutralize("feature")(known)["feature", "X"].round(2).tolist()
        [-1.0, nan, 1.0, -2.0, nan, 2.0]
    """

    def __init__(
        self,
        fields_group: Group | None = None,
        industry: str | None = "industry",
        size: str | None = None,
        semantics: Semantics = "strict",
    ) -> None:
        super().__init__(fields_group, semantics)
        if industry is None and size is None:
            raise ValueError("CSNeutralize was given neither industry nor size: name one or both")
        self.industry, self.size = industry, size

    def fields(self) -> Mapping[str, Literal["number", "category"]]:
        """Return the columns of industry and size."""
        kinds: dict[str, Literal["number", "category"]] = {}
        if self.industry is not None:
            kinds[self.industry] = "category"
        if self.size is not None:
            kinds[self.size] = "number"
        return kinds

    def change(self, values: NDArray[Any], df: pd.DataFrame, positions: NDArray[np.intp]) -> None:
        """Neutralise the cells in place, column by column.

        Raises:
            KeyError: the frame lacks the column of industry or of size.
            TypeError: the sizes are no numbers.
        """
        _, session = index_level(df, "datetime")
        known = np.ones(len(df), dtype=bool)
        industry = np.zeros(len(df), dtype=np.intp)
        if self.industry is not None:
            industry, _ = pd.factorize(self._field(df, self.industry), sort=False)
            known &= industry >= 0
        size = None
        if self.size is not None:
            size = self._log_size(df, self.size)
            known &= np.isfinite(size)
        # A cell is an industry of a session: the group whose mean a dummy takes out.
        count = int(industry.max(initial=0)) + 1
        for column in values:
            x = column.astype(np.float64)
            rows = known & np.isfinite(x)
            cell, cells = _numbered(session[rows] * count + industry[rows])
            out = np.full(len(x), np.nan)
            out[rows] = _residuals(
                x[rows], None if size is None else size[rows], cell, cells, session[rows]
            )
            column[:] = out

    def _field(self, df: pd.DataFrame, name: str) -> pd.Series[Any]:
        """Return a column of the group of fields."""
        if (FIELDS, name) not in df.columns:
            groups = df.columns.get_level_values(0)
            names = [str(n) for n in df.columns.get_level_values(1)[groups == FIELDS]]
            raise KeyError(
                f"CSNeutralize reads the column ({FIELDS!r}, {name!r}), the frame has {names} in "
                f"that group{near_matches(name, names)}: join it, as in "
                f"pd.concat({{'feature': x, {FIELDS!r}: exposures}}, axis=1)"
            )
        column: pd.Series[Any] = df[(FIELDS, name)]
        return column

    def _log_size(self, df: pd.DataFrame, name: str) -> Array:
        """Return ln(size), [R]; NaN where size is not positive and finite."""
        column = self._field(df, name)
        if not pd.api.types.is_numeric_dtype(column):
            raise TypeError(
                f"CSNeutralize takes the logarithm of {name}, and it is {column.dtype}: expected "
                f"numbers, as a market value"
            )
        size = column.to_numpy(dtype=np.float64, na_value=np.nan)
        is_size = np.isfinite(size) & (size > 0)
        return np.where(is_size, np.log(np.where(is_size, size, 1.0)), np.nan)


def _numbered(keys: Codes) -> tuple[Codes, int]:
    """Number the distinct keys in the order of their first row."""
    code, distinct = pd.factorize(keys, sort=False)
    return np.asarray(code, dtype=np.intp), len(distinct)


def _residuals(x: Array, size: Array | None, cell: Codes, cells: int, session: Codes) -> Array:
    """Return the residuals of one column.

    Args:
        x: [R], finite.
        size: [R] ln(size), finite; None to leave it out.
        cell: [R] the number of the row's industry and session.
        cells: how many of them there are.
        session: [R] the number of the row's session.
    """
    x = _centred(x, cell, cells)
    if not len(x):
        return x
    sessions = int(session.max()) + 1
    names = np.bincount(session, minlength=sessions)  # [sessions]
    of_cell = np.zeros(cells, dtype=np.intp)
    of_cell[cell] = session
    regressors = np.bincount(of_cell, minlength=sessions)  # [sessions] dummies
    if size is not None:
        s = _centred(size, cell, cells)
        square = np.bincount(session, s * s, minlength=sessions)
        varies = square > 0.0
        slope = np.bincount(session, s * x, minlength=sessions)
        slope = np.divide(slope, square, out=np.zeros(sessions), where=varies)
        regressors = regressors + varies
        x = x - slope[session] * s
    # Rounding alone would be left of a fit that is exact.
    return np.where((names > regressors)[session], x, 0.0)


def _centred(x: Array, cell: Codes, cells: int) -> Array:
    """Subtract the mean of each row's cell, [R]; exactly 0 where a cell's values are equal."""
    mean = np.bincount(cell, x, minlength=cells) / np.bincount(cell, minlength=cells)
    low, high = np.full(cells, np.inf), np.full(cells, -np.inf)
    np.minimum.at(low, cell, x)
    np.maximum.at(high, cell, x)
    return np.where((low < high)[cell], x - mean[cell], 0.0)
