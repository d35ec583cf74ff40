"""The section `models` of the YAML: one entry a model, checked without importing torch.

`rnn_core.models.families` holds one frozen dataclass of hyper-parameters a family, with qlib's
benchmark values as defaults; an entry of the YAML overrides them. The settings of the trainer stand
beside them for a network; an estimator that is none has no others. An entry may name its `family`,
so two models of one family can stand side by side under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipelines.errors import did_you_mean
from rnn_core.models.estimator_protocol import EstimatorFamily
from rnn_core.models.families import (
    ENTRY_POINTS,
    SHIPPED,
    ModelFamily,
    family_of,
    own_family,
    require_scores,
)
from rnn_core.models.input_checks import require_sizes
from rnn_core.own_parts import entry_points, is_own
from rnn_core.training.trainer_config import TrainerConfig

# Settings of the trainer that the section `training` gives for all models.
MARKET_WIDE = frozenset({"seed", "device", "precision"})
# Keys of the section `training` that an entry may set for its own model.
OVERRIDES = ("retrain_every", "seeds")
REFERENCES = ("linear", "lightgbm")
"""Families that the reports hold every other model against."""


@dataclass(frozen=True)
class ModelSpec:
    """One model of the graph.

    Attributes:
        name: prefix of its assets: `{name}_model`, `{name}_prediction`, `{name}_evaluation`.
        family: a shipped family, or the name of a network or estimator of another package.
        hyper: constructor arguments of the network, but for its input size, or of the estimator.
        training: what of the trainer's configuration the family sets (lr, batch_size …); nothing
            for an estimator.
        dataset: the dataset that it learns from; None for the default one.
        retrain_every: sessions between trainings; None for the market's.
        seeds: members to train; None for the market's.
    """

    name: str
    family: str
    hyper: Mapping[str, Any]
    training: Mapping[str, Any]
    dataset: str | None = None
    retrain_every: int | None = None
    seeds: int | None = None

    @property
    def estimator(self) -> EstimatorFamily | None:
        """The family of a model that is no network, else None."""
        family = family_of(self.family)
        return family if isinstance(family, EstimatorFamily) else None


def engine_of(spec: ModelSpec) -> str:
    """The library that computes a model, as Dagster's UI tags its assets."""
    return "pytorch" if spec.estimator is None else spec.estimator.package or "numpy"


def model_spec(name: str, entry: Mapping[str, Any] | None) -> ModelSpec:
    """The model that an entry of the YAML describes.

    Raises:
        ValueError: an unknown family or argument, or a value that does not fit.
    """
    if not name.isidentifier() or not name.islower():
        raise ValueError(f"model name {name!r} must be lower-case letters, digits and _")
    settings = dict(entry or {})
    family_name = str(settings.pop("family", name))
    is_foreign = family_name not in SHIPPED
    if is_foreign and not is_own(family_name, ENTRY_POINTS):
        hint = did_you_mean(family_name, [*SHIPPED, *entry_points(ENTRY_POINTS)])
        raise ValueError(
            f"{name}: unknown family {family_name!r}; {hint}, or write one of your own, a network "
            f"or an estimator, as package.module:Class"
        )
    dataset = settings.pop("dataset", None)
    if not isinstance(dataset, str | None):
        raise ValueError(f"{name}: dataset is {dataset!r}, expected the name of one of `datasets`")
    own = {key: settings.pop(key) for key in OVERRIDES if key in settings}
    for key, value in own.items():
        try:
            require_sizes(**{key: value})
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    try:
        family = own_family(family_name) if is_foreign else SHIPPED[family_name]
    except ValueError as error:
        raise ValueError(f"{name}.family: {error}") from error
    if isinstance(family, EstimatorFamily):
        _check_estimator(name, family, settings, own)
        try:
            hyper = family.resolve(settings)
            family.build(hyper)
        except Exception as error:  # whatever foreign code raises
            raise ValueError(f"{name}: {error}") from error
        return ModelSpec(name, family_name, hyper, {}, dataset, **own)
    hyper, training = _network_settings(name, family, settings, is_foreign=is_foreign)
    return ModelSpec(name, family_name, hyper, training, dataset, **own)


def _check_estimator(
    name: str, family: EstimatorFamily, settings: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Refuse keys that mean nothing to an estimator.

    Raises:
        ValueError: the message names the key, and those that are accepted.
    """
    accepted = [field.name for field in fields(family.hyper)]
    accepted += ["family", "dataset", *(k for k in OVERRIDES if k != "seeds" or family.random)]
    if not family.random and "seeds" in own:
        raise ValueError(
            f"{name}: seeds makes no sense for {family.name}, whose result no seed changes: there "
            f"is one member; accepted: {', '.join(accepted)}"
        )
    trainer_names = {field.name for field in fields(TrainerConfig)}
    for key in settings:
        if key in accepted:
            continue
        if key in trainer_names:
            raise ValueError(
                f"{name}: {key} is a setting of the trainer of networks, and {family.name} is no "
                f"network; accepted: {', '.join(accepted)}"
            )
        raise ValueError(f"{name}: unknown key {key!r}; {did_you_mean(key, accepted)}")


def _network_settings(
    name: str, family: ModelFamily, settings: Mapping[str, Any], *, is_foreign: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a network, and the settings of its training.

    Raises:
        ValueError: an unknown key, or a value that does not fit.
    """
    hyper_names = {field.name for field in fields(family.hyper)}
    trainer_names = {field.name for field in fields(TrainerConfig)} - MARKET_WIDE
    unknown = [key for key in settings if key not in hyper_names | trainer_names]
    if unknown:
        hint = did_you_mean(
            unknown[0], hyper_names | trainer_names | {"family", "dataset", *OVERRIDES}
        )
        raise ValueError(f"{name}: unknown key {unknown[0]!r}; {hint}")
    try:
        hyper = family.resolve({k: v for k, v in settings.items() if k in hyper_names})
        family.hyper(**hyper)
        if is_foreign:
            require_scores(family, hyper)
        trainer = TrainerConfig.for_family(
            family.name, **{k: v for k, v in settings.items() if k in trainer_names}
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return hyper, {k: v for k, v in asdict(trainer).items() if k not in MARKET_WIDE}
