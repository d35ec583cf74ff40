"""Units as steps of a Dagster run, spread by whatever executor a deployment configures.

The job `train_units` has a step that lists the planned units and one step a unit. Between the steps
goes nothing but the name of a step, which holds the unit's key: a worker reads the plan and the
data from the market's state, so hosts need no common place for Dagster's own files. The stage that
needs the units executes the job as a run of its own and waits for it; then it joins them.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import dagster as dg
import pandas as pd

from pipelines.config.executor import ExecutorConfig
from pipelines.errors import ConfigError, PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.instance.names import MARKET_TAG, RUN_TAG, TRAIN_UNITS, own_name, run_words
from pipelines.instance.orphaned_runs import OWNER_TAG, owner
from pipelines.instance.run_history import failure_reason
from pipelines.market.market import Market
from pipelines.market.paths import data_root
from pipelines.training.train_unit import LoadData, anchor_data, spec_of, train_unit
from pipelines.training.unit_store import HISTORY, UnitStore
from pipelines.training.units import OnEpoch, Unit, UnitFailedError
from pipelines.training.warm_start import trainer_settings

RETRIES = 2  # of a step whose process died


def train_units_job(market: Market, wanted: ExecutorConfig) -> dg.JobDefinition:
    """The job that trains units, a step each.

    Args:
        market: the market.
        wanted: names the executor, and configures it.

    Raises:
        ConfigError: there is no such executor.
    """
    store = UnitStore(market.state)

    @dg.op(
        out=dg.DynamicOut(dg.Nothing),
        config_schema={"keys": dg.Field([str], description="Keys of the units.")},
        description="The units to train, a step each.",
    )
    def planned_units(context: dg.OpExecutionContext) -> Iterator[dg.DynamicOutput[None]]:
        for key in context.op_config["keys"]:
            yield dg.DynamicOutput(None, mapping_key=_step_name(store.planned(key), key))

    @dg.op(
        ins={"planned": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        retry_policy=dg.RetryPolicy(max_retries=RETRIES),
        description="Train one seed of one model as of one session.",
    )
    def unit(context: dg.OpExecutionContext) -> None:
        _train(market, store, str(context.get_mapping_key()).rpartition("_")[2], context.log)

    @dg.job(
        name=own_name(market, TRAIN_UNITS),
        executor_def=_executor(wanted),
        tags={MARKET_TAG: market.config.name},
        description="Units of trainings, started by the stages that join them.",
    )
    def train_units() -> None:
        planned_units().map(lambda planned: unit(planned=planned))

    return train_units


def _step_name(unit: Unit | None, key: str) -> str:
    """The name of a unit's step, which ends in its key."""
    named = "" if unit is None else f"{unit.model}_{unit.as_of.replace('-', '_')}_{unit.seed}_"
    return f"{named}{key}"


def _train(market: Market, store: UnitStore, key: str, log: Any) -> None:
    """Train the unit of a key, if it is still planned."""
    unit = store.planned(key)
    if unit is None:
        log.info(f"unit {key} is joined already, or was withdrawn")
        return
    try:
        train_unit(
            market,
            unit,
            load_data=partial(anchor_data, market, spec_of(market, unit.model), unit.as_of),
            on_epoch=lambda unit, report: log.info(
                f"{unit} epoch {report.epoch + 1}/{report.n_epochs} valid "
                f"{report.valid_score:.5f} best {report.best_epoch + 1}"
            ),
            log=log.info,
            threads=market.config.training.threads or 1,
        )
    except PipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _executor(wanted: ExecutorConfig) -> dg.ExecutorDefinition:
    """The executor of a name, configured.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = wanted.run_with.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"training.executor.run_with is {wanted.run_with}, which cannot be imported ({error}); "
            f"expected an executor of an installed package, as dagster:multiprocess_executor or "
            f"dagster_celery:celery_executor (pip install 'rnn-signal-factory[celery]')"
        ) from error
    if not isinstance(found, dg.ExecutorDefinition):
        raise ConfigError(f"training.executor.run_with is {wanted.run_with}, which is no executor")
    return found.configured(dict(wanted.config), name=found.name) if wanted.config else found


class UnitRuns:
    """The executor of units that has Dagster train them; see the module.

    Args:
        market: the market.
    """

    def __init__(self, market: Market) -> None:
        if data_root() / market.config.name != market.paths.root:
            raise ConfigError(
                f"workers of Dagster find a market by its name in RNN_DATA_DIR, which is "
                f"{data_root()}, and the state of {market.config.name} is in {market.paths.root}; "
                f"set RNN_DATA_DIR to {market.paths.root.parent}"
            )
        self._market, self._store = market, UnitStore(market.state)
        self._failed: dict[str, str] = {}  # by the key of a unit, why it was not trained

    def submit(self, units: Sequence[Unit]) -> None:
        """Train the units that the store lacks, in one run."""
        self._store.plan(units)
        missing = self._missing(units)
        if not missing:
            return
        name = self._market.config.name
        job = dg.build_reconstructable_job("pipelines.code_locations", "train_units_job", (name,))
        sessions = sorted({unit.as_of for unit in missing})
        words = run_words(name, "train units of", (sessions[0], sessions[-1]))
        tags = {RUN_TAG: words, OWNER_TAG: owner()}
        config = {
            "ops": {"planned_units": {"config": {"keys": [unit.key for unit in missing]}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        with (
            dagster_instance(self._market) as instance,
            dg.execute_job(job, instance, run_config=config, tags=tags) as result,
        ):
            if not result.success:
                why = failure_reason(instance, result.run_id)
                self._failed |= {unit.key: why for unit in self._missing(missing)}

    def finish(
        self,
        units: Sequence[Unit],
        *,
        load_data: LoadData,
        on_epoch: OnEpoch,
        log: Callable[[str], None],
    ) -> None:
        """Confirm that units are trained, and tell their epochs, which nobody heard."""
        del load_data  # workers read for themselves
        # Units of a chain are planned once their parent is in place, so not with the others.
        self.submit([unit for unit in units if unit.key not in self._failed])
        missing = self._missing(units)
        if missing:
            raise UnitFailedError(
                f"{missing[0]} was not trained by {self._market.config.name}_{TRAIN_UNITS}: "
                f"{self._failed.get(missing[0].key, '')}; the units that were are kept"
            )
        log(f"{len(units)} units were trained by {self._market.config.name}_{TRAIN_UNITS}")
        for unit in units:
            if unit.precision is not None:
                self._tell(unit, on_epoch)

    def _missing(self, units: Sequence[Unit]) -> list[Unit]:
        return [unit for unit in units if self._store.load(unit.key) is None]

    def _tell(self, unit: Unit, on_epoch: OnEpoch) -> None:
        """Tell the epochs of a trained network from its history."""
        from rnn_core.training import EpochReport

        stored = self._store.load(unit.key)
        if stored is None:
            return
        history = pd.read_parquet(BytesIO(stored.contents[HISTORY]))
        settings = spec_of(self._market, unit.model).training
        n_epochs = int(trainer_settings(self._market, settings, unit.parent)["n_epochs"])
        rate, best = float(stored.record["samples_per_second"]), 0
        for row in history.to_dict("records"):
            epoch = int(row["epoch"])
            best = epoch if row["best"] else best
            scores = float(row["train_loss"]), float(row["valid_score"])
            on_epoch(unit, EpochReport(epoch, n_epochs, *scores, best, rate))
