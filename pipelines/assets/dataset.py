"""`processors`, `dataset_infer`, `dataset_learn`: normalised features and the rows to learn from.

Learning and serving see the same rows: `dataset_infer` holds every bar, `dataset_learn` only adds
a processed label to the rows of members with a known label. Processors are fitted on members'
rows inside the fit window; a label enters a fit only if it had matured by its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.assets.checks import cross_section
from pipelines.assets.column_lineage import infer_lineage, learn_lineage
from pipelines.assets.features import no_label_yet
from pipelines.assets.partitions import chunks
from pipelines.config.processors import build_chain, input_columns
from pipelines.errors import ProcessorStateError
from pipelines.market.input_versions import (
    PROCESSORS,
    dataset_infer_inputs,
    dataset_learn_inputs,
    processors_inputs,
)
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import WHOLE, Check, Kind, Run, Stage, Version
from pipelines.training.processors import (
    STATE_FILE,
    ProcessorState,
    from_qlib,
    load_state,
    processors_settings,
    save_state,
    stored_state,
    to_qlib,
)
from pipelines.training.windows import require_processors
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import PartitionInfo, Provenance
from pipelines.warehouse.schemas import DATASET_LEARN, feature_table

CODE_VERSION = "1"


def processors_stage(market: Market) -> Stage:
    """The stage `processors`: fitted by command, never by the daily run."""
    dataset = market.config.dataset
    return Stage(
        name=PROCESSORS,
        kind=Kind.FITTED,
        group="dataset",
        deps=("alpha158", "label"),
        code_version=CODE_VERSION,
        config=processors_settings(market),
        inputs=lambda key, versions: processors_inputs(market, versions),
        make=fit_processors,
        recorded=recorded_state,
        description=(
            f"State of every processor, fitted on members' rows from {dataset.fit_start} to "
            f"{dataset.fit_end}, and its hash. Refitted by the job `refit` only: partitions "
            f"normalised with another state are refused downstream."
        ),
        kinds=("python", "json"),
    )


def fit_processors(run: Run) -> None:
    """Fit the processors and put their state in place.

    Raises:
        MissingSessionsError: a session of the fit window is not in the warehouse.
    """
    market = run.market
    state = fit_state(run)
    save_state(market, state)
    run.log.info(f"processors fitted, hash {state.hash[:12]}")
    first, last = market.fit_sessions[0], market.fit_sessions[-1]
    run.publish(
        state.hash,
        hash=state.hash,
        fit_window=f"{first} … {last}",
        state=dg.MetadataValue.md(_state_table(state)),
        path=market.warehouse.store.path(STATE_FILE),
    )


def recorded_state(market: Market) -> PartitionInfo | None:
    """The provenance of the fitted state; None if the processors were never fitted.

    Raises:
        DamagedFileError: the file is damaged.
    """
    try:
        state = stored_state(market)
    except ProcessorStateError as error:
        damaged = DamagedFileError(str(error))
        damaged.brief = getattr(error.__cause__, "brief", "")
        raise damaged from error
    if state is None:
        return None
    provenance = Provenance(PROCESSORS, CODE_VERSION, state.config, state.inputs)
    return PartitionInfo(0, state.hash, provenance, state.identity)


def fit_state(run: Run) -> ProcessorState:
    """Fit both chains on the fit window.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
    """
    market, warehouse = run.market, run.market.warehouse
    dataset = market.config.dataset
    keys = market.fit_sessions
    infer = build_chain(dataset.infer_processors, dataset, group="feature")
    names = input_columns(infer, list(market.feature_formulas))
    features = warehouse.read(
        "alpha158", keys, needed_by="processors", columns=["instrument", "member", *names]
    )
    members = features.frame[features.frame["member"]]
    infer.fit(to_qlib(members, "feature", names))

    labels = warehouse.read("label", keys, needed_by="processors")
    rows = labels.frame.drop(columns="date").rename(
        columns={"decision_date": "date", "label": LABEL_NAME}
    )
    rows["date"] = pd.to_datetime(rows["date"])
    rows = rows[rows["date"] >= pd.Timestamp(keys[0])]
    rows = rows.merge(members[["date", "instrument"]], on=["date", "instrument"])
    learn = build_chain(dataset.learn_processors, dataset, group="label")
    learn.fit(to_qlib(rows, "label", [LABEL_NAME]))
    versions = {"alpha158": features.digests, "label": labels.digests}
    provenance = run.provenance(WHOLE, versions)
    return ProcessorState(infer, learn, provenance.config, dict(provenance.inputs))


def _state_table(state: ProcessorState) -> str:
    """The chains as a table for the UI."""
    lines = ["| list | processor | arguments |", "|---|---|---|"]
    for name, chain in (("infer", state.infer), ("learn", state.learn)):
        lines += [f"| {name} | {type(p).__name__} | `{p.kwargs()}` |" for p in chain]
    return "\n".join(lines)


def dataset_infer_stage(market: Market) -> Stage:
    """The stage `dataset_infer`."""
    formulas = {n: market.feature_formulas[n] for n in market.dataset_columns}
    table = feature_table(
        "dataset_infer", "Features after the infer processors, every bar.", formulas
    )

    def make(run: Run) -> None:
        state = load_state(market)
        names = input_columns(state.infer, list(market.feature_formulas))
        columns = ["instrument", "member", *names]
        # A chunk at a time, so that memory does not grow with the range.
        for keys in chunks(run.keys):
            parts = market.warehouse.read(
                "alpha158", keys, needed_by=run.stage.name, columns=columns
            )
            versions = {"alpha158": parts.digests, PROCESSORS: {WHOLE: state.hash}}
            processed = from_qlib(state.infer.transform(to_qlib(parts.frame, "feature", names)))
            processed["member"] = _aligned(processed, parts.frame)
            # Processors may drop every row of a session: its partition is empty and says so.
            by_session = {f"{key:%Y-%m-%d}": rows for key, rows in processed.groupby("date")}
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

    dataset = market.config.dataset
    return Stage(
        name="dataset_infer",
        kind=Kind.DATA,
        group="dataset",
        tables=(table,),
        deps=("alpha158", PROCESSORS),
        code_version=CODE_VERSION,
        inputs=dataset_infer_inputs,
        make=make,
        config={"infer": [p.model_dump(mode="json") for p in dataset.infer_processors]},
        description=(
            "Features of this session after the infer processors ("
            + ", ".join(p.name for p in dataset.infer_processors)
            + "), every bar: what models are served."
        ),
        lineage=infer_lineage(market),
    )


def _nan_share(values: pd.DataFrame) -> float:
    """Share of missing values of a numeric block."""
    array = values.to_numpy(dtype="float32")
    return float(np.isnan(array).mean()) if array.size else 0.0


def _aligned(processed: pd.DataFrame, source: pd.DataFrame) -> Any:
    """`member` of the processed rows, of which processors may have dropped some."""
    keys = ["date", "instrument"]
    return (
        processed[keys]
        .merge(source[[*keys, "member"]], on=keys, how="left")["member"]
        .to_numpy(dtype=bool)
    )


def dataset_learn_stage(market: Market) -> Stage:
    """The stage `dataset_learn`."""
    dataset, checks = market.config.dataset, market.config.checks.dataset
    return Stage(
        name="dataset_learn",
        kind=Kind.DATA,
        group="dataset",
        tables=(DATASET_LEARN,),
        deps=("dataset_infer", "label", PROCESSORS),
        code_version=CODE_VERSION,
        inputs=lambda key, versions: dataset_learn_inputs(market, key, versions),
        make=write_learning_rows,
        config={"learn": [p.model_dump(mode="json") for p in dataset.learn_processors]},
        description=(
            f"{DATASET_LEARN.description} The decision was taken {market.label_lag} sessions "
            f"before; absent labels are never filled. Learn processors: "
            + ", ".join(p.name for p in dataset.learn_processors)
            + "."
        ),
        lineage=learn_lineage(),
        checks=(
            Check(
                "cross_section",
                checks.cross_section,
                f"At least {checks.min_names} labels matured: ranks across names need several.",
            ),
        ),
    )


def write_learning_rows(run: Run) -> None:
    """Join matured labels with members' rows of the decision session, and process the labels."""
    market, warehouse = run.market, run.market.warehouse
    state = load_state(market)
    for keys in chunks(run.keys):
        labels = warehouse.read("label", keys, needed_by=run.stage.name)
        versions: dict[str, Mapping[str, Version]] = {
            "label": labels.digests,
            "dataset_infer": {},
            PROCESSORS: {WHOLE: state.hash},
        }
        decisions = {key: market.decision_of(key) for key in keys}
        decision_keys = [d for d in decisions.values() if d is not None]
        by_session: dict[str, pd.DataFrame] = {}
        # The first decisions lie before the market's start: their sessions have no row and say so.
        if decision_keys:
            infer = warehouse.read(
                "dataset_infer",
                decision_keys,
                needed_by=run.stage.name,
                columns=["instrument", "member"],
            )
            versions["dataset_infer"] = infer.digests
            # Rows that another state normalised must not be learned from.
            require_processors(market, "dataset_infer", decision_keys, state.hash, run.stage.name)
            rows = _process(labels.frame, infer.frame, state)
            by_session = {f"{key:%Y-%m-%d}": part for key, part in rows.groupby("matured")}
        parts = _checked_rows(run, by_session, versions, decisions)
        for key, info in warehouse.write_each(DATASET_LEARN, DATASET_LEARN.name, parts):
            run.done(key, info, decision_date=decisions[key] or "none")


def _checked_rows(
    run: Run,
    by_session: Mapping[str, pd.DataFrame],
    versions: Mapping[str, Mapping[str, Version]],
    decisions: Mapping[str, str | None],
) -> Iterator[tuple[str, pd.DataFrame, Provenance]]:
    """The partitions of some sessions; each is checked before it is yielded and written.

    Args:
        run: the run.
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
            status = no_label_yet(run.market)
        else:
            run.check(key, cross_section(len(rows), min_names))
        yield key, rows[list(DATASET_LEARN.names)], run.provenance(key, versions, status)


def _process(labels: pd.DataFrame, infer: pd.DataFrame, state: ProcessorState) -> pd.DataFrame:
    """Rows with matured (session), decision_date, instrument, label, raw_label."""
    raw = labels.rename(columns={"date": "matured", "label": "raw_label"})
    raw["date"] = raw["decision_date"].astype("datetime64[ns]")
    members = infer.loc[infer["member"], ["date", "instrument"]]
    rows = raw.merge(members, on=["date", "instrument"])
    rows[LABEL_NAME] = rows["raw_label"]
    processed = from_qlib(state.learn.transform(to_qlib(rows, "label", [LABEL_NAME])))
    return rows.drop(columns=LABEL_NAME).merge(
        processed.rename(columns={LABEL_NAME: "label"}), on=["date", "instrument"]
    )
