"""Train one model as of one session and put its bundle in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.bundles import bundle_path, find_bundle
from pipelines.families import ModelSpec
from pipelines.learning import TrainingData, training_data, training_fingerprint
from pipelines.market import LABEL_NAME, Market
from pipelines.partition_file import fingerprint
from pipelines.processing import load_state

if TYPE_CHECKING:
    from rnn_core.training import Bundle, EpochReport, FitResult

CODE_VERSION = "1"  # of everything that decides a model's weights


@dataclass(frozen=True)
class Trained:
    """A bundle in place, and how it came there.

    Attributes:
        result: of the training; None where a bundle of the same fingerprints was kept.
    """

    bundle: Bundle
    result: FitResult | None
    samples: tuple[int, int] | None


def training_config(market: Market, spec: ModelSpec) -> dict[str, Any]:
    """The configuration that decides a model's weights."""
    training = market.config.training
    return {
        "code_version": CODE_VERSION,
        "family": spec.family,
        "hyper": dict(spec.hyper),
        "training": dict(spec.training),
        "seed": training.seed,
        "step_len": market.config.dataset.step_len,
        "window_sessions": training.window_sessions,
        "valid_sessions": training.valid_sessions,
        "columns": list(market.dataset_columns),
    }


def ensure_trained(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    *,
    log: Callable[[str], None],
    on_epoch: Callable[[EpochReport], None],
) -> Trained:
    """The bundle of a session: kept where its fingerprints match, trained otherwise.

    Raises:
        MissingSessionsError: a session of the training window is not in the warehouse.
        TrainingDivergedError: a score, weight or input was not finite.
    """
    config = training_config(market, spec)
    kept = find_bundle(market, spec.name, as_of)
    if kept is not None:
        same_config = kept.manifest.get("config_hash") == fingerprint(config)
        if same_config and kept.manifest.get("data") == training_fingerprint(market, as_of):
            log(f"{spec.name} as of {as_of}: the bundle is up to date, not trained again")
            return Trained(kept, None, None)
    data = training_data(market, as_of, f"{spec.name}_model")
    result = _train(market, spec, data, config, as_of, log=log, on_epoch=on_epoch)
    bundle = _publish(market, spec, data, config, as_of, result)
    return Trained(bundle, result, (len(data.train), len(data.valid)))


def _train(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    config: dict[str, Any],
    as_of: str,
    *,
    log: Callable[[str], None],
    on_epoch: Callable[[EpochReport], None],
) -> FitResult:
    import torch

    from rnn_core.models import build_network
    from rnn_core.training import Trainer, TrainerConfig, seeded_network

    training = market.config.training
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    trainer_config = TrainerConfig(**spec.training, seed=training.seed, device=training.device)
    network = seeded_network(
        lambda: build_network(spec.family, len(market.dataset_columns), spec.hyper), training.seed
    )
    log(
        f"{spec.name} as of {as_of}: {len(data.train)} samples {data.window.train[0]} … "
        f"{data.window.train[1]}, validated on {len(data.valid)} of {data.window.valid[0]} … "
        f"{data.window.valid[1]}"
    )
    checkpoints = market.paths.models / ".checkpoints" / spec.name / as_of
    return Trainer(trainer_config, callback=on_epoch).fit(
        network,
        data.train,
        data.valid,
        checkpoint_dir=checkpoints,
        data_fingerprint=fingerprint([config, data.fingerprint]),
    )


def _publish(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    config: dict[str, Any],
    as_of: str,
    result: FitResult,
) -> Bundle:
    from rnn_core.training import save_bundle

    path = bundle_path(market, spec.name, as_of)
    state = load_state(market.warehouse.store)
    save_bundle(
        path,
        result.network,
        family=spec.family,
        hyper=dict(spec.hyper),
        columns=list(market.dataset_columns),
        config=config,
        history=result.history,
        processors_json=state.to_json(),
        manifest={
            "model": spec.name,
            "as_of": as_of,
            "train": list(data.window.train),
            "valid": list(data.window.valid),
            "train_samples": len(data.train),
            "valid_samples": len(data.valid),
            "label": market.config.features.label,
            "label_name": LABEL_NAME,
            "seed": market.config.training.seed,
            "config_hash": fingerprint(config),
            "data": data.fingerprint,
            "processors": data.processors,
            "device": result.device,
            "best_epoch": result.best_epoch,
            "best_score": result.best_score,
            "stopped_early": result.stopped_early,
            "versions": library_versions(),
        },
        replace=True,
    )
    bundle = find_bundle(market, spec.name, as_of)
    if bundle is None:
        raise AssertionError(f"{path} was written and is not there")
    return bundle


def library_versions() -> dict[str, str]:
    """Versions of what decides a model's bits."""
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "torch", "rnn-signal-factory")}
