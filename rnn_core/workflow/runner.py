"""Run a workflow: load, train, predict, analyse, record.

The order is that of cost: place, arguments and device are checked first, then the provider is read,
then the model is trained, and at the end all results are written.

Rule matched: qlib model/trainer.py `task_train`. A seed is drawn for a file without one, as
qlib's benchmark files are, and recorded, so that every run can be repeated.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnn_core import estimators, training
from rnn_core.workflow.build_data import Material, Segment, load_material
from rnn_core.workflow.folder import require_free, write_run
from rnn_core.workflow.problems import WorkflowError, asked_by, told
from rnn_core.workflow.read import estimator_class, with_seed
from rnn_core.workflow.records import (
    PortfolioAnalysis,
    SignalAnalysis,
    analyse_portfolio,
    analyse_signal,
    figures,
)
from rnn_core.workflow.spec import WorkflowSpec

FORMAT = 1
"""Version of run.json."""

VERSIONS = ("numpy", "pandas", "pyarrow", "torch")

logger = logging.getLogger(__name__)


class Watcher:
    """Callbacks of a run; each method does nothing unless it is overridden.

    Examples:
        >>> class Told(Watcher):
        ...     def stage(self, text):
        ...         print("now:", text)
        >>> Told().stage("training")  # run_workflow(spec, folder, Told()) says every stage
        now: training
    """

    def stage(self, text: str) -> None:
        """Report the next step of the run, or a note."""

    def loaded(self, segments: Sequence[Segment], n_features: int) -> None:
        """Report that the data are loaded."""

    def epoch(self, report: training.EpochReport) -> None:
        """Report a finished epoch."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """The results of a run.

    Attributes:
        folder: of the run.
        seed: of the first network.
        device: of the training, and the reason for it.
        predictions: scores of the segment "test", index (datetime, instrument).
        label: raw labels of the same segment.
        history: of the estimator, one row a network and epoch.
        signal: None if the file asks for none.
        portfolio: likewise.

    Examples:
        >>> isinstance(result, RunResult), list(result.predictions.index.names)
        (True, ['datetime', 'instrument'])
    """

    folder: Path
    seed: int
    device: str
    predictions: pd.Series[Any]
    label: pd.Series[Any]
    history: pd.DataFrame
    signal: SignalAnalysis | None
    portfolio: PortfolioAnalysis | None


def run_workflow(
    spec: WorkflowSpec, folder: str | Path, watcher: Watcher | None = None
) -> RunResult:
    """Run a workflow and record it.

    Args:
        spec: of `read_workflow`.
        folder: of the run; nothing yet, or an empty folder.
        watcher: the callbacks.

    Returns:
        The results.

    Raises:
        WorkflowError: the folder is taken, the provider lacks something, the settings do not fit
            the data, or the training diverged. Nothing is left of such a run.
        OSError: the folder cannot be written.

    Examples:
        >>> sorted(result.history.columns)
        ['best', 'epoch', 'samples', 'seed', 'train_loss', 'valid_score']
        >>> result.folder.name, result.predictions.notna().all().item()
        ('first', True)
    """
    # Cheap checks come first: the place, the arguments, the device.
    start = time.monotonic()
    folder, watcher = Path(folder), watcher or Watcher()
    require_free(folder)
    model_spec = with_seed(spec.model, int(np.random.SeedSequence().generate_state(1)[0]))
    seed = int(model_spec.arguments["seed"])
    with _explained(spec, "task.model"):
        model = estimator_class(model_spec.name)(**model_spec.arguments)
        device = training.resolve_device(model._device()).reason
    watcher.stage(f"device: {device}; seed: {seed}")
    logger.info("seed %d, device %s", seed, device)
    for note in spec.notes:
        watcher.stage(note)
    # The data of training and backtest, all of it before the training.
    watcher.stage(f"loading {spec.dataset.handler} from {spec.provider.uri}")
    with _explained(spec, "task.dataset"):
        material = load_material(spec)
    watcher.loaded(material.segments, material.n_features)
    for note in material.notes:
        watcher.stage(note)
    watcher.stage("training")
    with _explained(spec, "task.model"):
        model.fit(material.dataset, callback=watcher.epoch)
        predictions = model.predict(material.dataset, "test")
    # The analyses use raw labels and the scores of the segment "test".
    watcher.stage("analysing")
    with _explained(spec, "task.record"):
        label = _raw_label(material)
        signal = None
        if spec.signal:
            signal = analyse_signal(
                predictions, label, spec.signal, material.horizon, spec.semantics
            )
        portfolio = None
        if spec.portfolio is not None:
            portfolio = analyse_portfolio(predictions, material)
            for note in portfolio.result.notes:
                watcher.stage(f"portfolio: {note}")
    plots = {}
    if find_spec("matplotlib") is None:
        watcher.stage("no plots: they need the extra `plots` (matplotlib)")
    else:
        plots = figures(model_spec.name, model.history, signal, portfolio)
    # Only a complete run is written.
    write_run(
        folder,
        config=spec.document.text,
        record={**_record(spec, material, model), "seed": seed, "device": device,
                "seconds": round(time.monotonic() - start, 1)},
        save_model=model.save,
        save_handler=material.dataset.handler.save,
        predictions=predictions,
        label=label,
        signal=signal,
        portfolio=portfolio,
        plots=plots,
    )  # fmt: skip
    return RunResult(folder, seed, device, predictions, label, model.history, signal, portfolio)


def _raw_label(material: Material) -> pd.Series[Any]:
    """Fetch the labels of the segment "test" before any processor."""
    bounds = slice(*material.dataset.segments["test"])
    frame = material.dataset.handler.fetch(bounds, col_set="label", data_key="raw")
    return frame.iloc[:, 0]


def _record(spec: WorkflowSpec, material: Material, model: estimators.Estimator) -> dict[str, Any]:
    """Return the facts of a run that its other files do not hold."""
    return {
        "format": FORMAT,
        "workflow": spec.document.path.name,
        "overrides": list(spec.document.overrides),
        "semantics": spec.semantics,
        "provider": dataclasses.asdict(spec.provider),
        "features": material.n_features,
        "segments": {
            s.name: {
                "first": f"{s.first:%Y-%m-%d}",
                "last": f"{s.last:%Y-%m-%d}",
                "sessions": s.sessions,
                "rows": s.rows,
            }
            for s in material.segments
        },
        "validation_scores": {str(k): v for k, v in model.member_scores.items()},
        "notes": [*spec.notes, *material.notes],
        "versions": {name: version(name) for name in VERSIONS},
    }


@contextmanager
def _explained(spec: WorkflowSpec, place: str) -> Iterator[None]:
    """Add the file and the section to an error of the block."""
    try:
        with asked_by(place):
            yield
    except (WorkflowError, training.TrainingDivergedError) as error:
        where = "" if isinstance(error, WorkflowError) else f"{place}: "
        raise WorkflowError(f"{spec.document.path.name}, {where}{told(error)}") from error
