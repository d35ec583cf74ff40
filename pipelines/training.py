"""Train one model as of one session and put its bundle in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.bundles import bundle_path, find_bundle
from pipelines.families import ModelSpec
from pipelines.inputs import learning_window, training_inputs
from pipelines.learning import TrainingData, training_data
from pipelines.market import LABEL_NAME, Market
from pipelines.partition_file import fingerprint

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
        "label": market.config.features.label,
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
    kept = _kept(market, spec, as_of, config, log)
    if kept is not None:
        log(f"{spec.name} as of {as_of}: the bundle is up to date, not trained again")
        return Trained(kept, None)
    data = training_data(market, as_of, f"{spec.name}_model")
    checkpoints = market.paths.models / ".checkpoints" / spec.name / as_of
    result = _train(market, spec, data, config, as_of, checkpoints, log=log, on_epoch=on_epoch)
    bundle = _publish(market, spec, data, config, as_of, result)
    shutil.rmtree(checkpoints, ignore_errors=True)  # the bundle is in place: no longer needed
    return Trained(bundle, result)


def _kept(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    config: dict[str, Any],
    log: Callable[[str], None],
) -> Bundle | None:
    """The bundle of a session if its configuration and data are those of now."""
    from rnn_core.training import BundleError

    try:
        bundle = find_bundle(market, spec.name, as_of)
    except BundleError as error:
        log(f"{spec.name} as of {as_of}: {error}; it is trained again")
        return None
    if bundle is None or bundle.manifest.get("config_hash") != fingerprint(config):
        return None
    window, needed_by = learning_window(market, as_of), f"{spec.name}_model"
    digests = {
        "dataset_infer": market.warehouse.digests(
            "dataset_infer", window.context, needed_by=needed_by
        ),
        "dataset_learn": market.warehouse.digests(
            "dataset_learn", window.learn, needed_by=needed_by
        ),
    }
    same = bundle.manifest.get("data") == training_inputs(market, as_of, digests)
    return bundle if same else None


def _train(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    config: dict[str, Any],
    as_of: str,
    checkpoints: Path,
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
    return Trainer(trainer_config, callback=on_epoch).fit(
        network,
        data.train,
        data.valid,
        checkpoint_dir=checkpoints,
        keep_checkpoint=True,
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
    save_bundle(
        path,
        result.network,
        family=spec.family,
        hyper=dict(spec.hyper),
        columns=list(market.dataset_columns),
        config=config,
        history=result.history,
        processors_json=data.processors.to_json(),
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
            "processors": data.processors.hash,
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
