"""Cut the windows for training and serving from the warehouse.

One `TSDataSampler` serves both halves of training: every bar's features left-joined with the
processed label as last column, samples being the rows that have one. Serving builds the same
windows from the same rows, without a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipelines.calendar.training_plan import TrainingWindow
from pipelines.errors import NotFiniteError, ProcessorStateError
from pipelines.market import input_versions
from pipelines.market.market import LABEL_NAME, Market
from pipelines.training.processors import ProcessorState, load_state, to_index
from pipelines.warehouse.warehouse import Partitions
from rnn_core.data import TSDataSampler, require_finite

FILL = "ffill+bfill"  # how qlib's models fill sessions on which a name has no row


@dataclass(frozen=True)
class TrainingData:
    """The data that a model as of one session is trained on.

    Attributes:
        fingerprint: the hash over the digests of all partitions that were read.
        processors: the processor state that all of them were made with.
        label_mean: the mean processed label of the training samples: the best constant prediction.
    """

    train: TSDataSampler
    valid: TSDataSampler
    window: TrainingWindow
    fingerprint: str
    processors: ProcessorState
    label_mean: float


def training_data(market: Market, as_of: str, needed_by: str) -> TrainingData:
    """Read the training window of a session and build its samplers.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
        ProcessorStateError: its partitions were normalised with different processor states.
        NotFiniteError: a feature of it is NaN or infinite.
    """
    # All partitions of the window were made with the processor state in force.
    window = input_versions.learning_window(market, as_of)
    state = load_state(market)
    require_processors(market, "dataset_infer", window.context, state.hash, needed_by)
    require_processors(market, "dataset_learn", window.learn, state.hash, needed_by)
    infer = market.warehouse.read("dataset_infer", window.context, needed_by=needed_by)
    learn = market.warehouse.read(
        "dataset_learn",
        window.learn,
        needed_by=needed_by,
        columns=["instrument", "decision_date", "label"],
    )
    # A row of features gets its processed label, NaN if it has none.
    columns = list(market.dataset_columns)
    labels = learn.frame.drop(columns="date").rename(
        columns={"decision_date": "date", "label": LABEL_NAME}
    )
    labels["date"] = labels["date"].astype("datetime64[ns]")
    rows = infer.frame[["date", "instrument", *columns]].merge(
        labels, on=["date", "instrument"], how="left"
    )
    frame = to_index(rows, [*columns, LABEL_NAME])
    _require_finite(frame[columns], needed_by)
    # One sampler serves both halves; rows with a label are its samples.
    sampler = TSDataSampler(
        frame,
        pd.Timestamp(window.train[0]),
        pd.Timestamp(window.valid[1]),
        market.config.dataset.step_len,
        fillna_type=FILL,
        flt_data=frame[LABEL_NAME].notna(),
    )
    trained = frame[LABEL_NAME].loc[slice(*map(pd.Timestamp, window.train))]
    return TrainingData(
        sampler.between(*map(pd.Timestamp, window.train)),
        sampler.between(*map(pd.Timestamp, window.valid)),
        window,
        training_fingerprint(market, as_of, infer.digests, learn.digests),
        state,
        float(trained.mean()),
    )


def training_fingerprint(
    market: Market, as_of: str, infer: Mapping[str, str], learn: Mapping[str, str]
) -> str:
    """One hash over the digests of every partition that a model as of a session is trained on.

    Args:
        market: the market.
        as_of: the session.
        infer: digests of `dataset_infer`, of every session of the training window.
        learn: those of `dataset_learn`.
    """
    versions = {"dataset_infer": infer, "dataset_learn": learn}
    version = input_versions.training_inputs(market, as_of, versions)
    assert isinstance(version, str)  # noqa: S101 - a digest is given for every session
    return version


def serving_windows(market: Market, infer: Partitions, keys: Sequence[str]) -> TSDataSampler:
    """Cut the windows of members that end at each session of `keys`.

    Args:
        market: the market.
        infer: rows of `dataset_infer`, of the sessions and the window's length before them.
        keys: the sessions to score.

    Returns:
        The sampler over the members' rows of these sessions.

    Raises:
        NotFiniteError: a feature of them is NaN or infinite.
    """
    frame = to_index(infer.frame, [*market.dataset_columns])
    _require_finite(frame, "predictions")
    member = to_index(infer.frame, ["member"])["member"].astype(bool)
    return TSDataSampler(
        frame,
        pd.Timestamp(keys[0]),
        pd.Timestamp(keys[-1]),
        market.config.dataset.step_len,
        fillna_type=FILL,
        flt_data=member,
    )


def _require_finite(features: pd.DataFrame, needed_by: str) -> None:
    """Refuse NaN and infinities, which would spread through the weights.

    Raises:
        NotFiniteError: the message names columns, counts and first dates.
    """
    try:
        require_finite(features)
    except ValueError as error:
        raise NotFiniteError(
            f"{needed_by} needs finite features, and dataset_infer has others: {error} (in "
            f"dataset.infer_processors of the configuration)"
        ) from error


def require_processors(
    market: Market, table: str, keys: Sequence[str], processors: str, needed_by: str
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
        if info is None or info.provenance.inputs.get("processors") != processors:
            stale.append(key)
    if stale:
        raise ProcessorStateError(
            f"{needed_by}: {len(stale)} sessions of {table}, {stale[0]} to {stale[-1]}, were made "
            f"with another processor state than the one in force ({processors[:12]}); materialize "
            f"dataset_infer and dataset_learn from {stale[0]} to {stale[-1]} again"
        )
