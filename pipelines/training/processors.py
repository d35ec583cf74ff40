"""Keep the fitted processors of a market as JSON with a hash, and translate frames for them.

The chains work on qlib's frames, rows (datetime, instrument) and columns (group, name); tables of
the warehouse are flat. This module is the seam between the two. Infer processors see only features,
and learn processors only the label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipelines.errors import ProcessorStateError
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE
from pipelines.warehouse.identity import DamagedFileError, Identity
from pipelines.warehouse.partition_file import canonical_json, fingerprint
from rnn_core.data import ProcessorChain
from rnn_core.data.processors import FIELDS


def to_index(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Turn flat rows with date and instrument into rows (datetime, instrument), flat columns."""
    index = pd.MultiIndex.from_arrays(
        [rows["date"], rows["instrument"]], names=["datetime", "instrument"]
    )
    return rows[list(columns)].set_axis(index, axis=0)


def to_qlib(
    rows: pd.DataFrame,
    group: str,
    columns: Sequence[str],
    fields: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Turn flat rows into qlib's: rows (datetime, instrument), columns (group, name).

    Args:
        rows: with date and instrument.
        group: the group of the columns.
        columns: their names.
        fields: columns that processors read beside these, with date and instrument; those of the
            rows become the group `FIELDS`.
    """
    frame = to_index(rows, columns)
    frame.columns = pd.MultiIndex.from_product([[group], list(columns)])
    return with_fields(frame, fields)


def with_fields(frame: pd.DataFrame, fields: pd.DataFrame | None) -> pd.DataFrame:
    """Add to qlib's rows the columns beside them, as the group `FIELDS`; see `to_qlib`."""
    if fields is None:
        return frame
    on = ["date", "instrument"]
    rows = frame.index.set_names(on).to_frame(index=False)
    own = rows.merge(fields, on=on, how="left").drop(columns=on).set_axis(frame.index, axis=0)
    own.columns = pd.MultiIndex.from_product([[FIELDS], list(own.columns)])
    return pd.concat([frame, own], axis=1)


def from_qlib(frame: pd.DataFrame) -> pd.DataFrame:
    """Invert `to_qlib`: flat columns after `date` and `instrument`, without the fields."""
    groups = frame.columns.get_level_values(0)
    flat = frame.loc[:, groups != FIELDS].droplevel(0, axis=1)
    return flat.reset_index().rename(columns={"datetime": "date"})


@dataclass(frozen=True)
class ProcessorState:
    """Both fitted chains, and the origin of their fit.

    Attributes:
        config: the hash of the configured processors and fit window at the time of the fit.
        inputs: fingerprints of the features and the labels of the fit window.
        identity: the identity that the stored state carries; None if it has none.
    """

    infer: ProcessorChain
    learn: ProcessorChain
    config: str
    inputs: dict[str, str]
    identity: dict[str, Any] | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of both chains; a partition that they normalised records it."""
        return fingerprint([self.infer.hash, self.learn.hash])

    def to_json(self) -> str:
        """Canonical JSON of the state, its inputs and its hash, without the identity."""
        return canonical_json(
            {
                "infer": self.infer.to_dict(),
                "learn": self.learn.to_dict(),
                "config": self.config,
                "inputs": self.inputs,
                "hash": self.hash,
            }
        )

    @classmethod
    def from_json(cls, text: str, where: str = "the processors' state") -> ProcessorState:
        """Rebuild a state.

        Args:
            text: canonical JSON.
            where: its place, for an error.

        Raises:
            ProcessorStateError: the text is no state, or its hash does not match.
        """
        try:
            raw = json.loads(text)
            state = cls(
                ProcessorChain.from_dict(raw["infer"]),
                ProcessorChain.from_dict(raw["learn"]),
                raw["config"],
                raw["inputs"],
                raw.get("identity"),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ProcessorStateError(f"{where} cannot be read: {error}") from error
        if state.hash != raw["hash"]:
            raise ProcessorStateError(
                f"{where} is damaged: its content has the hash {state.hash[:12]}, it says "
                f"{str(raw['hash'])[:12]}"
            )
        return state


def state_file(dataset: Dataset) -> str:
    """The file of the fitted processors of a dataset, beside the tables of the warehouse."""
    return f"{dataset.processors}.json"


def save_state(market: Market, dataset: Dataset, state: ProcessorState) -> None:
    """Put the state in place in one step, with its identity."""
    content = signed_state(market, dataset, state).encode()
    market.warehouse.store.write(content, state_file(dataset), durable=True)


def signed_state(market: Market, dataset: Dataset, state: ProcessorState) -> str:
    """The JSON of a state with its identity, which bundles that quote the state do without."""
    identity = state_identity(market, dataset).to_dict()
    return canonical_json({**json.loads(state.to_json()), "identity": identity})


def state_identity(market: Market, dataset: Dataset) -> Identity:
    """The identity of the fitted processors of a dataset."""
    return Identity(market.warehouse.record.name, "state", dataset.processors, WHOLE)


def processors_settings(dataset: Dataset) -> dict[str, Any]:
    """The processor lists, the fit window and the features that they are fitted on."""
    config, plan = dataset.config, dataset.fit_plan
    if plan is None or config.fit is None:
        fixed = dataset.fit_sessions()
        fit: Any = [fixed[0], fixed[-1]]
    else:
        fit = {
            "window_sessions": config.fit.window_sessions,
            "every": plan.retrain_every,
            "from": plan.first_trained,
        }
    return {
        "infer": [p.settings for p in config.infer_processors],
        "learn": [p.settings for p in config.learn_processors],
        "fit": fit,
        "features": list(dataset.feature_formulas),
    }


def stored_state(market: Market, dataset: Dataset) -> ProcessorState | None:
    """The fitted processors as they are stored; None where they were never fitted.

    Raises:
        ProcessorStateError: the file is damaged, of another market, or without identity.
        WarehouseError: another release made the state on disk, and it is not upgraded.
    """
    market.warehouse.require_format()
    try:
        text = market.warehouse.store.read(state_file(dataset)).decode(errors="replace")
    except FileNotFoundError:
        return None
    return require_state(market, dataset, text)


def require_state(market: Market, dataset: Dataset, text: str) -> ProcessorState:
    """Confirm that a text is the state of a dataset's processors, and read it.

    Raises:
        ProcessorStateError: it is damaged, of another market, or without identity.
    """
    where = state_file(dataset)
    again = f"fit it again with `{market.command('refit')}` or the job `refit`"
    try:
        state = ProcessorState.from_json(text, where)
    except ProcessorStateError as error:
        raise ProcessorStateError(f"{error}; {again}") from error
    if state.identity is not None or not market.warehouse.reads_unsigned:
        try:
            state_identity(market, dataset).require(state.identity)
        except DamagedFileError as error:
            raise ProcessorStateError(f"{where} is none of this place: {error}; {again}") from error
    return state


def load_state(market: Market, dataset: Dataset) -> ProcessorState:
    """Load the fitted processors of a dataset with a fixed fit window.

    Raises:
        ProcessorStateError: they were never fitted, were fitted for another configuration, or the
            file is damaged.
    """
    state = stored_state(market, dataset)
    if state is None:
        raise ProcessorStateError(
            f"the {dataset.processors} were never fitted; materialize {dataset.features} and "
            f"{dataset.label} over the fit window, then run `{market.command('refit')}`"
        )
    if state.config != fingerprint(processors_settings(dataset)):
        raise ProcessorStateError(
            f"the {dataset.processors} were fitted for another fit window or other processors than "
            f"the configuration now has; run `{market.command('refit')}` or the job `refit`, then "
            f"materialize {dataset.infer} and {dataset.learn} again"
        )
    return state


@dataclass(frozen=True)
class States:
    """The processor states in force at some sessions, as one read found them.

    Attributes:
        by_session: the state of each session; None before the first fit of a moving window.
        versions: their versions as inputs: by session, or under `WHOLE` of a fixed window.
    """

    by_session: Mapping[str, ProcessorState | None]
    versions: Mapping[str, str]


def states_in_force(
    market: Market, dataset: Dataset, keys: Sequence[str], needed_by: str
) -> States:
    """Load the states of the processors in force at some sessions.

    Raises:
        MissingSessionsError: the window moves, and the state of a session is not in the warehouse.
        ProcessorStateError: see `load_state`; or a moving window's state cannot be read.
    """
    plan = dataset.fit_plan
    if plan is None:
        state = load_state(market, dataset)
        return States(dict.fromkeys(keys, state), {WHOLE: state.hash})
    fitted_keys = [key for key in keys if key >= plan.first_trained]
    by_session: dict[str, ProcessorState | None] = dict.fromkeys(keys)
    if not fitted_keys:
        return States(by_session, {})
    read = market.warehouse.read(dataset.processors, fitted_keys, needed_by=needed_by)
    states = {text: ProcessorState.from_json(text) for text in read.frame["state"].unique()}
    for row in read.frame.itertuples():
        by_session[f"{row.date:%Y-%m-%d}"] = states[str(row.state)]
    return States(by_session, read.digests)


def processors_hash(market: Market, dataset: Dataset) -> str | None:
    """Hash of the processor state that every model must have been trained with.

    None if the fit window moves, so that each model has a state of its own, or if there is no
    state, which a training refuses.
    """
    if dataset.fit_plan is not None:
        return None
    try:
        return load_state(market, dataset).hash
    except ProcessorStateError:
        return None
