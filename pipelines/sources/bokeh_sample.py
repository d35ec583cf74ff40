"""Bars of the sample market: five US stocks of `bokeh-sampledata` (BSD-3; public-domain data).

AAPL, IBM, MSFT, GOOG and FB, 2000-03-01 to 2013-03-01, unadjusted with an adjusted close: real
splits, a listing in mid-sample (GOOG, 2004-08-19) and a late one (FB, 2012-05-18). It needs no
network. Three to five names a day are far too few for a score to mean anything: it shows the
machinery at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from pipelines.errors import SourceError
from pipelines.sources.base import RAW_COLUMNS

NAMES = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
# Below this a step of adjclose/close is the rounding of published figures, not an event: the
# smallest dividend in the sample moves it by more than 1e-3.
EVENT_TOLERANCE = 1e-6


class BokehSampleBars:
    """Bars of the sample market; adj_ratio is the step of adjclose/close, as Yahoo publishes it."""

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions."""
        return self._bars[self._bars["date"].isin(set(keys))]

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the number of bars a day, by session key in order."""
        counts = self._bars["date"].value_counts().sort_index()
        return counts if first is None else counts[counts.index >= first]

    @cached_property
    def _bars(self) -> pd.DataFrame:
        try:
            from bokeh_sampledata import stocks
        except ImportError as error:
            raise SourceError(
                "the sample market needs the package bokeh-sampledata; install it with "
                "`pip install 'rnn-signal-factory[sample]'`, or `make install`"
            ) from error
        frames = []
        for name in NAMES:
            frame = pd.DataFrame(getattr(stocks, name)).sort_values("date", ignore_index=True)
            frame["instrument"] = name
            basis = frame["adj_close"] / frame["close"]
            ratio = (basis / basis.shift()).fillna(1.0)
            frame["adj_ratio"] = ratio.where((ratio - 1.0).abs() > EVENT_TOLERANCE, 1.0)
            frames.append(frame)
        bars = pd.concat(frames, ignore_index=True)
        bars["volume"] = bars["volume"].astype("float64")
        bars["amount"] = np.nan
        bars["date"] = bars["date"].astype(str)
        return bars[list(RAW_COLUMNS)]
