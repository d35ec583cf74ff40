"""The choice of who trains the units of a run, and the plan of all that will be asked for.

An executor that works ahead is told at once every unit that the run will ask for: those of this
model, and those of the models whose stages follow in the same process and learn from the same
dataset, which is complete by now. So seeds, sessions and models are trained side by side, and each
stage then joins what is ready.
"""

from __future__ import annotations

from pipelines.config.executor import executor_config
from pipelines.config.models import ModelSpec
from pipelines.market.stage import Run
from pipelines.training.executor import Executor, Inline
from pipelines.training.train import missing_units
from pipelines.training.units import Unit
from pipelines.training.worker_pool import network_slots, pool_of

FEWEST_SLOTS = 3  # on two cores one training on both is as fast as one on each


def executor_of(run: Run, spec: ModelSpec) -> Executor:
    """The executor of a run's units, which has begun with those that it is about to need.

    Args:
        run: of the model's stage.
        spec: the model.

    Raises:
        ConfigError: the environment names no executor, or Dagster's cannot open the market.
    """
    market = run.market
    wanted = executor_config(market.config.training.executor)
    trains = any(map(market.plan_of(spec.name).trains, run.keys))
    if wanted.kind == "inline" or not trains:
        return Inline(market)
    if wanted.kind == "auto" and len(network_slots(market)) < FEWEST_SLOTS:
        return Inline(market)
    units = run_units(run, spec)
    if wanted.kind == "auto" and len(units) < 2:
        return Inline(market)
    if wanted.kind == "dagster":
        from pipelines.assets.train_units import UnitRuns

        runs = UnitRuns(market)
        runs.submit(units)
        return runs
    pool = pool_of(market, wanted.workers)
    pool.submit(units)
    return pool


def run_units(run: Run, spec: ModelSpec) -> list[Unit]:
    """The units that a run is about to need, in the order in which it will ask for them.

    The bundle of another model may stay because it has served, which its own stage decides: one of
    the present configuration is not planned here, whatever its data.
    """
    market = run.market
    units = missing_units(market, spec, run.keys, history=run.history, anew=run.retrains)
    dataset = market.dataset_of(spec.name).name
    for other in market.models:
        is_beside = other != spec and f"{other.name}_model" in run.beside
        if is_beside and market.dataset_of(other.name).name == dataset:
            units += missing_units(market, other, run.keys, history=run.keys, anew=run.retrains)
    return units
