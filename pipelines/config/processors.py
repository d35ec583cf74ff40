"""The section `dataset` of the YAML: the processors, their fit window and the window length.

The fit window is fixed (`fit: fixed` with fit_start and fit_end), or it moves: every so many
sessions the processors are fitted again, on the newest sessions (`rolling`) or on all so far
(`expanding`).

Infer processors see only features and learn processors only the label, so a processor of one list
that names the other group is refused here, before anything is fitted.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from pipelines.config.types import Section, SessionCount
from pipelines.errors import did_you_mean
from rnn_core.data import DropCol, FilterCol, ProcessorChain
from rnn_core.data.processors import PROCESSORS, make_processor
from rnn_core.data.processors.chain import ENTRY_POINTS, own_processor
from rnn_core.own_parts import entry_points, is_own


class ProcessorConfig(Section):
    """One processor: its class of `rnn_core.data` and its arguments."""

    name: str
    kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Name, arguments and, of a processor of another package, which code it is."""
        settings = self.model_dump(mode="json")
        if self.name not in PROCESSORS:
            settings["part"] = own_processor(self.name).origin
        return settings


def _as_processor(entry: Any) -> Any:
    """`RobustZScoreNorm: {clip_outlier: true}` or a bare name, as people write them."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, kwargs),) = entry.items()
        return {"name": name, "kwargs": kwargs or {}}
    raise ValueError(f"expected `ProcessorName: {{argument: value}}`, got {entry!r}")


class MovingFit(Section):
    """A fit window that ends at each anchor of the processors.

    Attributes:
        window_sessions: its length; None for everything since the market's start.
        every: sessions between two fits, counted from training.first_trained; None for the rhythm
            of the most often trained model.
    """

    window_sessions: SessionCount | None = None
    every: SessionCount | None = None


_FITS = "fixed, expanding, {rolling: {window_sessions: N}} or {expanding: {every: N}}"


def _as_fit(entry: Any) -> Any:
    """A fit as people write it: `fixed`, `expanding`, or one of the two moving ones with keys."""
    if entry in (None, "fixed") or isinstance(entry, MovingFit):
        return None if entry == "fixed" else entry
    if entry == "expanding":
        return {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((kind, keys),) = entry.items()
        keys = {} if keys is None else keys
        if isinstance(keys, dict) and kind in ("rolling", "expanding"):
            if (kind == "rolling") != ("window_sessions" in keys):
                raise ValueError(
                    "rolling needs window_sessions, the length of the fit window"
                    if kind == "rolling"
                    else "expanding fits on everything so far and takes no window_sessions"
                )
            return keys
    raise ValueError(f"expected {_FITS}, got {entry!r}")


# The short forms, for the JSON schema: an editor completes what people write.
_KEYS = MovingFit.model_json_schema()["properties"]
_FIT_SCHEMA = {
    "anyOf": [
        {"enum": ["fixed", "expanding", None]},
        *(
            {
                "type": "object",
                "properties": {
                    kind: {
                        "type": "object",
                        "properties": {key: _KEYS[key] for key in keys},
                        "additionalProperties": False,
                    }
                },
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, keys in (("rolling", ["window_sessions", "every"]), ("expanding", ["every"]))
        ),
    ]
}
_LIST_SCHEMA = {
    "type": "array",
    "items": {
        "anyOf": [
            {"enum": sorted(PROCESSORS)},
            {
                "type": "object",
                "properties": {name: {"type": ["object", "null"]} for name in sorted(PROCESSORS)},
                "maxProperties": 1,
            },
            {"type": "string", "pattern": ":"},
        ]
    },
}


class DatasetConfig(Section):
    """The fit window, the processors and the window length.

    Attributes:
        step_len: sessions a model sees.
        layout: `sessions` if a window is the rows of step_len sessions, `columns` if one row holds
            all steps, feature by feature, oldest first, as those of Alpha360 do.
    """

    fit: Annotated[MovingFit | None, BeforeValidator(_as_fit), WithJsonSchema(_FIT_SCHEMA)] = None
    fit_start: dt.date | None = None
    fit_end: dt.date | None = None
    infer_processors: Annotated[tuple[ProcessorConfig, ...], WithJsonSchema(_LIST_SCHEMA)]
    learn_processors: Annotated[tuple[ProcessorConfig, ...], WithJsonSchema(_LIST_SCHEMA)]
    step_len: SessionCount = 20
    layout: Literal["sessions", "columns"] = "sessions"

    @field_validator("infer_processors", "learn_processors", mode="before")
    @classmethod
    def _short_form(cls, entries: Any) -> Any:
        if not isinstance(entries, list):
            raise ValueError(f"expected a list of processors, got {type(entries).__name__}")
        return [_as_processor(entry) for entry in entries]

    @model_validator(mode="after")
    def _check(self) -> DatasetConfig:
        bounds = (self.fit_start, self.fit_end)
        if self.fit is not None and bounds != (None, None):
            raise ValueError(
                "fit_start and fit_end belong to `fit: fixed`, and fit is a window that moves; "
                "leave them out"
            )
        if self.fit is None:
            if None in bounds:
                raise ValueError(f"fit_start and fit_end are missing; or set `fit` to {_FITS}")
            if self.fit_end <= self.fit_start:  # type: ignore[operator]
                raise ValueError(
                    f"fit_end {self.fit_end} must come after fit_start {self.fit_start}"
                )
        for entries, group in (
            (self.infer_processors, "feature"),
            (self.learn_processors, "label"),
        ):
            for entry in entries if self.fit is not None else ():
                own = {"fit_start_time", "fit_end_time"} & entry.kwargs.keys()
                if own:
                    raise ValueError(
                        f"{entry.name}: {', '.join(sorted(own))} would fix the window of one "
                        f"processor, and `fit` moves that of all; leave it out, or set "
                        f"`fit: fixed` with fit_start and fit_end"
                    )
            build_chain(entries, self.any_window, group=group)
        return self

    @property
    def any_window(self) -> tuple[str, str]:
        """A fit window for chains whose fit does not matter: the fixed one, where there is one."""
        return str(self.fit_start or dt.date.min), str(self.fit_end or dt.date.max)


def build_chain(
    entries: Sequence[ProcessorConfig], window: tuple[str, str], *, group: str
) -> ProcessorChain:
    """Unfitted processors in the order of the YAML.

    Args:
        entries: the list of the YAML.
        window: first and last session of the fit.
        group: `feature` or `label`.

    The fit window and the group (`feature` for infer, `label` for learn processors) are filled in
    where a processor takes them and the YAML leaves them out.

    Raises:
        ValueError: an unknown processor or argument, with the nearest name, or a processor that
            would touch the other group.
    """
    chain = []
    for entry in entries:
        # The entry names a known processor of this list's group.
        if entry.name not in PROCESSORS and not is_own(entry.name, ENTRY_POINTS):
            hint = did_you_mean(entry.name, [*PROCESSORS, *entry_points(ENTRY_POINTS)])
            raise ValueError(
                f"unknown processor {entry.name!r}; {hint}, or write one of your own as "
                f"package.module:Class"
            )
        cls = PROCESSORS.get(entry.name) or own_processor(entry.name).value
        accepted = inspect.signature(cls).parameters
        kwargs = dict(entry.kwargs)
        if kwargs.get("fields_group", group) != group:
            raise ValueError(
                f"{entry.name}: fields_group {kwargs['fields_group']!r} in the processors of the "
                f"{group}s; expected {group!r}"
            )
        # Keys that the YAML leaves out are filled in, where the processor takes them.
        defaults: dict[str, Any] = {
            "fields_group": group,
            "fit_start_time": window[0],
            "fit_end_time": window[1],
        }
        kwargs |= {k: v for k, v in defaults.items() if k in accepted and k not in kwargs}
        try:
            chain.append(make_processor(entry.name, kwargs))
            chain[-1].kwargs()  # one that does not keep its arguments could not be stored
        except (KeyError, TypeError) as error:
            raise ValueError(str(error.args[0])) from error
    if group == "feature":
        for processor in chain:
            if not processor.is_for_infer():
                raise ValueError(
                    f"{type(processor).__name__} cannot be an infer processor: it needs the label"
                )
    return ProcessorChain(chain)


def output_columns(chain: ProcessorChain, columns: Sequence[str]) -> tuple[str, ...]:
    """The names of the features that a chain leaves; the chain need not be fitted.

    Raises:
        ValueError: the chain names a feature that is not there.
    """
    frame = pd.DataFrame(columns=pd.MultiIndex.from_product([["feature"], list(columns)]))
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
