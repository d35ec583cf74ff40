"""`processors`, `dataset_infer`, `dataset_learn`: normalised features and the rows to learn from.

Learning and serving see the same rows: `dataset_infer` holds every bar, `dataset_learn` only adds
a processed label to the rows of members with a known label. Processors are fitted on members'
rows inside the fit window; a label enters a fit only if it had matured by its end.

A fixed fit window has one state, a file beside the tables that is made again by command. A moving
one has a partition a session, the state in force: fitted at the anchors of the fit plan, copied
between them. The datasets of a session are then made with its own state, and are there to be
looked at: models normalise their whole windows with the state of their bundle
(`training/windows.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.assets.checks import cross_section, drift
from pipelines.assets.column_lineage import infer_lineage, learn_lineage
from pipelines.assets.features import no_label_yet
from pipelines.assets.partitions import chunks
from pipelines.config.processors import build_chain, input_columns
from pipelines.errors import ProcessorStateError
from pipelines.market.input_versions import (
    PROCESSORS,
    dataset_infer_inputs,
    dataset_learn_inputs,
    features_read,
    processors_inputs,
)
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import WHOLE, Check, Kind, Run, Stage, Version
from pipelines.training.processors import (
    STATE_FILE,
    ProcessorState,
    load_state,
    processors_settings,
    save_state,
    state_in_force,
    stored_state,
    to_qlib,
)
from pipelines.training.windows import features_for, learning_rows, normalised
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import PartitionInfo, Provenance
from pipelines.warehouse.schemas import DATASET_LEARN, PROCESSOR_STATE, feature_table
from rnn_core.data.processors.fitted import CLIP, FittedNorm

CODE_VERSION = "1"


def processors_stage(market: Market) -> Stage:
    """The stage `processors`: by session if the fit window moves, else fitted by command only."""
    dataset, plan, checks = market.config.dataset, market.fit_plan, market.config.checks.dataset
    stage = Stage(
        name=PROCESSORS,
        kind=Kind.FITTED,
        group="dataset",
        deps=("alpha158", "label"),
        code_version=CODE_VERSION,
        config=processors_settings(market),
        inputs=lambda key, versions: processors_inputs(market, key, versions),
        make=fit_processors,
        recorded=recorded_state,
        description=(
            f"State of every processor, fitted on members' rows from {dataset.fit_start} to "
            f"{dataset.fit_end}, and its hash. Refitted by the job `refit` only: partitions "
            f"normalised with another state are refused downstream."
        ),
        kinds=("python", "json"),
    )
    if plan is None or dataset.fit is None:
        return stage
    window = dataset.fit.window_sessions
    return replace(
        stage,
        tables=(PROCESSOR_STATE,),
        first=plan.first_trained,
        recorded=None,
        make=roll_processors,
        description=(
            f"{PROCESSOR_STATE.description} Fitted every {plan.retrain_every} sessions from "
            f"{plan.first_trained} on, on members' rows of "
            f"{f'the newest {window} sessions' if window else 'all sessions so far'}."
        ),
        kinds=("python", "parquet"),
        checks=(
            Check(
                "drift",
                checks.drift,
                f"No column's centre moved by more than {checks.max_drift:g} of its scale since "
                f"the fit before.",
            ),
        ),
    )


def roll_processors(run: Run) -> None:
    """Fit the processors at the anchors of a run; the sessions between have the state before.

    Raises:
        MissingSessionsError: a session of a fit window, or the state of an anchor before the run,
            is not in the warehouse.
    """
    market, plan = run.market, run.market.fit_plan
    assert plan is not None  # noqa: S101 - the stage has partitions only then
    for key in run.keys:
        anchor, shown = plan.anchor(key), {}
        if anchor is None:
            _write_warm_up(run, (key,))
            continue
        if anchor == key:
            state, fit, provenance = fit_state(run, key)
            shown = _fit_figures(run, key, state, fit)
            row = pd.DataFrame(
                {
                    "as_of": [pd.Timestamp(key).date()],
                    "fit_start": [pd.Timestamp(market.fit_sessions(key)[0]).date()],
                    "fit_end": [pd.Timestamp(key).date()],
                    "hash": [state.hash],
                    "state": [state.to_json()],
                }
            )
        else:
            before = market.warehouse.read(
                PROCESSOR_STATE.name, [anchor], needed_by=f"{PROCESSORS} of {key}"
            )
            row = before.frame[list(PROCESSOR_STATE.names)]
            provenance = run.provenance(key, {PROCESSORS: before.digests})
        info = market.warehouse.write(PROCESSOR_STATE, PROCESSOR_STATE.name, key, row, provenance)
        facts = row.iloc[0]
        window = f"{facts['fit_start']:%Y-%m-%d} … {facts['fit_end']:%Y-%m-%d}"
        run.done(key, info, hash=facts["hash"][:16], fit_window=window, **shown)


def _fit_figures(
    run: Run, key: str, state: ProcessorState, raw: pd.DataFrame
) -> dict[str, dg.MetadataValue]:
    """Figures of every normalised column, and its shift since the fit before, checked."""
    market, plan = run.market, run.market.fit_plan
    norm = _first_norm(state)
    if norm is None:
        return {}
    before = None
    anchor = None if plan is None else market.sessions.back(key, plan.retrain_every)
    if anchor is not None and market.warehouse.info(PROCESSOR_STATE.name, anchor) is not None:
        before = _first_norm(state_in_force(market, anchor, PROCESSORS))
    table = figures_of_fit(norm, raw, before)
    if before is not None:
        shifts = {str(name): float(shift) for name, shift in table["shift"].dropna().items()}
        run.check(key, drift(shifts, market.config.checks.dataset.max_drift))
    # As texts: a number that is missing has no JSON, and six digits fit the page.
    shown = table.map(lambda value: "–" if np.isnan(value) else f"{value:.6g}").reset_index()
    records = [
        dg.TableRecord({str(k): str(v) for k, v in row.items()}) for row in shown.to_dict("records")
    ]
    return {"columns": dg.MetadataValue.table(records)}


def _first_norm(state: ProcessorState) -> FittedNorm | None:
    """The first processor of the features that has a centre and a scale a column."""
    return next((p for p in state.infer if isinstance(p, FittedNorm)), None)


def figures_of_fit(norm: FittedNorm, raw: pd.DataFrame, before: FittedNorm | None) -> pd.DataFrame:
    """The figures of every column of a fit.

    Args:
        norm: the fitted processor.
        raw: rows of the fit window, columns by name, before any processor.
        before: the processor of the fit before, if there is one.

    Returns:
        Indexed by column: centre and scale, the shares of raw values beyond 3 scales and missing,
        and the shift of the centre since the fit before in its scale (NaN without one).
    """
    names = [name for _, name in norm.columns or []]
    table = pd.DataFrame({"centre": norm.centre, "scale": norm.scale}, index=names, dtype="float64")
    values = raw[names].to_numpy(dtype="float64")  # [R, G]
    with np.errstate(invalid="ignore"):
        beyond = np.abs(values - table["centre"].to_numpy()) > CLIP * table["scale"].to_numpy()
    table["beyond_3_scales"] = beyond.mean(axis=0)
    table["missing"] = np.isnan(values).mean(axis=0)
    table["shift"] = np.nan
    if before is not None:
        old = pd.DataFrame(
            {"centre": before.centre, "scale": before.scale},
            index=[name for _, name in before.columns or []],
            dtype="float64",
        ).reindex(names)
        scale = old["scale"].where(old["scale"] > 0)
        table["shift"] = (table["centre"] - old["centre"]).abs() / scale
    return table.rename_axis("column")


def fit_processors(run: Run) -> None:
    """Fit the processors and put their state in place.

    Raises:
        MissingSessionsError: a session of the fit window is not in the warehouse.
    """
    market = run.market
    state, _, _ = fit_state(run)
    save_state(market, state)
    run.log.info(f"processors fitted, hash {state.hash[:12]}")
    first, last = market.fit_sessions()[0], market.fit_sessions()[-1]
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


def fit_state(
    run: Run, anchor: str | None = None
) -> tuple[ProcessorState, pd.DataFrame, Provenance]:
    """Fit both chains on a fit window.

    Args:
        run: the run of the stage `processors`.
        anchor: the last session of a moving window; None for the fixed one.

    Returns:
        The state, the members' raw features of the window, and the provenance of the fit.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
    """
    market, warehouse = run.market, run.market.warehouse
    dataset = market.config.dataset
    keys = market.fit_sessions(anchor)
    window = dataset.any_window if anchor is None else (keys[0], keys[-1])
    infer = build_chain(dataset.infer_processors, window, group="feature")
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
    learn = build_chain(dataset.learn_processors, window, group="label")
    learn.fit(to_qlib(rows, "label", [LABEL_NAME]))
    versions = {"alpha158": features.digests, "label": labels.digests}
    provenance = run.provenance(anchor or WHOLE, versions)
    state = ProcessorState(infer, learn, provenance.config, dict(provenance.inputs))
    return state, members, provenance


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
        for keys, state, version in _by_state(run):
            if state is None:
                _write_warm_up(run, keys)
                continue
            parts = normalised(market, keys, state, run.stage.name)
            versions = {"alpha158": parts.digests, PROCESSORS: version}
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

    dataset = market.config.dataset
    return Stage(
        name="dataset_infer",
        kind=Kind.DATA,
        group="dataset",
        tables=(table,),
        deps=("alpha158", PROCESSORS),
        first=None if market.fit_plan is None else market.fit_plan.first_trained,
        code_version=CODE_VERSION,
        inputs=lambda key, versions: dataset_infer_inputs(market, key, versions),
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


def _write_warm_up(run: Run, keys: Sequence[str]) -> None:
    """Write empty partitions of sessions before the first fit of a moving window."""
    plan, table = run.market.fit_plan, run.stage.tables[0]
    assert plan is not None  # noqa: S101 - a fixed window has a state at every session
    for key in keys:
        status = f"warm-up: the processors are first fitted at {plan.first_trained}"
        made = run.provenance(key, {}, status)
        run.done(key, run.market.warehouse.write(table, table.name, key, table.empty(), made))


def _by_state(
    run: Run,
) -> Iterator[tuple[tuple[str, ...], ProcessorState | None, Mapping[str, Version]]]:
    """The sessions of a run in chunks of one processor state, and the version of the state.

    Before the first fit of a moving window there is none. Chunks are small enough that memory does
    not grow with the range.
    """
    market, plan = run.market, run.market.fit_plan
    for chunk in chunks(run.keys):
        if plan is None:
            state = load_state(market)
            yield chunk, state, {WHOLE: state.hash}
            continue
        for anchor, keys in groupby(chunk, key=plan.anchor):
            part = tuple(keys)
            if anchor is None:
                yield part, None, {}
                continue
            state = state_in_force(market, part[0], run.stage.name)
            yield (
                part,
                state,
                market.warehouse.digests(PROCESSORS, part, needed_by=run.stage.name),
            )


def dataset_learn_stage(market: Market) -> Stage:
    """The stage `dataset_learn`."""
    dataset, checks = market.config.dataset, market.config.checks.dataset
    return Stage(
        name="dataset_learn",
        kind=Kind.DATA,
        group="dataset",
        tables=(DATASET_LEARN,),
        deps=(features_read(market), "label", PROCESSORS),
        first=None if market.fit_plan is None else market.fit_plan.first_trained,
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
        lineage=learn_lineage(market),
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
    market, warehouse, name = run.market, run.market.warehouse, run.stage.name
    table = features_read(market)
    for keys, state, version in _by_state(run):
        if state is None:
            _write_warm_up(run, keys)
            continue
        labels = warehouse.read("label", keys, needed_by=name)
        versions: dict[str, Mapping[str, Version]] = {
            "label": labels.digests,
            table: {},
            PROCESSORS: version,
        }
        decisions = {key: market.decision_of(key) for key in keys}
        decision_keys = [d for d in decisions.values() if d is not None]
        by_session: dict[str, pd.DataFrame] = {}
        # The first decisions lie before the market's start: their sessions have no row and say so.
        if decision_keys:
            features = features_for(market, decision_keys, state, name)
            versions[table] = features.digests
            rows = learning_rows(labels.frame, features.frame, state)
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
