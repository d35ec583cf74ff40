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


def processors_inputs(market: Market, versions: DataVersions) -> dict[str, Version]:
    """Features and labels of the fit window."""
    keys = market.fit_sessions
    return {table: combined(versions[table], keys) for table in ("alpha158", "label")}


def dataset_infer_inputs(key: str, versions: DataVersions) -> dict[str, Version]:
    """Features of the session and the processors' state."""
    return {"alpha158": versions["alpha158"][key], "processors": versions[PROCESSORS][WHOLE]}


def dataset_learn_inputs(market: Market, key: str, versions: DataVersions) -> dict[str, Version]:
    """Labels that matured, the rows of their decision, and the processors' state."""
    inputs = {"label": versions["label"][key], "processors": versions[PROCESSORS][WHOLE]}
    decision = market.decision_of(key)
    if decision is not None:
        inputs["dataset_infer"] = versions["dataset_infer"][decision]
    return inputs


def training_inputs(market: Market, as_of: str, versions: DataVersions) -> Version:
    """One hash over everything that a model as of `as_of` is trained on."""
    window = learning_window(market, as_of)
    parts = [
        combined(versions["dataset_infer"], window.context),
        combined(versions["dataset_learn"], window.learn),
    ]
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
    return {
        "model": pointers[key],
        "dataset_infer": combined(versions["dataset_infer"], serving_window(market, key)),
    }


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
