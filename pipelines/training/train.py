"""Train a model as of a session: have its units trained, and join them to a bundle in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.config.models import ModelSpec
from pipelines.errors import PipelineError
from pipelines.instance.locks import forget_units, training_lock
from pipelines.market.extra_table import stored_versions
from pipelines.market.input_versions import learning_window
from pipelines.market.market import LABEL_NAME, Market
from pipelines.training.executor import Executor, Inline
from pipelines.training.processors import load_state
from pipelines.training.promotion import model_verdict
from pipelines.training.registry import (
    bundle_folder,
    bundle_identity,
    find_bundle,
)
from pipelines.training.train_unit import FIGURES, anchor_data
from pipelines.training.training_config import training_config
from pipelines.training.unit_store import HISTORY, UnitStore
from pipelines.training.units import (
    OnEpoch,
    Unit,
    UnitFailedError,
    library_versions,
    units_of,
)
from pipelines.training.warm_start import Parent, chain_before, has_parent, parent_of, parent_words
from pipelines.training.windows import TrainingData, training_fingerprint
from pipelines.warehouse.partition_file import fingerprint

if TYPE_CHECKING:
    from rnn_core.training import Bundle, Member


@dataclass(frozen=True)
class TrainedUnit:
    """The training of one seed.

    Attributes:
        member: the network or estimator.
        history: a row a step.
        record: the facts for the bundle's manifest.
        seconds: of the training; of one that was interrupted those since its last checkpoint.
        samples_per_second: training rows per second of training.
        peak_memory: bytes.
    """

    member: Member
    history: pd.DataFrame
    record: Mapping[str, Any]
    seconds: float
    samples_per_second: float
    peak_memory: int


@dataclass(frozen=True)
class Trained:
    """A bundle in place, and the trainings that it joins.

    Attributes:
        units: keys of the trainings by seed; empty if a bundle of the same fingerprints was kept.
        results: the trainings, one a seed; empty likewise.
    """

    bundle: Bundle
    units: tuple[Unit, ...] = ()
    results: tuple[TrainedUnit, ...] = ()


def missing_units(
    market: Market,
    spec: ModelSpec,
    keys: Sequence[str],
    *,
    history: Collection[str] = (),
    anew: bool = False,
) -> list[Unit]:
    """Plan the units of a range that have to be trained, in the order of sessions and seeds.

    The plan ends before the first session whose data is not there: who trains that session is told.
    A session that begins with weights is planned once they are there, hence not together with the
    training of its parent.

    Args:
        market: the market.
        spec: the model.
        keys: sessions, in order; those that train nothing are passed over.
        history: those that keep a bundle of the present configuration whatever its data.
        anew: plan sessions whose bundle is up to date, too.
    """
    store, plan, units = UnitStore(market.state), market.plan_of(spec.name), list[Unit]()
    planned = set[str]()
    for as_of in filter(plan.trains, keys):
        config = training_config(market, spec)
        if not planned.isdisjoint(chain_before(market, spec, as_of)):
            planned.add(as_of)
            continue
        try:
            if not anew and _kept(market, spec, as_of, config, _silent, as_of in history):
                continue
            planned.add(as_of)
            parent = parent_of(market, spec, as_of)
            units += units_of(market, spec, as_of, _data_now(market, spec, as_of), parent)
        except PipelineError:
            break
    return [unit for unit in units if store.load(unit.key) is None]


def _silent(line: str) -> None:
    """Pass over a line: it is said when the session is trained."""


def ensure_trained(
    market: Market,
    spec: ModelSpec,
    as_of: str,
    *,
    log: Callable[[str], None],
    on_epoch: OnEpoch,
    executor: Executor | None = None,
    is_history: bool = False,
    anew: bool = False,
) -> Trained:
    """Keep the bundle of a session if its fingerprints match, and train it otherwise.

    Args:
        market: the market.
        spec: the model.
        as_of: the anchor session.
        log: takes a line on the progress.
        on_epoch: called after every epoch of a unit, also of one of a later session that is
            trained beside.
        executor: trains the units; None for one after the other in this process.
        is_history: the model has served: keep a bundle of the present configuration whatever its
            data.
        anew: train in any case.

    Raises:
        MissingSessionsError: a session of the training window is not in the warehouse.
        ModelNotTrainedError: it begins with weights that were pruned.
        TrainingDivergedError: a score, weight or input was not finite.
        UnitFailedError: a worker could not train a unit.
    """
    # A bundle of the same configuration and data needs no training.
    config = training_config(market, spec)
    present = None if anew else _kept(market, spec, as_of, config, log, is_history)
    if present is not None:
        log(f"{spec.name} as of {as_of}: the bundle is up to date, not trained again")
        _forget(market, spec, as_of)  # who put it in place may have been killed before that
        return Trained(present)

    @cache
    def load_data() -> TrainingData:
        data = anchor_data(market, spec, as_of)
        window = data.window
        log(
            f"{spec.name} as of {as_of}: {len(data.train)} samples {' … '.join(window.train)}, "
            f"validated on {len(data.valid)} of {' … '.join(window.valid)}"
        )
        return data

    # Units of an interrupted training are there already, or go on from their checkpoints.
    parent = parent_of(market, spec, as_of)
    if words := parent_words(market, spec, as_of, parent):
        log(f"{spec.name} as of {as_of}: begins with {words}")
    units = units_of(market, spec, as_of, load_data().fingerprint, parent)
    store = UnitStore(market.state)
    store.plan(units)
    executor = Inline(market) if executor is None else executor
    executor.finish(units, load_data=load_data, on_epoch=on_epoch, log=log)
    with training_lock(market, market.config.training.device, on_wait=log):
        results = [_trained(market, spec, store, unit) for unit in units]
        bundle = _publish(market, spec, load_data(), config, as_of, units, results, parent)
    _forget(market, spec, as_of)
    return Trained(bundle, units, tuple(results))


def _forget(market: Market, spec: ModelSpec, as_of: str) -> None:
    """Remove what a bundle in place needs no more: units, and checkpoints of earlier releases."""
    forget_units(market, UnitStore(market.state).remove(spec.name, as_of))
    market.bundles.below(".checkpoints", spec.name, as_of).remove_all()


def _trained(market: Market, spec: ModelSpec, store: UnitStore, unit: Unit) -> TrainedUnit:
    """The training of a finished unit.

    Raises:
        UnitFailedError: it is not there.
    """
    from rnn_core.models.families import family_of
    from rnn_core.training.member_files import member_of

    stored = store.load(unit.key)
    if stored is None:
        raise UnitFailedError(
            f"{unit} was trained, and its files are gone or damaged; run the same again to train "
            f"it again, the other units are kept"
        )
    n_columns = len(market.dataset_of(spec.name).window_columns)
    hyper = family_of(spec.family).resolve(spec.hyper)
    return TrainedUnit(
        member_of(spec.family, n_columns, hyper, stored.contents),
        pd.read_parquet(BytesIO(stored.contents[HISTORY])),
        stored.record["seed"],
        **{name: stored.record[name] for name in FIGURES},
    )


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
        bundle = find_bundle(market, spec.name, as_of, weights=False)
    except BundleError as error:
        log(f"{spec.name} as of {as_of}: {error}; it is trained again")
        return None
    if bundle is None or bundle.manifest.get("config_hash") != fingerprint(config):
        return None
    dataset = market.dataset_of(spec.name)
    moves = dataset.fit_plan is not None
    if is_history and (moves or bundle.manifest["processors"] == load_state(market, dataset).hash):
        return bundle
    if bundle.manifest.get("data") != _data_now(market, spec, as_of):
        return None
    return bundle if has_parent(bundle.manifest, parent_of(market, spec, as_of)) else None


def _data_now(market: Market, spec: ModelSpec, as_of: str) -> str:
    """The digest over all partitions that a training of a session would read.

    Raises:
        MissingSessionsError: one of them is not in the warehouse.
    """
    dataset = market.dataset_of(spec.name)
    window, needed_by = learning_window(dataset, as_of), f"{spec.name}_model"
    keys_by_table = {dataset.features_read: window.context, dataset.labels_read: window.learn}
    if dataset.fit_plan is not None:
        keys_by_table[dataset.processors] = (as_of,)
    now = {
        table: market.warehouse.digests(table, keys, needed_by=needed_by)
        for table, keys in keys_by_table.items()
    }
    if dataset.fit_plan is not None:
        now |= stored_versions(market, dataset.processor_columns, window.context, needed_by)
    return training_fingerprint(dataset, as_of, now)


def _publish(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    config: dict[str, Any],
    as_of: str,
    units: Sequence[Unit],
    results: Sequence[TrainedUnit],
    parent: Parent | None,
) -> Bundle:
    """Join the units and put the bundle in place, with the facts of its validation."""
    from torch import nn

    from rnn_core.models import MeanEnsemble
    from rnn_core.training import resolve_device, save_bundle, validation_facts

    # The validation facts are those of the members together, as they will serve.
    dataset, device = market.dataset_of(spec.name), market.config.training.device
    members = [result.member for result in results]
    networks = [member for member in members if isinstance(member, nn.Module)]
    estimators = [member for member in members if not isinstance(member, nn.Module)]
    facts = validation_facts(
        members,
        data.valid,
        metric=spec.training.get("metric", "loss"),
        train_mean=data.label_mean,
        device=device,
    )
    computed_on = (
        {"device": str(resolve_device(device).device), "precision": units[0].precision}
        if networks
        else {"device": "cpu"}
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
        **computed_on,
        "seeds": [dict(result.record) for result in results],
        "valid_score": facts.score,
        "constant_score": facts.constant_score,
        "score_spread": facts.spread,
        "valid_rank_ic": facts.rank_ic if math.isfinite(facts.rank_ic) else None,
        "versions": library_versions(spec),
        **({"parent": parent.to_dict()} if parent else {}),
    }
    # The verdict of today's thresholds is kept for people; serving asks for it anew.
    verdict = model_verdict(market.config.checks.model, manifest)
    history = pd.concat(
        [r.history.assign(seed=unit.seed) for unit, r in zip(units, results, strict=True)],
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
        units=[unit.key for unit in units],
        replace=True,
    )
    bundle = find_bundle(market, spec.name, as_of)
    if bundle is None:
        raise AssertionError(f"{folder} was written and is not there")
    return bundle
