"""Checks that the networks share: sizes when they are built, the shape of a batch when they run.

A wrong layout is the costly mistake here: a tensor [B, F, L] or a flat [B, L * F] can train
without an error and learn nothing (qlib's KRNN reads Alpha360 that way). So the width of a batch
is checked on every call; it costs well under a microsecond.

Shapes: `B` batch, `L` window length in sessions, `F` features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


MOST_UNITS = 65_536
MOST_LAYERS = 256


def require_sizes(most: int = MOST_UNITS, **sizes: int) -> None:
    """Refuse a size that is not a whole number between 1 and a bound.

    Args:
        most: the bound. A slip of the keyboard, or a crafted file, would else ask for all memory.
        **sizes: argument name to the value.

    Raises:
        ValueError: a value outside the range, or no integer.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"{name} is {value!r}, expected a whole number from 1 to {most:,}")


def require_dropout(dropout: float) -> None:
    """Refuse a dropout that is not a probability below 1.

    Args:
        dropout: share of activations set to zero between recurrent layers.

    Raises:
        ValueError: the dropout is outside [0, 1).
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout!r}, expected a number in [0, 1)")


def require_windows(x: Tensor, n_features: int) -> None:
    """Refuse a batch whose shape is not [B, L, F] with the network's own F.

    Args:
        x: the argument of `forward`.
        n_features: F the network was built for.

    Raises:
        ValueError: another number of axes, or another F.
    """
    if x.ndim != 3 or x.shape[-1] != n_features:
        raise ValueError(
            f"input of shape {tuple(x.shape)}, expected windows [B, L, {n_features}], oldest "
            f"session first; leave the label column out and give a flat frame its session axis"
        )
