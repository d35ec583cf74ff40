"""Windows for the estimators, from either kind of dataset.

A dataset answers `prepare(segment, col_set=..., data_key=...)` in one of two forms:

* a sampler (`TSDataSampler`, of a `TSDatasetH`): windows [L, F] already. Sessions on which a name
  has no row are filled "ffill+bfill", as qlib's *_ts models do; on a copy, so the caller's
  sampler keeps its own setting;
* a frame (of a `DatasetH`): columns ("feature", name), one row per window. The F * T features of a
  row lie feature by feature, oldest session first (Alpha360: CLOSE59 ... CLOSE0, OPEN59 ...), so
  a row is cut [F, T] and turned to [T, F].

`legacy` cuts a row [T, F] instead, which is how qlib's KRNN reads Alpha360: six neighbouring days
of one field pass for the six fields of one session (quirk Q16). It exists to reproduce numbers
made that way.

Features are checked before any tensor of them reaches a network: one NaN in one window makes
every weight NaN (quirk Q20).

Rules matched: qlib contrib/model/pytorch_lstm.py `LSTMModel.forward`, pytorch_krnn.py
`CNNEncoderBase.forward`.

Shapes: `S` samples, `B` batch, `L` or `T` window length in sessions, `F` features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn_core.data.column_steps import steps_of
from rnn_core.data.finite import require_finite
from rnn_core.data.sampler import TSDataSampler
from rnn_core.panel.session_labels import session_index
from rnn_core.training.source import SessionSource

FILL = "ffill+bfill"


class Dataset(Protocol):
    """The interface of a dataset for estimators; `DatasetH` and `TSDatasetH` have it."""

    def prepare(self, segments: Any, /, *, col_set: Any, data_key: Any) -> Any:
        """Return the rows of a segment (a name, or sessions) as a sampler or a frame."""


class Reweighter(Protocol):
    """The interface of an object that weights the training rows."""

    def reweight(self, data: Any) -> Any:
        """Return weights [S] for the rows of `prepare("train")`; a series is matched by index."""


@dataclass(frozen=True, eq=False)
class Windows:
    """One segment, ready for the trainer.

    Attributes:
        source: windows [B, L, F], or [B, L, F + 1] with the label last.
        columns: names of the features: F of a sampler, F * T of a frame.
        tabular: True if the rows came as a frame.
        has_label: True if the windows end in a label.
        data: the result of `prepare`, for a reweighter.
    """

    source: SessionSource
    columns: tuple[str, ...]
    tabular: bool
    has_label: bool
    data: Any


class FrameWindows:
    """Windows cut from the rows of a frame.

    Args:
        features: index with the levels datetime and instrument, F * T columns, feature by
            feature, oldest session first.
        label: on the same rows, or None.
        n_features: F.
        legacy: cut rows the way qlib's KRNN does.

    Raises:
        ValueError: the number of columns is no multiple of F.
    """

    def __init__(
        self,
        features: pd.DataFrame,
        label: pd.Series[Any] | None,
        n_features: int,
        *,
        legacy: bool = False,
    ) -> None:
        width = features.shape[1]
        if width == 0 or width % n_features:
            raise ValueError(
                f"{width} feature columns cannot be cut into sessions of {n_features} features: "
                f"give the number of features of one session (6 for the 360 columns of Alpha360)"
            )
        self._n_features, self._legacy = n_features, legacy
        self._index = session_index(features.index, "the frame")
        values = np.array(features.to_numpy(), dtype=np.float32, order="C")  # [S, F * T], a copy
        tensors = [torch.from_numpy(values)]
        if label is not None:
            tensors.append(torch.from_numpy(np.array(label.to_numpy(), dtype=np.float32)))  # [S]
        self._on_device = {"cpu": tensors}

    def __len__(self) -> int:
        return len(self._index)

    def get_index(self) -> pd.MultiIndex:
        """Return (datetime, instrument) of every sample, in the order of the frame."""
        return self._index

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Gather windows.

        Args:
            indices: int64 [B].
            device: of the windows; the rows are copied to it once.

        Returns:
            [B, T, F], or [B, T, F + 1] with the row's label on every session.
        """
        key = str(device)
        if key not in self._on_device:
            self._on_device[key] = [tensor.to(device) for tensor in self._on_device["cpu"]]
        flat, *label = (t.index_select(0, indices.to(device)) for t in self._on_device[key])
        if self._legacy:
            x = flat.view(len(flat), -1, self._n_features)  # [B, T, F]
        else:
            x = steps_of(flat, self._n_features)  # [B, T, F]
        if not label:
            return x
        y = label[0][:, None, None].expand(-1, x.shape[1], 1)  # [B, T, 1]
        return torch.cat([x, y], dim=2)  # [B, T, F + 1]


def prepare_windows(
    dataset: Dataset,
    segment: str | slice,
    *,
    learn: bool,
    argument: str,
    n_features: int | None,
    legacy: bool = False,
    missing_values: bool = False,
) -> Windows:
    """Prepare the windows of a segment and check them.

    Args:
        dataset: either kind.
        segment: a name, or a slice of sessions.
        learn: rows processed for learning, with the label; else those for inference, without.
        argument: the estimator's name for `n_features`, for messages.
        n_features: F; None for all columns, of a frame as windows of one session.
        legacy: for frames, cut rows the way qlib's KRNN does.
        missing_values: True if features may be NaN or infinite.

    Returns:
        The windows.

    Raises:
        TypeError: `prepare` returned neither a sampler nor a frame.
        ValueError: another number of features, no label or several, a feature that is not
            finite (the message names column, count and first date), or `legacy` for a sampler.
    """
    groups, key = (["feature", "label"], "learn") if learn else (["feature"], "infer")
    data = dataset.prepare(segment, col_set=groups, data_key=key)
    # The rows of a frame are cut into windows.
    if isinstance(data, pd.DataFrame):
        features, labels = _columns(data.columns, learn)
        if not missing_values:
            _require_finite(data, segment)
        n_features = len(features) if n_features is None else n_features
        frame: pd.DataFrame = data.iloc[:, features]
        label = data.iloc[:, labels[0]] if learn else None
        source = FrameWindows(frame, label, n_features, legacy=legacy)
        return Windows(source, _names(frame.columns), True, label is not None, data)
    if not isinstance(data, TSDataSampler):
        raise TypeError(
            f"dataset.prepare({segment!r}) returned {type(data).__name__}, expected a "
            f"TSDataSampler (of a TSDatasetH) or a DataFrame (of a DatasetH)"
        )
    if legacy:
        raise ValueError(
            "legacy_layout is about the flat rows of a DatasetH, and this dataset gives true "
            "windows: leave it out"
        )
    # A sampler has windows already; a copy of it fills the gaps as qlib's models do.
    sampler = copy.copy(data)
    sampler.config(fillna_type=FILL)
    features, labels = _columns(sampler.columns, learn)
    n_features = len(features) if n_features is None else n_features
    if len(features) != n_features:
        raise ValueError(
            f"{argument} is {n_features} and the windows of {segment!r} have {len(features)} "
            f"features: set {argument}={len(features)}, or choose columns with FilterCol"
        )
    if len(features) + len(labels) < len(sampler.columns) or features[-1] != n_features - 1:
        raise ValueError(
            f"the windows of {segment!r} hold other columns than features and then the label: "
            f"have prepare keep to the col_set asked for, {groups}"
        )
    if not missing_values:
        _require_finite(sampler, segment)
    return Windows(sampler, _names(sampler.columns[features]), False, bool(labels), data)


def has_segment(dataset: Dataset, name: str) -> bool:
    """True if a dataset has a segment of that name, or does not list its segments."""
    segments = getattr(dataset, "segments", None)
    return segments is None or name in segments


def require_fitted_on(
    columns: Sequence[str], tabular: bool, windows: Windows, segment: str | slice
) -> None:
    """Refuse a segment of another kind of dataset, or with other features, than those of a fit.

    Args:
        columns: names of the features of the fit.
        tabular: True if the fit saw frames.
        windows: the segment.
        segment: its name, for the message.

    Raises:
        ValueError: it is of another kind, or its features differ.
    """
    if windows.tabular != tabular:
        raise ValueError("fitted on one kind of dataset (TSDatasetH, DatasetH), given another")
    require_same_columns(columns, windows.columns, "the fit", repr(segment))


def require_same_columns(
    expected: Sequence[str], found: Sequence[str], of: str, where: str
) -> None:
    """Refuse two segments whose features, or the order of them, differ.

    Args:
        expected: names.
        found: names.
        of: the segment of `expected`, for the message.
        where: the segment of `found`.

    Raises:
        ValueError: they differ; the message names the first difference.
    """
    if tuple(expected) == tuple(found):
        return
    if len(expected) != len(found):
        raise ValueError(f"{where} has {len(found)} features, {of} had {len(expected)}")
    k = next(k for k, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"feature {k} of {where} is {found[k]!r}, and was {expected[k]!r} in {of}: use the same "
        f"columns in the same order"
    )


def row_weights(reweighter: Reweighter, windows: Windows) -> NDArray[np.float64]:
    """Return a reweighter's weights, in the order of the samples.

    Args:
        reweighter: gets the result of `prepare`.
        windows: of the training segment.

    Returns:
        [S].

    Raises:
        ValueError: a series that lacks a sample.
    """
    weights = reweighter.reweight(windows.data)
    if isinstance(weights, pd.Series):
        index = windows.data.index if windows.tabular else windows.source.get_index()
        if isinstance(weights.index, pd.MultiIndex) and not weights.index.equals(index):
            weights = weights.reindex(index)
        missing = int(weights.isna().sum())
        if missing:
            raise ValueError(f"the reweighter gave {missing} of {len(weights)} rows no weight")
    return np.asarray(weights, dtype=np.float64)


def _columns(columns: pd.Index, learn: bool) -> tuple[list[int], list[int]]:
    """Find the positions of features and label: one label if `learn`, else one at most."""
    if columns.nlevels != 2:
        raise ValueError(
            f"the columns {list(columns[:3])}... have no groups, expected ('feature', name) and "
            f"('label', name): wrap them with pd.concat({{'feature': df}}, axis=1)"
        )
    group = columns.get_level_values(0)
    features = np.flatnonzero(group == "feature").tolist()
    labels = np.flatnonzero(group == "label").tolist()
    if not features or len(labels) > 1 or (learn and not labels):
        raise ValueError(
            f"found {len(features)} columns of the group 'feature' and {len(labels)} of 'label' "
            f"among {list(columns[:3])}..., expected features and one label"
        )
    return features, labels


def _names(columns: pd.Index) -> tuple[str, ...]:
    """Return the names without their group."""
    return tuple(str(name) for name in columns.get_level_values(-1))


def _require_finite(data: pd.DataFrame | TSDataSampler, segment: str | slice) -> None:
    """Refuse features that are not finite, with the segment in the message."""
    try:
        require_finite(data, group="feature")
    except ValueError as error:
        raise ValueError(f"features of segment {segment!r}: {error}") from error
