"""The inputs of every kind of partition: one statement that making and staleness share.

Each function gives the `inputs` of a partition's provenance from the versions of what it reads
(`market/stage.py`). Making hands it the digests that it has just verified, staleness those that are
in the warehouse now: where the two differ, the partition was made from something else than what is
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.training_plan import TrainingWindow, training_window
from pipelines.market.dataset import Dataset
from pipelines.market.stage import WHOLE, Absent, DataVersions, Version
from pipelines.warehouse.partition_file import fingerprint

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


def column_input(name: str) -> str:
    """The input that is one column beside the bars."""
    return f"column {name}"


def columns_read(
    names: Iterable[str], keys: Sequence[str], versions: DataVersions
) -> dict[str, Version]:
    """The inputs of what reads columns beside the bars at some sessions."""
    return {column_input(n): combined(versions[column_input(n)], keys) for n in names}


def combined(versions: Mapping[str, Version], keys: Iterable[str]) -> Version:
    """One hash over the versions of several sessions; the first that is absent, or outdated."""
    parts = [[key, versions[key]] for key in keys]
    odd = [version for _, version in parts if not isinstance(version, str)]
    if odd:
        return next((version for version in odd if isinstance(version, Absent)), odd[0])
    return fingerprint(parts)


def feature_window(dataset: Dataset, key: str) -> tuple[str, ...]:
    """The sessions of bars that the features of a session need, itself last."""
    return dataset.sessions.window(key, dataset.feature_set.look_back + 1)


def label_window(dataset: Dataset, key: str) -> tuple[str, ...]:
    """The sessions of bars that the labels maturing at a session need, itself last."""
    return dataset.sessions.window(key, dataset.label_lag + dataset.label_expression.look_back + 1)


def serving_window(dataset: Dataset, key: str) -> tuple[str, ...]:
    """The sessions of features that a model sees to score a session, itself last."""
    return dataset.sessions.window(key, dataset.window_sessions)


def learning_window(dataset: Dataset, as_of: str) -> TrainingWindow:
    """The sessions that a model as of `as_of` learns from."""
    training = dataset.training
    return training_window(
        dataset.sessions,
        as_of,
        window_sessions=training.window_sessions,
        valid_sessions=training.valid_sessions,
        label_lag=dataset.label_lag,
        step_len=dataset.window_sessions,
    )


def ohlcv_inputs(key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars as the source gave them, the members, and the state that entered the session."""
    return {
        "bars": versions[SOURCE_BARS][key],
        "members": versions[MEMBERS][key],
        "entering": versions[ENTERING][key],
    }


def features_inputs(dataset: Dataset, key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars of the session and its look-back, and the columns beside them that features read."""
    window = feature_window(dataset, key)
    columns = columns_read(dataset.feature_columns, window, versions)
    return {"ohlcv": combined(versions["ohlcv"], window), **columns}


def label_inputs(dataset: Dataset, key: str, versions: DataVersions) -> dict[str, Version]:
    """Bars from the decision to the session at which its label matured, and columns beside them."""
    window = label_window(dataset, key)
    columns = columns_read(dataset.label_columns, window, versions)
    return {"ohlcv": combined(versions["ohlcv"], window), **columns}


def processors_inputs(dataset: Dataset, key: str, versions: DataVersions) -> dict[str, Version]:
    """Features, labels and columns beside the bars of the fit window.

    A session between two fits has the state of the anchor before it.
    """
    if _has_no_state(dataset, key):
        return {}
    anchor = None if dataset.fit_plan is None else dataset.fit_plan.anchor(key)
    if anchor is not None and anchor != key:
        return {dataset.processors: versions[dataset.processors][anchor]}
    keys, tables = dataset.fit_sessions(anchor), (dataset.features, dataset.label)
    columns = columns_read(dataset.processor_columns, keys, versions)
    return {**{table: combined(versions[table], keys) for table in tables}, **columns}


def _has_no_state(dataset: Dataset, key: str) -> bool:
    """True for a session before the first fit of a moving window: its partitions are empty."""
    return dataset.fit_plan is not None and dataset.fit_plan.anchor(key) is None


def processors_version(dataset: Dataset, key: str, versions: DataVersions) -> Version:
    """The version of the processors' state in force at a session."""
    return versions[dataset.processors][WHOLE if dataset.fit_plan is None else key]


def infer_inputs(dataset: Dataset, key: str, versions: DataVersions) -> dict[str, Version]:
    """Features of the session, the processors' state, and the columns that processors read."""
    if _has_no_state(dataset, key):
        return {}
    return {
        dataset.features: versions[dataset.features][key],
        dataset.processors: processors_version(dataset, key, versions),
        **columns_read(dataset.infer_columns, (key,), versions),
    }


def learn_inputs(dataset: Dataset, key: str, versions: DataVersions) -> dict[str, Version]:
    """Labels that matured, the rows of their decision, and the processors' state.

    With a moving fit window the rows are those of `alpha158`: `dataset_infer` of the decision may
    lie before the first state, and was made with the state of its own session.
    """
    if _has_no_state(dataset, key):
        return {}
    inputs = {
        dataset.label: versions[dataset.label][key],
        dataset.processors: processors_version(dataset, key, versions),
    }
    decision = dataset.decision_of(key)
    if decision is not None:
        inputs[dataset.features_read] = versions[dataset.features_read][decision]
        # With a fixed window `dataset_infer` stands for what the infer processors read.
        moving = dataset.fit_plan is not None
        names = dataset.processor_columns if moving else dataset.learn_columns
        inputs |= columns_read(names, (decision,), versions)
    return inputs


def training_inputs(dataset: Dataset, as_of: str, versions: DataVersions) -> Version:
    """One hash over everything that a model as of `as_of` is trained on.

    With a fixed fit window the partitions were made with the state in force, so that their
    versions say which it was.
    """
    window = learning_window(dataset, as_of)
    parts = [
        combined(versions[dataset.features_read], window.context),
        combined(versions[dataset.labels_read], window.learn),
    ]
    if dataset.fit_plan is not None:
        parts.append(processors_version(dataset, as_of, versions))
        columns = columns_read(dataset.processor_columns, window.context, versions)
        parts += columns.values()
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
    dataset: Dataset, model: str, key: str, versions: DataVersions
) -> dict[str, Version]:
    """The pointer to the model in force, the features of the window, and the columns beside.

    A session of the warm-up has no features, and a pointer only where somebody made one.
    """
    pointers = versions[f"{model}_model"]
    if dataset.plan.anchor(key) is None:
        return {"model": pointers[key]} if key in pointers else {}
    table, window = dataset.features_read, serving_window(dataset, key)
    names = () if dataset.fit_plan is None else dataset.infer_columns
    return {
        "model": pointers[key],
        table: combined(versions[table], window),
        **columns_read(names, window, versions),
    }


def evaluation_inputs(
    dataset: Dataset, model: str, key: str, versions: DataVersions
) -> dict[str, Version]:
    """Labels that matured and, where they were made, the predictions of their decision."""
    inputs = {dataset.label: versions[dataset.label][key]}
    decision, made = dataset.decision_of(key), versions[f"{model}_prediction"]
    if decision is not None and decision in made:
        inputs["prediction"] = made[decision]
    return inputs


def portfolio_inputs(
    sessions: Sessions,
    model: str,
    first: str,
    key: str,
    versions: DataVersions,
    *,
    window: int = 0,
    columns: Sequence[str] = (),
) -> dict[str, Version]:
    """Bars of the session and the one before, the predictions, and the book before.

    A session before the first has a partition only where somebody made one, and it is empty.

    Args:
        sessions: the market's.
        model: the model.
        first: the session that opens the book.
        key: the session.
        versions: of all tables.
        window: sessions of bars up to this one that the strategy or its costs read.
        columns: columns beside the bars that the strategy reads.
    """
    if key < first:
        return {}
    before = sessions.back(key, 1)
    inputs = {
        "ohlcv": combined(versions["ohlcv"], [key] if before is None else [before, key]),
        "prediction": versions[f"{model}_prediction"][key],
        **columns_read(columns, (key,), versions),
    }
    if window:
        inputs["window"] = combined(versions["ohlcv"], sessions.window(key, window))
    if before is not None and key > first:
        inputs["previous"] = versions[f"{model}_portfolio"][before]
    return inputs


def report_inputs(
    tables: Sequence[str], columns: Sequence[str], versions: DataVersions
) -> dict[str, Version]:
    """Every stored session of some tables, and of columns beside the bars."""
    keys = {table: sorted(versions[table]) for table in tables}
    beside = columns_read(columns, keys.get("ohlcv", []), versions)
    return {**{table: combined(versions[table], keys[table]) for table in tables}, **beside}
