"""The inputs of every kind of partition: one statement that making and staleness share.

Each function gives the `inputs` of a partition's provenance from the versions of what it reads
(`market/stage.py`). Making hands it the digests that it has just verified, staleness those that are
in the warehouse now: where the two differ, the partition was made from something else than what is
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipelines.calendar.training_plan import TrainingWindow, training_window
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Absent, DataVersions, Version
from pipelines.warehouse.partition_file import fingerprint

PROCESSORS = "processors"
# Inputs that are no table's: their names hold a space, which no stage's name may.
SOURCE_BARS = "bars of the source"
MEMBERS = "members of the universe"
ENTERING = "state entering the session"


def bundle_in_force(model: str) -> str:
    """The input that says which bundle of a model is in force at a session."""
    return f"{model} bundle in force"


def bundles_passed_over(model: str) -> str:
    """The input that says which newer bundles of a model were not good enough at a session."""
    return f"{model} bundles passed over"


def combined(versions: Mapping[str, Version], keys: Iterable[str]) -> Version:
    """One hash over the versions of several sessions; the first that is absent, or outdated."""
    parts = [[key, versions[key]] for key in keys]
    odd = [version for _, version in parts if not isinstance(version, str)]
    if odd:
        return next((version for version in odd if isinstance(version, Absent)), odd[0])
    return fingerprint(parts)


def feature_window(market: Market, key: str) -> tuple[str, ...]:
    """The sessions of bars that the features of a session need, itself last."""
    return market.sessions.window(key, market.feature_set.look_back + 1)


def label_window(market: Market, key: str) -> tuple[str, ...]:
    """The sessions of bars that the labels maturing at a session need, itself last."""
    return market.sessions.window(key, market.label_lag + market.label.look_back + 1)


def serving_window(market: Market, key: str) -> tuple[str, ...]:
    """The sessions of features that a model sees to score a session, itself last."""
    return market.sessions.window(key, market.config.dataset.step_len)


def learning_window(market: Market, as_of: str) -> TrainingWindow:
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


def ohlcv_inputs(key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars as the source gave them, the members, and the state that entered the session."""
    return {
        "bars": versions[SOURCE_BARS][key],
        "members": versions[MEMBERS][key],
        "entering": versions[ENTERING][key],
    }


def alpha158_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars of the session and its look-back."""
    return {"ohlcv": combined(versions["ohlcv"], feature_window(market, key))}


def label_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars from the decision to the session at which its label matured."""
    return {"ohlcv": combined(versions["ohlcv"], label_window(market, key))}


def features_read(market: Market) -> str:
    """The table of features that models read.

    With a fixed fit window every session has one state and models read `dataset_infer`. With a
    moving one a model normalises its whole window itself, with the state that its bundle carries.
    """
    return "dataset_infer" if market.fit_plan is None else "alpha158"


def labels_read(market: Market) -> str:
    """The table of labels that models learn from; see `features_read`."""
    return "dataset_learn" if market.fit_plan is None else "label"


def processors_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Features and labels of the fit window; the state of the anchor for a session between two."""
    if _has_no_state(market, key):
        return {}
    anchor = None if market.fit_plan is None else market.fit_plan.anchor(key)
    if anchor is not None and anchor != key:
        return {PROCESSORS: versions[PROCESSORS][anchor]}
    keys = market.fit_sessions(anchor)
    return {table: combined(versions[table], keys) for table in ("alpha158", "label")}


def _has_no_state(market: Market, key: str) -> bool:
    """True for a session before the first fit of a moving window: its partitions are empty."""
    return market.fit_plan is not None and market.fit_plan.anchor(key) is None


def processors_version(market: Market, key: str, versions: DataVersions) -> Version:
    """The version of the processors' state in force at a session."""
    return versions[PROCESSORS][WHOLE if market.fit_plan is None else key]


def dataset_infer_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Features of the session and the processors' state."""
    if _has_no_state(market, key):
        return {}
    return {
        "alpha158": versions["alpha158"][key],
        "processors": processors_version(market, key, versions),
    }


def dataset_learn_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Labels that matured, the rows of their decision, and the processors' state.

    With a moving fit window the rows are those of `alpha158`: `dataset_infer` of the decision may
    lie before the first state, and was made with the state of its own session.
    """
    if _has_no_state(market, key):
        return {}
    inputs = {
        "label": versions["label"][key],
        "processors": processors_version(market, key, versions),
    }
    decision = market.decision_of(key)
    if decision is not None:
        inputs[features_read(market)] = versions[features_read(market)][decision]
    return inputs


def training_inputs(market: Market, as_of: str, versions: DataVersions) -> Version:
    """One hash over everything that a model as of `as_of` is trained on.

    With a fixed fit window the partitions were made with the state in force, so that their
    versions say which it was.
    """
    window = learning_window(market, as_of)
    parts = [
        combined(versions[features_read(market)], window.context),
        combined(versions[labels_read(market)], window.learn),
    ]
    if market.fit_plan is not None:
        parts.append(processors_version(market, as_of, versions))
    odd = next((part for part in parts if not isinstance(part, str)), None)
    return fingerprint(parts) if odd is None else odd


def model_inputs(model: str, key: str, versions: DataVersions) -> dict[str, Version]:
    """The bundle in force and the newer ones that were not good enough; each only if there is."""
    found = {
        "bundle": versions[bundle_in_force(model)].get(key),
        "passed_over": versions[bundles_passed_over(model)].get(key),
    }
    return {name: version for name, version in found.items() if version is not None}


def prediction_inputs(
    market: Market, model: str, key: str, versions: DataVersions
) -> dict[str, Version]:
    """The pointer to the model in force and the features of the window.

    A session of the warm-up has no features, and a pointer only where somebody made one.
    """
    pointers = versions[f"{model}_model"]
    if market.plan.anchor(key) is None:
        return {"model": pointers[key]} if key in pointers else {}
    table = features_read(market)
    return {"model": pointers[key], table: combined(versions[table], serving_window(market, key))}


def evaluation_inputs(
    market: Market, model: str, key: str, versions: DataVersions
) -> dict[str, Version]:
    """Labels that matured and, where they were made, the predictions of their decision."""
    inputs = {"label": versions["label"][key]}
    decision, made = market.decision_of(key), versions[f"{model}_prediction"]
    if decision is not None and decision in made:
        inputs["prediction"] = made[decision]
    return inputs


def report_inputs(tables: Sequence[str], versions: DataVersions) -> dict[str, Version]:
    """Every stored session of some tables."""
    return {table: combined(versions[table], sorted(versions[table])) for table in tables}
