"""Translate a qlib workflow file into the terms of a market: dataset, model, training, portfolio.

`rnn_core.workflow` reads and checks the file. What a market cannot do is one more problem of it, by
its key and line; what a market does in another way is listed with its key and the reason, so that
nothing of the file is lost in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config.dataset_sections import DatasetSpec
from pipelines.config.features import FeaturesConfig
from pipelines.config.models import model_spec
from pipelines.config.portfolio_section import PortfolioSettings
from pipelines.config.processors import DatasetConfig, ProcessorConfig, build_chain, output_columns
from pipelines.errors import ConfigError
from pipelines.onboarding.yaml_datasets import DatasetDraft, Step
from rnn_core.data.alpha import LEARN
from rnn_core.data.handlers import HANDLERS
from rnn_core.data.labels import label_set
from rnn_core.data.processors import PROCESSORS
from rnn_core.models.families import MODEL_FAMILIES, ModelFamily
from rnn_core.workflow import WorkflowError, WorkflowSpec, load_document, read_workflow
from rnn_core.workflow.problems import Keys, Problems
from rnn_core.workflow.read import estimator_class

DATASET: Keys = ("task", "dataset", "kwargs")
HANDLER: Keys = (*DATASET, "handler", "kwargs")
_MODEL: Keys = ("task", "model", "kwargs")
_ANY_WINDOW = ("2000-01-01", "2000-12-31")  # processors are built to be checked, and not fitted

Remainder = Mapping[str, str]
"""Keys of a file that the market has no place for, each with the reason."""


@dataclass(frozen=True)
class Parts:
    """One workflow in the terms of a market.

    Attributes:
        spec: the workflow as it was read.
        name: of its file.
        dataset: features, label, processors and window.
        family: of the network.
        model: the keys of the model's entry that differ from the family's defaults.
        training: seed, device and what else the market has for all its models.
        portfolio: the settings of the backtest; None if the file asks for none.
        remainder: what was not carried over.
    """

    spec: WorkflowSpec
    name: str
    dataset: DatasetDraft
    family: str
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    portfolio: Mapping[str, Any] | None
    remainder: Remainder


def parts_of(path: str | Path, provider_uri: str | None = None) -> Parts:
    """Read a workflow file and translate it.

    Args:
        path: the file.
        provider_uri: the folder of the provider, in place of the file's.

    Raises:
        ConfigError: the file cannot be read, or asks for something that a market cannot do; one
            message lists all of it.
    """
    try:
        document = load_document(path)
        spec = read_workflow(document, provider_uri=provider_uri)
        problems, remainder = Problems(document.lines), _of_file(spec)
        dataset, columns = _dataset(spec, problems, remainder)
        estimator = estimator_class(spec.model.name)(**spec.model.arguments)
        family = MODEL_FAMILIES[spec.model.name.lower()]
        dataset = _with_window(dataset, columns, spec, family, estimator, problems)
        training = _training(spec, estimator, remainder)
        portfolio = _portfolio(spec, problems, remainder)
        problems.raise_if_any(document.path.name)
    except WorkflowError as error:
        raise ConfigError(f"nothing was written: {error}") from error
    model = _model(family, estimator)
    return Parts(spec, document.path.name, dataset, family.name, model, training, portfolio,
                 remainder)  # fmt: skip


def key_of(keys: Keys) -> str:
    """A path of keys as messages write it."""
    return ".".join(map(str, keys))


def _of_file(spec: WorkflowSpec) -> dict[str, str]:
    """List the keys around the model and the dataset that a market answers in its own way."""
    values, remainder = spec.document.values, {}
    for key in spec.document.values["qlib_init"]:
        if key not in ("provider_uri", "region"):
            remainder[f"qlib_init.{key}"] = "about qlib's processes, caches and logs"
    for key in ("experiment_name", "exp_name"):
        if key in values:
            remainder[key] = "the market's name is that of all its state"
    records = values["task"].get("record") or []
    names = [r["class"] for r in ([records] if isinstance(records, Mapping) else records)]
    if names:
        remainder["task.record"] = (
            f"{', '.join(names)}: predictions, evaluations and reports are assets of the market"
        )
    remainder[key_of((*DATASET, "segments"))] = (
        "they begin and end on fixed days: test is training.first_trained, train and valid are "
        "lengths that move on with every training"
    )
    for name in spec.dataset.segments:
        if name not in ("train", "valid", "test"):
            remainder[key_of((*DATASET, "segments", name))] = "a market has train, valid and test"
    window = [key for key in ("fit_start_time", "fit_end_time") if spec.dataset.arguments[key]]
    if window:
        remainder[key_of((*HANDLER, ", ".join(window)))] = (
            "processors are fitted again with the models"
        )
    return remainder


# --- the dataset -----------------------------------------------------------------------------


def _dataset(
    spec: WorkflowSpec, problems: Problems, remainder: dict[str, str]
) -> tuple[DatasetDraft, Sequence[str]]:
    """Translate handler and processors; returns the columns that are left, too."""
    arguments, handler = spec.dataset.arguments, HANDLERS[spec.dataset.handler]
    if arguments["process_type"] != "append":
        problems.add((*HANDLER, "process_type"), "is independent, and a market learns from the "
                     "features that it serves, expected append")  # fmt: skip
    if arguments.get("shared_processors"):
        problems.add((*HANDLER, "shared_processors"), "a market has no shared processors: name "
                     "them among the infer_processors")  # fmt: skip
    if not isinstance(spec.dataset.instruments, str):
        problems.add(
            (*HANDLER, "instruments"),
            f"lists {len(spec.dataset.instruments)} codes, and a market reads a universe: write "
            f"them into instruments/NAME.txt of the provider (code, start, end), and name that",
        )
    infer = _steps("infer", arguments.get("infer_processors", ()), problems, remainder)
    learn = _steps("learn", arguments.get("learn_processors", LEARN), problems, remainder)
    label = next(iter(label_set(arguments.get("label", handler.default_label)).values()))
    try:
        FeaturesConfig(label=label)
    except ValidationError as error:
        problems.add((*HANDLER, "label"), _reasons(error))
    feature_set = "alpha360" if spec.dataset.handler.startswith("Alpha360") else "alpha158"
    draft = DatasetDraft(feature_set, label, infer=infer, learn=learn)
    if problems.found:
        return draft, ()
    entries = [ProcessorConfig(name=name, kwargs=dict(kwargs)) for name, kwargs in infer]
    chain = build_chain(entries, _ANY_WINDOW, group="feature")
    return draft, output_columns(chain, handler.default_set().names)


def _steps(
    stage: str, steps: Sequence[Any], problems: Problems, remainder: dict[str, str]
) -> tuple[Step, ...]:
    """Translate the processors of a stage, which touch one group in a market."""
    group, translated = {"infer": "feature", "learn": "label"}[stage], []
    for k, step in enumerate(steps):
        name, arguments = step["class"], dict(step.get("kwargs") or {})
        keys: Keys = (*HANDLER, f"{stage}_processors", k)
        for key in ("fit_start_time", "fit_end_time"):
            if arguments.pop(key, None) is not None:
                remainder[key_of((*keys, "kwargs", key))] = "all are fitted again with the models"
        parameter = inspect.signature(PROCESSORS[name]).parameters.get("fields_group")
        if parameter is not None:
            touched = arguments.pop("fields_group", parameter.default)
            if touched is None and stage == "infer":
                remainder[key_of(keys)] = (
                    f"{name} has no fields_group: qlib's takes the label too, a market's the "
                    f"features only"
                )
            elif touched != group:
                problems.add(
                    keys,
                    f"{name} touches {'every column' if touched is None else touched}, and "
                    f"{stage}_processors of a market touch the {group} only, since a model is "
                    f"served the features that it learned from: set fields_group to {group}",
                )
                continue
        try:
            build_chain([ProcessorConfig(name=name, kwargs=arguments)], _ANY_WINDOW, group=group)
        except ValueError as error:
            problems.add(keys, str(error))
        translated.append((name, arguments))
    return tuple(translated)


def _with_window(
    draft: DatasetDraft,
    columns: Sequence[str],
    spec: WorkflowSpec,
    family: ModelFamily,
    estimator: Any,
    problems: Problems,
) -> DatasetDraft:
    """Add the window: sessions of a TSDatasetH, or the steps in the columns of a DatasetH."""
    if problems.found:
        return draft
    argument = family.feature_argument
    features, keys = getattr(estimator, argument), (*_MODEL, argument)
    if spec.dataset.step_len is not None:
        draft = replace(draft, step_len=spec.dataset.step_len)
        if features != len(columns):
            problems.add(keys, f"is {features}, and the processors leave {len(columns)} columns: "
                         f"set it to {len(columns)}")  # fmt: skip
    elif features == len(columns):
        draft = replace(draft, step_len=1)  # a row is one session
    else:
        draft = replace(draft, layout="columns", step_len=max(1, len(columns) // features))
    config = DatasetConfig.model_validate({
        "fit": "expanding", "layout": draft.layout, "step_len": draft.step_len,
        "infer_processors": [{name: arguments} for name, arguments in draft.infer],
        "learn_processors": [],
    })  # fmt: skip
    try:
        DatasetSpec("", "", FeaturesConfig(set=draft.feature_set), config, "typical").check()
    except ValueError as error:
        problems.add(keys, f"is {features}, and the rows cannot be cut into its steps: {error}")
    return draft


# --- model, training, portfolio --------------------------------------------------------------


def _model(family: ModelFamily, estimator: Any) -> dict[str, Any]:
    """Select the settings that differ from the defaults of the market's YAML.

    Those are of qlib's benchmark files, and the defaults of qlib's classes are others.
    """
    plain = model_spec(family.name, None)
    defaults = {**plain.hyper, **plain.training}
    values = {name: getattr(estimator, name, default) for name, default in defaults.items()}
    values["metric"] = values["metric"] or "loss"
    entry = {name: value for name, value in values.items() if value != defaults[name]}
    return entry | ({"seeds": estimator.seeds} if estimator.seeds > 1 else {})


def _training(spec: WorkflowSpec, estimator: Any, remainder: dict[str, str]) -> dict[str, Any]:
    """Select what the market has for all its models."""
    given = spec.model.arguments
    if given.get("n_jobs") is not None:
        remainder[key_of((*_MODEL, "n_jobs"))] = "batches are gathered without workers"
    if estimator.GPU > 0:
        remainder[key_of((*_MODEL, "GPU"))] = (
            f"training.device is auto, the first GPU: cuda:{estimator.GPU} is qlib's"
        )
    if given.get("legacy_layout"):
        remainder[key_of((*_MODEL, "legacy_layout"))] = (
            "windows are read as they lie; qlib's KRNN cuts the rows of Alpha360 into steps that "
            "mix days of one field"
        )
    training = {"seed": estimator.seed or 0, "device": "cpu" if estimator.GPU < 0 else "auto"}
    optional = {"precision": "float32", "threads": None}
    return training | {
        name: value for name, default in optional.items()
        if (value := getattr(estimator, name)) != default
    }  # fmt: skip


_NOT_QLIBS = {"sizing", "trade_unit", "borrow_rate", "max_gross", "impact", "periods_per_year"}


def _portfolio(
    spec: WorkflowSpec, problems: Problems, remainder: dict[str, str]
) -> dict[str, Any] | None:
    """Translate the backtest."""
    backtest = spec.portfolio
    if backtest is None:
        return None
    at, config = backtest.key, backtest.config
    if backtest.benchmark:
        given = "" if backtest.names_benchmark else ", qlib's default"
        remainder[f"{at}.benchmark"] = (
            f"{', '.join(backtest.benchmark)}{given}: portfolios are compared with the members at "
            f"equal weight"
        )
    span = [key for key in ("start_time", "end_time") if getattr(backtest, key) is not None]
    if span:
        remainder[f"{at}.{', '.join(span)}"] = "a portfolio holds from the first scores to the last"
    if config.trade_unit is not None:
        remainder[setting_key(spec, "trade_unit")] = (
            f"lots of {config.trade_unit} shares: amounts are fractions of shares"
        )
    if config.only_tradable or not config.forbid_all_trade_at_limit:
        remainder[setting_key(spec, "only_tradable, forbid_all_trade_at_limit")] = (
            "the first is false and the second true, and neither is a setting"
        )
    # qlib has no other sizing, no short positions and no such costs; lots are reported above.
    own = set(PortfolioSettings.model_fields) - _NOT_QLIBS
    own &= {field.name for field in fields(config)}
    settings = {name: value for name, value in asdict(config).items() if name in own}
    if settings["risk_degree"] == PortfolioSettings.model_fields["risk_degree"].default:
        del settings["risk_degree"]
    try:
        PortfolioSettings(**settings)
    except ValidationError as error:
        keys = tuple(int(part) if part.isdigit() else part for part in at.split("."))
        problems.add(keys[:-1], f"a market cannot trade so: {_reasons(error)}")
    return settings


def setting_key(spec: WorkflowSpec, name: str) -> str:
    """The path of a setting of strategy, account or exchange in the file.

    Args:
        spec: a workflow with a backtest.
        name: of the setting.
    """
    backtest = "" if spec.portfolio is None else spec.portfolio.key
    if name == "account":
        return f"{backtest}.{name}"
    if name in ("open_cost", "close_cost", "min_cost", "limit_threshold", "deal_price",
                "trade_unit"):  # fmt: skip
        return f"{backtest}.exchange_kwargs.{name}"
    return f"{backtest.removesuffix('backtest')}strategy.kwargs.{name}"


def _reasons(error: ValidationError) -> str:
    """The reasons of a section's error, each with its key."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    )
