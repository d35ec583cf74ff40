"""The trainings behind the scores of a report, each with its validation and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.market.market import Market
from pipelines.training.registry import find_bundle

if TYPE_CHECKING:
    from rnn_core.training import Bundle

MOST = 60
"""Newest trainings of a model that a report reads: a bundle is verified whole when it is read."""


def trainings(
    market: Market, evaluations: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, list[str]]:
    """Set the validation of each training beside the rank IC of the sessions that it served.

    Args:
        market: the market.
        evaluations: by model, rows by session with as_of and rank_ic.

    Returns:
        One row a training, newest last, with `rnn_core.evaluation.report_training`'s columns; and
        what is left out, in sentences.
    """
    from rnn_core.evaluation.report_training import TRAINING_COLUMNS
    from rnn_core.training import BundleError

    rows, notes = [], []
    for name, frame in evaluations.items():
        days = pd.to_datetime(frame["as_of"]).dt.strftime("%Y-%m-%d")
        served = dict(list(pd.to_numeric(frame["rank_ic"]).groupby(days)))
        anchors = sorted(map(str, served))
        if len(anchors) > MOST:
            notes.append(
                f"trainings: the newest {MOST} of {len(anchors)} of {name}; the table "
                f"{name}_evaluation has the realised IC of all"
            )
        for as_of in anchors[-MOST:]:
            try:
                bundle = find_bundle(market, name, as_of, weights=False)
            except BundleError:
                continue  # the loss curves of the page say what is damaged
            if bundle is None:
                continue
            realised = served[as_of]
            epochs, best = _epochs(bundle)
            rank_ic = bundle.manifest.get("valid_rank_ic")
            rows.append([
                name, pd.Timestamp(as_of), epochs, best,
                np.nan if rank_ic is None else rank_ic,
                int(realised.notna().sum()), float(realised.mean()),
            ])  # fmt: skip
    return pd.DataFrame(rows, columns=list(TRAINING_COLUMNS)), notes


def _epochs(bundle: Bundle) -> tuple[float, float]:
    """Return the epochs of a training and its best one, means over seeds; NaN without epochs."""
    seeds = bundle.manifest["seeds"]
    best = [seed["best_epoch"] for seed in seeds if seed.get("best_epoch") is not None]
    count = len(bundle.history) / len(seeds) if len(bundle.history) else np.nan
    return count, float(np.mean(best)) if best else np.nan
