"""One factory for every model family: `{name}_model`, the model in force after each session.

A partition is a pointer to the bundle of its anchor session, trained in that session's partition;
where that model did not pass its blocking checks, to the last one that did. A run trains the
anchors inside its range in order and keeps bundles whose fingerprints match, so an interrupted
backfill goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pandas as pd

from pipelines.assets.checks import in_force_finding, model_age
from pipelines.assets.pictures import inline_picture
from pipelines.config.models import ModelSpec
from pipelines.config.types import Severity
from pipelines.errors import ModelNotTrainedError, ProcessorStateError
from pipelines.instance.progress import progress
from pipelines.market.input_versions import bundle_in_force, bundles_passed_over, model_inputs
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.training.processors import load_state
from pipelines.training.promotion import model_verdict
from pipelines.training.registry import (
    CODE_VERSION,
    InForce,
    NoneInForce,
    bundle_name,
    histories_of,
    in_force,
    require_bundle,
    seeds_of,
    training_config,
)
from pipelines.training.train import Trained, ensure_trained
from pipelines.warehouse.partition_file import fingerprint
from pipelines.warehouse.schemas import MODEL

if TYPE_CHECKING:
    from rnn_core.training import Bundle, EpochReport

GPU_POOL = "gpu"


def model_stage(market: Market, spec: ModelSpec) -> Stage:
    """The stage `{name}_model`.

    A pin is no part of its configuration: the bundle in force is an input of every partition, so
    that setting one or taking it away touches the sessions that it changes and no other.
    """
    training, plan = market.config.training, market.plan_of(spec.name)
    networks = len(seeds_of(market, spec))
    name = f"{spec.name}_model"
    return Stage(
        name=name,
        kind=Kind.MODEL,
        model=spec.name,
        tables=(MODEL.named(name),),
        deps=("dataset_infer", "dataset_learn"),
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
        kinds=("python", "pytorch"),
        pool=GPU_POOL,
        metadata={"family": spec.family, "hyper_parameters": dict(spec.hyper)},
        checks=_checks(market),
    )


def _checks(market: Market) -> tuple[Check, ...]:
    checks = market.config.checks.model
    severities = {checks.beats_constant, checks.rank_ic, checks.varied}
    judged: Severity = "warn" if severities != {"off"} else "off"
    return (
        Check(
            "in_force",
            judged,
            f"On its validation rows the newest model beats a constant ({checks.beats_constant}), "
            f"its rank IC is above {checks.min_rank_ic:g} ({checks.rank_ic}) and its scores vary "
            f"({checks.varied}). One that fails what blocks is not put in force: the last good one "
            f"stays.",
        ),
        Check("age", checks.age, "Sessions since the model in force was trained."),
    )


def make_models(run: Run, spec: ModelSpec) -> None:
    """Train the anchors of a run and point every session to the model in force."""
    market, plan = run.market, run.market.plan_of(spec.name)
    processors = _processors_hash(market)
    for key in run.keys:
        anchor = plan.anchor(key)
        if anchor is None:
            status = f"warm-up: the first trained session is {plan.first_trained}"
            _point(run, key, MODEL.empty(), None, status)
            continue
        metadata: dict[str, Any] = {}
        if plan.trains(key):
            metadata = training_metadata(spec, _train(run, spec, key), run)
        elif not plan.is_pinned(key):
            _require_same_configuration(run, spec, anchor, key)
        if key in run.stays:
            stored = market.warehouse.info(run.stage.name, key)
            assert stored is not None  # noqa: S101 - only what is there stays
            run.done(key, stored, kept=True, **metadata)
            continue
        found = in_force(market, spec.name, key, f"{run.stage.name} of {key}", processors)
        reasons = [f"{newer}: {'; '.join(why)}" for newer, why in found.passed_over.items()]
        if reasons:
            metadata["not_in_force"] = "\n".join(reasons)
        run.check(key, in_force_finding(found.passed_over))
        if not isinstance(found, InForce):
            status = f"no model passed its checks up to {anchor}"
            _point(run, key, MODEL.empty(), found, status, **metadata)
            continue
        if not plan.is_pinned(key):
            _check_age(run, spec, found.as_of, key)
        row = pd.DataFrame(
            {
                "as_of": [pd.Timestamp(found.as_of).date()],
                "bundle": [bundle_name(spec.name, found.as_of)],
                "fingerprint": [found.bundle.fingerprint],
                "trained_here": [found.as_of == key],
            }
        )
        shown = {"as_of": found.as_of, "bundle": found.bundle.fingerprint[:16], **metadata}
        _point(run, key, row, found, "ok", **shown)


def _check_age(run: Run, spec: ModelSpec, as_of: str, key: str) -> None:
    """Compare the age of the model in force with what is allowed."""
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
    """Write the pointer of one session to the model that was found to be in force."""
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
    """A session between anchors builds on an anchor of the present configuration."""
    bundle = require_bundle(run.market, spec.name, anchor, f"{run.stage.name} of {key}")
    if bundle.manifest.get("config_hash") != fingerprint(training_config(run.market, spec)):
        raise ModelNotTrainedError(
            f"{run.stage.name} of {key} serves the {spec.name} model of {anchor}, which was "
            f"trained with another configuration; materialize {run.stage.name} of {anchor} again "
            f"first"
        )


def _processors_hash(market: Market) -> str | None:
    """Of the state in force; None where there is none: whoever needs it says so."""
    try:
        return load_state(market).hash
    except ProcessorStateError:
        return None


def _train(run: Run, spec: ModelSpec, key: str) -> Trained:
    seeds = seeds_of(run.market, spec)

    def on_epoch(seed: int, report: EpochReport) -> None:
        which = f" seed {seed}" if len(seeds) > 1 else ""
        progress().note(
            run.stage.name,
            f"{key}{which} epoch {report.epoch + 1}/{report.n_epochs} "
            f"valid {report.valid_score:.5f} best {report.best_epoch + 1}",
        )

    return ensure_trained(
        run.market,
        spec,
        key,
        log=run.log.info,
        on_epoch=on_epoch,
        is_history=key in run.history,
        anew=run.retrains,
    )


def training_metadata(spec: ModelSpec, trained: Trained, run: Run) -> dict[str, Any]:
    """What the UI shows of a session that trained: figures and the loss curve."""
    manifest, results = trained.bundle.manifest, trained.results
    seeds = manifest["seeds"]
    verdict = model_verdict(run.market.config.checks.model, manifest)
    for warning in verdict.warnings:
        run.log.warning(f"{spec.name} as of {manifest['as_of']}: {warning}")
    shown: dict[str, Any] = {
        "train_range": " … ".join(manifest["train"]),
        "valid_range": " … ".join(manifest["valid"]),
        "train_samples": manifest["train_samples"],
        "valid_samples": manifest["valid_samples"],
        "best_epoch": float(np.mean([s["best_epoch"] for s in seeds])),
        "best_valid_score": float(np.mean([s["best_score"] for s in seeds])),
        "valid_score": manifest["valid_score"],
        "constant_score": manifest["constant_score"],
        "epochs": len(trained.bundle.history),
        "device": manifest["device"],
        "precision": manifest["precision"],
        "trained_now": bool(results),
        "loss_curve": loss_picture(spec, trained.bundle),
    }
    if manifest.get("valid_rank_ic") is not None:
        shown["valid_rank_ic"] = manifest["valid_rank_ic"]
    if verdict.warnings:
        shown["warnings"] = "; ".join(verdict.warnings)
    if len(seeds) > 1:
        shown["seeds"] = _seed_table(seeds)
        shown["best_valid_score_std"] = float(np.std([s["best_score"] for s in seeds], ddof=1))
    if results:
        seconds = sum(result.seconds for result in results)
        shown["training_seconds"] = round(seconds, 3)
        rates = [result.samples_per_second for result in results]
        shown["samples_per_second"] = round(float(np.mean(rates)), 1)
        shown["peak_memory_mb"] = round(max(result.peak_memory for result in results) / 1e6, 1)
    return shown


def _seed_table(seeds: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Each seed's best epoch and score."""
    return dg.MetadataValue.table(
        [dg.TableRecord({k: s[k] for k in ("seed", "best_epoch", "best_score")}) for s in seeds]
    )


def loss_picture(spec: ModelSpec, bundle: Bundle) -> Any:
    """The loss curves, one a seed, as an inline picture."""
    from rnn_core.evaluation import plot_loss_curves, png_bytes

    curves = histories_of(f"{spec.name} {bundle.manifest['as_of']}", bundle)
    return inline_picture(png_bytes(plot_loss_curves(curves)), "loss curve")
