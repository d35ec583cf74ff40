"""Assemble a market from its YAML: sessions, training plan, source, warehouse, models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.calendar.training_plan import TrainingPlan
from pipelines.config.calendar import calendar_identity, exchange_of
from pipelines.config.market_file import FactoryConfig
from pipelines.config.models import REFERENCES, ModelSpec, model_spec
from pipelines.config.sources import source_identity
from pipelines.errors import ConfigError
from pipelines.market.calendar_end import calendar_end
from pipelines.market.calendars import market_sessions
from pipelines.market.dataset import Dataset, datasets_of
from pipelines.market.market_state import MarketState
from pipelines.market.membership import read_universe
from pipelines.sources.base import BarSource
from pipelines.sources.factory import make_source
from pipelines.warehouse.warehouse import Warehouse

LABEL_NAME = "LABEL0"
ENSEMBLE = "ensemble"  # the name of the models' rank average, in reports and among the stages


class Market(MarketState):
    """Configuration, calendar, source and warehouse of one market; its places are `MarketState`'s.

    Args:
        config: the validated YAML.
        root: the folder of the market's state (default `data/NAME`).
        source: a source of bars that replaces the configured one.
        named: the configuration as a command names it; None for the default one.
        read_only: keep nothing, not even a calendar that is derived from the data.
        sessions: its sessions as another process has found them; None to find them here.
    """

    def __init__(
        self,
        config: FactoryConfig,
        *,
        root: Path | None = None,
        source: BarSource | None = None,
        named: str | None = None,
        read_only: bool = False,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(config, root=root, named=named)
        self._read_only = read_only
        training = config.training
        self._source = source
        self.sessions = sessions or self._sessions()
        self.plan = TrainingPlan(
            self.sessions,
            self.sessions.at_or_after(training.first_trained),
            training.retrain_every,
            self._pin(),
        )
        self.warehouse = Warehouse(
            self.tables,
            self._identity(),
            as_now=identity_now,
            upgrade=self.command("upgrade"),
            sync=self.command("sync"),
        )
        self.models: tuple[ModelSpec, ...] = tuple(
            model_spec(name, entry) for name, entry in config.models.items()
        )

    def backfill_command(self) -> str:
        """The command that makes whatever is missing or stale up to the newest closed session."""
        return self.command(f"backfill --start {self.sessions.first} --end {self.last_closed()}")

    def opened_anew(self, config: FactoryConfig | None = None) -> Market:
        """The same market with its present state, after that was changed beneath this object.

        Args:
            config: another configuration of it; None for the present one.
        """
        return Market(
            config or self.config,
            root=self.paths.root,
            source=self._source,
            named=self._named,
            read_only=self._read_only,
        )

    def plan_of(self, model: str) -> TrainingPlan:
        """The plan of one model: the market's, or with the model's own `retrain_every`."""
        own = next(spec.retrain_every for spec in self.models if spec.name == model)
        return self.plan if own is None else replace(self.plan, retrain_every=own)

    def _pin(self) -> tuple[str, str] | None:
        """The configured rollback as two sessions; None for none.

        Raises:
            ConfigError: it leads to a session before the first trained one, or to itself.
        """
        pin = self.config.training.pin
        if pin is None:
            return None
        first = self.sessions.at_or_after(self.config.training.first_trained)
        since, as_of = self.sessions.at_or_after(pin.from_), self.sessions.at_or_before(pin.as_of)
        if not first <= as_of < since:
            raise ConfigError(
                f"training.pin: as_of {pin.as_of} (session {as_of}) must lie at or after the first "
                f"trained session {first} and before from {pin.from_} (session {since})"
            )
        return since, as_of

    def _identity(self) -> dict[str, Any]:
        """The identity of the warehouse: the facts that every adjustment factor builds on."""
        market = self.config.market.model_dump(mode="json", by_alias=True)
        return identity_now(
            {
                "name": self.config.name,
                "source": market["source"],
                "calendar": market["calendar"],
                "start": self.sessions.first,
            }
        )

    @cached_property
    def source(self) -> BarSource:
        """The source of bars."""
        return self._source or make_source(self.config.market, self.sessions, self.paths.downloads)

    def _sessions(self) -> Sessions:
        """The market's sessions; a calendar derived from the data looks at its source."""
        market = self.config.market
        exchange = exchange_of(market.calendar)

        def source() -> BarSource:
            known = None if exchange is None else Sessions.of(exchange, market.start, market.end)
            return self._source or make_source(market, known, self.paths.downloads)

        return market_sessions(
            market,
            self.state.file("calendar.json"),
            source,
            lambda: self.tables.has_partitions("ohlcv"),
            keep=not self._read_only,
        )

    def sessions_now(self) -> Sessions:
        """The sessions that a process which starts now would find.

        An exchange's calendar changes by a release only. A calendar of a file or of the data may
        change while this process lives: a guessed day ahead turns out to be a holiday.

        Raises:
            ConfigError: the calendar's file is absent or wrong.
            SourceError: the data has bars on a day that was passed over when it was the past.
        """
        return self.sessions if isinstance(self.config.market.calendar, str) else self._sessions()

    @cached_property
    def universe(self) -> Any:
        """`all`, or membership spans (instrument, start, end)."""
        return read_universe(self.config.market)

    @cached_property
    def datasets(self) -> tuple[Dataset, ...]:
        """The datasets of the market, the default one first."""
        return datasets_of(self.config, self.sessions, self.plan, self.models)

    def dataset_of(self, model: str) -> Dataset:
        """The dataset that a model learns from."""
        own = next(spec.dataset for spec in self.models if spec.name == model)
        return next((d for d in self.datasets if d.name == own), self.datasets[0])

    @property
    def comparable_models(self) -> tuple[str, ...]:
        """The models that learn the default label, whose scores are of one kind."""
        label = self.datasets[0].label
        names = (spec.name for spec in self.models)
        return tuple(name for name in names if self.dataset_of(name).label == label)

    @property
    def reference_models(self) -> tuple[str, ...]:
        """The models that the reports hold every other one against."""
        return tuple(spec.name for spec in self.models if spec.family in REFERENCES)

    @property
    def ensemble_models(self) -> tuple[str, ...]:
        """The models whose ranks are averaged: all comparable ones that are no references.

        So the ensemble stays what it was when a reference is added, and can be held against it.
        Where there are only references, they are averaged.
        """
        others = [n for n in self.comparable_models if n not in self.reference_models]
        return tuple(others) or self.comparable_models

    def require_ensemble(self) -> tuple[str, ...]:
        """Confirm that the section `ensemble` has models to average, and return them.

        Raises:
            ConfigError: fewer than two.
        """
        models = self.ensemble_models
        if len(models) < 2:
            aside = [n for n in self.reference_models if n in self.comparable_models]
            less = [name for name in aside if name not in models]
            beside = f", beside {' and '.join(less)}, the references" if less else ""
            raise ConfigError(
                f"ensemble: {', '.join(models) or 'no model'} learns the default label{beside}; "
                f"expected two models or more, or no section `ensemble`"
            )
        return models

    def decision_of(self, dataset: str | None, key: str) -> str | None:
        """The decision whose labels of a dataset, by its name, mature at a session."""
        own = next((one for one in self.datasets if one.name == dataset), self.datasets[0])
        return own.decision_of(key)

    def last_closed(self) -> str:
        """The newest session that is over: its midnight has passed in the calendar's time zone.

        Raises:
            ConfigError: the market's first session is not over yet.
        """
        closed = self.sessions.closed(dt.datetime.now(dt.UTC))
        if not closed:
            raise ConfigError(
                f"no session is over yet: the first of {self.sessions.calendar} is "
                f"{self.sessions.first}; wait until it is, or move market.start back"
            )
        return closed[-1]

    def calendar_end(self) -> str | None:
        """A remark that the end of what the calendar knows is near or past; None if it is not."""
        today = str(pd.Timestamp.now(tz=self.sessions.timezone).date())
        return calendar_end(self.config.market, self.sessions, today)


def identity_now(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the identity of a market, as any release recorded it, into that of this release."""
    return {
        **recorded,
        "source": source_identity(recorded.get("source", {})),
        "calendar": calendar_identity(recorded.get("calendar")),
    }
