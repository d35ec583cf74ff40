"""Steps of a handler: from what a configuration says to processors, and what they touch.

A step is a processor, a mapping {"class": ..., "kwargs": ...} or a class name. Classes are those of
`PROCESSORS`, never an import path; a class of one's own is given as an instance. What a mapping
leaves out of the fit window and of the semantics comes from the handler.

Rule matched: qlib contrib/data/handler.py `check_transform_proc`, which also overrides a fit window
that a step states itself; here two that differ are an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from rnn_core.data.processors import PROCESSORS, Processor, make_processor
from rnn_core.suggestions import near_matches

Step = Processor | Mapping[str, Any] | str


def groups_of(chain: Iterable[Processor]) -> set[str]:
    """The groups that the steps read and write.

    Args:
        chain: the steps.

    Returns:
        The groups; none where that is not known of every step.
    """
    groups: set[str] = set()
    for step in chain:
        named = getattr(step, "fields_group", None)
        if type(step) not in PROCESSORS.values() or named is None:
            return set()
        groups |= {named} if isinstance(named, str) else set(named)
    return groups


def build_steps(steps: Iterable[Step], stage: str, defaults: Mapping[str, Any]) -> list[Processor]:
    """Processors from steps.

    Args:
        steps: the steps of one stage.
        stage: "shared", "infer" or "learn".
        defaults: fit_start_time, fit_end_time and semantics for mappings that leave them out.

    Returns:
        The processors; those given as such are the same objects.

    Raises:
        TypeError: a step that is none, or one before learn that needs labels.
        KeyError: an unknown class.
        ValueError: a fit window that is missing, or stated twice and differently.
    """
    if isinstance(steps, (str, Mapping)):
        raise TypeError(f"{stage}_processors is {steps!r:.60}, expected a list")
    built = [
        step if isinstance(step, Processor) else _from_mapping(step, stage, defaults)
        for step in steps
    ]
    for processor in built:
        if stage != "learn" and not processor.is_for_infer():
            raise TypeError(
                f"{processor!r} looks at labels, which serving does not have: move it from "
                f"{stage}_processors to learn_processors"
            )
    return built


def _from_mapping(step: Any, stage: str, defaults: Mapping[str, Any]) -> Processor:
    """One processor from {"class", "kwargs"} or a name."""
    given: Any = {"class": step} if isinstance(step, str) else step
    if not isinstance(given, Mapping) or not {"class"} <= set(given) <= {"class", "kwargs"}:
        raise TypeError(
            f"{stage}_processors holds {step!r:.80}, expected a processor or a mapping with "
            f"'class' and 'kwargs' (a class of your own: give an instance)"
        )
    name, kwargs = given["class"], dict(given.get("kwargs") or {})
    takes = inspect.signature(PROCESSORS[name]).parameters if name in PROCESSORS else {}
    for key in ("fit_start_time", "fit_end_time"):
        own, common = kwargs.get(key), defaults[key]
        if key not in takes:
            continue
        if own is not None and common is not None and pd.Timestamp(own) != pd.Timestamp(common):
            raise ValueError(
                f"{name} has {key}={own} and the handler {common}: state it once, or alike"
            )
        kwargs[key] = common if own is None else own
        if key == "fit_end_time" and kwargs[key] is None:
            raise ValueError(f"{name} is fitted: give the handler fit_start_time and fit_end_time")
    if "semantics" in takes:
        kwargs.setdefault("semantics", defaults["semantics"])
    return make_processor(name, kwargs)


def one_of(argument: str, given: object, known: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is not known."""
    if given not in known:
        raise ValueError(
            f"{argument} is {given!r}, expected one of {', '.join(map(repr, known))}"
            f"{near_matches(given, known)}"
        )
