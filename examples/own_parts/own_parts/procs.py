"""Processors: a frame in, a new frame out; what is fitted is plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

from rnn_core.data.processors import Processor


class Winsorize(Processor):
    """Clip each column to two quantiles of its fit window.

    Args:
        fit_start_time: first session of the window; the pipeline fills it in.
        fit_end_time: its last session.
        fields_group: group of the columns.
        at: share of the values that is clipped at each end, 0 to 0.5.
    """

    def __init__(
        self,
        fit_start_time: str,
        fit_end_time: str,
        fields_group: str = "feature",
        at: float = 0.01,
    ) -> None:
        if not 0 <= at < 0.5:
            raise ValueError(f"at is {at}, expected a share of 0 or more and less than 0.5")
        self.fit_start_time, self.fit_end_time = fit_start_time, fit_end_time
        self.fields_group, self.at = fields_group, at
        self.bounds: dict[str, list[float]] | None = None

    def fit(self, df: pd.DataFrame) -> Self:
        """Take the quantiles of the rows of the fit window."""
        days = df.index.get_level_values("datetime")
        inside = (days >= self.fit_start_time) & (days <= self.fit_end_time)
        columns = df.loc[inside, self.fields_group]
        self.bounds = {
            str(name): [float(q) for q in columns[name].quantile([self.at, 1 - self.at])]
            for name in columns
        }
        return self

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Clip the columns of the group; a missing value stays missing.

        Raises:
            ValueError: it is not fitted.
        """
        if self.bounds is None:
            raise ValueError("Winsorize is not fitted: call fit with the rows of its window")
        low, high = np.array(list(self.bounds.values())).T  # [F], [F]
        out = df.copy()
        columns = [(self.fields_group, name) for name in self.bounds]
        out[columns] = df[columns].clip(low, high, axis=1)
        return out

    def state(self) -> dict[str, Any] | None:
        """The quantiles, by column."""
        return None if self.bounds is None else {"bounds": self.bounds}

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Take over stored quantiles."""
        self.bounds = {name: [float(q) for q in pair] for name, pair in state["bounds"].items()}
        return self
