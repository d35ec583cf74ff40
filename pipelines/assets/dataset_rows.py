"""`dataset_infer` and `dataset_learn` of a dataset: normalised features and the rows to learn from.

Learning and serving see the same rows: `dataset_infer` holds every bar, `dataset_learn` only adds
a processed label to the rows of members with a known label. If the fit window of the processors
moves, the datasets of a session are made with its own state and are there to be looked at: models
normalise their whole windows with the state of their bundle (`training/learning_data.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
import pandas as pd

from pipelines.assets.checks import cross_section
from pipelines.assets.column_lineage import infer_lineage, learn_lineage
from pipelines.assets.features import no_label_yet
from pipelines.assets.processor_fit import write_warm_up
from pipelines.market.chunks import FRAME_ROWS_AT_ONCE, chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import bars_read, read_columns, versions_of
from pipelines.market.input_versions import infer_inputs, learn_inputs
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage, Version
from pipelines.training.learning_data import features_for, learning_rows, normalised
from pipelines.training.processors import ProcessorState, states_in_force
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import DATASET_LEARN, feature_table

CODE_VERSION = "1"


def infer_stage(market: Market, dataset: Dataset) -> Stage:
    """The stage `dataset_infer` of a dataset."""
    formulas = {n: dataset.feature_formulas[n] for n in dataset.columns}
    table = feature_table(
        dataset.infer, "Features after the infer processors, every bar.", formulas
    )

    def make(run: Run) -> None:
        for keys, state, version in _by_state(run, dataset):
            if state is None:
                write_warm_up(run, dataset.plan, keys)
                continue
            parts = normalised(market, dataset, keys, state, run.stage.name)
            versions = {
                dataset.features: parts.digests,
                dataset.processors: version,
                **parts.columns,
            }
            # Processors may drop every row of a session: its partition is empty and says so.
            by_session = {f"{key:%Y-%m-%d}": rows for key, rows in parts.frame.groupby("date")}
            written = market.warehouse.write_many(
                table,
                table.name,
                (
                    (
                        key,
                        by_session.get(key, table.empty())[list(table.names)],
                        run.provenance(
                            key,
                            versions,
                            "ok" if key in by_session else "the infer processors left no row",
                        ),
                    )
                    for key in keys
                ),
            )
            for key in keys:
                share = _nan_share(by_session.get(key, table.empty())[list(formulas)])
                run.done(key, written[key], nan_share=share, processors=state.hash[:16])

    return Stage(
        name=dataset.infer,
        kind=Kind.DATA,
        dataset=dataset.name,
        group="dataset",
        tables=(table,),
        deps=(*bars_read(dataset.infer_columns), dataset.features, dataset.processors),
        first=None if dataset.fit_plan is None else dataset.fit_plan.first_trained,
        code_version=CODE_VERSION,
        inputs=lambda key, versions: infer_inputs(dataset, key, versions),
        make=make,
        config={"infer": [p.settings for p in dataset.config.infer_processors]},
        description=(
            "Features of this session after the infer processors ("
            + ", ".join(p.name for p in dataset.config.infer_processors)
            + "), every bar: what models are served."
        ),
        lineage=infer_lineage(dataset),
    )


def _nan_share(values: pd.DataFrame) -> float:
    """Share of missing values of a numeric block."""
    array = values.to_numpy(dtype="float32")
    return float(np.isnan(array).mean()) if array.size else 0.0


def _by_state(
    run: Run, dataset: Dataset
) -> Iterator[tuple[tuple[str, ...], ProcessorState | None, Mapping[str, Version]]]:
    """The sessions of a run in chunks of one processor state, and the version of the state.

    Before the first fit of a moving window there is none.
    """
    warehouse = run.market.warehouse
    for chunk in chunks_of_rows(warehouse, dataset.features, run.keys, FRAME_ROWS_AT_ONCE):
        states = states_in_force(run.market, dataset, chunk, run.stage.name)
        for state, keys in groupby(chunk, key=states.by_session.__getitem__):
            yield tuple(keys), state, states.versions


def learn_stage(market: Market, dataset: Dataset) -> Stage:
    """The stage `dataset_learn` of a dataset."""
    checks = market.config.checks.dataset
    return Stage(
        name=dataset.learn,
        kind=Kind.DATA,
        dataset=dataset.name,
        group="dataset",
        tables=(DATASET_LEARN.named(dataset.learn),),
        deps=(
            *bars_read(dataset.processor_columns),
            dataset.features_read,
            dataset.label,
            dataset.processors,
        ),
        first=None if dataset.fit_plan is None else dataset.fit_plan.first_trained,
        code_version=CODE_VERSION,
        inputs=lambda key, versions: learn_inputs(dataset, key, versions),
        make=lambda run: write_learning_rows(run, dataset),
        config={"learn": [p.settings for p in dataset.config.learn_processors]},
        description=(
            f"{DATASET_LEARN.description} The decision was taken {dataset.label_lag} sessions "
            f"before; absent labels are never filled. Learn processors: "
            + ", ".join(p.name for p in dataset.config.learn_processors)
            + "."
        ),
        lineage=learn_lineage(dataset),
        checks=(
            Check(
                "cross_section",
                checks.cross_section,
                f"At least {checks.min_names} labels matured: ranks across names need several.",
            ),
        ),
    )


def write_learning_rows(run: Run, dataset: Dataset) -> None:
    """Join matured labels with members' rows of the decision session, and process the labels."""
    market, warehouse, table = run.market, run.market.warehouse, run.stage.tables[0]
    for keys, state, version in _by_state(run, dataset):
        if state is None:
            write_warm_up(run, dataset.plan, keys)
            continue
        labels = warehouse.read(dataset.label, keys, needed_by=table.name)
        versions: dict[str, Mapping[str, Version]] = {
            dataset.label: labels.digests,
            dataset.features_read: {},
            dataset.processors: version,
        }
        decisions = {key: dataset.decision_of(key) for key in keys}
        decision_keys = [d for d in decisions.values() if d is not None]
        by_session: dict[str, pd.DataFrame] = {}
        # The first decisions lie before the market's start: their sessions have no row and say so.
        if decision_keys:
            columns = ["instrument", "member"]
            features = features_for(market, dataset, decision_keys, state, table.name, columns)
            extra = read_columns(market, dataset.learn_columns, decision_keys, table.name)
            versions |= {dataset.features_read: features.digests, **versions_of(features, extra)}
            fields = None if extra is None else extra.frame
            rows = learning_rows(labels.frame, features.frame, state, fields)
            by_session = {f"{key:%Y-%m-%d}": part for key, part in rows.groupby("matured")}
        parts = _checked_rows(run, dataset, by_session, versions, decisions)
        for key, info in warehouse.write_each(table, table.name, parts):
            run.done(key, info, decision_date=decisions[key] or "none")


def _checked_rows(
    run: Run,
    dataset: Dataset,
    by_session: Mapping[str, pd.DataFrame],
    versions: Mapping[str, Mapping[str, Version]],
    decisions: Mapping[str, str | None],
) -> Iterator[tuple[str, pd.DataFrame, Provenance]]:
    """The partitions of some sessions; each is checked before it is yielded and written.

    Args:
        run: the run.
        dataset: the dataset.
        by_session: the rows to learn from.
        versions: the versions that they are made from.
        decisions: by session, the decision whose labels matured; None at the market's start.

    Raises:
        CheckFailedError: a blocking check failed; nothing of its session is yielded.
    """
    min_names = run.market.config.checks.dataset.min_names
    for key, decision in decisions.items():
        rows, status = by_session.get(key, DATASET_LEARN.empty()), "ok"
        if decision is None:
            status = no_label_yet(dataset)
        else:
            run.check(key, cross_section(len(rows), min_names))
        yield key, rows[list(DATASET_LEARN.names)], run.provenance(key, versions, status)
