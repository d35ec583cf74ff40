"""Write the sections `features`, `dataset` or `datasets`, and `models` of a drafted YAML.

The defaults are qlib's benchmark of LSTM and GRU on 20 features of Alpha158, and its KRNN on the
same windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.onboarding.yaml_lines import line, scalar, wrapped_list
from rnn_core.data.processors import PROCESSORS
from rnn_core.features import ALPHA158_LABEL

Step = tuple[str, Mapping[str, Any]]
Models = Mapping[str, Mapping[str, Any]]

LABEL = ALPHA158_LABEL[1]

_BENCHMARK_INFER: tuple[Step, ...] = (
    ("FilterCol", {"col_list": (
        "RESI5", "WVMA5", "RSQR5", "KLEN", "RSQR10", "CORR5", "CORD5", "CORR10", "ROC60", "RESI10",
        "VSTD5", "RSQR60", "CORR60", "WVMA60", "STD5", "RSQR20", "CORD60", "CORD10", "CORR20",
        "KLOW")}),
    ("RobustZScoreNorm", {"clip_outlier": True}),
    ("Fillna", {"fill_value": 0}),
)  # fmt: skip


@dataclass(frozen=True)
class DatasetDraft:
    """One dataset of the YAML.

    Attributes:
        feature_set: `alpha158` or `alpha360`.
        label: the label's expression.
        step_len: sessions a model sees.
        layout: `sessions`, or `columns` where a row holds all steps.
        infer: processors of the features: name and arguments, in order.
        learn: processors of the label, likewise.
    """

    feature_set: str = "alpha158"
    label: str = LABEL
    step_len: int = 20
    layout: str = "sessions"
    infer: tuple[Step, ...] = _BENCHMARK_INFER
    learn: tuple[Step, ...] = (("DropnaLabel", {}), ("CSRankNorm", {}))


MODELS: Models = {"lstm": {"lr": 0.001}, "gru": {"lr": 0.0002}, "krnn": {"batch_size": 2000}}
QUICK_MODELS: Models = {
    "lstm": {"hidden_size": 16, "lr": 0.001, "n_epochs": 5},
    "gru": {"hidden_size": 16, "lr": 0.001, "n_epochs": 5},
    "krnn": {"batch_size": 2000, "n_epochs": 5},
}

_SETS = {"alpha158": "qlib's 158 features", "alpha360": "360 columns: 60 steps of six fields"}
_PROCESSORS = {
    "FilterCol": "the features that are kept",
    "RobustZScoreNorm": "(x - median) / (1.4826 MAD)",
    "Fillna": "what is still missing",
    "DropnaLabel": "no label, no row",
    "CSRankNorm": "cross-sectional rank, centred and scaled to about unit variance",
}
_ARGUMENTS = {
    "clip_outlier": "true clips to [-3, 3]",
    "fill_value": "0 is the centre of a standardised column",
}
_FAMILIES = {
    "lstm": "layers of LSTM",
    "gru": "layers of GRU",
    "krnn": "a convolution over sessions, then parallel GRUs",
}
_KEYS = {
    "family": "the kind of network",
    "dataset": "the dataset that it learns from",
    "hidden_size": "hidden units a layer",
    "num_layers": "stacked layers",
    "dropout": "between layers",
    "cnn_dim": "channels of the convolution",
    "cnn_kernel_size": "sessions under its kernel, odd",
    "rnn_dim": "hidden units of each GRU",
    "rnn_dups": "parallel GRUs",
    "rnn_layers": "stacked layers of each",
    "lr": "learning rate",
    "n_epochs": "at most",
    "batch_size": "rows",
    "early_stop": "epochs without a better validation score",
    "metric": "the score that selects the best epoch",
    "optimizer": "adam or gd",
    "seeds": "networks, whose mean is the score",
    "deterministic": "only repeatable kernels on a GPU",
}


def feature_lines(datasets: Mapping[str, DatasetDraft]) -> list[str]:
    """Write the section `features`: everything of an only dataset, else what all have in common."""
    drafts = list(datasets.values())
    shared = len({draft.label for draft in drafts}) == 1
    return [
        "features:" if len(drafts) == 1
        else line("features:", "of every dataset, but for the keys that it has itself"),
        *(_set(drafts[0], "  ") if len(drafts) == 1 else []),
        line("  semantics: strict",
                  "strict repairs qlib's quirks (docs/deviations.md), or qlib"),
        *(_label(drafts[0], "  ") if shared else []),
        "",
    ]  # fmt: skip


def dataset_lines(datasets: Mapping[str, DatasetDraft], window_sessions: int) -> list[str]:
    """Write the section `dataset`, or `datasets` where there are several."""
    if len(datasets) == 1:
        (only,) = datasets.values()
        return ["dataset:", *_dataset(only, window_sessions, "  "), ""]
    shared = len({draft.label for draft in datasets.values()}) == 1
    lines = [line("datasets:", "the first is the default: its assets have no prefix")]
    for name, draft in datasets.items():
        lines += [f"  {name}:", "    features:", *_set(draft, "      ")]
        lines += [] if shared else _label(draft, "      ")
        lines += _dataset(draft, window_sessions, "    ")
    return [*lines, ""]


def model_lines(models: Models, *, quick: bool) -> list[str]:
    """Write the section `models`."""
    lines = [line("models:", "an entry a model; what is left out is qlib's benchmark value")]
    if quick:
        lines = [
            line("models:", "small and of few epochs, to see everything run; leave the keys"),
            line("", "out for qlib's benchmark values"),
        ]
    for name, entry in models.items():
        comment = _FAMILIES[entry.get("family", name)]
        lines.append(line(f"  {name}:" if entry else f"  {name}: {{}}", comment))
        lines += [line(f"    {k}: {scalar(v)}", _KEYS[k]) for k, v in entry.items()]
    return [*lines, ""]


def _set(draft: DatasetDraft, pad: str) -> list[str]:
    return [line(f"{pad}set: {draft.feature_set}", _SETS[draft.feature_set])]


def _label(draft: DatasetDraft, pad: str) -> list[str]:
    usual = draft.label.replace(" ", "") == LABEL.replace(" ", "")
    comment = "return from the close of t+1 to that of t+2" if usual else "what is predicted"
    return [line(f"{pad}label: {scalar(draft.label)}", comment)]


def _dataset(draft: DatasetDraft, window_sessions: int, pad: str) -> list[str]:
    layout = [line(f"{pad}layout: columns", "a row holds its whole window, field by field")]
    sessions = draft.layout == "sessions"
    return [
        line(f"{pad}fit:", "processors are fitted again with the models, on what was known "
                  "then; or"),
        line(f"{pad}  rolling:", "expanding, or fixed with fit_start and fit_end "
                  "(docs/markets.md)"),
        line(f"{pad}    window_sessions: {window_sessions}",
                  "on the newest so many sessions, those that a model learns from"),
        *([] if sessions else layout),
        line(f"{pad}step_len: {draft.step_len}",
                  "sessions a model sees" if sessions else "steps in the columns"),
        *_steps(f"{pad}infer_processors:", draft.infer,
                "applied to features, in order; fitted as `fit` says"),
        *_steps(f"{pad}learn_processors:", draft.learn,
                "applied to the label of members, a session at a time"),
    ]  # fmt: skip


def _steps(key: str, steps: Sequence[Step], comment: str) -> list[str]:
    if not steps:
        return [line(f"{key} []", comment)]
    pad, lines = " " * (len(key) - len(key.lstrip()) + 2), [line(key, comment)]
    for name, arguments in steps:
        text = _PROCESSORS.get(name) or str(PROCESSORS[name].__doc__).partition("\n")[0].rstrip(".")
        lines.append(line(f"{pad}- {name}{':' * bool(arguments)}", text))
        for argument, value in arguments.items():
            if isinstance(value, list | tuple):
                lines += wrapped_list(f"{pad}    {argument}", value)
                continue
            what = _ARGUMENTS.get(argument, "as in the processor's documentation")
            lines.append(line(f"{pad}    {argument}: {scalar(value)}", what))
    return lines
