"""The whole YAML of a market: its small sections, and the rules between sections.

Every value is validated before anything runs. What the keys mean stands as comments in
`shipped/sample.yaml`; `loader.py` reads a file and turns what is wrong into a readable error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from pipelines.config.calendar import (
    CalendarConfig,
    UniverseConfig,
    UniverseOfProvider,
    check_days,
)
from pipelines.config.checks import ChecksConfig
from pipelines.config.cron import is_cron
from pipelines.config.dataset_sections import DatasetSpec, NamedDatasetConfig, inherited
from pipelines.config.ensemble_section import EnsembleSettings
from pipelines.config.executor import ExecutorConfig, TrainingExecutor
from pipelines.config.extra_columns import KEY, ExtraColumn
from pipelines.config.features import FeaturesConfig
from pipelines.config.models import model_spec
from pipelines.config.portfolio_section import PortfolioSettings
from pipelines.config.processors import DatasetConfig
from pipelines.config.quarantine import QuarantineConfig
from pipelines.config.retention import RetentionConfig
from pipelines.config.sources import QlibBinSource, SourceConfig
from pipelines.config.storage import StateUrl, StorageOptions
from pipelines.config.tracking import Tracking
from pipelines.config.types import How, PositiveInt, Section, SessionCount
from pipelines.errors import did_you_mean

# `gru:` with nothing after it means all defaults.
ModelEntry = Annotated[
    dict[str, Any],
    BeforeValidator(lambda entry: {} if entry is None else entry),
    WithJsonSchema({"type": ["object", "null"]}),
]


def _check_universe(source: Section, universe: Section | str) -> None:
    """Refuse the universe of a qlib provider for a source that is no qlib provider.

    Raises:
        ValueError: the message says how to name the file instead.
    """
    if isinstance(universe, UniverseOfProvider) and not isinstance(source, QlibBinSource):
        raise ValueError(
            f"universe market {universe.market!r} is a file of a qlib provider, and the source is "
            f"none (kind: qlib_bin); give the file itself, `universe: {{spans: FILE}}`"
        )


class MarketConfig(Section):
    """The source of bars, the sessions and the members of the universe."""

    source: SourceConfig
    calendar: CalendarConfig
    closed: tuple[dt.date, ...] = ()
    extra_sessions: tuple[dt.date, ...] = ()
    start: dt.date
    end: dt.date | None = None
    universe: UniverseConfig = "all"
    vwap: Literal["amount", "typical", "none"]
    quarantine: QuarantineConfig = QuarantineConfig()

    @property
    def extra(self) -> tuple[ExtraColumn, ...]:
        """The columns beside the bars: those of `source.columns.extra`."""
        return getattr(self.source, "extra", ())

    @model_validator(mode="after")
    def _order(self) -> MarketConfig:
        check_days(self.closed, self.extra_sessions)
        _check_universe(self.source, self.universe)
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} must come after start {self.start}")
        return self


class PinConfig(Section):
    """A rollback: from session `from` on, serve the model of session `as_of`."""

    from_: dt.date = Field(alias="from")
    as_of: dt.date

    @model_validator(mode="after")
    def _order(self) -> PinConfig:
        if self.as_of >= self.from_:
            raise ValueError(f"pin.as_of {self.as_of} must come before pin.from {self.from_}")
        return self


class WarmStartConfig(Section):
    """The section `training.warm_start`: anchors begin with the weights of the model before them.

    Attributes:
        epochs: most epochs of a training that begins with weights; one from fresh weights keeps
            the model's own `n_epochs`.
        full_every: every so many anchors one is trained from fresh weights.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    full_every: Annotated[int, Field(ge=2, le=260)] = 12


def _warm_start(value: Any) -> Any:
    """`true` is the section with its defaults, `false` none."""
    if isinstance(value, bool):
        return {} if value else None
    if value is not None and not isinstance(value, (dict, WarmStartConfig)):
        raise ValueError(
            f"warm_start is {value!r}, expected true, false or {{epochs: 3, full_every: 12}}"
        )
    return value


WarmStart = Annotated[
    WarmStartConfig | None,
    BeforeValidator(_warm_start),
    WithJsonSchema({"anyOf": [{"type": ["boolean", "null"]}, WarmStartConfig.model_json_schema()]}),
]


class TrainingConfig(Section):
    """The rhythm, the windows and the device of training."""

    first_trained: dt.date
    window_sessions: SessionCount = 750
    valid_sessions: SessionCount = 120
    retrain_every: SessionCount = 1
    half_life_sessions: SessionCount | None = None
    pin: PinConfig | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    warm_start: WarmStart = None
    threads: PositiveInt | None = None
    executor: TrainingExecutor = ExecutorConfig()


class EvaluationSettings(Section):
    """Settings of the scoring of predictions.

    Attributes:
        by_group: a category of `market.source.columns.extra`, inside whose groups the report
            measures every model as well.
    """

    quantiles: Annotated[int, Field(ge=2, le=1000)] = 5
    by_group: Annotated[str | None, How] = None


class ScheduleConfig(Section):
    """The schedule `daily_retraining`; the time is the calendar's."""

    enabled: bool = False
    cron: str = "30 0 * * *"
    every_minutes: Annotated[int, Field(ge=1, le=30)] = 1
    max_attempts: PositiveInt = 6
    retry_minutes: PositiveInt = 60
    max_retry_minutes: PositiveInt = 480
    late_after_hours: Annotated[int, Field(ge=1, le=23)] = 8
    drop_folder: Path | None = None

    @field_validator("cron")
    @classmethod
    def _valid_cron(cls, cron: str) -> str:
        if not is_cron(cron):
            raise ValueError(f"not a cron string: {cron!r}; expected five fields, as '30 0 * * *'")
        return cron

    @field_validator("every_minutes")
    @classmethod
    def _divides_the_hour(cls, minutes: int) -> int:
        if 60 % minutes:
            raise ValueError(f"{minutes} does not divide an hour; expected 1, 2, 3, 4, 5, … or 30")
        return minutes

    @field_validator("drop_folder")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.expanduser().is_absolute():
            raise ValueError(
                f"{str(folder)!r} depends on where the daemon was started; write the whole path"
            )
        return None if folder is None else folder.expanduser()

    @model_validator(mode="after")
    def _waits(self) -> ScheduleConfig:
        if self.max_retry_minutes < self.retry_minutes:
            raise ValueError(
                f"max_retry_minutes {self.max_retry_minutes} is less than retry_minutes "
                f"{self.retry_minutes}, the wait after the first failed run"
            )
        return self


_PROGRAM = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


class AlertsConfig(Section):
    """The programs that are told of a failed run and of a scored session, run without a shell."""

    on_failure: Annotated[tuple[str, ...], WithJsonSchema(_PROGRAM)] = ()
    # Left out of dumps: the fingerprint of a page, which takes all keys, is that of before.
    on_signal: Annotated[tuple[str, ...], WithJsonSchema(_PROGRAM), Field(exclude=True)] = ()
    timeout_seconds: PositiveInt = 60

    @field_validator("on_failure", "on_signal", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("expected the program and its arguments as a list: [notify, --urgent]")
        return () if value is None else value


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
RESERVED = frozenset(
    {"reports", "dagster", "objects", "con", "prn", "aux", "nul"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)
"""Names that no market has: folders of all markets, of a backup too, and devices of Windows."""


class FactoryConfig(Section):
    """Everything one market needs; loaded by `load_config`."""

    name: _Name
    warehouse: str | None = None
    state: StateUrl = None
    storage_options: StorageOptions = Field(default_factory=dict)
    market: MarketConfig
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    dataset: DatasetConfig | None = None
    datasets: dict[_Name, NamedDatasetConfig] = Field(default_factory=dict)
    training: TrainingConfig
    models: dict[str, ModelEntry]
    checks: ChecksConfig = ChecksConfig()
    evaluation: EvaluationSettings = EvaluationSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    ensemble: EnsembleSettings | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    alerts: AlertsConfig = AlertsConfig()
    tracking: Tracking = Field(default_factory=dict)
    # Left out of dumps, as it decides no byte: fingerprints of pages are those of before.
    retention: Annotated[RetentionConfig, Field(exclude=True)] = RetentionConfig()

    @field_validator("name")
    @classmethod
    def _free_name(cls, name: str) -> str:
        if name in RESERVED:
            whys = {
                "reports": "holds the pages",
                "dagster": "holds Dagster's record",
                "objects": "of a backup holds the contents",
            }
            why = f"{whys[name]} of all markets" if name in whys else "is a device of Windows"
            raise ValueError(f"the folder {name} {why}; choose another name, as {name}_market")
        return name

    @model_validator(mode="before")
    @classmethod
    def _features_of_all(cls, sections: Any) -> Any:
        if not isinstance(sections, dict) or "datasets" not in sections:
            return sections
        datasets = inherited(sections.get("features"), sections["datasets"])
        return {**sections, "datasets": datasets}

    @field_validator("features", mode="before")
    @classmethod
    def _defaults(cls, features: Any) -> Any:
        return {} if features is None else features

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not models:
            raise ValueError("no model: name at least one, as lstm, gru, krnn, linear")
        for name, entry in models.items():
            model_spec(name, entry)
        return models

    @model_validator(mode="after")
    def _room_for_the_ensemble(self) -> FactoryConfig:
        if self.ensemble is not None and "ensemble" in self.models:
            raise ValueError("models.ensemble: the section `ensemble` makes assets of that name")
        return self

    @cached_property
    def dataset_specs(self) -> tuple[DatasetSpec, ...]:
        """The datasets, the default one first."""
        vwap, extra = self.market.vwap, self.market.extra
        if self.dataset is not None:
            return (DatasetSpec("", "", self.features, self.dataset, vwap, extra),)
        entries = self.datasets.items()
        default = next(
            (name for name, entry in entries if entry.default), next(iter(self.datasets))
        )
        specs = [
            DatasetSpec(
                name, "" if name == default else f"{name}_", entry.features, entry, vwap, extra
            )
            for name, entry in entries
        ]
        return tuple(sorted(specs, key=lambda spec: spec.name != default))

    def with_datasets(self, sections: Mapping[str, DatasetConfig]) -> FactoryConfig:
        """The same market with other sections of some datasets, by name ("" of the only one)."""
        others = {name: one for name, one in sections.items() if name}
        changed = {"datasets": {**self.datasets, **others}, "dataset": sections.get("")}
        copied = self.model_copy(update=changed)
        copied.__dict__.pop("dataset_specs", None)  # a copy has what was derived, too
        return copied

    @model_validator(mode="after")
    def _datasets(self) -> FactoryConfig:
        if (self.dataset is None) == (not self.datasets):
            raise ValueError(
                "expected either `dataset`, which describes the market's only dataset, or "
                "`datasets`, several by name"
            )
        defaults = [name for name, entry in self.datasets.items() if entry.default]
        if len(defaults) > 1:
            raise ValueError(
                f"datasets.{defaults[1]}.default: {defaults[0]} is the default already"
            )
        for name, entry in self.models.items():
            named = model_spec(name, entry).dataset
            if named is not None and named not in self.datasets:
                hint = did_you_mean(named, self.datasets) if self.datasets else "leave it out"
                raise ValueError(f"models.{name}.dataset: no dataset {named!r}; {hint}")
        for spec in self.dataset_specs:
            spec.check()
        categories = [one.name for one in self.market.extra if one.kind == "category"]
        group = self.evaluation.by_group
        if group is not None and group not in categories:
            hint = did_you_mean(group, categories) if categories else "the market lists none"
            raise ValueError(
                f"evaluation.by_group: {group!r} is no category of market.source.{KEY}; {hint}"
            )
        names = [one.name for one in self.market.extra]
        for column in self.portfolio.columns:
            if column not in names:
                hint = did_you_mean(column, names) if names else "the market lists none"
                raise ValueError(
                    f"portfolio: {self.portfolio.strategy} reads the column {column!r}, which is "
                    f"none of market.source.{KEY}; {hint}"
                )
        return self

    @model_validator(mode="after")
    def _dates(self) -> FactoryConfig:
        market, train = self.market, self.training
        if market.vwap == "none" and self.portfolio.deal_price == "vwap":
            raise ValueError("portfolio.deal_price is vwap, and market.vwap is none")
        for spec in self.dataset_specs:
            data, path = spec.config, spec.path[1]
            if data.fit_start is not None and data.fit_start < market.start:
                raise ValueError(
                    f"{path}.fit_start {data.fit_start} lies before market.start {market.start}"
                )
            if data.fit_end is not None and train.first_trained < data.fit_end:
                raise ValueError(
                    f"training.first_trained {train.first_trained} lies before {path}.fit_end "
                    f"{data.fit_end}: the model would be served features normalised with the "
                    f"future; move fit_end back or first_trained forward"
                )
        if market.end is not None and train.first_trained > market.end:
            raise ValueError(
                f"training.first_trained {train.first_trained} lies after market.end {market.end}"
            )
        if train.window_sessions <= train.valid_sessions:
            raise ValueError(
                f"training.window_sessions {train.window_sessions} must exceed "
                f"training.valid_sessions {train.valid_sessions}"
            )
        if train.pin is not None and train.pin.as_of < train.first_trained:
            raise ValueError(
                f"training.pin.as_of {train.pin.as_of} lies before training.first_trained "
                f"{train.first_trained}: no model was trained then"
            )
        return self
