"""Windows for training and serving, cut from the warehouse.

One `TSDataSampler` serves both halves of training: every bar's features left-joined with the
processed label as last column, samples being the rows that have one. Serving builds the same
windows from the same rows, without a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.errors import ProcessorStateError
from pipelines.market import LABEL_NAME, Market
from pipelines.partition_file import fingerprint
from pipelines.partitions import TrainingWindow, training_window
from pipelines.warehouse import Partitions

if TYPE_CHECKING:
    from rnn_core.data import TSDataSampler

FILL = "ffill+bfill"  # how qlib's models fill sessions on which a name has no row


@dataclass(frozen=True)
class TrainingData:
    """What a model as of one session is trained on.

    Attributes:
        fingerprint: hash over the digests of every partition that went in.
        processors: hash of the processor state that all of them were made with.
    """

    train: TSDataSampler
    valid: TSDataSampler
    window: TrainingWindow
    fingerprint: str
    processors: str


def window_of(market: Market, as_of: str) -> TrainingWindow:
    """The sessions that a model as of `as_of` learns from."""
    training = market.config.training
    return training_window(
        market.sessions,
        as_of,
        window_sessions=training.window_sessions,
        valid_sessions=training.valid_sessions,
        label_lag=market.label_lag,
        step_len=market.config.dataset.step_len,
    )


def training_fingerprint(market: Market, as_of: str) -> str:
    """Hash over the digests of every partition that a model as of `as_of` is trained on."""
    window = window_of(market, as_of)
    warehouse = market.warehouse
    needed_by = f"a model as of {as_of}"
    return fingerprint(
        [
            warehouse.digests("dataset_infer", window.context, needed_by=needed_by),
            warehouse.digests("dataset_learn", window.learn, needed_by=needed_by),
        ]
    )


def training_data(market: Market, as_of: str, needed_by: str) -> TrainingData:
    """Read the training window of a session and build its samplers.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
        ProcessorStateError: its partitions were normalised with different processor states.
    """
    from rnn_core.data import TSDataSampler

    window = window_of(market, as_of)
    infer = market.warehouse.read("dataset_infer", window.context, needed_by=needed_by)
    learn = market.warehouse.read(
        "dataset_learn",
        window.learn,
        needed_by=needed_by,
        columns=["instrument", "decision_date", "label"],
    )
    columns = list(market.dataset_columns)
    labels = learn.frame.drop(columns="date").rename(
        columns={"decision_date": "date", "label": LABEL_NAME}
    )
    labels["date"] = labels["date"].astype("datetime64[ns]")
    rows = infer.frame[["date", "instrument", *columns]].merge(
        labels, on=["date", "instrument"], how="left"
    )
    frame = to_index(rows, [*columns, LABEL_NAME])
    sampler = TSDataSampler(
        frame,
        pd.Timestamp(window.train[0]),
        pd.Timestamp(window.valid[1]),
        market.config.dataset.step_len,
        fillna_type=FILL,
        flt_data=frame[LABEL_NAME].notna(),
    )
    return TrainingData(
        sampler.between(*map(pd.Timestamp, window.train)),
        sampler.between(*map(pd.Timestamp, window.valid)),
        window,
        fingerprint([dict(infer.digests), dict(learn.digests)]),
        one_processor_state(market, infer, needed_by),
    )


def serving_windows(market: Market, infer: Partitions, keys: Sequence[str]) -> TSDataSampler:
    """Windows of members that end at each session of `keys`.

    Args:
        market: the market.
        infer: `dataset_infer` of the sessions and the window's length before them.
        keys: sessions to score.

    Returns:
        The sampler over members' rows of those sessions.
    """
    from rnn_core.data import TSDataSampler

    frame = to_index(infer.frame, [*market.dataset_columns])
    member = to_index(infer.frame, ["member"])["member"].astype(bool)
    return TSDataSampler(
        frame,
        pd.Timestamp(keys[0]),
        pd.Timestamp(keys[-1]),
        market.config.dataset.step_len,
        fillna_type=FILL,
        flt_data=member,
    )


def one_processor_state(market: Market, infer: Partitions, needed_by: str) -> str:
    """The hash of the one processor state that all the partitions were normalised with.

    Raises:
        ProcessorStateError: there are several, or it is not the state in force.
    """
    from pipelines.processing import load_state

    current = load_state(market.warehouse.store).hash
    stale = []
    for key in infer.digests:
        info = market.warehouse.info("dataset_infer", key)
        if info is None or info.provenance.inputs.get("processors") != current:
            stale.append(key)
    if stale:
        raise ProcessorStateError(
            f"{needed_by}: {len(stale)} sessions of dataset_infer, {stale[0]} to {stale[-1]}, were "
            f"normalised with another processor state than the one in force ({current[:12]}); "
            f"materialize dataset_infer and dataset_learn from {stale[0]} to {stale[-1]} again"
        )
    return current


def to_index(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Flat rows with date and instrument -> rows (datetime, instrument), flat columns."""
    index = pd.MultiIndex.from_arrays(
        [rows["date"], rows["instrument"]], names=["datetime", "instrument"]
    )
    return rows[list(columns)].set_axis(index, axis=0)
