"""The configuration that decides a model's weights: its settings, and the code that it names."""

from __future__ import annotations

from typing import Any

from pipelines.config.models import ModelSpec
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from rnn_core.models.families import family_of
from rnn_core.training.own_metric import is_own_metric, own_metric

CODE_VERSION = "2"  # of everything that decides a model's weights


def seeds_of(market: Market, spec: ModelSpec) -> range:
    """The seeds of a model's members: seed, seed + 1, ...; one where no seed changes the result."""
    training = market.config.training
    if spec.estimator is not None and not spec.estimator.random:
        return range(training.seed, training.seed + 1)
    return range(training.seed, training.seed + (spec.seeds or training.seeds))


def training_config(market: Market, spec: ModelSpec) -> dict[str, Any]:
    """The configuration that decides a model's weights."""
    training, dataset = market.config.training, market.dataset_of(spec.name)
    half_life = training.half_life_sessions  # said only if it is set: older bundles lack the key
    return {
        "code_version": CODE_VERSION,
        "family": spec.family,
        "hyper": dict(spec.hyper),
        **_trainer_settings(market, spec),
        "step_len": dataset.config.step_len,
        "window_sessions": training.window_sessions,
        "valid_sessions": training.valid_sessions,
        "columns": list(dataset.columns),
        "label": dataset.spec.features.label,
        **({"half_life_sessions": half_life} if half_life else {}),
        **layout_entry(dataset),
        **part_entry(spec.family),
        **_metric_part(spec),
    }


def _trainer_settings(market: Market, spec: ModelSpec) -> dict[str, Any]:
    """The settings of the trainer, and the seeds; of an estimator the seeds, if they matter."""
    seeds = list(seeds_of(market, spec))
    if spec.estimator is not None:
        return {"seeds": seeds} if spec.estimator.random else {}
    warm = market.config.training.warm_start  # said only if it is set: older bundles lack the key
    return {
        "training": dict(spec.training),
        "seeds": seeds,
        "precision": market.config.training.precision,
        **({"warm_start": warm.model_dump()} if warm else {}),
    }


def part_entry(family: str) -> dict[str, dict[str, str]]:
    """The code of an estimator or of a network of another package; `CODE_VERSION` of the others."""
    origin = family_of(family).origin
    return {"part": dict(origin)} if origin else {}


def _metric_part(spec: ModelSpec) -> dict[str, dict[str, str]]:
    """The code of a metric of another package, which selects the epoch and so the weights."""
    metric = str(spec.training.get("metric", ""))
    return {"metric_part": own_metric(metric).origin} if is_own_metric(metric) else {}


def layout_entry(dataset: Dataset) -> dict[str, str]:
    """The layout of a dataset's windows, if it is not the usual one: older bundles lack the key."""
    layout = dataset.config.layout
    return {} if layout == "sessions" else {"layout": layout}
