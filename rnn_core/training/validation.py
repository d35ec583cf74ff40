"""The verdict of validation on a trained model, before the model is put in force.

The scores of all members on the held-out rows, averaged as they will be served, are compared with a
constant, which needs no model: the mean training label. A network whose scores hardly vary, or that
a constant beats on the rows that selected its epoch, has learned nothing. Squared error is a hard
judge of returns, which are nearly noise: a network may order the names well and still lose to the
constant, for the size of its scores alone. So the order is judged too, by the rank IC.

The validation score selected the epoch, so it flatters the model. It is good enough to reject a
model, never to praise one.

Shapes: `S` samples, `K` members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from rnn_core.evaluation.signal_metrics import calc_ic
from rnn_core.models.samples import Samples
from rnn_core.training.device import resolve_device
from rnn_core.training.members import Member, estimator_scores, samples_of
from rnn_core.training.scoring import Validator, score_windows
from rnn_core.training.source import SessionSource, WindowSource
from rnn_core.training.workers import Workers


@dataclass(frozen=True)
class ValidationFacts:
    """The facts of a model on its validation rows.

    Attributes:
        score: of the mean over the members, by the metric that selected the epoch; higher is
            better.
        constant_score: the same of a constant: the mean training label for "loss"; 0 for others,
            which is no correlation, or by the contract of a metric no skill.
        spread: standard deviation of the scores over all validation rows.
        rank_ic: mean over the validation sessions of Spearman's correlation of score and label;
            NaN if no session has one or the source knows no sessions.
        rows: validation rows with a label.

    Examples:
        >>> facts = validation_facts([make()], valid, metric="ic", train_mean=0.0, device="cpu")
        >>> isinstance(facts, ValidationFacts), facts.rows
        (True, 40)
    """

    score: float
    constant_score: float
    spread: float
    rank_ic: float
    rows: int


def validation_facts(
    members: Sequence[Member],
    valid: WindowSource,
    *,
    metric: str,
    train_mean: float,
    device: str = "auto",
) -> ValidationFacts:
    """Score a trained model on its validation rows.

    Args:
        members: K networks with their best weights, or K fitted estimators.
        valid: windows [S, L, F + 1], the label last.
        metric: as in the training.
        train_mean: mean label of the training rows.
        device: where to run.

    Returns:
        The facts.

    Raises:
        ValueError: no validation row has a finite label, or no session has an IC.

    Examples:
        >>> validation_facts([make()], valid, metric="loss", train_mean=0.0, device="cpu").rows
        40
    """
    # The scores of the members are averaged, as when they are served.
    total, labels = np.zeros(len(valid)), np.zeros(len(valid))
    for scores, y in _scores(members, valid, device):
        total += scores
        labels = y
    mean = total / len(members)  # [S]
    validator = Validator(valid, metric)
    constant = np.full(len(valid), train_mean)
    return ValidationFacts(
        score=validator.score_of(mean, labels),
        constant_score=validator.score_of(constant, labels) if metric == "loss" else 0.0,
        spread=float(mean.std()),
        rank_ic=_mean_rank_ic(valid, mean, labels),
        rows=int(np.isfinite(labels).sum()),
    )


def _scores(
    members: Sequence[Member], valid: WindowSource, device: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Scores of each member, and the labels."""
    samples: Samples | None = None
    torch_device = resolve_device(device).device
    with Workers(torch_device) as workers:
        for member in members:
            if isinstance(member, nn.Module):
                scores, y = score_windows(
                    member.to(torch_device), valid, torch_device, workers, has_label=True
                )
                yield scores.cpu().numpy(), y.cpu().numpy().astype(np.float64)
                continue
            if samples is None:
                samples = samples_of(_with_sessions(valid), has_label=True)
            yield estimator_scores(member, samples), np.asarray(samples.label, dtype=np.float64)


def _with_sessions(valid: WindowSource) -> SessionSource:
    """The source, if it knows the session of each sample, which estimators need."""
    if isinstance(valid, SessionSource):
        return valid
    raise ValueError(
        f"the validation rows of an estimator need get_index(), {type(valid).__name__} has none; "
        f"use TSDataSampler"
    )


def _mean_rank_ic(
    valid: WindowSource, scores: NDArray[np.float64], labels: NDArray[np.float64]
) -> float:
    """Average the rank IC over sessions, NaN without any."""
    if not isinstance(valid, SessionSource):
        return float("nan")
    index = valid.get_index()
    _, rank_ic = calc_ic(pd.Series(scores, index=index), pd.Series(labels, index=index))
    return float(rank_ic.mean())
