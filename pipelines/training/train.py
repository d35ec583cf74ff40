"""Train a model as of a session, and put its bundle in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.config.models import ModelSpec
from pipelines.instance.locks import training_lock
from pipelines.market.extra_table import stored_versions
from pipelines.market.input_versions import learning_window
from pipelines.market.market import LABEL_NAME, Market
from pipelines.training.processors import load_state
from pipelines.training.promotion import model_verdict
from pipelines.training.registry import (
    bundle_folder,
    bundle_identity,
    find_bundle,
    seeds_of,
    training_config,
)
from pipelines.training.windows import TrainingData, training_data, training_fingerprint
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.store import Store

if TYPE_CHECKING:
    from rnn_core.models import EstimatorFamily
    from rnn_core.training import Bundle, EpochReport, EstimatorFit, FitResult


@dataclass(frozen=True)
class Trained:
    """A bundle in place, and the results of its training.

    Attributes:
        results: results of the trainings, one a seed; empty if a bundle of the same fingerprints
            was kept.
    """

    bundle: Bundle
    results: tuple[FitResult | EstimatorFit, ...] = ()


def ensure_trained(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    *,
    log: Callable[[str], None],
    on_epoch: Callable[[int, EpochReport], None],
    is_history: bool = False,
    anew: bool = False,
) -> Trained:
    """Keep the bundle of a session if its fingerprints match, and train it otherwise.

    Args:
        market: the market.
        spec: the model.
        as_of: the anchor session.
        log: takes a line on the progress.
        on_epoch: called after every epoch with the seed.
        is_history: the model has served: keep a bundle of the present configuration whatever its
            data.
        anew: train in any case.

    Raises:
        MissingSessionsError: a session of the training window is not in the warehouse.
        TrainingDivergedError: a score, weight or input was not finite.
    """
    # A bundle of the same configuration and data needs no training.
    config = training_config(market, spec)
    present = None if anew else _kept(market, spec, as_of, config, log, is_history)
    if present is not None:
        log(f"{spec.name} as of {as_of}: the bundle is up to date, not trained again")
        return Trained(present)
    estimator = spec.estimator
    data = training_data(
        market,
        market.dataset_of(spec.name),
        as_of,
        f"{spec.name}_model",
        missing_values=estimator is not None and estimator.missing_values,
    )
    window = data.window
    log(
        f"{spec.name} as of {as_of}: {len(data.train)} samples {' … '.join(window.train)}, "
        f"validated on {len(data.valid)} of {' … '.join(window.valid)}"
    )
    if estimator is not None:
        fits = _fit_estimators(market, spec, estimator, data)
        return Trained(_publish(market, spec, data, config, as_of, fits), tuple(fits))
    # An interrupted training goes on from the checkpoints of its seeds.
    checkpoints = market.bundles.below(".checkpoints", spec.name, as_of)
    identity = fingerprint([config, data.fingerprint])
    with training_lock(market, market.config.training.device, on_wait=log):
        results = [
            _train(market, spec, data, seed, checkpoints.below(f"seed-{seed}"), identity, on_epoch)
            for seed in seeds_of(market, spec)
        ]
        bundle = _publish(market, spec, data, config, as_of, results)
    checkpoints.remove_all()  # the bundle is in place: no longer needed
    return Trained(bundle, tuple(results))


def _kept(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    config: dict[str, Any],
    log: Callable[[str], None],
    is_history: bool,
) -> Bundle | None:
    """The bundle of a session, if its configuration and data equal the present ones.

    A bundle that has served stays on its data, if it fits the present processors or scores with
    a state of its own.
    """
    from rnn_core.training import BundleError

    try:
        bundle = find_bundle(market, spec.name, as_of)
    except BundleError as error:
        log(f"{spec.name} as of {as_of}: {error}; it is trained again")
        return None
    if bundle is None or bundle.manifest.get("config_hash") != fingerprint(config):
        return None
    dataset = market.dataset_of(spec.name)
    moves = dataset.fit_plan is not None
    if is_history and (moves or bundle.manifest["processors"] == load_state(market, dataset).hash):
        return bundle
    window, needed_by = learning_window(dataset, as_of), f"{spec.name}_model"
    keys_by_table = {dataset.features_read: window.context, dataset.labels_read: window.learn}
    if moves:
        keys_by_table[dataset.processors] = (as_of,)
    now = {
        table: market.warehouse.digests(table, keys, needed_by=needed_by)
        for table, keys in keys_by_table.items()
    }
    if moves:
        now |= stored_versions(market, dataset.processor_columns, window.context, needed_by)
    data = training_fingerprint(dataset, as_of, now)
    return bundle if bundle.manifest.get("data") == data else None


def _train(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    seed: int,
    checkpoints: Store,
    identity: str,
    on_epoch: Callable[[int, EpochReport], None],
) -> FitResult:
    """Train the network of one seed."""
    import torch

    from rnn_core.models import build_network
    from rnn_core.training import Trainer, TrainerConfig, seeded_network

    training, dataset = market.config.training, market.dataset_of(spec.name)
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    trainer_config = TrainerConfig(
        **spec.training, seed=seed, device=training.device, precision=training.precision
    )
    network = seeded_network(
        lambda: build_network(spec.family, len(dataset.window_columns), spec.hyper),
        seed,
    )
    return Trainer(trainer_config, callback=partial(on_epoch, seed)).fit(
        network,
        data.train,
        data.valid,
        weights=data.weights,
        checkpoint_dir=checkpoints,
        keep_checkpoint=True,
        data_fingerprint=identity,
    )


def _fit_estimators(
    market: Market, spec: ModelSpec, family: EstimatorFamily, data: TrainingData
) -> list[EstimatorFit]:
    """Fit an estimator of every seed; each takes seconds, so there are no checkpoints."""
    from rnn_core.training import fit_estimator, samples_of

    columns = market.dataset_of(spec.name).window_columns
    train = samples_of(data.train, columns, has_label=True, weights=data.weights)
    valid = samples_of(data.valid, columns, has_label=True)
    threads = market.config.training.threads
    return [
        fit_estimator(family, spec.hyper, train, valid, seed=seed, threads=threads)
        for seed in seeds_of(market, spec)
    ]


def _publish(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    config: dict[str, Any],
    as_of: str,
    results: Sequence[FitResult | EstimatorFit],
) -> Bundle:
    """Put the bundle in place, with the facts of its validation."""
    from rnn_core.models import MeanEnsemble
    from rnn_core.training import EstimatorFit, FitResult, save_bundle, validation_facts

    # The validation facts are those of the members together, as they will serve.
    seeds, dataset = seeds_of(market, spec), market.dataset_of(spec.name)
    networks = [result.member for result in results if isinstance(result, FitResult)]
    estimators = [result.member for result in results if isinstance(result, EstimatorFit)]
    facts = validation_facts(
        [*networks, *estimators],
        data.valid,
        metric=spec.training.get("metric", "loss"),
        train_mean=data.label_mean,
        device=market.config.training.device,
    )
    manifest = {
        "model": spec.name,
        "as_of": as_of,
        "train": list(data.window.train),
        "valid": list(data.window.valid),
        "train_samples": len(data.train),
        "valid_samples": len(data.valid),
        "label": dataset.spec.features.label,
        "label_name": LABEL_NAME,
        "config_hash": fingerprint(config),
        "data": data.fingerprint,
        "processors": data.processors.hash,
        **results[0].computed_on,
        "seeds": [
            {"seed": seed, **result.record} for seed, result in zip(seeds, results, strict=True)
        ],
        "valid_score": facts.score,
        "constant_score": facts.constant_score,
        "score_spread": facts.spread,
        "valid_rank_ic": facts.rank_ic if math.isfinite(facts.rank_ic) else None,
        "versions": library_versions(spec),
    }
    # The verdict of today's thresholds is kept for people; serving asks for it anew.
    verdict = model_verdict(market.config.checks.model, manifest)
    history = pd.concat(
        [r.history.assign(seed=seed) for seed, r in zip(seeds, results, strict=True)],
        ignore_index=True,
    )
    folder = bundle_folder(market, spec.name, as_of)
    save_bundle(
        folder,
        estimators or (networks[0] if len(networks) == 1 else MeanEnsemble(networks)),
        family=spec.family,
        hyper=dict(spec.hyper),
        columns=list(dataset.window_columns),
        config=config,
        history=history,
        processors_json=data.processors.to_json(),
        manifest={**manifest, "reasons": [*verdict.blocking, *verdict.warnings]},
        identity=bundle_identity(market, spec.name, as_of).to_dict(),
        replace=True,
    )
    bundle = find_bundle(market, spec.name, as_of)
    if bundle is None:
        raise AssertionError(f"{folder} was written and is not there")
    return bundle


def library_versions(spec: ModelSpec) -> dict[str, str]:
    """The versions of the libraries that decide a model's bits."""
    from importlib.metadata import version

    own = [spec.estimator.package] if spec.estimator and spec.estimator.package else []
    return {name: version(name) for name in ("numpy", "torch", "rnn-signal-factory", *own)}
