"""Cut the windows for training and serving from the warehouse.

One `TSDataSampler` serves both halves of training: every bar's features left-joined with the
processed label as last column, samples being the rows that have one. Serving builds the same
windows from the same rows, without a label.

A model sees features of one processor state. With a fixed fit window that is the state of the
partitions `dataset_infer` and `dataset_learn`. With a moving one training and serving normalise
their whole window here, from features and labels, with the state that the bundle carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.calendar.training_plan import TrainingWindow
from pipelines.config.processors import input_columns
from pipelines.errors import ConstantLabelError, NotFiniteError, ProcessorStateError
from pipelines.market import input_versions
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import read_columns, versions_of
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import DataVersions
from pipelines.training.processors import (
    ProcessorState,
    from_qlib,
    states_in_force,
    to_index,
    to_qlib,
)
from pipelines.warehouse.warehouse import Partitions
from rnn_core.data import ColumnSteps, TSDataSampler, require_finite

Windows: TypeAlias = TSDataSampler | ColumnSteps
FILL = "ffill+bfill"  # how qlib's models fill sessions on which a name has no row


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


@dataclass(frozen=True)
class LearningData:
    """The rows of a training window, normalised by the state in force at its end.

    Attributes:
        frame: date, instrument, member, the dataset columns, and LABEL0, NaN without a label.
        versions: of the features, the labels, the state and the columns beside the bars.
        state: the processor state.
    """

    frame: pd.DataFrame
    versions: DataVersions
    state: ProcessorState


def learning_data(market: Market, dataset: Dataset, as_of: str, needed_by: str) -> LearningData:
    """Read the rows that a model as of a session learns from, of any family.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
        ProcessorStateError: its partitions were normalised with different processor states.
    """
    window = input_versions.learning_window(dataset, as_of)
    states = states_in_force(market, dataset, (as_of,), needed_by)
    state = states.by_session[as_of]
    if state is None:
        raise ProcessorStateError(
            f"{needed_by} of {as_of} lies before the first fit of the processors"
        )
    features = features_for(market, dataset, window.context, state, needed_by)
    labels = _labels_for(market, dataset, window, features.frame, state, needed_by)
    columns = ["date", "instrument", "member", *dataset.columns]
    rows = features.frame[columns].merge(labels.frame, on=["date", "instrument"], how="left")
    versions = {
        dataset.features_read: features.digests,
        dataset.labels_read: labels.digests,
        dataset.processors: states.versions,
        **versions_of(features, labels),
    }
    return LearningData(rows, versions, state)


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
    window = input_versions.learning_window(dataset, as_of)
    rows = learning_data(market, dataset, as_of, needed_by)
    columns = list(dataset.columns)
    frame = to_index(rows.frame, [*columns, LABEL_NAME])
    if not missing_values:
        _require_finite(frame[columns], needed_by)
    # One sampler serves both halves; rows with a label are its samples.
    sampler = _windows(
        dataset, frame, (window.train[0], window.valid[1]), frame[LABEL_NAME].notna()
    )
    train = sampler.between(*map(pd.Timestamp, window.train))
    trained = frame[LABEL_NAME].loc[slice(*map(pd.Timestamp, window.train))]
    _require_varied(trained.dropna(), window, f"{needed_by} of {as_of}")
    return TrainingData(
        train,
        sampler.between(*map(pd.Timestamp, window.valid)),
        window,
        training_fingerprint(dataset, as_of, rows.versions),
        rows.state,
        float(trained.mean()),
        _decayed(dataset, train, window.train[1]),
    )


def _require_varied(labels: pd.Series, window: TrainingWindow, needed_by: str) -> None:
    """Refuse labels that tell no name from another, on which any training ends as a constant.

    One name alone has only its own past to be told from.

    Raises:
        ConstantLabelError: the message names the range.
    """
    by_session = labels.groupby(level="datetime")
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


def normalised(
    market: Market, dataset: Dataset, keys: Sequence[str], state: ProcessorState, needed_by: str
) -> Partitions:
    """Read raw features and put them through the infer processors of a state.

    Returns:
        Rows with date, instrument, the dataset's columns and member, and the digests of the
        features, with the versions of columns beside the bars that processors read. Processors may
        drop rows.

    Raises:
        MissingSessionsError: a session is not in the warehouse.
    """
    names = input_columns(state.infer, list(dataset.feature_formulas))
    raw = market.warehouse.read(
        dataset.features, keys, needed_by=needed_by, columns=["instrument", "member", *names]
    )
    extra = read_columns(market, dataset.infer_columns, keys, needed_by)
    fields = None if extra is None else extra.frame
    rows = from_qlib(state.infer.transform(to_qlib(raw.frame, "feature", names, fields)))
    on = ["date", "instrument"]
    member = rows[on].merge(raw.frame[[*on, "member"]], on=on, how="left")["member"]
    rows["member"] = member.to_numpy(dtype=bool)
    return Partitions(rows, raw.digests, versions_of(extra))


def features_for(
    market: Market,
    dataset: Dataset,
    keys: Sequence[str],
    state: ProcessorState,
    needed_by: str,
    columns: Sequence[str] | None = None,
) -> Partitions:
    """Features of every bar, normalised by the state of one model.

    Args:
        market: the market.
        dataset: the dataset.
        keys: the sessions.
        state: the state of the model.
        needed_by: the reader, for an error.
        columns: those that the reader needs, where fewer can be read (default all).

    Raises:
        MissingSessionsError: a session is not in the warehouse.
        ProcessorStateError: the fit window is fixed, and partitions were made with another state.
    """
    if dataset.fit_plan is not None:
        return normalised(market, dataset, keys, state, needed_by)
    require_processors(market, dataset, dataset.infer, keys, state.hash, needed_by)
    return market.warehouse.read(dataset.infer, keys, needed_by=needed_by, columns=columns)


def _labels_for(
    market: Market,
    dataset: Dataset,
    window: TrainingWindow,
    features: pd.DataFrame,
    state: ProcessorState,
    needed_by: str,
) -> Partitions:
    """Processed labels of a training window, as date (of the decision), instrument, LABEL0."""
    table = dataset.labels_read
    if dataset.fit_plan is None:
        require_processors(market, dataset, table, window.learn, state.hash, needed_by)
    read = market.warehouse.read(
        table, window.learn, needed_by=needed_by, columns=["instrument", "decision_date", "label"]
    )
    labels, extra = read.frame, None
    if dataset.fit_plan is not None:
        extra = read_columns(market, dataset.learn_columns, window.context, needed_by)
        labels = learning_rows(labels, features, state, None if extra is None else extra.frame)
    rows = labels[["decision_date", "instrument", "label"]].rename(
        columns={"decision_date": "date", "label": LABEL_NAME}
    )
    rows["date"] = rows["date"].astype("datetime64[ns]")
    return Partitions(rows, read.digests, versions_of(extra))


def learning_rows(
    labels: pd.DataFrame,
    features: pd.DataFrame,
    state: ProcessorState,
    fields: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Join matured labels with the members' rows of their decision, and process the labels.

    Args:
        labels: date (of maturity), instrument, decision_date, label.
        features: date (of the decision), instrument, member.
        state: its learn processors are applied.
        fields: columns beside the bars that these read: date (of the decision), instrument.

    Returns:
        Rows with matured (session), decision_date, instrument, label, raw_label.
    """
    raw = labels.rename(columns={"date": "matured", "label": "raw_label"})
    raw["date"] = raw["decision_date"].astype("datetime64[ns]")
    members = features.loc[features["member"], ["date", "instrument"]]
    rows = raw.merge(members, on=["date", "instrument"])
    rows[LABEL_NAME] = rows["raw_label"]
    processed = from_qlib(state.learn.transform(to_qlib(rows, "label", [LABEL_NAME], fields)))
    return rows.drop(columns=LABEL_NAME).merge(
        processed.rename(columns={LABEL_NAME: "label"}), on=["date", "instrument"]
    )


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
    return _windows(dataset, frame, (keys[0], keys[-1]), member)


def _windows(
    dataset: Dataset, frame: pd.DataFrame, span: tuple[str, str], chosen: pd.Series
) -> Windows:
    """Cut the windows that end at chosen rows of a span; the label, if there is one, comes last."""
    sampler = TSDataSampler(
        frame,
        pd.Timestamp(span[0]),
        pd.Timestamp(span[1]),
        dataset.window_sessions,
        fillna_type=FILL,
        flt_data=chosen,
    )
    if dataset.config.layout == "sessions":
        return sampler
    return ColumnSteps(sampler, dataset.config.step_len, has_label=LABEL_NAME in frame.columns)


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


def require_processors(
    market: Market,
    dataset: Dataset,
    table: str,
    keys: Sequence[str],
    processors: str,
    needed_by: str,
) -> None:
    """Confirm that partitions were made with the processor state in force.

    Raises:
        MissingSessionsError: a session is absent.
        ProcessorStateError: a partition was made with another state; the message names the remedy.
    """
    market.warehouse.require(table, keys, needed_by)
    stale = []
    for key in keys:
        info = market.warehouse.info(table, key)
        if info is None or info.provenance.inputs.get(dataset.processors) != processors:
            stale.append(key)
    if stale:
        raise ProcessorStateError(
            f"{needed_by}: {len(stale)} sessions of {table}, {stale[0]} to {stale[-1]}, were made "
            f"with another processor state than the one in force ({processors[:12]}); materialize "
            f"{dataset.infer} and {dataset.learn} from {stale[0]} to {stale[-1]} again"
        )
