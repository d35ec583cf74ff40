"""Scores of windows, and the validation score of a network.

A row's score must not depend on the rows beside it, to the last bit: a pipeline scores one
session alone today and the same session inside a range tomorrow, and the files must be equal.
Matrix kernels do not give that for free. Measured on the CPU (LSTM and GRU 64x2, 5,000 windows):
against one call with all rows, batches of 1, 3 or 25 rows change 1 to 80 % of the scores in the
last bit, because the kernel is chosen by the number of rows; batches of a multiple of 16 rows
change none. So the network is always called with one fixed number of rows, the last call padded
with zeros, and each call by one thread: no score changed in any split or order tried, nor with
the number of threads. The cost is at most one padded call.

Windows of neighbouring sessions share their rows, and samples lie instrument by instrument, so a
call of 256 windows of 20 sessions reads some 300 rows and not 5,120. An LSTM or GRU of many
features is then given the rows, and its first layer's product is made once a row, by products of
the same shape as before: the scores have the same bits (1.4 times as fast with 158 features).

Rules matched: qlib contrib/model/pytorch_lstm_ts.py `test_epoch`, `metric_fn`; but the mean is
over rows, not over batches, and the tail batch counts (quirk Q13), without gradients (Q19), and
one row gives one score (Q21).

Shapes: `S` samples, `B` batch, `L` window length, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnn_core.evaluation.signal_metrics import calc_ic
from rnn_core.models.recurrent import reads_rows, scores_of_rows
from rnn_core.training.device import resolve_device
from rnn_core.training.divergence import TrainingDivergedError, all_finite
from rnn_core.training.own_metric import called, is_own_metric, own_metric
from rnn_core.training.source import SessionSource, SharedRowSource, WindowSource
from rnn_core.training.workers import Workers, shard_rows

_BATCH_SIZE = 4096

MetricFunction = Callable[[Tensor, Tensor], Any]
"""(scores [S], labels [S] with NaN) to one number, higher is better.

Examples:
    >>> metric: MetricFunction = lambda scores, labels: -float((scores - labels).abs().mean())
    >>> (Trainer(config, metric_fn=metric).fit(make(), train, valid).best_score < 0)
    True
"""


def split_label(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Split windows [B, L, F + 1] into features [B, L, F] and labels [B], both float32.

    The label is the last column of the newest session; those of older sessions are no input.
    """
    return windows[..., :-1].float(), windows[:, -1, -1].float()


@overload
def score_windows(
    network: nn.Module,
    source: WindowSource,
    device: torch.device,
    workers: Workers,
    *,
    has_label: Literal[True],
    batch_size: int = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def score_windows(
    network: nn.Module,
    source: WindowSource,
    device: torch.device,
    workers: Workers,
    *,
    has_label: bool,
    batch_size: int = ...,
) -> tuple[Tensor, Tensor | None]: ...


def score_windows(
    network: nn.Module,
    source: WindowSource,
    device: torch.device,
    workers: Workers,
    *,
    has_label: bool,
    batch_size: int = _BATCH_SIZE,
) -> tuple[Tensor, Tensor | None]:
    """Score all samples of a source, in its order, and collect their labels.

    Args:
        network: on `device`. It runs in eval mode; its own mode is then restored.
        source: windows [B, L, F], or [B, L, F + 1] with a label.
        device: where to run.
        workers: the calls are spread over them.
        has_label: True if the last column is a label.
        batch_size: most rows of one call; on the CPU it is `shard_rows` at most.

    Returns:
        (scores [S], labels [S] or None), float32, on `device`.

    Raises:
        ValueError: windows of another width than the network's.
    """
    rows = min(batch_size, shard_rows(network)) if device.type == "cpu" else batch_size
    # By its type: what passes attributes on to a source inside may make other windows of them.
    has_rows = hasattr(type(source), "shared_rows") and "batch" not in vars(source)
    shares = device.type == "cpu" and has_rows and reads_rows(network)

    # Every call has `rows` rows, so that no score depends on the number of rows beside it.
    def one_call(first: int) -> tuple[Tensor, Tensor | None]:
        indices = torch.arange(first, min(first + rows, len(source)), device=device)
        if shares:
            assert isinstance(source, SharedRowSource)  # noqa: S101 - see below
            shared = source.shared_rows(indices)
            found = None if shared is None else _of_rows(network, *shared, rows, has_label)
            if found is not None:
                return found
        windows = source.batch(indices, device)
        x, y = split_label(windows) if has_label else (windows.float(), None)
        x, n = x.contiguous(), len(x)
        if n < rows:
            x = torch.cat([x, x.new_zeros(rows - n, *x.shape[1:])])  # [rows, L, F]
        with torch.no_grad():
            scores: Tensor = network(x)[:n]
        return scores.detach(), y

    if len(source):
        source.batch(torch.zeros(1, dtype=torch.int64), device)  # fills its caches, in one thread
    # The calls are spread over the threads; their results keep the order of the source.
    was_training = network.training
    network.eval()
    try:
        parts = workers.map(one_call, range(0, len(source), rows))
    finally:
        network.train(was_training)
    empty = torch.empty(0, device=device)
    labels = [y for _, y in parts if y is not None]
    return (
        torch.cat([empty, *(scores for scores, _ in parts)]),  # [S]
        torch.cat([empty, *labels]) if has_label else None,  # [S]
    )


def _of_rows(
    network: nn.Module, rows: Tensor, places: Tensor, size: int, has_label: bool
) -> tuple[Tensor, Tensor | None] | None:
    """Scores and labels of windows that share rows [R, F], by their places [B, L], if possible.

    The first layer's product is made once a row, in calls of `size` columns like those of a step.
    """
    x, n = rows[:, :-1] if has_label else rows, len(places)
    padded = torch.cat([places, places.new_zeros(size - n, places.shape[1])])
    scores = scores_of_rows(network, x.float(), padded.t().contiguous())
    if scores is None:
        return None
    return scores[:n], rows[places[:, -1], -1].float() if has_label else None


def predict(
    network: nn.Module,
    source: WindowSource,
    *,
    device: str | torch.device = "auto",
    batch_size: int = _BATCH_SIZE,
    has_label: bool = False,
) -> NDArray[np.float32]:
    """Score all samples of a source.

    The score of a sample depends on its window, the weights and the device; never, not in its
    last bit, on the other samples, on their order or on the number of threads.

    Args:
        network: moved to `device` and left there; its training mode is kept.
        source: windows [B, L, F] as the network was trained on, filled and finite.
        device: "auto", "cpu", "cuda" or "cuda:K".
        batch_size: most rows of one call of the network; on the CPU it is `shard_rows` at
            most. A smaller number saves memory and may change last bits, so keep to one.
        has_label: True if the windows end in a label column, which is then left out.

    Returns:
        float32 [S], in the order of the source.

    Raises:
        ValueError: a score that is not finite (the message says how many and where), windows of
            another width than the network's, a batch_size below 1, or a device that is not there.

    Examples:
        >>> predict(seeded_network(make, 0), features, device="cpu").shape  # [S]
        (40,)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    torch_device = resolve_device(str(device)).device
    network.to(torch_device)
    with Workers(torch_device) as workers:
        scores, _ = score_windows(
            network, source, torch_device, workers, has_label=has_label, batch_size=batch_size
        )
    # A score that is not finite is an error, which names the first sample and the reason.
    values: NDArray[np.float32] = scores.cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(_describe_bad(bad, network, source, torch_device, has_label))
    return values


def _describe_bad(
    bad: NDArray[np.intp],
    network: nn.Module,
    source: WindowSource,
    device: torch.device,
    has_label: bool,
) -> str:
    """Build the message about scores that are not finite."""
    first = str(int(bad[0]))
    if isinstance(source, SessionSource):
        key: Any = source.get_index()[int(bad[0])]
        first = f"{key[0]:%Y-%m-%d} {key[1]}"
    summary = f"{len(bad)} of {len(source)} scores are not finite, the first at {first}"
    if not bool(all_finite(network.parameters())):
        return f"{summary}; the network's weights are not finite: train it anew"
    window = source.batch(torch.tensor([int(bad[0])], device=device), device)
    x = split_label(window)[0] if has_label else window
    n_cells = int((~torch.isfinite(x)).sum())
    if n_cells:
        return (
            f"{summary}; {n_cells} cells of that window are not finite: set fillna_type of the "
            f"source to 'ffill+bfill', or fill the features in a processor"
        )
    return f"{summary}; its window is finite, so features of extreme size overflow: normalise them"


class Validator:
    """The score that selects the best epoch; higher is better.

    "loss": minus the mean squared error, over all validation rows with a finite label. "ic": the
    mean over sessions of the Pearson correlation of score and label; sessions without one (one
    name, no variation) are left out.

    Args:
        source: windows [B, L, F + 1], the label last.
        metric: "loss", "ic" or the name of a metric of another package.
        metric_fn: in place of `metric`; called once, with all rows of the source.

    Raises:
        ValueError: another metric than "loss" for a source that knows no sessions.
    """

    def __init__(
        self, source: WindowSource, metric: str, metric_fn: MetricFunction | None = None
    ) -> None:
        self._source, self._metric_fn = source, metric_fn
        self._index: pd.MultiIndex | None = None
        self._metric = metric
        self._own = own_metric(metric).value if is_own_metric(metric) else None
        if metric != "loss" and metric_fn is None:
            if not isinstance(source, SessionSource):
                raise ValueError(
                    f'metric "{metric}" needs a validation source with get_index(), '
                    f'{type(source).__name__} has none; use TSDataSampler or metric "loss"'
                )
            self._index = source.get_index()

    def score(
        self, network: nn.Module, device: torch.device, epoch: int, workers: Workers
    ) -> float:
        """Score the network as it is.

        Args:
            network: on `device`.
            device: where to run.
            epoch: from 0, for the error.
            workers: for the calls of the network.

        Returns:
            A finite number.

        Raises:
            TrainingDivergedError: weights or scores that are not finite.
            ValueError: no validation row has a finite label, no session has an IC, or `metric_fn`
                returned no finite number.
        """
        if not bool(all_finite(network.parameters())):
            raise TrainingDivergedError(epoch, None, "weights")
        scores, labels = score_windows(network, self._source, device, workers, has_label=True)
        predicted = scores.cpu().numpy().astype(np.float64)  # [S]
        label = labels.cpu().numpy().astype(np.float64)  # [S]
        if not np.isfinite(predicted).all():
            raise TrainingDivergedError(epoch, None, "input")
        if self._metric_fn is None:
            return self.score_of(predicted, label)
        with torch.no_grad():
            score = float(self._metric_fn(scores, labels))
        if not np.isfinite(score):
            raise ValueError(
                f"metric_fn returned {score} for the {len(label)} validation rows of epoch "
                f"{epoch}, expected a finite number: labels of rows without one are NaN"
            )
        return score

    def score_of(self, predicted: NDArray[np.float64], label: NDArray[np.float64]) -> float:
        """Score predictions of the validation rows.

        Args:
            predicted: [S], finite, in the order of the source.
            label: [S]; NaN without one.

        Returns:
            A finite number, higher is better.

        Raises:
            ValueError: no validation row has a finite label, no session has an IC, or a metric of
                another package fails.
        """
        label_mask = np.isfinite(label)
        if not label_mask.any():
            raise ValueError(
                "no validation row has a finite label; check the label and flt_data of the source"
            )
        if self._index is None:
            return -float(np.mean(np.square(predicted[label_mask] - label[label_mask])))
        scores = pd.Series(predicted[label_mask], index=self._index[label_mask])
        labels = pd.Series(label[label_mask], index=self._index[label_mask])
        if self._own is not None:
            score = called(self._metric, self._own, scores, labels)
            if not np.isfinite(score):
                raise ValueError(
                    f"{self._metric} gives {score} for {len(scores)} validation rows, expected a "
                    f"finite number"
                )
            return score
        ic, _ = calc_ic(scores, labels)
        score = float(ic.mean())
        if not np.isfinite(score):
            raise ValueError(
                f'metric "ic" is undefined on all {len(ic)} validation sessions: each needs two '
                f'names or more with differing labels and scores; use metric "loss"'
            )
        return score
