"""Steps of a handler: a configuration becomes processors, with the groups that they touch.

A step is a processor, a mapping {"class": ..., "kwargs": ...} or a class name. Classes are those of
`known_processors`; none is imported, so give one that is not among them as an instance. The handler
supplies the fit window and the semantics that a mapping leaves out. An instance keeps its own
semantics; a warning says so if it is not the handler's.

Rule matched: qlib contrib/data/handler.py `check_transform_proc`. qlib overrides the fit window of
a step; here two windows that differ are an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from rnn_core.caller import warn_caller
from rnn_core.data.processors import FIELDS, PROCESSORS, Processor, make_processor
from rnn_core.data.processors.chain import known_processors
from rnn_core.panel.frames import EVERY
from rnn_core.panel.session_labels import session_bound
from rnn_core.suggestions import near_matches

Step = Processor | Mapping[str, Any] | str


def groups_of(chain: Iterable[Processor]) -> set[str]:
    """Collect the groups that the steps read and write.

    Args:
        chain: the steps.

    Returns:
        The groups; an empty set if those of any step are unknown, or every column.
    """
    groups: set[str] = set()
    for step in chain:
        own = getattr(step, "fields_group", None)
        if type(step) not in PROCESSORS.values() or own in (None, EVERY):
            return set()
        groups |= {own} if isinstance(own, str) else set(own)
        groups |= {FIELDS} if step.fields() else set()
    return groups


def build_steps(steps: Iterable[Step], stage: str, defaults: Mapping[str, Any]) -> list[Processor]:
    """Build the processors of one stage.

    Args:
        steps: the steps of one stage.
        stage: "shared", "infer" or "learn".
        defaults: fit_start_time, fit_end_time and semantics for mappings that leave them out.

    Returns:
        The processors; a step that is a processor stays the same object.

    Raises:
        TypeError: a step is no processor, or a step before learn needs labels.
        KeyError: a class is unknown.
        ValueError: a fit window is missing, or stated twice and differently.
    """
    if isinstance(steps, (str, Mapping)):
        raise TypeError(f"{stage}_processors is {steps!r:.60}, expected a list")
    built = [
        _same_semantics(step, defaults)
        if isinstance(step, Processor)
        else _from_mapping(step, stage, defaults)
        for step in steps
    ]
    for processor in built:
        if stage != "learn" and not processor.is_for_infer():
            raise TypeError(
                f"{processor!r} looks at labels, which serving does not have: move it from "
                f"{stage}_processors to learn_processors"
            )
    return built


def _same_semantics(processor: Processor, defaults: Mapping[str, Any]) -> Processor:
    """Return a processor, with a warning if its numbers are of the other semantics."""
    own, common = getattr(processor, "semantics", None), defaults["semantics"]
    if own not in (None, common):
        warn_caller(
            f"{processor!r} has semantics={own!r} in a handler of {common!r}, and keeps its own: "
            f"make it with semantics={common!r}, or give a mapping, which follows the handler",
        )
    return processor


def _from_mapping(step: Any, stage: str, defaults: Mapping[str, Any]) -> Processor:
    """Build one processor from {"class", "kwargs"} or a name."""
    spec: Any = {"class": step} if isinstance(step, str) else step
    if not isinstance(spec, Mapping) or not {"class"} <= set(spec) <= {"class", "kwargs"}:
        raise TypeError(
            f"{stage}_processors holds {step!r:.80}, expected a processor or a mapping with "
            f"'class' and 'kwargs' (a class of your own: give an instance)"
        )
    name, kwargs = spec["class"], dict(spec.get("kwargs") or {})
    known = known_processors()
    takes = inspect.signature(known[name]).parameters if name in known else {}
    for key in ("fit_start_time", "fit_end_time"):
        own, common = kwargs.get(key), defaults[key]
        if key not in takes:
            continue
        moments = [session_bound(date, last=key == "fit_end_time") for date in (own, common)]
        if None not in moments and moments[0] != moments[1]:
            raise ValueError(
                f"{name} has {key}={own} and the handler {common}: state it once, or alike"
            )
        kwargs[key] = common if own is None else own
        if key == "fit_end_time" and kwargs[key] is None:
            raise ValueError(f"{name} is fitted: give the handler fit_start_time and fit_end_time")
    if "semantics" in takes:
        kwargs.setdefault("semantics", defaults["semantics"])
    return make_processor(name, kwargs)


def one_of(argument: str, value: object, known: tuple[str, ...]) -> None:
    """Raise ValueError for an unknown word."""
    if value not in known:
        raise ValueError(
            f"{argument} is {value!r}, expected one of {', '.join(map(repr, known))}"
            f"{near_matches(value, known)}"
        )
