"""A reader of workflow files: every key is read, and one error lists every problem.

Classes are named in explicit tables; `module_path` is compared with the modules that qlib's files
name, and nothing is ever imported by it. Keys at the top that qlib itself does not read (`market`,
`data_handler_config` and others with values that the task refers to) are left alone; one that holds
nothing anchored is a problem, since it was meant for something.

Rule matched: qlib cli/run.py `workflow`, model/trainer.py `task_train`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from inspect import signature
from typing import Any

from rnn_core import estimators
from rnn_core.data.qlib_bins import Vwap
from rnn_core.panel.frames import Semantics
from rnn_core.suggestions import near_matches
from rnn_core.workflow.problems import Problems, Section, names, shown, told
from rnn_core.workflow.read_dataset import read_dataset
from rnn_core.workflow.read_records import REGIONS, read_records
from rnn_core.workflow.spec import ModelSpec, ProviderSpec, Region, WorkflowSpec
from rnn_core.workflow.yaml_document import Document

MODELS: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("qlib.contrib.model.pytorch_lstm", "qlib.contrib.model.pytorch_lstm_ts"),
    "GRU": ("qlib.contrib.model.pytorch_gru", "qlib.contrib.model.pytorch_gru_ts"),
    "KRNN": ("qlib.contrib.model.pytorch_krnn",),
}
"""The models by qlib's names, and the modules that a file may name for them."""

HOLDERS = ("market", "benchmark", "data_handler_config", "port_analysis_config")
"""Keys at the top of qlib's files that hold values for the task to refer to."""

HARMLESS = (
    "exp_manager", "logging_level", "logging_config", "kernels", "joblib_backend",
    "maxtasksperchild", "expression_cache", "dataset_cache", "redis_host", "redis_port",
    "redis_task_db", "mem_cache_size_limit", "mem_cache_limit_type", "mem_cache_expire",
    "auto_mount", "mount_path", "skip_if_reg", "flask_server", "clear_mem_cache",
)  # fmt: skip
"""Keys of qlib_init about caches, processes and logs, which this program does not have."""

LAYOUT = "legacy_layout"

KRNN_LAYOUT: Mapping[Semantics, str] = {
    "qlib": (
        "model: KRNN cuts the rows of Alpha360 as qlib's does (legacy_layout=true), into steps "
        "that mix days of one field. task.model.kwargs.legacy_layout=false reads them as they lie"
    ),
    "strict": (
        "model: KRNN reads the rows of Alpha360 as they lie; qlib's cuts them into other steps. To "
        "reproduce its numbers set task.model.kwargs.legacy_layout=true"
    ),
}
"""Notes about the layout that a file of a KRNN on flat rows does not choose."""


def read_workflow(
    document: Document,
    *,
    semantics: Semantics = "qlib",
    provider_uri: str | None = None,
    vwap: Vwap = None,
) -> WorkflowSpec:
    """Check a workflow file as a whole.

    Args:
        document: the file.
        semantics: "qlib" for qlib's numbers, "strict" for the repaired ones; of features,
            processors and portfolio. Strict also makes the windows of a TSDatasetH of the rows
            that serving sees, see `rnn_core.data.datasets`.
        provider_uri: folder of the provider, in place of the file's.
        vwap: "typical" puts (high + low + close) / 3 in if the provider has no vwap.

    Returns:
        The workflow.

    Raises:
        WorkflowError: something is not supported; one message lists all of it.
        ValueError: another `semantics`.

    Examples:
        >>> spec = read_workflow(document, semantics="strict", provider_uri=provider)
        >>> spec.semantics, sorted(spec.dataset.segments)
        ('strict', ['test', 'train', 'valid'])
    """
    if semantics not in ("qlib", "strict"):
        raise ValueError(f"semantics is {semantics!r}, expected 'qlib' or 'strict'")
    # Every section is read to its end; its problems are collected.
    problems = Problems(document.lines)
    top = Section(document.values, (), problems)
    provider = _provider(top, provider_uri, vwap)
    task = top.section("task", "a mapping with model, dataset and record")
    model = _model(task.section("model", "a mapping with class, module_path and kwargs"))
    dataset = read_dataset(
        task.section("dataset", "a mapping with class, module_path and kwargs"), semantics
    )
    records = read_records(
        task.get("record"), (*task.path, "record"), problems, provider.region, semantics
    )
    # The keys at the top: some qlib reads, some only hold values that others refer to.
    task.close()
    top.ignore("experiment_name", "exp_name", *HOLDERS)
    for key, text in (
        ("sys", "is about importing other code, which is never done: leave it out"),
        ("BASE_CONFIG_PATH", "is not supported: merge the two files into one"),
    ):
        if top.get(key):
            top.problem(key, text)
    supported = ("qlib_init", "task", "experiment_name", *HOLDERS)
    for key in top.rest():
        if key not in document.anchored:
            top.problem(
                str(key),
                f"unknown key, supported: {names(supported)}, and keys that hold an anchor"
                f"{near_matches(key, supported)}",
            )
    problems.raise_if_any(document.path.name)
    notes = dataset.notes
    is_open = model.name == "KRNN" and model.arguments.get(LAYOUT) is None
    if is_open and dataset.dataset == "DatasetH":
        notes = (*notes, KRNN_LAYOUT[semantics])
        arguments = {**model.arguments, LAYOUT: semantics == "qlib"}
        model = dataclasses.replace(model, arguments=arguments)
    return WorkflowSpec(
        document, semantics, provider, dataset, model, records.signal, records.portfolio, notes
    )


def estimator_class(name: str) -> type[estimators.Estimator]:
    """Return the estimator class of a key of `MODELS`; this call loads torch."""
    return {"LSTM": estimators.LSTM, "GRU": estimators.GRU, "KRNN": estimators.KRNN}[name]


def _provider(top: Section, override: str | None, vwap: Vwap) -> ProviderSpec:
    """Read the section `qlib_init`."""
    section = top.section("qlib_init", "a mapping with provider_uri and region")
    region: Region | None = section.choice("region", REGIONS, "cn")
    uri = section.get("provider_uri")
    if isinstance(uri, Mapping) and set(uri) <= {"day", "__DEFAULT_FREQ"} and len(uri) == 1:
        uri = next(iter(uri.values()))
    if override is not None:
        uri = override
    elif uri is None:
        section.need("provider_uri", "the folder of the provider")
    elif not isinstance(uri, str):
        section.problem("provider_uri", f"is {shown(uri)}, expected the path of a folder")
    section.choice("default_conf", ("client",), "client")
    if section.get("custom_ops"):
        section.problem("custom_ops", "is not supported, leave it out")
    section.ignore(*HARMLESS)
    section.close()
    return ProviderSpec(str(uri), region or "cn", vwap)


def _model(given: Section) -> ModelSpec:
    """Read the section `task.model`; try each argument on its own, then all together."""
    name = given.choice("class", tuple(MODELS))
    given.choice("module_path", MODELS.get(str(name), _all_modules()), None)
    arguments: dict[str, Any] = dict(given.optional("kwargs").rest())
    given.close()
    if name is None:
        return ModelSpec("", arguments)
    if arguments.get("metric") == "":  # qlib's other word for "loss"
        arguments["metric"] = "loss"
    cls, path = estimator_class(name), (*given.path, "kwargs")
    is_valid, known = True, [name for name in signature(cls).parameters if name != "kwargs"]
    for key, value in arguments.items():
        if key not in known:  # the constructor would warn; a file is checked as a whole
            text = f"{name} has no argument {key!r}, expected some of {names(sorted(known))}"
            given.problems.add((*path, key), f"{text}{near_matches(key, known)}")
            is_valid = False
            continue
        try:
            cls(**{str(key): value})
        except (TypeError, ValueError) as error:
            given.problems.add((*path, key), told(error))
            is_valid = False
    if is_valid:
        try:
            cls(**arguments)
        except (TypeError, ValueError) as error:
            given.problems.add(path, told(error))
    return ModelSpec(name, arguments)


def _all_modules() -> tuple[str, ...]:
    return tuple(module for modules in MODELS.values() for module in modules)


def with_seed(model: ModelSpec, seed: int) -> ModelSpec:
    """Give the model a seed if it has none.

    Args:
        model: as read.
        seed: for a file that gives none, or null.

    Returns:
        A model whose arguments hold a seed.
    """
    if model.arguments.get("seed") is not None:
        return model
    return dataclasses.replace(model, arguments={**model.arguments, "seed": seed})
