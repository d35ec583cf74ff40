"""The section `dataset` of the YAML: fit window, processors and window length.

Infer processors see only features and learn processors only the label, so a processor of one list
that names the other group is refused here, before anything is fitted.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pydantic import Field, field_validator, model_validator

from pipelines.config.types import PositiveInt, Section
from pipelines.errors import did_you_mean
from rnn_core.data import DropCol, FilterCol, ProcessorChain
from rnn_core.data.processors import PROCESSORS, make_processor


class ProcessorConfig(Section):
    """One processor: its class of `rnn_core.data` and its arguments."""

    name: str
    kwargs: dict[str, Any] = Field(default_factory=dict)


def _as_processor(entry: Any) -> Any:
    """`RobustZScoreNorm: {clip_outlier: true}` or a bare name, as people write them."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, kwargs),) = entry.items()
        return {"name": name, "kwargs": kwargs or {}}
    raise ValueError(f"expected `ProcessorName: {{argument: value}}`, got {entry!r}")


class DatasetConfig(Section):
    """The fit window, the processors and the window length."""

    fit_start: dt.date
    fit_end: dt.date
    infer_processors: tuple[ProcessorConfig, ...]
    learn_processors: tuple[ProcessorConfig, ...]
    step_len: PositiveInt = 20

    @field_validator("infer_processors", "learn_processors", mode="before")
    @classmethod
    def _short_form(cls, entries: Any) -> Any:
        if not isinstance(entries, list):
            raise ValueError(f"expected a list of processors, got {type(entries).__name__}")
        return [_as_processor(entry) for entry in entries]

    @model_validator(mode="after")
    def _check(self) -> DatasetConfig:
        if self.fit_end <= self.fit_start:
            raise ValueError(f"fit_end {self.fit_end} must come after fit_start {self.fit_start}")
        build_chain(self.infer_processors, self, group="feature")
        build_chain(self.learn_processors, self, group="label")
        return self


def build_chain(
    entries: Sequence[ProcessorConfig], dataset: DatasetConfig, *, group: str
) -> ProcessorChain:
    """Unfitted processors in the order of the YAML.

    The fit window and the group (`feature` for infer, `label` for learn processors) are filled in
    where a processor takes them and the YAML leaves them out.

    Raises:
        ValueError: an unknown processor or argument, with the nearest name, or a processor that
            would touch the other group.
    """
    chain = []
    for entry in entries:
        # The entry names a known processor of this list's group.
        if entry.name not in PROCESSORS:
            hint = did_you_mean(entry.name, PROCESSORS)
            raise ValueError(f"unknown processor {entry.name!r}; {hint}")
        accepted = inspect.signature(PROCESSORS[entry.name]).parameters
        kwargs = dict(entry.kwargs)
        if kwargs.get("fields_group", group) != group:
            raise ValueError(
                f"{entry.name}: fields_group {kwargs['fields_group']!r} in the processors of the "
                f"{group}s; expected {group!r}"
            )
        # Keys that the YAML leaves out are filled in, where the processor takes them.
        defaults: dict[str, Any] = {
            "fields_group": group,
            "fit_start_time": str(dataset.fit_start),
            "fit_end_time": str(dataset.fit_end),
        }
        kwargs |= {k: v for k, v in defaults.items() if k in accepted and k not in kwargs}
        try:
            chain.append(make_processor(entry.name, kwargs))
        except (KeyError, TypeError) as error:
            raise ValueError(str(error.args[0])) from error
    if group == "feature":
        for processor in chain:
            if not processor.is_for_infer():
                raise ValueError(
                    f"{type(processor).__name__} cannot be an infer processor: it needs the label"
                )
    return ProcessorChain(chain)


def output_columns(chain: ProcessorChain, columns: Sequence[str], group: str) -> tuple[str, ...]:
    """The names of a group's columns that a chain leaves; the chain need not be fitted.

    Raises:
        ValueError: the chain names a column that the group lacks.
    """
    frame = pd.DataFrame(columns=pd.MultiIndex.from_product([[group], list(columns)]))
    for processor in chain:
        if isinstance(processor, FilterCol | DropCol):
            try:
                frame = processor(frame)
            except KeyError as error:
                raise ValueError(str(error.args[0])) from error
    return tuple(frame.columns.get_level_values(1))


def input_columns(chain: ProcessorChain, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a chain reads: a leading FilterCol reads only its own."""
    first = next(iter(chain), None)
    if isinstance(first, FilterCol):
        names = set(first.col_list)
        return tuple(name for name in columns if name in names)
    return tuple(columns)
