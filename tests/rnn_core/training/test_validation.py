"""What validation says of a model. Oracle: the same figures by pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rnn_core.data import TSDataSampler
from rnn_core.training import validation_facts

DAYS, NAMES = pd.bdate_range("2024-01-01", periods=8), ["A", "B", "C", "D", "E"]


class LastFeature(nn.Module):
    """Scores a window by its newest feature, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1, 0] * self.factor  # (B,)


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    index = pd.MultiIndex.from_product([DAYS, NAMES], names=["datetime", "instrument"])
    feature = rng.normal(size=len(index))
    label = 0.3 * feature + rng.normal(size=len(index))
    label[rng.random(len(index)) < 0.2] = np.nan
    return pd.DataFrame({"X": feature, "LABEL0": label}, index=index, dtype="float32")


def sampler(frame: pd.DataFrame) -> TSDataSampler:
    return TSDataSampler(
        frame, DAYS[2], DAYS[-1], 3, fillna_type="ffill+bfill", flt_data=frame["LABEL0"].notna()
    )


def test_the_facts_of_an_ensemble(frame) -> None:
    """Of the mean of two networks: feature × 1 and × 3, so feature × 2."""
    facts = validation_facts(
        [LastFeature(1.0), LastFeature(3.0)],
        sampler(frame),
        metric="loss",
        train_mean=0.25,
        device="cpu",
    )
    rows = frame.loc[DAYS[2] :].dropna().astype("float64")
    assert facts.rows == len(rows)
    assert facts.score == pytest.approx(-((2 * rows["X"] - rows["LABEL0"]) ** 2).mean(), rel=1e-6)
    assert facts.constant_score == pytest.approx(-((0.25 - rows["LABEL0"]) ** 2).mean(), rel=1e-6)
    assert facts.spread == pytest.approx(2 * rows["X"].std(ddof=0), rel=1e-6)
    days = rows.groupby("datetime")
    spearman = days.apply(lambda day: day["X"].rank().corr(day["LABEL0"].rank()))
    assert facts.rank_ic == pytest.approx(spearman.mean(), abs=1e-9)


def test_a_model_that_orders_the_wrong_way_has_a_negative_rank_ic(frame) -> None:
    right, wrong = (
        validation_facts(
            [LastFeature(factor)], sampler(frame), metric="loss", train_mean=0.0, device="cpu"
        ).rank_ic
        for factor in (1.0, -1.0)
    )
    assert wrong == pytest.approx(-right)
    assert right > 0


def test_equal_scores_have_no_rank_ic(frame) -> None:
    facts = validation_facts(
        [LastFeature(0.0)], sampler(frame), metric="loss", train_mean=0.0, device="cpu"
    )
    assert np.isnan(facts.rank_ic)
    assert facts.spread == 0
