"""Column lineage: the columns that each column is made from, for the UI.

The lineage follows from the configuration alone: the fields of a feature's expression, and the bar
columns behind adjusted fields. Dagster reads it from the newest materialization, so a run attaches
the lineage to its last session only: 158 features name some 500 columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from pipelines.market.dataset import Dataset
from pipelines.market.stage import ColumnRef
from pipelines.warehouse.schemas import EXTRA

Lineage: TypeAlias = dict[str, tuple[ColumnRef, ...]]

_VWAP_FROM = {"amount": ("amount", "volume"), "typical": ("high", "low", "close")}


def bar_columns(dataset: Dataset, fields: Iterable[str]) -> list[str]:
    """The columns of `ohlcv` behind adjusted fields, in the order of the table."""
    sources = {"adj_factor"}
    for field in set(fields) - {one.name for one in dataset.spec.extra}:
        sources |= set(_VWAP_FROM[dataset.spec.vwap] if field == "vwap" else (field,))
    order = ("open", "high", "low", "close", "volume", "amount", "adj_factor")
    return [name for name in order if name in sources]


def _behind(dataset: Dataset, fields: Collection[str]) -> dict[str, list[str]]:
    """The columns behind fields by table: of the bars, and beside them."""
    beside = dataset.spec.beside(fields)
    return {"ohlcv": bar_columns(dataset, fields), **({EXTRA: list(beside)} if beside else {})}


def feature_lineage(dataset: Dataset) -> Lineage:
    """`alpha158`: each feature from the bar columns that its expression reads."""
    features = dataset.feature_set
    return _lineage(
        {
            name: _behind(dataset, node.fields)
            for name, node in zip(features, features.nodes, strict=True)
        }
        | {"member": {"ohlcv": ["member"]}}
    )


def label_lineage(dataset: Dataset) -> Lineage:
    """`label`: the return from the bar columns of its expression."""
    return _lineage({"label": _behind(dataset, dataset.label_expression.fields)})


def infer_lineage(dataset: Dataset) -> Lineage:
    """`dataset_infer`: each column from the feature of the same name."""
    names = ("member", *dataset.columns)
    return _lineage({name: {dataset.features: [name]} for name in names})


def learn_lineage(dataset: Dataset) -> Lineage:
    """`dataset_learn`: the labels, for members that have features."""
    sources = {dataset.label: ["label"], dataset.features_read: ["member"]}
    return _lineage(
        {"label": sources, "raw_label": sources, "decision_date": {dataset.label: ["label"]}}
    )


def prediction_lineage(dataset: Dataset, model: str) -> Lineage:
    """`{model}_prediction`: the score from the model in force and the features that it reads."""
    return _lineage(
        {
            "score": {
                f"{model}_model": ["fingerprint"],
                dataset.features_read: list(dataset.columns),
            },
            "as_of": {f"{model}_model": ["as_of"]},
            "fingerprint": {f"{model}_model": ["fingerprint"]},
        }
    )


def evaluation_lineage(model: str, label: str, columns: Iterable[str]) -> Lineage:
    """`{model}_evaluation`: every figure from scores and raw labels."""
    sources = {f"{model}_prediction": ["score"], label: ["label"]}
    return _lineage({name: sources for name in columns if name not in ("decision_date", "as_of")})


def _lineage(columns: Mapping[str, Mapping[str, Iterable[str]]]) -> Lineage:
    """Column -> table -> columns of that table, as references."""
    return {
        column: tuple(ColumnRef(table, name) for table, names in sources.items() for name in names)
        for column, sources in columns.items()
    }
