"""The members of a model, networks or estimators, and their scores.

Nothing above asks which of the two a model is: a score is the mean over its members.

Shapes: `S` samples, `K` members, `L` window length in sessions, `F` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnn_core.models.estimator_protocol import EstimatorModel
from rnn_core.models.samples import Samples
from rnn_core.training.gradients import checked_weights
from rnn_core.training.scoring import predict
from rnn_core.training.source import NewestSource, SessionSource

Member: TypeAlias = nn.Module | EstimatorModel
"""One of the models that are trained alike, but for their seeds.

Examples:
    >>> members: list[Member] = [make(), make()]
    >>> score_members(members, features, device="cpu").shape  # [K, S]
    (2, 40)
"""

_CPU = torch.device("cpu")


def samples_of(
    source: SessionSource,
    columns: Sequence[str] = (),
    *,
    has_label: bool = False,
    weights: NDArray[np.float64] | None = None,
) -> Samples:
    """Give the windows of a source to an estimator.

    Args:
        source: windows [S, L, F], or [S, L, F + 1] with the label last.
        columns: the names of the F features; numbers stand for them where they are not given.
        has_label: True if the last column is a label.
        weights: [S], of the samples.

    Returns:
        The samples; their rows are gathered when they are asked for.

    Raises:
        ValueError: weights that are not one for each sample, finite, 0 or more and some above it.

    Examples:
        >>> samples = samples_of(train, ["F0", "F1"], has_label=True)
        >>> len(samples), samples.columns
        (76, ('F0', 'F1'))
    """

    def windows(first: int, stop: int) -> NDArray[np.float32]:
        batch = source.batch(torch.arange(first, stop), _CPU).numpy()  # [B, L, F (+ 1)]
        cells: NDArray[np.float32] = batch[..., :-1] if has_label else batch
        return cells

    def newest(first: int, stop: int) -> NDArray[np.float32]:
        if not isinstance(source, NewestSource):
            return windows(first, stop)[:, -1]
        rows: NDArray[np.float32] = source.newest(first, stop)  # [B, F (+ 1)]
        return rows[:, :-1] if has_label else rows

    def labels(first: int, stop: int) -> NDArray[np.float32]:
        if isinstance(source, NewestSource):
            return np.array(source.newest(first, stop)[:, -1], dtype=np.float32)
        return source.batch(torch.arange(first, stop), _CPU)[:, -1, -1].numpy().copy()

    steps, width = source.batch(torch.zeros(1, dtype=torch.int64), _CPU).shape[1:]
    label = None
    if has_label:
        cuts = [*range(0, len(source), 4096), len(source)]
        label = np.concatenate([labels(*span) for span in pairwise(cuts)])
    return Samples(
        windows,
        source.get_index(),
        columns or [str(k) for k in range(width - has_label)],
        steps=steps,
        newest=newest,
        label=label,
        weights=None if weights is None else checked_weights(weights, len(source)),
    )


def estimator_scores(estimator: EstimatorModel, samples: Samples) -> NDArray[np.float32]:
    """Score samples with one estimator.

    Returns:
        float32 [S].

    Raises:
        ValueError: the scores have another shape, or one is not finite; the message says where.
    """
    scores = np.asarray(estimator.predict(samples), dtype=np.float32)
    owner = type(estimator).__name__
    if scores.shape != (len(samples),):
        raise ValueError(
            f"predict of {owner} gave {list(scores.shape)} for {len(samples)} samples, expected a "
            f"score a sample, [{len(samples)}]"
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        day, name = samples.index[int(bad[0])]
        raise ValueError(
            f"{len(bad)} of {len(scores)} scores of {owner} are not finite, the first at "
            f"{day:%Y-%m-%d} {name}"
        )
    return scores


def score_members(
    members: Sequence[Member], source: SessionSource, *, device: str = "auto"
) -> NDArray[np.float32]:
    """Score the windows of a source with every member.

    Args:
        members: K networks, or K estimators.
        source: windows [S, L, F] without a label.
        device: where networks run; estimators run on the CPU.

    Returns:
        float32 [K, S], in the order of the source.

    Raises:
        ValueError: as `predict` and `estimator_scores`.

    Examples:
        >>> score_members([make(), make()], features, device="cpu").shape  # [K, S]
        (2, 40)
    """
    if not len(source):
        return np.empty((len(members), 0), dtype=np.float32)
    samples: Samples | None = None
    scores = []
    for member in members:
        if isinstance(member, nn.Module):
            scores.append(predict(member, source, device=device))
            continue
        samples = samples_of(source) if samples is None else samples
        scores.append(estimator_scores(member, samples))
    return np.stack(scores)
