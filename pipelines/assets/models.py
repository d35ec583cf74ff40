"""One factory for every model family: `{name}_model`, the model in force after each session.

A partition is a pointer to the bundle of its anchor session, or to the last good bundle if that one
failed a blocking check. The anchor's partition trains the bundle. A run trains the anchors inside
its range in order and keeps bundles whose fingerprints match, so an interrupted backfill goes on
from its last bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.assets.checks import in_force_finding, model_age
from pipelines.assets.pictures import inline_picture, table_metadata
from pipelines.assets.training_progress import TrainingProgress
from pipelines.assets.unit_executors import executor_of
from pipelines.config.models import ModelSpec, engine_of
from pipelines.config.types import Severity
from pipelines.errors import ModelNotTrainedError
from pipelines.market.extra_table import bars_read
from pipelines.market.input_versions import (
    bundle_in_force,
    bundles_passed_over,
    model_inputs,
    training_inputs,
)
from pipelines.market.market import Market
from pipelines.market.reads import read_words, reads_of
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.training.executor import Executor
from pipelines.training.processors import processors_hash
from pipelines.training.promotion import model_verdict
from pipelines.training.registry import (
    InForce,
    NoneInForce,
    bundle_name,
    histories_of,
    in_force,
    require_bundle,
)
from pipelines.training.tracking import Tracking
from pipelines.training.train import Trained, ensure_trained
from pipelines.training.training_config import CODE_VERSION, seeds_of, training_config
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import MODEL

if TYPE_CHECKING:
    from rnn_core.training import Bundle

GPU_POOL = "gpu"
MOST_FEATURES = 20  # of a table of importance


def model_stage(market: Market, spec: ModelSpec) -> Stage:
    """The stage `{name}_model`.

    A pin is no part of the configuration: the bundle in force is an input of every partition, so
    that a change of the pin touches only the sessions whose bundle changes.
    """
    training, plan = market.config.training, market.plan_of(spec.name)
    networks, dataset = len(seeds_of(market, spec)), market.dataset_of(spec.name)
    name = f"{spec.name}_model"
    return Stage(
        name=name,
        kind=Kind.MODEL,
        model=spec.name,
        dataset=dataset.name,
        tables=(MODEL.named(name),),
        deps=(
            dataset.features_read,
            dataset.labels_read,
            *(() if dataset.fit_plan is None else (dataset.processors,)),
            *(() if dataset.fit_plan is None else bars_read(dataset.processor_columns)),
        ),
        first=plan.first_trained,
        inputs=lambda key, versions: model_inputs(spec.name, key, versions),
        make=lambda run: make_models(run, spec),
        code_version=CODE_VERSION,
        config={
            **training_config(market, spec),
            "first_trained": plan.first_trained,
            "retrain_every": plan.retrain_every,
            "checks": market.config.checks.model.model_dump(mode="json"),
        },
        description=(
            f"{MODEL.description} {spec.family.upper()} retrained every {plan.retrain_every} "
            f"sessions from {plan.first_trained} on, on the rows matured in the last "
            f"{training.window_sessions} sessions, the newest {training.valid_sessions} decisions "
            f"held out for early stopping. Hyper-parameters: `{dict(spec.hyper)}`."
            + (f" The mean of {networks} seeds." if networks > 1 else "")
        ),
        kinds=("python", engine_of(spec)),
        pool=GPU_POOL if spec.estimator is None else None,
        metadata={"family": spec.family, "hyper_parameters": dict(spec.hyper)},
        checks=_checks(market),
    )


def _checks(market: Market) -> tuple[Check, ...]:
    checks = market.config.checks.model
    severities = {checks.beats_constant, checks.rank_ic, checks.varied}
    severity: Severity = "warn" if severities != {"off"} else "off"
    return (
        Check(
            "in_force",
            severity,
            f"On its validation rows the newest model beats a constant ({checks.beats_constant}), "
            f"its rank IC is above {checks.min_rank_ic:g} ({checks.rank_ic}) and its scores vary "
            f"({checks.varied}). One that fails what blocks is not put in force: the last good one "
            f"stays.",
        ),
        Check("age", checks.age, "Sessions since the model in force was trained."),
    )


def make_models(run: Run, spec: ModelSpec) -> None:
    """Train the anchors of a run and point every session to the model in force."""
    with Tracking(run.market, run.log) as tracking:
        _make_models(run, spec, tracking)


def _make_models(run: Run, spec: ModelSpec, tracking: Tracking) -> None:
    market, plan = run.market, run.market.plan_of(spec.name)
    processors = processors_hash(market, market.dataset_of(spec.name))
    shown = TrainingProgress(run, spec)
    executor = executor_of(run, spec)
    for key in run.keys:
        anchor = plan.anchor(key)
        if anchor is None:
            status = f"warm-up: the first trained session is {plan.first_trained}"
            _point(run, key, MODEL.empty(), None, status)
            continue
        metadata: dict[str, Any] = {}
        # An anchor trains its own bundle; a session in between needs one of the same configuration.
        if plan.trains(key):
            trained = _train(run, spec, key, tracking, shown, executor)
            metadata = training_metadata(spec, trained, run)
            reads = reads_of(partial(training_inputs, market.dataset_of(spec.name), key))
            metadata["reads"] = read_words(reads)
        elif not plan.is_pinned(key):
            _require_same_configuration(run, spec, anchor, key)
        # A served pointer stays as it was, though its bundle had to be trained again.
        if key in run.stays:
            info = market.warehouse.info(run.stage.name, key)
            assert info is not None  # noqa: S101 - only stored pointers stay
            run.done(key, info, kept=True, **metadata)
            continue
        # The newest bundle may have failed a blocking check: the last good one is in force.
        model = in_force(market, spec.name, key, f"{run.stage.name} of {key}", processors)
        reasons = [f"{newer}: {'; '.join(why)}" for newer, why in model.passed_over.items()]
        if reasons:
            metadata["not_in_force"] = "\n".join(reasons)
        run.check(key, in_force_finding(model.passed_over))
        if not isinstance(model, InForce):
            status = f"no model passed its checks up to {anchor}"
            _point(run, key, MODEL.empty(), model, status, **metadata)
            continue
        if not plan.is_pinned(key):
            _check_age(run, spec, model.as_of, key)
        # The fingerprint ties predictions to this very bundle.
        row = pd.DataFrame(
            {
                "as_of": [pd.Timestamp(model.as_of).date()],
                "bundle": [bundle_name(spec.name, model.as_of)],
                "fingerprint": [model.bundle.fingerprint],
                "trained_here": [model.as_of == key],
            }
        )
        figures = {"as_of": model.as_of, "bundle": model.bundle.fingerprint[:16], **metadata}
        _point(run, key, row, model, "ok", **figures)


def _check_age(run: Run, spec: ModelSpec, as_of: str, key: str) -> None:
    """Compare the age of the model in force with the allowed age."""
    market = run.market
    allowed = market.config.checks.model.max_age_sessions
    most = allowed or 2 * market.plan_of(spec.name).retrain_every
    age = market.sessions.position(key) - market.sessions.position(as_of)
    run.check(key, model_age(age, most, as_of))


def _point(
    run: Run,
    key: str,
    row: pd.DataFrame,
    found: InForce | NoneInForce | None,
    status: str,
    **shown: Any,
) -> None:
    """Write the pointer of one session to the model in force."""
    model, table = str(run.stage.model), run.stage.tables[0]
    passed_over = " ".join(found.passed_over) if found else ""
    versions = {
        bundle_in_force(model): (
            {key: found.bundle.fingerprint} if isinstance(found, InForce) else {}
        ),
        bundles_passed_over(model): {key: passed_over} if passed_over else {},
    }
    provenance = run.provenance(key, versions, status)
    run.done(key, run.market.warehouse.write(table, table.name, key, row, provenance), **shown)


def _require_same_configuration(run: Run, spec: ModelSpec, anchor: str, key: str) -> None:
    """Require that the anchor of a session between anchors has the present configuration."""
    needed_by = f"{run.stage.name} of {key}"
    bundle = require_bundle(run.market, spec.name, anchor, needed_by, weights=False)
    if bundle.manifest.get("config_hash") != fingerprint(training_config(run.market, spec)):
        raise ModelNotTrainedError(
            f"{run.stage.name} of {key} serves the {spec.name} model of {anchor}, which was "
            f"trained with another configuration; materialize {run.stage.name} of {anchor} again "
            f"first"
        )


def _train(
    run: Run,
    spec: ModelSpec,
    key: str,
    tracking: Tracking,
    shown: TrainingProgress,
    executor: Executor,
) -> Trained:
    with tracking.training(spec, key) as tracked:
        shown.begin(key, tracked.epoch)
        trained = ensure_trained(
            run.market,
            spec,
            key,
            log=run.log.info,
            on_epoch=shown.on_epoch,
            executor=executor,
            is_history=key in run.history,
            anew=run.retrains,
        )
        tracked.finished(trained)
    return trained


def training_metadata(spec: ModelSpec, trained: Trained, run: Run) -> dict[str, Any]:
    """Figures and the loss curve of a session that trained, for the UI."""
    manifest, results = trained.bundle.manifest, trained.results
    seeds = manifest["seeds"]
    verdict = model_verdict(run.market.config.checks.model, manifest)
    for warning in verdict.warnings:
        run.log.warning(f"{spec.name} as of {manifest['as_of']}: {warning}")
    metadata: dict[str, Any] = {
        "train_range": " … ".join(manifest["train"]),
        "valid_range": " … ".join(manifest["valid"]),
        "train_samples": manifest["train_samples"],
        "valid_samples": manifest["valid_samples"],
        "best_epoch": float(np.mean([s["best_epoch"] for s in seeds])),
        "valid_score": manifest["valid_score"],
        "constant_score": manifest["constant_score"],
        "epochs": len(trained.bundle.history),
        "device": manifest["device"],
        "trained_now": bool(results),
        **importance_metadata(trained.bundle),
    }
    if "parent" in manifest:
        metadata["begins_with"] = f"the weights of {manifest['parent']['as_of']}"
    if "precision" in manifest:
        metadata["precision"] = manifest["precision"]
    if "train_loss" in trained.bundle.history.columns:
        metadata["loss_curve"] = loss_picture(spec, trained.bundle)
    best_scores = [s["best_score"] for s in seeds if s["best_score"] is not None]
    if best_scores:
        metadata["best_valid_score"] = float(np.mean(best_scores))
    if manifest.get("valid_rank_ic") is not None:
        metadata["valid_rank_ic"] = manifest["valid_rank_ic"]
    if verdict.warnings:
        metadata["warnings"] = "; ".join(verdict.warnings)
    if len(seeds) > 1:
        metadata["seeds"] = _seed_table(seeds)
        if len(best_scores) > 1:
            metadata["best_valid_score_std"] = float(np.std(best_scores, ddof=1))
    if results:
        metadata["units"] = ", ".join(unit.key[:12] for unit in trained.units)
        seconds = sum(result.seconds for result in results)
        metadata["training_seconds"] = round(seconds, 3)
        rates = [result.samples_per_second for result in results]
        metadata["samples_per_second"] = round(float(np.mean(rates)), 1)
        metadata["peak_memory_mb"] = round(max(result.peak_memory for result in results) / 1e6, 1)
    return metadata


def importance_metadata(bundle: Bundle) -> dict[str, Any]:
    """Figures of the features of an estimator that has some, as a picture and a table."""
    from rnn_core.evaluation import plot_importance, png_bytes

    tables = [
        member.importance(bundle.columns)
        for member in bundle.estimators
        if hasattr(member, "importance")
    ]
    if not tables:
        return {}
    mean = sum(table.loc[tables[0].index] for table in tables) / len(tables)
    top = mean.sort_values(mean.columns[0], ascending=False, kind="stable").head(MOST_FEATURES)
    records = [
        {"feature": str(name), **{str(k): float(v) for k, v in row.items()}}
        for name, row in top.iterrows()
    ]
    return {
        "importance": table_metadata(records),
        "importance_picture": inline_picture(png_bytes(plot_importance(top)), "importance"),
    }


def _seed_table(seeds: Sequence[Mapping[str, Any]]) -> Any:
    """Each seed's best epoch and score."""
    return table_metadata({k: s[k] for k in ("seed", "best_epoch", "best_score")} for s in seeds)


def loss_picture(spec: ModelSpec, bundle: Bundle) -> Any:
    """The loss curves, one a seed, as an inline picture."""
    from rnn_core.evaluation import plot_loss_curves, png_bytes

    curves = histories_of(f"{spec.name} {bundle.manifest['as_of']}", bundle)
    return inline_picture(png_bytes(plot_loss_curves(curves)), "loss curve")
