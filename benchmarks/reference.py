"""The natural first implementation of what is timed, in plain pandas, NumPy and torch.

`short.py` holds the library against these, so that a fall of its speed shows without a peer's
environment. Each is written as one would write it without thinking of speed: an instrument at a
time with pandas' rolling windows, a batch of windows at a time with NumPy (the rule of qlib's
`TSDataSampler`), a session at a time with pandas' correlations, and torch's own layers with its own
`backward`.

Shape letters: `L` window length, `F` features, `B` batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FEATURES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "MA20": (
        "Mean($close, 20)/$close",
        lambda one: one["close"].rolling(20, min_periods=1).mean() / one["close"],
    ),
    "STD20": (
        "Std($close, 20)/$close",
        lambda one: one["close"].rolling(20, min_periods=1).std() / one["close"],
    ),
    "ROC10": ("Ref($close, 10)/$close", lambda one: one["close"].shift(10) / one["close"]),
    "MAX30": (
        "Max($high, 30)/$close",
        lambda one: one["high"].rolling(30, min_periods=1).max() / one["close"],
    ),
    "MIN30": (
        "Min($low, 30)/$close",
        lambda one: one["low"].rolling(30, min_periods=1).min() / one["close"],
    ),
    "QTLU20": (
        "Quantile($close, 20, 0.8)/$close",
        lambda one: one["close"].rolling(20, min_periods=1).quantile(0.8) / one["close"],
    ),
    "CORR20": (
        "Corr($close, Log($volume+1), 20)",
        lambda one: one["close"].rolling(20, min_periods=1).corr(np.log(one["volume"] + 1)),
    ),
    "CNTP20": (
        "Mean($close>Ref($close, 1), 20)",
        lambda one: one["close"].gt(one["close"].shift(1)).rolling(20, min_periods=1).mean(),
    ),
}
"""Features of Alpha158: the expression, and the same for the bars of one instrument in pandas."""


def features(bars: pd.DataFrame) -> pd.DataFrame:
    """`FEATURES` of a long frame of bars, one instrument after another.

    Args:
        bars: columns date, instrument and the fields.

    Returns:
        A float32 column a feature, indexed by (datetime, instrument), sorted.
    """
    parts = []
    for name, rows in bars.groupby("instrument", sort=False):
        one = rows.sort_values("date").astype(dict.fromkeys(("close", "volume"), np.float64))
        columns = {feature: rule(one).to_numpy("f4") for feature, (_, rule) in FEATURES.items()}
        index = pd.MultiIndex.from_arrays(
            [pd.DatetimeIndex(one["date"]), [name] * len(one)], names=["datetime", "instrument"]
        )
        parts.append(pd.DataFrame(columns, index=index))
    return pd.concat(parts).sort_index()


class Sampler:
    """Windows of a frame: the L newest rows of an instrument up to a session.

    Sessions at which an instrument has no row are filled from the one before, then from the one
    after (qlib: data/dataset/__init__.py TSDataSampler with `ffill+bfill`). All windows of a batch
    are gathered at once: one at a time with Python takes hundreds of times as long as the library,
    and such a ratio tells more of the interpreter than of the gathering.

    Args:
        frame: indexed by (datetime, instrument), sorted; a sample a row, in its order.
        length: L.
    """

    def __init__(self, frame: pd.DataFrame, length: int) -> None:
        self._values = frame.to_numpy()
        numbers = pd.Series(np.arange(len(frame)), index=frame.index)
        table = numbers.unstack("instrument")  # noqa: PD010 - a frame of row numbers
        self._places = table.index.get_indexer(frame.index.get_level_values(0))
        self._columns = table.columns.get_indexer(frame.index.get_level_values(1))
        before = np.full((length - 1, table.shape[1]), np.nan)
        self._table = np.vstack([before, table.to_numpy()])  # the window of place p ends at p + L-1
        self._length = length

    def batch(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some windows, [B, L, F]."""
        steps = np.arange(self._length)
        rows = self._table[self._places[numbers, None] + steps, self._columns[numbers, None]]
        there = ~np.isnan(rows)  # [B, L]
        filled = np.maximum.accumulate(np.where(there, steps, -1), axis=1)
        filled = np.where(filled < 0, there.argmax(axis=1)[:, None], filled)
        return self._values[np.take_along_axis(rows, filled, axis=1).astype(np.intp)]


def daily_correlations(scores: pd.Series, labels: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The IC and the rank IC of every session (qlib: contrib/eva/alpha.py `calc_ic`)."""
    both = pd.DataFrame({"score": scores, "label": labels}).groupby(level="datetime")
    return (
        both.apply(lambda day: day["score"].corr(day["label"])),
        both.apply(lambda day: day["score"].corr(day["label"], method="spearman")),
    )


def epoch(network: nn.Module, train: Tensor, valid: Tensor, batch_rows: int, lr: float) -> float:
    """Train a copy of a network for an epoch with torch's own layers, and score the validation.

    Args:
        network: with `rnn`, a recurrent layer of torch's, and `fc_out`, as qlib's LSTM and GRU.
        train: windows [S, L, F + 1], the label last.
        valid: alike.
        batch_rows: B.
        lr: of Adam.

    Returns:
        The mean squared error of the validation.
    """
    network = copy.deepcopy(network)
    rnn, head = network.rnn, network.fc_out
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for rows in torch.randperm(len(train)).split(batch_rows):
        batch = train[rows]
        output, _ = rnn(batch[:, :, :-1])  # [B, L, H]
        loss = ((head(output[:, -1]).squeeze(-1) - batch[:, -1, -1]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(network.parameters(), 3.0)
        optimizer.step()
    with torch.no_grad():
        parts = [
            head(rnn(batch[:, :, :-1])[0][:, -1]).squeeze(-1) - batch[:, -1, -1]
            for batch in valid.split(batch_rows)
        ]
    return float((torch.cat(parts) ** 2).mean())
