"""What each partition is made from: one statement that writing it and checking it share.

Every function gives the `inputs` of a partition's provenance from the digests of the partitions
it reads. An asset calls it with the digests that it has just verified, `survey.py` with those in
the footers: where the two differ, the partition was made from something else than what is there.

`Digests` maps table -> session -> digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.calendar.training_plan import TrainingWindow, training_window
from pipelines.market.market import Market
from pipelines.warehouse.partition_file import fingerprint

Digests = Mapping[str, Mapping[str, str]]


def combined(digests: Mapping[str, str], keys: Iterable[str]) -> str:
    """One hash over the digests of several sessions.

    Raises:
        KeyError: a session is absent.
    """
    return fingerprint([[key, digests[key]] for key in keys])


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


def alpha158_inputs(market: Market, key: str, digests: Digests) -> dict[str, str]:
    """Bars of the session and its look-back."""
    return {"ohlcv": combined(digests["ohlcv"], feature_window(market, key))}


def label_inputs(market: Market, key: str, digests: Digests) -> dict[str, str]:
    """Bars from the decision to the session at which its label matured."""
    return {"ohlcv": combined(digests["ohlcv"], label_window(market, key))}


def processors_inputs(market: Market, digests: Digests) -> dict[str, str]:
    """Features and labels of the fit window."""
    keys = market.fit_sessions
    return {table: combined(digests[table], keys) for table in ("alpha158", "label")}


def dataset_infer_inputs(key: str, digests: Digests, processors: str) -> dict[str, str]:
    """Features of the session and the processors' state."""
    return {"alpha158": digests["alpha158"][key], "processors": processors}


def dataset_learn_inputs(
    market: Market, key: str, digests: Digests, processors: str
) -> dict[str, str]:
    """Labels that matured, the rows of their decision, and the processors' state."""
    inputs = {"label": digests["label"][key], "processors": processors}
    decision = market.decision_of(key)
    if decision is not None:
        inputs["dataset_infer"] = digests["dataset_infer"][decision]
    return inputs


def training_inputs(market: Market, as_of: str, digests: Digests) -> str:
    """One hash over everything that a model as of `as_of` is trained on."""
    window = learning_window(market, as_of)
    return fingerprint(
        [
            combined(digests["dataset_infer"], window.context),
            combined(digests["dataset_learn"], window.learn),
        ]
    )


def prediction_inputs(market: Market, model: str, key: str, digests: Digests) -> dict[str, str]:
    """The pointer to the model in force and, past the warm-up, the features of the window."""
    inputs = {"model": digests[f"{model}_model"][key]}
    if market.plan.anchor(key) is not None:
        inputs["dataset_infer"] = combined(digests["dataset_infer"], serving_window(market, key))
    return inputs


def evaluation_inputs(market: Market, model: str, key: str, digests: Digests) -> dict[str, str]:
    """Labels that matured and, where they were made, the predictions of their decision."""
    inputs = {"label": digests["label"][key]}
    decision = market.decision_of(key)
    made = digests[f"{model}_prediction"]
    if decision is not None and decision in made:
        inputs["prediction"] = made[decision]
    return inputs
