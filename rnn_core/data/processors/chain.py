"""An ordered list of processors, each fitted on the output of the one before, stored as JSON.

The JSON names classes, arguments and states. A chain is built back from an explicit dict of
classes, never from an import path, so stored JSON can run no other code. The sha256 of the JSON is
the chain's identity: two chains with the same hash process every frame alike.

Memory: neighbours that change cells of the same group (`CellProcessor`) share one copy of these
cells, so a chain holds at most two frames beside the caller's, and one if it drops no rows.

Rule matched: qlib data/dataset/handler.py `DataHandlerLP.fit_process_data`, init type "fit_seq".
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from rnn_core.data.processors.column_processors import (
    DropCol,
    DropnaLabel,
    DropnaProcessor,
    Fillna,
    FilterCol,
    TanhProcess,
)
from rnn_core.data.processors.cross_sectional import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    ProcessInf,
)
from rnn_core.data.processors.fitted import MinMaxNorm, RobustZScoreNorm, ZScoreNorm
from rnn_core.data.processors.neutralize import CSNeutralize
from rnn_core.data.processors.processor import CellProcessor, Processor
from rnn_core.data.processors.survivors import TimeRangeFlt
from rnn_core.own_parts import OwnPart, load_part
from rnn_core.panel.frames import float_values, group_positions, with_values
from rnn_core.qlib_hooks import PROCESSOR_HOOKS, refuse_overrides
from rnn_core.suggestions import near_matches

PROCESSORS: Mapping[str, type[Processor]] = MappingProxyType(
    {
        "CSNeutralize": CSNeutralize,
        "CSRankNorm": CSRankNorm,
        "CSZFillna": CSZFillna,
        "CSZScoreNorm": CSZScoreNorm,
        "DropCol": DropCol,
        "DropnaLabel": DropnaLabel,
        "DropnaProcessor": DropnaProcessor,
        "Fillna": Fillna,
        "FilterCol": FilterCol,
        "MinMaxNorm": MinMaxNorm,
        "ProcessInf": ProcessInf,
        "RobustZScoreNorm": RobustZScoreNorm,
        "TanhProcess": TanhProcess,
        "TimeRangeFlt": TimeRangeFlt,
        "ZScoreNorm": ZScoreNorm,
    }
)
"""The known classes, by qlib's names.

Examples:
    >>> sorted(PROCESSORS)[:3]
    ['CSNeutralize', 'CSRankNorm', 'CSZFillna']
"""

ENTRY_POINTS = "rnn_core.processors"
"""The group of entry points of processors."""

_own: dict[str, OwnPart] = {}

FORMAT = 1
"""Version of the stored form; a reader refuses one it does not know."""


def own_processor(name: str) -> OwnPart:
    """Import a processor of another package, and make it known by its name from now on.

    The contract: a subclass of `Processor` that keeps each argument of its constructor under its
    own name. One that learns has `fit`, `state` and `load_state`, in plain values.

    Args:
        name: `package.module:Name`, or an entry point of the group `rnn_core.processors`.

    Raises:
        ValueError: it cannot be imported, or breaks the contract; the message says how.
    """
    part = load_part(name, ENTRY_POINTS)
    if not issubclass(part.value, Processor):
        raise ValueError(
            f"{name} is no rnn_core.data.processors.Processor, which a processor must be"
        )
    lacking = sorted(getattr(part.value, "__abstractmethods__", ()))
    if lacking:
        raise ValueError(f"{name} lacks {', '.join(lacking)}, which a processor must have")
    if part.value.fit is not Processor.fit and part.value.state is Processor.state:
        raise ValueError(f"{name} learns in fit and lacks state and load_state, which store it")
    _own[name] = part
    return part


def known_processors() -> Mapping[str, type[Processor]]:
    """The shipped classes, and those that `own_processor` has made known."""
    return {**PROCESSORS, **{name: part.value for name, part in _own.items()}}


def _name_of(processor: Processor) -> str:
    """The name of a processor's class; of another package's, as its configuration has it."""
    cls = type(processor)
    return next((name for name, part in _own.items() if part.value is cls), cls.__name__)


def make_processor(
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    *,
    classes: Mapping[str, type[Processor]] | None = None,
) -> Processor:
    """Make a processor from its name and arguments, as a configuration file gives them.

    Args:
        name: a class name.
        kwargs: arguments of its constructor.
        classes: the classes to choose from (default: those that are known).

    Returns:
        The processor, not fitted.

    Raises:
        KeyError: the class is unknown.
        TypeError: an argument is unknown or missing.

    Examples:
        >>> make_processor("Fillna", {"fields_group": "feature"}).kwargs()
        {'fields_group': 'feature', 'fill_value': 0}
    """
    classes = known_processors() if classes is None else classes
    # The class, then unknown arguments, then missing ones.
    if name not in classes:
        raise KeyError(
            f"no processor is called {name!r} (known: {', '.join(sorted(classes))})"
            f"{near_matches(name, classes)}"
        )
    cls, kwargs = classes[name], dict(kwargs or {})
    signature = inspect.signature(cls)
    known = list(signature.parameters)
    for argument in kwargs:
        if argument not in known:
            raise TypeError(
                f"{name} has no argument {argument!r} (it takes {', '.join(known)})"
                f"{near_matches(argument, known)}"
            )
    missing = [
        p.name
        for p in signature.parameters.values()
        if p.default is inspect.Parameter.empty and p.name not in kwargs
    ]
    if missing:
        raise TypeError(f"{name} also needs {', '.join(missing)}: add to its arguments")
    return cls(**kwargs)


class ProcessorChain:
    """Processors in order.

    Args:
        processors: the steps.

    Raises:
        TypeError: a step is no processor, or overrides what is never called.

    Examples:
        >>> chain = ProcessorChain([ProcessInf("feature"), Fillna("feature")])
        >>> chain.fit(frame)["feature", "X"].tolist()
        [1.0, 0.0, 3.0, 2.0, 4.0, 6.0]
    """

    def __init__(self, processors: Iterable[Processor]) -> None:
        self.processors = tuple(processors)
        for p in self.processors:
            if not isinstance(p, Processor):
                raise TypeError(
                    f"expected processors, was given {p!r}: build it with make_processor"
                )
            refuse_overrides(p, Processor, PROCESSOR_HOOKS)

    def fit(self, df: pd.DataFrame) -> pd.DataFrame:
        """Fit each processor on the output of the one before it.

        Args:
            df: a long frame with two-level columns; it is not changed.

        Returns:
            The output of the last processor.
        """
        return self._run(df, fit=True)

    def learn(self, df: pd.DataFrame) -> None:
        """Fit each processor as `fit` does, and compute nothing that no fit reads.

        Steps after the last that learns are not run. So a chain that only normalises and fills
        makes no copy of its frame.

        Args:
            df: a long frame with two-level columns; it is not changed.
        """
        learners = [k for k, step in enumerate(self.processors) if learns(step)]
        if not learners:
            return
        last = self.processors[learners[-1]]
        before = ProcessorChain(self.processors[: learners[-1]]).fit(df)
        last.fit(before.copy(deep=False))

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        """Apply the fitted processors in order.

        Args:
            df: a long frame with two-level columns; it is not changed.

        Returns:
            The output of the last processor.
        """
        return self._run(df, fit=False)

    def _run(self, df: pd.DataFrame, *, fit: bool) -> pd.DataFrame:
        """Run the chain; neighbours of one group work in place on one copy of its cells."""
        for steps in _shared_runs(self.processors):
            df = _in_place(steps, df, fit) if len(steps) > 1 else _one(steps[0], df, fit)
        return df

    def fields(self) -> tuple[str, ...]:
        """Return the columns of the group `FIELDS` that the processors read, in their order."""
        return tuple(dict.fromkeys(name for p in self.processors for name in p.fields()))

    def is_for_infer(self) -> bool:
        """True if every processor may run while labels are unknown."""
        return all(p.is_for_infer() for p in self.processors)

    def to_dict(self) -> dict[str, Any]:
        """Return classes, arguments and states, JSON-able."""
        return {
            "format": FORMAT,
            "processors": [
                {"class": _name_of(p), "kwargs": p.kwargs(), "state": p.state()}
                for p in self.processors
            ],
        }

    @classmethod
    def from_dict(
        cls, stored: Mapping[str, Any], *, classes: Mapping[str, type[Processor]] | None = None
    ) -> ProcessorChain:
        """Build the chain that `to_dict` described; nothing is imported for it.

        Args:
            stored: the result of `to_dict`.
            classes: the classes that the JSON may name (default: those that are known).

        Returns:
            The chain; a processor is fitted if it was when stored.

        Raises:
            ValueError: the format is not that of this version.
        """
        if stored.get("format") != FORMAT:
            raise ValueError(
                f"a processor chain of format {stored.get('format')!r}, expected {FORMAT}: "
                f"write it anew with this version"
            )
        chain = cls(
            make_processor(p["class"], p["kwargs"], classes=classes) for p in stored["processors"]
        )
        for processor, p in zip(chain.processors, stored["processors"], strict=True):
            if p["state"] is not None:
                processor.load_state(p["state"])
        return chain

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, numbers that keep their bits."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(
        cls, text: str, *, classes: Mapping[str, type[Processor]] | None = None
    ) -> ProcessorChain:
        """Build the chain that `to_json` wrote; see `from_dict`."""
        return cls.from_dict(json.loads(text), classes=classes)

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.processors)

    def __iter__(self) -> Iterator[Processor]:
        return iter(self.processors)

    def __repr__(self) -> str:
        return f"ProcessorChain([{', '.join(map(repr, self.processors))}])"


def learns(processor: Processor) -> bool:
    """True if the class of a processor has a fit of its own."""
    return type(processor).fit is not Processor.fit


def _shared_runs(processors: tuple[Processor, ...]) -> list[list[Processor]]:
    """Group the processors in order; neighbours that change cells of one group stay together.

    One whose class has a `__call__` of its own stays by itself, and is called.
    """
    runs: list[list[Processor]] = []
    for processor in processors:
        last = runs[-1][-1] if runs else None
        if (
            isinstance(processor, CellProcessor)
            and isinstance(last, CellProcessor)
            and processor.fields_group == last.fields_group
            and all(type(p).__call__ is CellProcessor.__call__ for p in (processor, last))
        ):
            runs[-1].append(processor)
        else:
            runs.append([processor])
    return runs


def _one(processor: Processor, df: pd.DataFrame, fit: bool) -> pd.DataFrame:
    """Run one processor from frame to frame; one that writes to its frame writes to a copy."""
    if fit:
        processor.fit(df.copy(deep=False))
    out = processor(df.copy(deep=False))
    if not isinstance(out, pd.DataFrame):
        raise TypeError(
            f"{type(processor).__name__} gave {type(out).__name__}, expected a DataFrame: "
            f"`__call__` returns a new frame"
        )
    return out


def _in_place(steps: list[Processor], df: pd.DataFrame, fit: bool) -> pd.DataFrame:
    """Run `CellProcessor`s of one group over one copy of its cells, to the same bits as in turn."""
    cells = [step for step in steps if isinstance(step, CellProcessor)]
    positions = group_positions(df, cells[0].fields_group, type(cells[0]).__name__)
    dtypes = {df.dtypes.iloc[p] for p in positions}
    if len(dtypes) > 1 and np.dtype(np.float32) in dtypes:
        for step in steps:  # in turn each rounds the float32 columns of the mixture
            df = _one(step, df, fit)
        return df
    values = float_values(df, positions)  # [G, R]
    for step in cells:
        if fit:
            step.fit(with_values(df, positions, values))  # a view of the cells
        step.change(values, df, positions)
    return with_values(df, positions, values)
