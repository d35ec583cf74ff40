"""Executors of training units: who trains those that a bundle lacks.

`Inline` trains them one after the other in this process, each on all its threads; `WorkerPool`
(`worker_pool.py`) side by side in processes of its own. The bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pipelines.market.market import Market
from pipelines.training.train_unit import LoadData, train_unit
from pipelines.training.units import OnEpoch, Unit


class Executor(Protocol):
    """Trains units that the store lacks."""

    def submit(self, units: Sequence[Unit]) -> None:
        """Begin with units that will be asked for, in their order, if this executor can."""

    def finish(
        self,
        units: Sequence[Unit],
        *,
        load_data: LoadData,
        on_epoch: OnEpoch,
        log: Callable[[str], None],
    ) -> None:
        """Return once units of one session are in the store.

        Args:
            units: planned in the store.
            load_data: reads the data of their session.
            on_epoch: called after every epoch of them, and of others of their model.
            log: takes a line on the progress.

        Raises:
            UnitRefusedError: the units would have other bits here than planned.
            UnitFailedError: a worker could not train one.
        """


class Inline:
    """Trains units one after the other in this process.

    Args:
        market: the market.
    """

    def __init__(self, market: Market) -> None:
        self._market = market

    def submit(self, units: Sequence[Unit]) -> None:
        """Nothing: units are trained when they are asked for."""

    def finish(
        self,
        units: Sequence[Unit],
        *,
        load_data: LoadData,
        on_epoch: OnEpoch,
        log: Callable[[str], None],
    ) -> None:
        """Train the units that are not in the store."""
        for unit in units:
            train_unit(self._market, unit, load_data=load_data, on_epoch=on_epoch, log=log)
