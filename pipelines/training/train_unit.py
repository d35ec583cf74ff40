"""Train one unit, once, and put its files into the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.config.models import ModelSpec
from pipelines.instance.locks import training_lock, unit_lock
from pipelines.market.market import Market
from pipelines.training.training_config import seeds_of
from pipelines.training.unit_store import HISTORY, UnitStore
from pipelines.training.units import OnEpoch, Unit, UnitRefusedError, require_same
from pipelines.training.warm_start import parent_bundle, parent_of, trainer_settings
from pipelines.training.windows import TrainingData, training_data

if TYPE_CHECKING:
    from rnn_core.training import EpochReport, EstimatorFit, FitResult

LoadData = Callable[[], TrainingData]
FIGURES = ("seconds", "samples_per_second", "peak_memory")  # of a training, for people


def train_unit(
    market: Market,
    unit: Unit,
    *,
    load_data: LoadData,
    on_epoch: OnEpoch,
    log: Callable[[str], None],
    threads: int | None = None,
) -> None:
    """Train a unit unless it is in the store.

    Another process that trains it is waited for. An interrupted training goes on from its
    checkpoint, whichever process began it. One of a chain begins with the weights of its parent,
    whose bundle has to be in place.

    Args:
        market: the market.
        unit: the unit.
        load_data: reads the data of its session.
        on_epoch: called after every epoch of a network.
        log: takes a line on who is waited for.
        threads: of torch, where their number decides no bits; None for the configured ones.

    Raises:
        UnitRefusedError: this process or the data would give other bits than planned.
        MissingSessionsError: a session of the training window is not in the warehouse.
        ModelNotTrainedError: it begins with weights that were pruned.
        TrainingDivergedError: a score, weight or input was not finite.
    """
    store = UnitStore(market.state)
    spec = spec_of(market, unit.model)
    require_same(market, spec, unit)
    result: FitResult | EstimatorFit
    with unit_lock(market, unit.key, on_wait=log):
        if store.load(unit.key) is not None:
            return
        if spec.estimator is not None:
            number = threads or market.config.training.threads
            result = _fit_estimator(market, spec, _same(load_data(), unit), unit.seed, number)
        else:
            with training_lock(market, market.config.training.device, on_wait=log):
                result = _fit_network(
                    market,
                    spec,
                    _same(load_data(), unit),
                    unit,
                    store,
                    partial(on_epoch, unit),
                    unit.threads or threads or market.config.training.threads,
                )
        _save(store, unit, result)


def spec_of(market: Market, model: str) -> ModelSpec:
    """The model of a name.

    Raises:
        UnitRefusedError: the configuration has none.
    """
    for spec in market.models:
        if spec.name == model:
            return spec
    raise UnitRefusedError(
        f"a unit of the model {model} was planned, and the configuration here has only "
        f"{', '.join(spec.name for spec in market.models)}; start workers with the planner's YAML"
    )


def anchor_data(market: Market, spec: ModelSpec, as_of: str) -> TrainingData:
    """Read the data that a model as of a session is trained on."""
    return training_data(
        market,
        market.dataset_of(spec.name),
        as_of,
        f"{spec.name}_model",
        missing_values=spec.estimator is not None and spec.estimator.missing_values,
    )


def _same(data: TrainingData, unit: Unit) -> TrainingData:
    """The data, if it is what was planned.

    Raises:
        UnitRefusedError: partitions were made anew since.
    """
    if data.fingerprint != unit.data:
        raise UnitRefusedError(
            f"{unit} was planned on other data: partitions of its window were made again since, or "
            f"this process reads another warehouse. Plan it anew"
        )
    return data


def _fit_network(
    market: Market,
    spec: ModelSpec,
    data: TrainingData,
    unit: Unit,
    store: UnitStore,
    on_epoch: Callable[[EpochReport], None],
    threads: int | None,
) -> FitResult:
    """Train the network of one seed."""
    import torch

    from rnn_core.models import build_network
    from rnn_core.training import Trainer, TrainerConfig, seeded_network

    training, dataset = market.config.training, market.dataset_of(spec.name)
    if threads is not None:
        torch.set_num_threads(threads)
    settings = trainer_settings(market, spec.training, unit.parent)
    trainer_config = TrainerConfig(
        **settings, seed=unit.seed, device=training.device, precision=training.precision
    )
    network = seeded_network(
        lambda: build_network(spec.family, len(dataset.window_columns), spec.hyper), unit.seed
    )
    if unit.parent is not None:
        network.load_state_dict(_parent_weights(market, spec, unit))
    return Trainer(trainer_config, callback=on_epoch).fit(
        network,
        data.train,
        data.valid,
        weights=data.weights,
        checkpoint_dir=store.checkpoint(unit.key),
        keep_checkpoint=True,  # until the result is saved
        data_fingerprint=unit.key,
    )


def _parent_weights(market: Market, spec: ModelSpec, unit: Unit) -> dict[str, Any]:
    """The weights of the member of the same seed of the bundle that a unit begins with.

    Raises:
        UnitRefusedError: another bundle is in force before it than was planned.
        ModelNotTrainedError: its weights were pruned.
    """
    parent = parent_of(market, spec, unit.as_of)
    if parent is None or parent.fingerprint != unit.parent:
        found = "fresh ones" if parent is None else f"those of {parent.fingerprint[:12]}…"
        raise UnitRefusedError(
            f"{unit} was planned to begin with the weights of the bundle {str(unit.parent)[:12]}…, "
            f"and by now it would begin with {found}: its chain was trained again since. Plan it "
            f"anew"
        )
    member = parent_bundle(market, spec, unit.as_of, parent).members[
        unit.seed - seeds_of(market, spec).start
    ]
    return member.state_dict()  # type: ignore[union-attr]


def _fit_estimator(
    market: Market, spec: ModelSpec, data: TrainingData, seed: int, threads: int | None
) -> EstimatorFit:
    """Fit an estimator of one seed; that takes seconds, so there is no checkpoint."""
    from rnn_core.training import fit_estimator, samples_of

    family = spec.estimator
    assert family is not None  # noqa: S101 - asked by the caller
    columns = market.dataset_of(spec.name).window_columns
    train = samples_of(data.train, columns, has_label=True, weights=data.weights)
    valid = samples_of(data.valid, columns, has_label=True)
    return fit_estimator(family, spec.hyper, train, valid, seed=seed, threads=threads)


def _save(store: UnitStore, unit: Unit, result: FitResult | EstimatorFit) -> None:
    """Put the files of a training into the store."""
    from rnn_core.training.bundle_files import parquet_bytes
    from rnn_core.training.member_files import member_files

    contents = {**member_files(result.member), HISTORY: parquet_bytes(result.history)}
    figures = {name: getattr(result, name) for name in FIGURES}
    store.save(unit.key, contents, {"seed": {"seed": unit.seed, **result.record}, **figures})
