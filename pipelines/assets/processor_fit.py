"""`processors`: the fitted state that normalises features and labels.

Processors are fitted on members' rows inside the fit window; a label enters a fit only if it had
matured by its end. A fixed window has one state, a file beside the tables that is made again by
command. A moving one has a partition a session, the state in force: fitted at the anchors of the
fit plan, copied between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pipelines.assets.checks import drift
from pipelines.assets.pictures import markdown, table_metadata
from pipelines.calendar.training_plan import TrainingPlan
from pipelines.config.processors import build_chain, input_columns
from pipelines.errors import PipelineError, ProcessorStateError
from pipelines.market.chunks import PART_ROWS_AT_ONCE, chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import bars_read, read_columns, versions_of
from pipelines.market.input_versions import processors_inputs
from pipelines.market.market import LABEL_NAME, Market
from pipelines.market.stage import WHOLE, Check, Kind, Run, Stage
from pipelines.training.processors import (
    ProcessorState,
    processors_settings,
    save_state,
    state_file,
    states_in_force,
    stored_state,
    to_qlib,
    with_fields,
)
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import PartitionInfo, Provenance
from pipelines.warehouse.schemas import PROCESSOR_STATE
from rnn_core.data import ProcessorChain, RowStack
from rnn_core.data.processors.chain import learns
from rnn_core.data.processors.fitted import CLIP, FittedNorm

CODE_VERSION = "1"


def processors_stage(market: Market, dataset: Dataset) -> Stage:
    """The stage `processors`: by session if the fit window moves, else fitted by command only."""
    config, plan, checks = dataset.config, dataset.fit_plan, market.config.checks.dataset
    chain = build_chain(config.infer_processors, config.any_window, group="feature")
    stage = Stage(
        name=dataset.processors,
        kind=Kind.FITTED,
        dataset=dataset.name,
        group="dataset",
        deps=(*bars_read(dataset.processor_columns), dataset.features, dataset.label),
        code_version=CODE_VERSION,
        config=processors_settings(dataset),
        inputs=lambda key, versions: processors_inputs(dataset, key, versions),
        make=lambda run: fit_processors(run, dataset),
        recorded=lambda market: recorded_state(market, dataset),
        description=(
            f"State of every processor, fitted on members' rows from {config.fit_start} to "
            f"{config.fit_end}, and its hash. Refitted by the job `refit` only: partitions "
            f"normalised with another state are refused downstream."
        ),
        kinds=("python", "json"),
    )
    if plan is None or config.fit is None:
        return stage
    window = config.fit.window_sessions
    return replace(
        stage,
        tables=(PROCESSOR_STATE.named(dataset.processors),),
        first=plan.first_trained,
        recorded=None,
        make=lambda run: roll_processors(run, dataset, plan),
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
        )
        if _first_norm(chain) is not None
        else (),
    )


def roll_processors(run: Run, dataset: Dataset, plan: TrainingPlan) -> None:
    """Fit the processors at the anchors of a run; the sessions between have the state before.

    Raises:
        MissingSessionsError: a session of a fit window, or the state of an anchor before the run,
            is not in the warehouse.
    """
    warehouse, table = run.market.warehouse, run.stage.tables[0]
    for key in run.keys:
        anchor, shown = plan.anchor(key), {}
        if anchor is None:
            write_warm_up(run, plan, (key,))
            continue
        if anchor == key:
            state, fit, provenance = fit_state(run, dataset, key)
            shown = _fit_figures(run, dataset, key, state, fit)
            row = pd.DataFrame(
                {
                    "as_of": [pd.Timestamp(key).date()],
                    "fit_start": [pd.Timestamp(dataset.fit_sessions(key)[0]).date()],
                    "fit_end": [pd.Timestamp(key).date()],
                    "hash": [state.hash],
                    "state": [state.to_json()],
                }
            )
        else:
            before = warehouse.read(table.name, [anchor], needed_by=f"{table.name} of {key}")
            row = before.frame[list(table.names)]
            provenance = run.provenance(key, {table.name: before.digests})
        info = warehouse.write(table, table.name, key, row, provenance)
        facts = row.iloc[0]
        window = f"{facts['fit_start']:%Y-%m-%d} … {facts['fit_end']:%Y-%m-%d}"
        run.done(key, info, hash=facts["hash"][:16], fit_window=window, **shown)


def _fit_figures(
    run: Run, dataset: Dataset, key: str, state: ProcessorState, raw: pd.DataFrame
) -> dict[str, Any]:
    """Figures of every normalised column, and its shift since the fit before, checked."""
    norm = _first_norm(state.infer)
    if norm is None:
        return {}
    steps = state.infer.processors[: state.infer.processors.index(norm)]
    before = _norm_before(run, dataset, key)
    table = figures_of_fit(norm, ProcessorChain(steps).transform(raw), before)
    if before is not None:
        shifts = {str(name): float(shift) for name, shift in table["shift"].dropna().items()}
        run.check(key, drift(shifts, run.market.config.checks.dataset.max_drift))
    # As texts: a number that is missing has no JSON, and six digits fit the page.
    shown = table.map(lambda value: "–" if np.isnan(value) else f"{value:.6g}").reset_index()
    records = [{str(k): str(v) for k, v in row.items()} for row in shown.to_dict("records")]
    return {"columns": table_metadata(records)}


def _norm_before(run: Run, dataset: Dataset, key: str) -> FittedNorm | None:
    """The processor in force at the session before a fit; None where there is none to be read."""
    before = dataset.sessions.back(key, 1)
    if before is None:
        return None
    try:
        states = states_in_force(run.market, dataset, (before,), run.stage.name)
    except PipelineError as error:
        run.log.info(f"{run.stage.name} of {key}: no state to compare with ({error})")
        return None
    state = states.by_session[before]
    return None if state is None else _first_norm(state.infer)


def _first_norm(chain: ProcessorChain) -> FittedNorm | None:
    """The first processor of the features that has a centre and a scale a column."""
    return next((p for p in chain if isinstance(p, FittedNorm)), None)


def figures_of_fit(norm: FittedNorm, raw: pd.DataFrame, before: FittedNorm | None) -> pd.DataFrame:
    """The figures of every column of a fit.

    Args:
        norm: the fitted processor.
        raw: rows of the fit window as they enter the processor, columns (group, name).
        before: the processor of the fit before, if there is one.

    Returns:
        Indexed by column: centre and scale, the shares of raw values beyond 3 scales and missing,
        and the shift of the centre since the fit before in its scale (NaN without one).
    """
    columns = list(norm.columns or [])
    names = [name for _, name in columns]
    table = pd.DataFrame({"centre": norm.centre, "scale": norm.scale}, index=names, dtype="float64")
    shares = []
    for column, centre, scale in zip(columns, table["centre"], table["scale"], strict=True):
        values = raw[column].to_numpy(dtype="float64")  # [R], a column at a time
        with np.errstate(invalid="ignore"):
            beyond = np.abs(values - centre) > CLIP * scale
        shares.append((beyond.mean(), np.isnan(values).mean()))
    table[["beyond_3_scales", "missing"]] = np.array(shares).reshape(-1, 2)
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


def fit_processors(run: Run, dataset: Dataset) -> None:
    """Fit the processors and put their state in place.

    Raises:
        MissingSessionsError: a session of the fit window is not in the warehouse.
    """
    market = run.market
    state, _, _ = fit_state(run, dataset)
    save_state(market, dataset, state)
    run.log.info(f"{dataset.processors} fitted, hash {state.hash[:12]}")
    keys = dataset.fit_sessions()
    run.publish(
        state.hash,
        hash=state.hash,
        fit_window=f"{keys[0]} … {keys[-1]}",
        state=markdown(_state_table(state)),
        path=market.warehouse.store.path(state_file(dataset)),
    )


def recorded_state(market: Market, dataset: Dataset) -> PartitionInfo | None:
    """The provenance of the fitted state; None if the processors were never fitted.

    Raises:
        DamagedFileError: the file is damaged.
    """
    try:
        state = stored_state(market, dataset)
    except ProcessorStateError as error:
        damaged = DamagedFileError(str(error))
        damaged.brief = getattr(error.__cause__, "brief", "")
        raise damaged from error
    if state is None:
        return None
    provenance = Provenance(dataset.processors, CODE_VERSION, state.config, state.inputs)
    return PartitionInfo(0, state.hash, provenance, state.identity)


def fit_state(
    run: Run, dataset: Dataset, anchor: str | None = None
) -> tuple[ProcessorState, pd.DataFrame, Provenance]:
    """Fit both chains on a fit window.

    Args:
        run: the run of the stage of the processors.
        dataset: the dataset.
        anchor: the last session of a moving window; None for the fixed one.

    Returns:
        The state, the members' raw features of the window as rows (datetime, instrument) and
        columns (group, name), and the provenance of the fit.

    Raises:
        MissingSessionsError: a session of the window is not in the warehouse.
    """
    warehouse, config, name = run.market.warehouse, dataset.config, run.stage.name
    keys = dataset.fit_sessions(anchor)
    window = config.any_window if anchor is None else (keys[0], keys[-1])
    infer = build_chain(config.infer_processors, window, group="feature")
    names = input_columns(infer, list(dataset.feature_formulas))
    members, digests = _members(run, dataset, keys, names)
    extra = read_columns(run.market, dataset.processor_columns, keys, name)
    fields = None if extra is None else extra.frame
    raw = with_fields(members.frame(), fields)
    infer.learn(raw)

    learn = build_chain(config.learn_processors, window, group="label")
    if any(map(learns, learn)):
        labels = warehouse.read(dataset.label, keys, needed_by=name)
        rows = labels.frame.drop(columns="date").rename(
            columns={"decision_date": "date", "label": LABEL_NAME}
        )
        rows["date"] = pd.to_datetime(rows["date"])
        rows = rows[rows["date"] >= pd.Timestamp(keys[0])]
        on = {"datetime": "date"}
        rows = rows.merge(raw.index.to_frame(index=False).rename(columns=on))
        learn.learn(to_qlib(rows, "label", [LABEL_NAME], fields))
    versions = {
        dataset.features: digests,
        dataset.label: warehouse.digests(dataset.label, keys, needed_by=name),
        **versions_of(extra),
    }
    provenance = run.provenance(anchor or WHOLE, versions)
    state = ProcessorState(infer, learn, provenance.config, dict(provenance.inputs))
    return state, raw, provenance


def _members(
    run: Run, dataset: Dataset, keys: Sequence[str], names: Sequence[str]
) -> tuple[RowStack, dict[str, str]]:
    """The raw features of members in some sessions, read in parts and held once, and the digests.

    Columns are (group, name).

    Raises:
        MissingSessionsError: a session is not in the warehouse.
    """
    warehouse, stack, digests = run.market.warehouse, RowStack(), dict[str, str]()
    if warehouse.store.is_local:  # an error names all that is absent, not only of a part
        warehouse.require(dataset.features, keys, run.stage.name)
    for part in chunks_of_rows(warehouse, dataset.features, keys, PART_ROWS_AT_ONCE):
        read = warehouse.read(
            dataset.features,
            part,
            needed_by=run.stage.name,
            columns=["instrument", "member", *names],
        )
        digests |= read.digests
        stack.add(to_qlib(read.frame[read.frame["member"]], "feature", names))
    return stack, digests


def _state_table(state: ProcessorState) -> str:
    """The chains as a table for the UI."""
    lines = ["| list | processor | arguments |", "|---|---|---|"]
    for name, chain in (("infer", state.infer), ("learn", state.learn)):
        lines += [f"| {name} | {type(p).__name__} | `{p.kwargs()}` |" for p in chain]
    return "\n".join(lines)


def write_warm_up(run: Run, plan: TrainingPlan, keys: Sequence[str]) -> None:
    """Write empty partitions of sessions before the first fit of a moving window."""
    table = run.stage.tables[0]
    for key in keys:
        status = f"warm-up: the processors are first fitted at {plan.first_trained}"
        made = run.provenance(key, {}, status)
        run.done(key, run.market.warehouse.write(table, table.name, key, table.empty(), made))
