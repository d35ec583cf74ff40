"""One factory for every model: `{name}_prediction`, scores of a session by the model in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from pipelines.assets.checks import look_ahead, score_coverage, score_spread
from pipelines.assets.column_lineage import prediction_lineage
from pipelines.config.models import ModelSpec, engine_of
from pipelines.errors import ProcessorStateError
from pipelines.market.chunks import FRAME_ROWS_AT_ONCE, chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import bars_read, stored_versions, versions_of
from pipelines.market.input_versions import prediction_inputs, serving_window
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage, Version
from pipelines.training.learning_data import features_for
from pipelines.training.processors import ProcessorState, load_state
from pipelines.training.registry import bundle_folder, require_bundle
from pipelines.training.windows import Windows, serving_windows
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import PREDICTION
from pipelines.warehouse.warehouse import is_durable

CODE_VERSION = "2"
_ENDS = 5  # names of the highest and the lowest scores that the UI shows


def prediction_stage(market: Market, spec: ModelSpec) -> Stage:
    """The stage `{name}_prediction`."""
    checks, dataset = market.config.checks.predictions, market.dataset_of(spec.name)
    name = f"{spec.name}_prediction"
    return Stage(
        name=name,
        kind=Kind.PREDICTION,
        model=spec.name,
        dataset=dataset.name,
        tables=(PREDICTION.named(name),),
        deps=(
            f"{spec.name}_model",
            dataset.features_read,
            *(() if dataset.fit_plan is None else bars_read(dataset.infer_columns)),
        ),
        first=market.plan.first_trained,
        inputs=lambda key, versions: prediction_inputs(dataset, spec.name, key, versions),
        make=lambda run: make_predictions(run, spec),
        code_version=CODE_VERSION,
        config={"step_len": dataset.config.step_len},
        description=(
            f"{PREDICTION.description} Windows of {dataset.config.step_len} steps that "
            f"end at this session, scored by the {spec.name} model in force."
        ),
        kinds=("python", engine_of(spec), "parquet"),
        lineage=prediction_lineage(dataset, spec.name),
        checks=(
            Check(
                "coverage",
                checks.coverage,
                f"At least {checks.min_coverage:.0%} of the members with a bar have a score.",
            ),
            Check("varied", checks.varied, "The scores of several names differ."),
            Check(
                "look_ahead",
                checks.look_ahead,
                "The newest label that the model learned from had matured by this session.",
            ),
        ),
    )


def make_predictions(run: Run, spec: ModelSpec) -> None:
    """Score the members of every session of a run."""
    warehouse, table = run.market.warehouse, run.market.dataset_of(spec.name).features_read
    for keys in chunks_of_rows(warehouse, table, run.keys, FRAME_ROWS_AT_ONCE):
        _score(run, spec, keys)


def _score(run: Run, spec: ModelSpec, keys: tuple[str, ...]) -> None:
    """Score a chunk of sessions; a session without a model in force gets an empty partition."""
    market, warehouse, name = run.market, run.market.warehouse, run.stage.name
    table, dataset = f"{spec.name}_model", market.dataset_of(spec.name)
    warm_up = [key for key in keys if key < market.plan.first_trained]
    due_keys = keys[len(warm_up) :]
    # Sessions before the first training have no model, and a pointer only where one was made.
    stored_keys = set(warehouse.sessions(table)) if warm_up else set()
    pointed_keys = [key for key in warm_up if key in stored_keys]
    made = warehouse.digests(table, pointed_keys, needed_by=name)
    for key in warm_up:
        status = f"warm-up: the first trained session is {market.plan.first_trained}"
        _write(run, key, PREDICTION.empty(), run.provenance(key, {table: made}, status))
    if not due_keys:
        return
    models = warehouse.read(table, due_keys, needed_by=name)
    pointers = {f"{row.date:%Y-%m-%d}": row for row in models.frame.itertuples()}
    scored_keys = [key for key in due_keys if key in pointers]
    digests = dict[str, Version]()
    versions: dict[str, Mapping[str, Version]] = {
        table: models.digests,
        dataset.features_read: digests,
    }
    for key in due_keys:
        if key not in pointers:
            window = serving_window(dataset, key)
            digests |= warehouse.digests(dataset.features_read, window, needed_by=name)
            if dataset.fit_plan is not None:
                columns = stored_versions(market, dataset.infer_columns, window, name)
                versions = {**versions, **columns}
            status = "no model in force has passed its checks"
            _write(run, key, PREDICTION.empty(), run.provenance(key, versions, status))
    if not scored_keys:
        return
    members = _members(market, dataset, scored_keys)
    gaps = spec.estimator is not None and spec.estimator.missing_values
    as_of = {key: f"{pointers[key].as_of:%Y-%m-%d}" for key in scored_keys}
    # One read covers the windows of the sessions that one state normalises: with a fixed fit window
    # all of them, with a moving one those of a model.
    for _, part in groupby(scored_keys, lambda key: dataset.fit_plan and as_of[key]):
        part_keys = tuple(part)
        state = _state_of(market, dataset, spec, as_of[part_keys[0]], f"{name} of {part_keys[0]}")
        span = market.sessions.between(serving_window(dataset, part_keys[0])[0], part_keys[-1])
        features = features_for(market, dataset, span, state, name)
        digests |= features.digests
        versions = {**versions, **versions_of(features)}
        sampler = serving_windows(dataset, features, part_keys, missing_values=gaps)
        # A bundle that serves is history from now on; one that never does is trained again.
        for serving in {as_of[key] for key in part_keys if is_durable(PREDICTION, key)}:
            bundle_folder(market, spec.name, serving).settle()
        for key in part_keys:
            # A session at a time: those before one that a blocking check stops are written.
            fingerprint = str(pointers[key].fingerprint)
            frame = _session_scores(run, spec, sampler, key, as_of[key], fingerprint, state.hash)
            scores = frame["score"].to_numpy()
            least = market.config.checks.predictions.min_coverage
            run.check(
                key,
                score_coverage(len(scores), members[key], least),
                score_spread(float(np.ptp(scores)) if len(scores) else 0.0, len(scores)),
            )
            _write(
                run,
                key,
                frame,
                run.provenance(key, versions),
                as_of=as_of[key],
                score_mean=float(np.mean(scores)) if len(scores) else 0.0,
                score_std=float(np.std(scores)) if len(scores) else 0.0,
                **ends(frame),
            )


def _state_of(
    market: Market, dataset: Dataset, spec: ModelSpec, as_of: str, needed_by: str
) -> ProcessorState:
    """The state that a model is served with: its own, or the fixed one, which must be the same."""
    if dataset.fit_plan is None:
        return load_state(market, dataset)
    bundle = require_bundle(market, spec.name, as_of, needed_by)
    return ProcessorState.from_json(bundle.processors_json)


def _write(
    run: Run, key: str, frame: pd.DataFrame, provenance: Provenance, **metadata: Any
) -> None:
    """Write the scores of one session."""
    table = run.stage.tables[0]
    info = run.market.warehouse.write(table, table.name, key, frame, provenance)
    run.done(key, info, **metadata)


def ends(scores: pd.DataFrame) -> dict[str, str]:
    """Name the highest and the lowest scores of a session, the extreme ones first.

    Args:
        scores: rows with instrument and score.

    Returns:
        `highest` and `lowest`; of a few names, which would stand in both, all under `highest`.
    """
    ranked = scores.sort_values(["score", "instrument"], ascending=[False, True])
    named = [f"{r.instrument} {r.score:+.4f}" for r in ranked.itertuples()]
    if len(named) < 2 * _ENDS:
        return {"highest": ", ".join(named)} if named else {}
    return {"highest": ", ".join(named[:_ENDS]), "lowest": ", ".join(named[: -_ENDS - 1 : -1])}


def _members(market: Market, dataset: Dataset, keys: Sequence[str]) -> dict[str, int]:
    """Count members with a bar by session, those that infer processors drop included."""
    rows = market.warehouse.read(
        dataset.features, keys, needed_by="predictions (their coverage)", columns=["member"]
    ).frame
    counts = rows[rows["member"]]["date"].value_counts()
    return {key: int(counts.get(pd.Timestamp(key), 0)) for key in keys}


def _session_scores(
    run: Run,
    spec: ModelSpec,
    sampler: Windows,
    key: str,
    as_of: str,
    fingerprint: str,
    state: str,
) -> pd.DataFrame:
    """Score one session on its own rows alone, so that no score depends on another session."""
    from rnn_core.training import score_members

    market = run.market
    bundle = require_bundle(market, spec.name, as_of, f"{run.stage.name} of {key}")
    # The pointer names one bundle, trained on features of one processor state: accept no other.
    if bundle.fingerprint != fingerprint:
        raise ProcessorStateError(
            f"{run.stage.name} of {key}: the {spec.name} bundle of {as_of} was trained again since "
            f"{spec.name}_model of {key} was made; materialize {spec.name}_model of {key} again"
        )
    if bundle.manifest["processors"] != state:
        raise ProcessorStateError(
            f"{run.stage.name} of {key}: the {spec.name} model of {as_of} was trained on features "
            f"of the processor state {bundle.manifest['processors'][:12]}, and {state[:12]} is in "
            f"force; materialize {spec.name}_model of {as_of} again"
        )
    day = pd.Timestamp(key)
    windows = sampler.between(day, day)
    # The newest validation decision has the newest label that the model learned from.
    newest_label = market.sessions.keys[
        market.sessions.position(bundle.manifest["valid"][1])
        + market.dataset_of(spec.name).label_lag
    ]
    run.check(key, look_ahead(key, as_of, newest_label))
    device = market.config.training.device
    seed_scores = score_members(bundle.members, windows, device=device)  # [K, N]
    return pd.DataFrame(
        {
            "instrument": windows.get_index().get_level_values("instrument"),
            "score": seed_scores.mean(axis=0, dtype=np.float64).astype(np.float32),
            "seed_scores": list(seed_scores.T) if len(seed_scores) > 1 else None,
            "as_of": pd.Timestamp(as_of).date(),
            "fingerprint": fingerprint,
        }
    )
