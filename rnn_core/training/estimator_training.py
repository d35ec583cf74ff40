"""The training of an estimator that is no network: fit, save, load, and the facts of it.

What is kept is the estimator as `load` makes it from its own files: what is validated is then what
a process serves that reads the bundle later.

Shapes: `S` samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from rnn_core.models.estimator_protocol import EstimatorFamily, EstimatorModel
from rnn_core.models.samples import Samples
from rnn_core.training.device import PeakMemory
from rnn_core.training.estimator_state import restored, state_files
from rnn_core.training.members import estimator_scores

_TRIED = 64  # samples that are scored once more in part


@dataclass(frozen=True, eq=False)
class EstimatorFit:
    """A fitted estimator.

    Attributes:
        member: the estimator, loaded from its own files.
        history: a row a step, `valid_score` and `best` among its columns; of an estimator that has
            none one row with its validation rank IC.
        best_step: of the history, from 0.
        best_score: its validation score; NaN without validation rows.
        samples_per_second: training rows per second of fitting.
        seconds: of the fit.
        peak_memory: bytes that the process has held so far.

    Examples:
        >>> parts = (samples_of(part, ["F0", "F1"], has_label=True) for part in (train, valid))
        >>> fit = fit_estimator(family_of("linear"), {}, *parts, seed=0, threads=1)
        >>> isinstance(fit, EstimatorFit), fit.history.columns.tolist()
        (True, ['alpha', 'valid_score', 'best'])
    """

    member: EstimatorModel
    history: pd.DataFrame
    best_step: int
    best_score: float
    samples_per_second: float
    seconds: float
    peak_memory: int

    @property
    def record(self) -> dict[str, Any]:
        """The facts for a manifest; an undefined score is None."""
        score = self.best_score if math.isfinite(self.best_score) else None
        return {"best_epoch": self.best_step, "best_score": score}

    @property
    def computed_on(self) -> dict[str, str]:
        """The device, for a manifest; an estimator has no choice of it, nor of a precision."""
        return {"device": "cpu"}


def fit_estimator(
    family: EstimatorFamily,
    hyper: Mapping[str, Any],
    train: Samples,
    valid: Samples | None,
    *,
    seed: int = 0,
    threads: int | None = None,
) -> EstimatorFit:
    """Fit an estimator of a family.

    Args:
        family: the family.
        hyper: hyper-parameters that differ from its defaults.
        train: samples with labels.
        valid: alike; None for no validation rows.
        seed: of whatever is random.
        threads: of the CPU; None for as many as torch uses.

    Returns:
        The estimator, and the facts of its fit.

    Raises:
        ValueError: no training samples, arguments that do not fit, a history without its columns,
            scores that are not finite or depend on the samples beside, or files that are no state
            of an estimator.

    Examples:
        >>> parts = (samples_of(part, ["F0", "F1"], has_label=True) for part in (train, valid))
        >>> fit = fit_estimator(family_of("linear"), {}, *parts, seed=0, threads=1)
        >>> bool(fit.best_score > 0.9)  # the rank IC of validation
        True
    """
    if not len(train):
        raise ValueError("there are no training samples; check their range of sessions")
    start = time.perf_counter()
    estimator = family.build(hyper)
    n_threads = torch.get_num_threads() if threads is None else threads
    history = estimator.fit(train, valid, seed=seed, threads=n_threads)
    seconds = time.perf_counter() - start
    (member,) = restored(family, family.resolve(hyper), state_files([estimator]))
    _require_own_scores(member, train)
    if history is None:
        score = math.nan if valid is None else valid.rank_ic(estimator_scores(member, valid))
        history = pd.DataFrame({"valid_score": [score], "best": [True]})
    absent = {"valid_score", "best"} - set(history.columns)
    if absent or not history["best"].any():
        fault = f"no column {sorted(absent)[0]}" if absent else "no row that is best"
        raise ValueError(
            f"the history of {family.name} has {fault}, expected a row a step with valid_score, "
            f"and best True for the step that is kept"
        )
    best = int(np.flatnonzero(history["best"])[0])
    return EstimatorFit(
        member=member,
        history=history,
        best_step=best,
        best_score=float(history["valid_score"].iloc[best]),
        samples_per_second=len(train) / seconds if seconds else 0.0,
        seconds=seconds,
        peak_memory=PeakMemory(torch.device("cpu")).read(),
    )


def _require_own_scores(member: EstimatorModel, samples: Samples) -> None:
    """Confirm on a few samples that each is scored as it is without the others.

    Raises:
        ValueError: it is not.
    """
    count = min(len(samples), _TRIED)
    whole = estimator_scores(member, samples.part(0, count))
    half = estimator_scores(member, samples.part(0, (count + 1) // 2))
    if not np.allclose(whole[: len(half)], half, rtol=1e-3, atol=1e-5):
        raise ValueError(
            f"predict of {type(member).__name__} scores {len(half)} samples otherwise alone than "
            f"among {count}, expected scores that depend on their own sample: a session is scored "
            f"today alone and tomorrow in a range"
        )
