"""The cause of a diverged training: the input, the weights, or the loss.

A NaN spreads: from one cell of one window to the loss, from there to every weight, and at the end
only a score of NaN is left. So every step keeps three facts: the input is finite, the weights
before the step are finite, the loss is finite. The cause is the first false fact, in that order, of
the first step that has one. The facts stay on the training device and are read every 50 steps,
since reading them waits for an accelerator; on the CPU they cost about one part in a thousand.

Shapes: `B` batch, `L` window length, `F` features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

_READ_EVERY_STEPS = 50

_ADVICE = {
    "input": "the windows hold NaN or infinities: fill or drop them in a processor, "
    "and count them by column with rnn_core.data.finite_report",
    "weights": "the step before this one made the weights infinite: lower lr or clip_value",
    "loss": "input and weights are finite and the loss is not: look for labels or features of "
    "extreme size, and normalise them",
}


class TrainingDivergedError(RuntimeError):
    """A training produced a number that is not finite.

    Args:
        epoch: from 0.
        batch: from 0; None for the validation after the epoch.
        cause: "input", "weights" or "loss", the first that was not finite.

    Examples:
        >>> infinite = TSDataSampler(table * np.inf, days[1], None, step_len=2)
        >>> Trainer(config).fit(make(), infinite, None)
        Traceback (most recent call last):
            ...
        rnn_core.training.divergence.TrainingDivergedError: training diverged in epoch ...
    """

    def __init__(self, epoch: int, batch: int | None, cause: str) -> None:
        self.epoch, self.batch, self.cause = epoch, batch, cause
        place = "its validation" if batch is None else f"batch {batch}"
        super().__init__(
            f"training diverged in epoch {epoch}, {place}, first in the {cause}: {_ADVICE[cause]}"
        )


class StepMonitor:
    """The facts of an epoch's steps, and the sums of its running loss.

    Args:
        epoch: from 0, for the error.
        device: of the facts.
    """

    def __init__(self, epoch: int, device: torch.device) -> None:
        self._epoch = epoch
        self._squares = torch.zeros((), dtype=torch.float64, device=device)
        self._rows = torch.zeros((), dtype=torch.int64, device=device)
        self._unread: list[Tensor] = []
        self._n_read = 0

    def record(self, weights_ok: Tensor, input_ok: Tensor, squares: Tensor, rows: Tensor) -> None:
        """Keep the facts of one step; every 50 steps, read them.

        Args:
            weights_ok: bool scalar, before the step.
            input_ok: bool scalar.
            squares: sum of squared errors over the rows with a label, float64 scalar.
            rows: number of those rows.

        Raises:
            TrainingDivergedError: an earlier step, or this one, was not finite.
        """
        self._squares += squares
        self._rows += rows
        self._unread.append(torch.stack([input_ok, weights_ok, torch.isfinite(squares)]))
        if len(self._unread) == _READ_EVERY_STEPS:
            self._read()

    def totals(self) -> tuple[float, int]:
        """Return the running mean squared error of the epoch's rows, and their number.

        Returns:
            (loss, rows).

        Raises:
            TrainingDivergedError: a step was not finite.
            ValueError: no row had a finite label.
        """
        self._read()
        rows = int(self._rows)
        if rows == 0:
            raise ValueError(
                "no training row has a finite label; check the label and flt_data of the source"
            )
        return float(self._squares) / rows, rows

    def _read(self) -> None:
        """Raise for the first step whose facts are bad."""
        if not self._unread:
            return
        facts = torch.stack(self._unread).cpu()  # [steps, 3]
        bad = torch.nonzero(~facts.all(dim=1)).flatten()
        if len(bad):
            step = int(bad[0])
            cause = ("input", "weights", "loss")[int(torch.nonzero(~facts[step]).flatten()[0])]
            raise TrainingDivergedError(self._epoch, self._n_read + step, cause)
        self._n_read += len(self._unread)
        self._unread.clear()


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """True if every number is finite, a scalar on the device, for which the test does not wait.

    Values beyond about 1e19 count as infinite, because the test is the norm, which is one pass.
    """
    return torch.isfinite(get_total_norm([t.detach() for t in tensors]))
