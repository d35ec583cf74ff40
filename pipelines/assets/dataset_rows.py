"""`dataset_infer` and `dataset_learn` of a dataset: normalised features and the rows to learn from.

Learning and serving see the same rows: `dataset_infer` holds every bar, `dataset_learn` only adds
a processed label to the rows of members with a known label. If the fit window of the processors
moves, the datasets of a session are made with its own state and are there to be looked at: models
normalise their whole windows with the state of their bundle (`training/learning_data.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow as pa

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
from pipelines.warehouse.arrow_rows import Rows, rows_by_day
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
        # `told` carries the figures of each session from the generator to its record.
        told: dict[str, dict[str, object]] = {}
        parts = infer_partitions(run, dataset, told)
        for key, info in market.warehouse.write_each(table, table.name, parts):
            run.done(key, info, **told.pop(key))

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


def infer_partitions(
    run: Run, dataset: Dataset, told: dict[str, dict[str, object]]
) -> Iterator[tuple[str, pa.Table, Provenance]]:
    """Normalise the sessions of a run, a chunk of them when its first is asked for.

    Args:
        run: the run.
        dataset: the dataset.
        told: receives the figures of each session.
    """
    market, table = run.market, run.stage.tables[0]
    features = [name for name in table.names if name in dataset.columns]
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
        by_session, shown = rows_by_day(table, parts.frame, "date", keys), state.hash[:16]
        del parts
        for key in keys:
            # Processors may drop every row of a session: its partition is empty and says so.
            rows = by_session.pop(key)
            status = "ok" if len(rows) else "the infer processors left no row"
            told[key] = {"nan_share": _nan_share(rows, features), "processors": shown}
            yield key, rows, run.provenance(key, versions, status)
            del rows  # a slice, which holds all rows of the chunk


def _nan_share(rows: pa.Table, names: Sequence[str]) -> float:
    """Compute the share of missing values of some columns."""
    missing = sum(rows.column(name).null_count for name in names)
    return missing / (len(rows) * len(names)) if len(rows) and names else 0.0


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
    table = run.stage.tables[0]
    parts = learning_partitions(run, dataset)
    for key, info in run.market.warehouse.write_each(table, table.name, parts):
        run.done(key, info, decision_date=dataset.decision_of(key) or "none")


def learning_partitions(run: Run, dataset: Dataset) -> Iterator[tuple[str, Rows, Provenance]]:
    """Join and process the labels of the sessions of a run, a chunk of them at a time."""
    market, table = run.market, run.stage.tables[0]
    for keys, state, version in _by_state(run, dataset):
        if state is None:
            write_warm_up(run, dataset.plan, keys)
            continue
        labels = market.warehouse.read(dataset.label, keys, needed_by=table.name)
        versions: dict[str, Mapping[str, Version]] = {
            dataset.label: labels.digests,
            dataset.features_read: {},
            dataset.processors: version,
        }
        decisions = {key: dataset.decision_of(key) for key in keys}
        decision_keys = [d for d in decisions.values() if d is not None]
        # The first decisions lie before the market's start: their sessions have no row and say so.
        by_session: dict[str, pa.Table] = {}
        if decision_keys:
            columns = ["instrument", "member"]
            features = features_for(market, dataset, decision_keys, state, table.name, columns)
            extra = read_columns(market, dataset.learn_columns, decision_keys, table.name)
            versions |= {dataset.features_read: features.digests, **versions_of(features, extra)}
            fields = None if extra is None else extra.frame
            rows = learning_rows(labels.frame, features.frame, state, fields)
            by_session = rows_by_day(table, rows, "matured", keys)
        yield from _checked_rows(run, dataset, by_session, versions, decisions)


def _checked_rows(
    run: Run,
    dataset: Dataset,
    by_session: Mapping[str, pa.Table],
    versions: Mapping[str, Mapping[str, Version]],
    decisions: Mapping[str, str | None],
) -> Iterator[tuple[str, Rows, Provenance]]:
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
    min_names, none = run.market.config.checks.dataset.min_names, DATASET_LEARN.empty()
    for key, decision in decisions.items():
        rows, status = by_session.get(key, none), "ok"
        if decision is None:
            status = no_label_yet(dataset)
        else:
            run.check(key, cross_section(len(rows), min_names))
        yield key, rows, run.provenance(key, versions, status)
