"""Cut the windows for training and serving from the rows of `learning_data.py`.

One `TSDataSampler` serves both halves of training: every bar's features left-joined with the
processed label as last column, samples being the rows that have one. Serving builds the same
windows from the same rows, without a label. A training window is held once, as the sampler's
float32 rows: its parts are put there as they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.calendar.training_plan import TrainingWindow
from pipelines.errors import ConstantLabelError, NotFiniteError
from pipelines.market import input_versions
from pipelines.market.dataset import Dataset
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import DataVersions
from pipelines.training.learning_data import LearningRows
from pipelines.training.processors import ProcessorState, to_index
from pipelines.warehouse.warehouse import Partitions
from rnn_core.data import ColumnSteps, RowStack, TSDataSampler, require_finite

Windows: TypeAlias = TSDataSampler | ColumnSteps
FILL: Literal["ffill+bfill"] = "ffill+bfill"  # as qlib's models fill sessions without a row


@dataclass(frozen=True)
class TrainingData:
    """The data that a model as of one session is trained on.

    Attributes:
        fingerprint: the hash over the digests of all partitions that were read.
        processors: the processor state that all of them were made with.
        label_mean: the mean processed label of the training samples: the best constant prediction.
    """

    train: Windows
    valid: Windows
    window: TrainingWindow
    fingerprint: str
    processors: ProcessorState
    label_mean: float
    weights: NDArray[np.float64] | None = None  # of the training samples; None for ones


def training_data(
    market: Market, dataset: Dataset, as_of: str, needed_by: str, *, missing_values: bool = False
) -> TrainingData:
    """Read the training window of a session and build its samplers.

    Args:
        market: the market.
        dataset: the dataset.
        as_of: the anchor session.
        needed_by: the reader, for an error.
        missing_values: True for a model that takes features which are not finite.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
        ProcessorStateError: its partitions were normalised with different processor states.
        NotFiniteError: a feature of it is NaN or infinite.
        ConstantLabelError: the labels tell no name from another.
    """
    reader, columns = LearningRows(market, dataset, as_of, needed_by), list(dataset.columns)
    rows, labels, finite = RowStack(), list[pd.Series](), True
    for part in reader:
        stored = rows.add(to_index(part, [*columns, LABEL_NAME]))
        finite &= missing_values or bool(np.isfinite(stored[:, : len(columns)]).all())
        labels.append(part.set_index("date")[LABEL_NAME])
        del part, stored  # a part less while the next one is read
    window = reader.window
    if not finite:
        _require_finite(rows.frame().iloc[:, : len(columns)], needed_by)
    # One sampler serves both halves; rows with a label are its samples.
    label = pd.concat(labels)
    sampler = _windows(
        dataset,
        TSDataSampler.from_rows(
            rows,
            pd.Timestamp(window.train[0]),
            pd.Timestamp(window.valid[1]),
            dataset.window_sessions,
            FILL,
            label.notna().to_numpy(),
        ),
        has_label=True,
    )
    train = sampler.between(*map(pd.Timestamp, window.train))
    trained = label.loc[slice(*map(pd.Timestamp, window.train))]
    _require_varied(trained.dropna(), window, f"{needed_by} of {as_of}")
    return TrainingData(
        train,
        sampler.between(*map(pd.Timestamp, window.valid)),
        window,
        training_fingerprint(dataset, as_of, reader.versions),
        reader.state,
        float(trained.mean()),
        _decayed(dataset, train, window.train[1]),
    )


def _require_varied(labels: pd.Series, window: TrainingWindow, needed_by: str) -> None:
    """Refuse labels that tell no name from another, on which any training ends as a constant.

    One name alone has only its own past to be told from.

    Raises:
        ConstantLabelError: the message names the range.
    """
    by_session = labels.groupby(level="date")
    spread = by_session.max() - by_session.min()
    is_flat = bool((spread == 0).all()) and bool((by_session.size() > 1).any())
    if len(labels) and (is_flat or labels.min() == labels.max()):
        raise ConstantLabelError(
            f"{needed_by}: in every session from {window.train[0]} to {window.train[1]} all names "
            f"have the same processed label, {len(labels)} rows, so there is nothing to learn; "
            f"check features.label, the bars, and dataset.learn_processors: a rank or a z-score "
            f"over one name a session is constant"
        )


def _decayed(dataset: Dataset, train: Windows, newest: str) -> NDArray[np.float64] | None:
    """Weights of training samples that halve every so many sessions, of mean 1; None for ones."""
    half_life = dataset.training.half_life_sessions
    if half_life is None:
        return None
    decisions = pd.DatetimeIndex(train.get_index().get_level_values("datetime"))
    sessions = pd.DatetimeIndex(dataset.sessions.keys)
    age = dataset.sessions.position(newest) - sessions.get_indexer(decisions)  # [S] sessions
    weights = np.exp2(-age / half_life)
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def training_fingerprint(dataset: Dataset, as_of: str, versions: DataVersions) -> str:
    """One hash over the digests of every partition that a model as of a session is trained on.

    Args:
        dataset: the dataset.
        as_of: the session.
        versions: digests of all that the training reads, by table.
    """
    version = input_versions.training_inputs(dataset, as_of, versions)
    assert isinstance(version, str)  # noqa: S101 - a digest is given for every session
    return version


def serving_windows(
    dataset: Dataset, infer: Partitions, keys: Sequence[str], *, missing_values: bool = False
) -> Windows:
    """Cut the windows of members that end at each session of `keys`.

    Args:
        dataset: the dataset.
        infer: normalised rows of the sessions and the window's length before them.
        keys: the sessions to score.
        missing_values: True for a model that takes features which are not finite.

    Returns:
        The windows of the members' rows of these sessions.

    Raises:
        NotFiniteError: a feature of them is NaN or infinite.
    """
    frame = to_index(infer.frame, [*dataset.columns])
    if not missing_values:
        _require_finite(frame, "predictions")
    member = to_index(infer.frame, ["member"])["member"].astype(bool)
    sampler = TSDataSampler(
        frame,
        pd.Timestamp(keys[0]),
        pd.Timestamp(keys[-1]),
        dataset.window_sessions,
        fillna_type=FILL,
        flt_data=member,
    )
    return _windows(dataset, sampler, has_label=False)


def _windows(dataset: Dataset, sampler: TSDataSampler, *, has_label: bool) -> Windows:
    """The windows of a sampler in the layout of the dataset; the label, if any, comes last."""
    if dataset.config.layout == "sessions":
        return sampler
    return ColumnSteps(sampler, dataset.config.step_len, has_label=has_label)


def _require_finite(features: pd.DataFrame, needed_by: str) -> None:
    """Refuse NaN and infinities, which would spread through the weights.

    Raises:
        NotFiniteError: the message names columns, counts and first dates.
    """
    try:
        require_finite(features)
    except ValueError as error:
        raise NotFiniteError(
            f"{needed_by} needs finite features, and the processors leave others: {error} (in "
            f"dataset.infer_processors of the configuration)"
        ) from error
