"""The section `task.dataset`: dataset, handler, processors and segments, checked.

Processors are built one by one as a check, so that each one that fails is a problem of its own,
with the message of its class.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from rnn_core.data.datasets import DatasetH, TSDatasetH, checked_segments
from rnn_core.data.handlers import HANDLERS
from rnn_core.data.labels import label_set
from rnn_core.data.steps import build_steps
from rnn_core.panel.frames import Semantics
from rnn_core.panel.session_labels import session_bound
from rnn_core.suggestions import near_matches
from rnn_core.workflow.problems import Problems, Section, names, read_date, shown, told
from rnn_core.workflow.spec import DatasetSpec

DATASETS: Mapping[str, type[DatasetH]] = {"DatasetH": DatasetH, "TSDatasetH": TSDatasetH}
DATASET_MODULES = ("qlib.data.dataset",)
HANDLER_MODULES = ("qlib.contrib.data.handler",)
PROCESSOR_MODULES = ("qlib.data.dataset.processor",)

_DATES = ("start_time", "end_time", "fit_start_time", "fit_end_time")


def read_dataset(given: Section, semantics: Semantics) -> DatasetSpec:
    """Read the section.

    Args:
        given: `task.dataset`; it notes its problems.
        semantics: "qlib" or "strict", of the processors.

    Returns:
        The dataset's specification, valid only if no problem was noted.
    """
    name = given.choice("class", tuple(DATASETS))
    given.choice("module_path", DATASET_MODULES, None)
    kwargs = given.section("kwargs", "a mapping with handler and segments")
    given.close()
    handler = kwargs.section("handler", "a mapping with class, module_path and kwargs")
    class_name = handler.choice("class", tuple(HANDLERS))
    handler.choice("module_path", HANDLER_MODULES, None)
    arguments = handler.optional("kwargs")
    handler.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        spec = _handler_arguments(arguments, str(class_name), semantics)
    segments = _segments(kwargs)
    step_len = None
    if name == "TSDatasetH":
        step_len = kwargs.number("step_len", TSDatasetH.DEFAULT_STEP_LEN, least=1, whole=True)
        kwargs.choice("flt_col", (None,), None)
    if kwargs.get("fetch_kwargs") not in (None, {}):
        kwargs.problem("fetch_kwargs", "is not supported, leave it out")
    kwargs.close()
    return DatasetSpec(
        dataset=str(name),
        handler=str(class_name),
        segments=segments,
        step_len=step_len,
        notes=tuple(f"dataset: {warning.message}" for warning in caught),
        **spec,
    )


def _handler_arguments(given: Section, handler: str, semantics: Semantics) -> dict[str, Any]:
    """Read the arguments of the handler, by the names of `DatasetSpec`."""
    dates = {name: read_date(given, name) for name in _DATES}
    start, end = session_bound(dates["start_time"]), session_bound(dates["end_time"], last=True)
    if start is not None and end is not None and start > end:
        given.problem("end_time", f"is {dates['end_time']}, before start_time")
    given.choice("freq", ("day",), "day")
    process_type = given.choice("process_type", ("append", "independent"), "append")
    for name in ("filter_pipe", "inst_processors"):
        if given.get(name):
            given.problem(name, "is not supported, leave it out")
    given.choice("drop_raw", (True, False), False)  # the raw labels are kept either way
    # Absent keys are left to the handler's own defaults.
    arguments: dict[str, Any] = {
        "fit_start_time": dates["fit_start_time"],
        "fit_end_time": dates["fit_end_time"],
        "process_type": process_type,
    }
    if (label := given.get("label")) is not None:
        arguments["label"] = label
        _check_label(given, label)
    defaults = {
        "fit_start_time": dates["fit_start_time"],
        "fit_end_time": dates["fit_end_time"],
        "semantics": semantics,
    }
    # Alpha360 has infer processors by default; they are checked like those of a file.
    for stage in ("shared", "infer", "learn"):
        key = f"{stage}_processors"
        if key in given or (stage == "infer" and handler.startswith("Alpha360")):
            default = HANDLERS[handler].infer_steps(semantics) if handler in HANDLERS else ()
            steps = given.get(key, default if stage == "infer" else ())
            arguments[key] = _steps(given, key, stage, steps, defaults, handler)
    # The name of a universe, or codes.
    instruments = given.get("instruments", "csi500")
    if isinstance(instruments, list) and all(isinstance(c, str) for c in instruments):
        instruments = tuple(instruments)
    elif not isinstance(instruments, str):
        given.problem(
            "instruments",
            f"is {shown(instruments)}, expected the name of a universe such as csi300, or codes",
        )
    given.close()
    return {
        "instruments": instruments,
        "start_time": dates["start_time"],
        "end_time": dates["end_time"],
        "arguments": arguments,
    }


def _check_label(given: Section, label: Any) -> None:
    """Refuse a label that is not one readable expression."""
    try:
        labels = label_set(label)
    except (ValueError, TypeError) as error:
        given.problem("label", told(error))
        return
    if len(labels) != 1:
        given.problem("label", f"holds {len(labels)} expressions, the models learn one")


def _steps(
    given: Section,
    key: str,
    stage: str,
    steps: Any,
    defaults: Mapping[str, Any],
    handler: str,
) -> list[dict[str, Any]]:
    """Read the processors of a stage as mappings of class and kwargs."""
    if steps is None:
        return []
    if not isinstance(steps, (list, tuple)):
        given.problem(key, f"is {shown(steps)}, expected a list of processors")
        return []
    processors: list[dict[str, Any]] = []
    for k, step in enumerate(steps):
        path = (*given.path, key, k)
        if isinstance(step, str):
            step = {"class": step}
        section = Section(step, path, given.problems)
        name = section.need("class", "the name of a processor")
        section.choice("module_path", PROCESSOR_MODULES, None)
        section.get("kwargs")
        section.close()
        if section.broken or name is None:
            continue
        processor = {"class": name, "kwargs": dict(section.optional("kwargs").rest())}
        processors.append(processor)
        try:
            build_steps([processor], stage, defaults)
        except (ValueError, TypeError, KeyError) as error:
            given.problems.add(path, told(error))
            continue
        _check_columns(given.problems, path, processor, handler)
    return processors


def _check_columns(
    problems: Problems, path: tuple[str | int, ...], step: Mapping[str, Any], handler: str
) -> None:
    """Refuse columns of FilterCol that do not exist; qlib leaves them out silently."""
    if step["class"] != "FilterCol" or handler not in HANDLERS:
        return
    kwargs = step["kwargs"]
    if kwargs.get("fields_group", "feature") != "feature":
        return
    features = HANDLERS[handler].default_set().names
    strangers = [name for name in kwargs.get("col_list", ()) if name not in features]
    if strangers:
        problems.add(
            (*path, "kwargs", "col_list"),
            f"{handler} has no feature {names(strangers[:5])}"
            f"{near_matches(strangers[0], features)}",
        )


def _segments(kwargs: Section) -> dict[str, tuple[Any, Any]]:
    """Read the segments as pairs; "train" and "test" are required."""
    section = kwargs.section("segments", "a mapping with train, valid and test")
    pairs = section.rest()
    for name in ("train", "test"):
        section.need(name, "[start, end]")
    segments: dict[str, tuple[Any, Any]] = {}
    for name, pair in pairs.items():
        try:
            segments |= checked_segments({name: pair})
        except (ValueError, TypeError) as error:
            section.problem(name, told(error))
    return segments
