"""The register of checks, and what they share: sessions, sizes, a handler of two features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from rnn_core.data import (
    Alpha158,
    DataHandlerLP,
)
from rnn_core.models import GRU

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deviations.md"
WORKFLOW = ROOT / "tests" / "fixtures" / "workflow" / "gru_alpha158.yaml"

S = pd.bdate_range("2020-01-01", periods=60)
SEGMENTS = {"train": (S[5], S[35]), "valid": (S[36], S[45]), "test": (S[46], S[57])}
SIZES = {"d_feat": 2, "hidden_size": 4, "num_layers": 1, "GPU": -1, "threads": 1, "seed": 0}
SHORT = {**SIZES, "n_epochs": 2, "batch_size": 50, "lr": 0.01}


class Two(Alpha158):
    """Two features in place of 158."""

    def get_feature_config(self) -> Any:
        return ["$close/$open - 1", "$high/$low - 1"], ["BODY", "RANGE"]


CHECKS: dict[str, Callable[..., None]] = {}


def shows(exception: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a check of one row; its arguments are fixtures."""

    def keep(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[exception] = check
        return check

    return keep


def frames(handler: DataHandlerLP) -> pd.DataFrame:
    return handler.fetch(col_set="__raw")


def fitted(dataset: Any, **given: Any) -> GRU:
    return GRU(**{**SHORT, **given}).fit(dataset)
