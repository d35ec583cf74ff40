"""Read the rows that models learn from, and the normalised features that they are served.

A model sees features of one processor state. With a fixed fit window that is the state of the
partitions `dataset_infer` and `dataset_learn`. With a moving one training and serving normalise
their whole window here, from features and labels, with the state that the bundle carries.

A training window is read and normalised some sessions at a time (`LearningRows`): processors treat
a session alike whatever sessions stand beside it, so the parts are the whole, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from pipelines.config.processors import input_columns
from pipelines.errors import ProcessorStateError
from pipelines.market import input_versions
from pipelines.market.chunks import PART_ROWS_AT_ONCE, chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import read_columns, versions_of
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import DataVersions
from pipelines.training.processors import (
    ProcessorState,
    from_qlib,
    states_in_force,
    to_qlib,
)
from pipelines.warehouse.warehouse import Partitions


class LearningRows:
    """The rows that a model as of a session learns from, of any family, some sessions at a time.

    Args:
        market: the market.
        dataset: the dataset.
        as_of: the anchor session.
        needed_by: the reader, for an error.

    Attributes:
        window: the sessions.
        state: the processor state in force at the anchor, with which all rows are normalised.
        versions: of the features, the labels, the state and the columns beside the bars; complete
            once all parts were read.

    Raises:
        MissingSessionsError: the state of the anchor is not in the warehouse.
        ProcessorStateError: the anchor lies before the first fit, or partitions were normalised
            with different processor states.
    """

    def __init__(self, market: Market, dataset: Dataset, as_of: str, needed_by: str) -> None:
        self.window = input_versions.learning_window(dataset, as_of)
        states = states_in_force(market, dataset, (as_of,), needed_by)
        state = states.by_session[as_of]
        if state is None:
            raise ProcessorStateError(
                f"{needed_by} of {as_of} lies before the first fit of the processors"
            )
        self.state = state
        self._market, self._dataset, self._needed_by = market, dataset, needed_by
        self._features, self._labels = dict[str, str](), dict[str, str]()
        self._beside: dict[str, dict[str, str]] = {}
        self._states = states.versions
        warehouse, context, learn = market.warehouse, self.window.context, self.window.learn
        if warehouse.store.is_local:  # an error names all that is absent, not only of a part
            warehouse.require(dataset.features_read, context, needed_by)
            warehouse.require(dataset.labels_read, learn, needed_by)
        if dataset.fit_plan is None:
            require_processors(market, dataset, dataset.infer, context, state.hash, needed_by)
            require_processors(market, dataset, dataset.learn, learn, state.hash, needed_by)

    @property
    def versions(self) -> DataVersions:
        """The versions of what was read so far."""
        dataset = self._dataset
        return {
            dataset.features_read: self._features,
            dataset.labels_read: self._labels,
            dataset.processors: self._states,
            **self._beside,
        }

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield parts of the rows in order of session.

        Yields:
            date, instrument, member, the dataset columns, and LABEL0, NaN without a label.

        Raises:
            MissingSessionsError: a session of the window is not in the warehouse.
        """
        dataset, window, warehouse = self._dataset, self.window, self._market.warehouse
        table = dataset.features_read
        matured = {dataset.decision_of(key): key for key in window.learn}
        for keys in chunks_of_rows(warehouse, table, window.context, PART_ROWS_AT_ONCE):
            features = _features(self._market, dataset, keys, self.state, self._needed_by)
            self._features |= features.digests
            self._note(features)
            label_keys = [matured[key] for key in keys if key in matured]
            columns = ["date", "instrument", "member", *dataset.columns]
            rows = features.frame[columns]
            yield self._labelled(rows, keys, label_keys)
        # Labels of decisions before the window's first rows belong to its version all the same.
        others = [key for key in window.learn if key not in self._labels]
        if others:
            digests = warehouse.digests(dataset.labels_read, others, needed_by=self._needed_by)
            self._labels |= digests

    def _note(self, read: Partitions | None) -> None:
        """Keep the versions of the columns beside the bars that a part was read with."""
        for name, versions in versions_of(read).items():
            self._beside.setdefault(name, {}).update(versions)

    def _labelled(
        self, rows: pd.DataFrame, keys: Sequence[str], label_keys: Sequence[str]
    ) -> pd.DataFrame:
        """Join the labels that matured at some sessions, processed, with their decisions' rows."""
        market, dataset = self._market, self._dataset
        extra = None
        if dataset.fit_plan is not None:
            # Read of sessions without labels as well: their versions are those of the whole window.
            extra = read_columns(market, dataset.learn_columns, keys, self._needed_by)
            self._note(extra)
        if not label_keys:
            return rows.assign(**{LABEL_NAME: np.float32(np.nan)})
        read = market.warehouse.read(
            dataset.labels_read,
            label_keys,
            needed_by=self._needed_by,
            columns=["instrument", "decision_date", "label"],
        )
        self._labels |= read.digests
        labels = read.frame
        if dataset.fit_plan is not None:
            labels = learning_rows(labels, rows, self.state, None if extra is None else extra.frame)
        processed = labels[["decision_date", "instrument", "label"]].rename(
            columns={"decision_date": "date", "label": LABEL_NAME}
        )
        processed["date"] = processed["date"].astype("datetime64[ns]")
        return rows.merge(processed, on=["date", "instrument"], how="left")


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
    member = raw.frame["member"]
    if not all(rows[name].equals(raw.frame[name]) for name in on):  # a processor dropped rows
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
    if dataset.fit_plan is None:
        require_processors(market, dataset, dataset.infer, keys, state.hash, needed_by)
    return _features(market, dataset, keys, state, needed_by, columns)


def _features(
    market: Market,
    dataset: Dataset,
    keys: Sequence[str],
    state: ProcessorState,
    needed_by: str,
    columns: Sequence[str] | None = None,
) -> Partitions:
    """Read features as `features_for`, which confirms the state of the partitions before."""
    if dataset.fit_plan is not None:
        return normalised(market, dataset, keys, state, needed_by)
    return market.warehouse.read(dataset.infer, keys, needed_by=needed_by, columns=columns)


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
