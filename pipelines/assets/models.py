"""One factory for every model family: `{name}_model`, the model in force after each session.

A partition is a pointer to the bundle of its anchor session, trained in that session's partition.
A run trains the anchors inside its range in order and keeps bundles whose fingerprints match, so
an interrupted backfill goes on where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from pipelines.assets.base import Run, session_asset
from pipelines.assets.pictures import inline_picture
from pipelines.bundles import bundle_name, require_bundle
from pipelines.errors import ModelNotTrainedError
from pipelines.families import ModelSpec
from pipelines.market import Market
from pipelines.partition_file import fingerprint
from pipelines.progress import progress
from pipelines.schemas import MODEL
from pipelines.training import CODE_VERSION, Trained, ensure_trained, training_config

if TYPE_CHECKING:
    from rnn_core.training import Bundle, EpochReport

GPU_POOL = "gpu"


def model_asset(
    market: Market, spec: ModelSpec, days: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """The asset `{name}_model`."""
    training = market.config.training
    return session_asset(
        market,
        lambda run: make_models(run, spec),
        name=f"{spec.name}_model",
        table=MODEL,
        group="models",
        deps=("dataset_infer", "dataset_learn"),
        code_version=CODE_VERSION,
        config={
            **training_config(market, spec),
            "first_trained": market.plan.first_trained,
            "retrain_every": training.retrain_every,
            "pin": market.plan.pin,
        },
        partitions_def=days,
        description=(
            f"{MODEL.description} {spec.family.upper()} retrained every {training.retrain_every} "
            f"sessions from {market.plan.first_trained} on, on the rows matured in the last "
            f"{training.window_sessions} sessions, the newest {training.valid_sessions} decisions "
            f"held out for early stopping. Hyper-parameters: `{dict(spec.hyper)}`."
        ),
        kinds={"python", "pytorch"},
        pool=GPU_POOL,
        metadata={"family": spec.family, "hyper_parameters": dict(spec.hyper)},
    )


def make_models(run: Run, spec: ModelSpec) -> None:
    """Train the anchors of a run and point every session to its model."""
    market, plan = run.market, run.market.plan
    for key in run.keys:
        anchor = plan.anchor(key)
        if anchor is None:
            status = f"warm-up: the first trained session is {plan.first_trained}"
            provenance = run.provenance({}, status)
            run.done(key, market.warehouse.write(MODEL, run.name, key, MODEL.empty(), provenance))
            continue
        metadata: dict[str, Any] = {}
        if plan.trains(key):
            trained = _train(run, spec, key)
            bundle = trained.bundle
            metadata = training_metadata(spec, trained)
        else:
            bundle = require_bundle(market, spec.name, anchor, f"{run.name} of {key}")
            if not plan.is_pinned(key):
                _require_same_configuration(run, spec, bundle, anchor, key)
        row = pd.DataFrame(
            {
                "as_of": [pd.Timestamp(anchor).date()],
                "bundle": [bundle_name(spec.name, anchor)],
                "fingerprint": [bundle.fingerprint],
                "trained_here": [plan.trains(key)],
            }
        )
        provenance = run.provenance({"bundle": bundle.fingerprint})
        info = market.warehouse.write(MODEL, run.name, key, row, provenance)
        run.done(key, info, as_of=anchor, bundle=bundle.fingerprint[:16], **metadata)


def _require_same_configuration(
    run: Run, spec: ModelSpec, bundle: Bundle, anchor: str, key: str
) -> None:
    """A session between anchors serves a model of the present configuration."""
    if bundle.manifest.get("config_hash") != fingerprint(training_config(run.market, spec)):
        raise ModelNotTrainedError(
            f"{run.name} of {key} serves the {spec.name} model of {anchor}, which was trained with "
            f"another configuration; materialize {run.name} of {anchor} again first"
        )


def _train(run: Run, spec: ModelSpec, key: str) -> Trained:
    def on_epoch(report: EpochReport) -> None:
        progress().note(
            run.name,
            f"{key} epoch {report.epoch + 1}/{report.n_epochs} "
            f"valid {report.valid_score:.5f} best {report.best_epoch + 1}",
        )

    return ensure_trained(run.market, spec, key, log=run.context.log.info, on_epoch=on_epoch)


def training_metadata(spec: ModelSpec, trained: Trained) -> dict[str, Any]:
    """What the UI shows of a session that trained: figures and the loss curve."""
    manifest = trained.bundle.manifest
    shown: dict[str, Any] = {
        "train_range": " … ".join(manifest["train"]),
        "valid_range": " … ".join(manifest["valid"]),
        "train_samples": manifest["train_samples"],
        "valid_samples": manifest["valid_samples"],
        "best_epoch": manifest["best_epoch"],
        "best_valid_score": manifest["best_score"],
        "epochs": len(trained.bundle.history),
        "device": manifest["device"],
        "trained_now": trained.result is not None,
        "loss_curve": loss_picture(spec, trained.bundle),
    }
    if trained.result is not None:
        shown["training_seconds"] = round(trained.result.seconds, 3)
        shown["samples_per_second"] = round(trained.result.samples_per_second, 1)
    return shown


def loss_picture(spec: ModelSpec, bundle: Bundle) -> Any:
    """The loss curve as an inline picture."""
    from rnn_core.evaluation import plot_loss_curves, png_bytes

    figure = plot_loss_curves({f"{spec.name} {bundle.manifest['as_of']}": bundle.history})
    return inline_picture(png_bytes(figure), "loss curve")
