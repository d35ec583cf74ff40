"""Trainer, prediction and bundle together with the real `TSDataSampler`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import TSDataSampler
from rnn_core.models import MODEL_FAMILIES, build_network
from rnn_core.training import (
    SessionSource,
    Trainer,
    TrainerConfig,
    load_bundle,
    predict,
    save_bundle,
    seeded_network,
)

COLUMNS = ["A", "B", "C"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """60 sessions of 15 names with holes; the label is the mean of the day's features."""
    rng = np.random.default_rng(3)
    days = pd.bdate_range("2024-01-02", periods=60)
    names = [f"N{k:02d}" for k in range(15)]
    index = pd.MultiIndex.from_product([days, names], names=["datetime", "instrument"])
    values = rng.normal(size=(len(index), 3))
    label = values.mean(axis=1) + 0.1 * rng.normal(size=len(index))
    data = pd.DataFrame(np.column_stack([values, label]), index=index, columns=[*COLUMNS, "LABEL0"])
    return data[rng.random(len(data)) > 0.1].astype("float32")


@pytest.mark.parametrize("family", sorted(MODEL_FAMILIES))
@pytest.mark.parametrize("metric", ["loss", "ic"])
def test_fit_save_load_predict(
    family: str, metric: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """From a frame to scores that equal those of the loaded bundle, session by session."""
    sampler = TSDataSampler(frame, None, None, step_len=8, fillna_type="ffill+bfill")
    assert isinstance(sampler, SessionSource)
    train, valid = sampler.between(None, "2024-02-29"), sampler.between("2024-03-01", None)
    config = TrainerConfig.for_family(
        family, n_epochs=6, lr=0.01, batch_size=64, metric=metric, device="cpu"
    )
    network = seeded_network(lambda: build_network(family, 3), 0)
    result = Trainer(config).fit(network, train, valid)
    assert result.best_score > result.history["valid_score"].iloc[0]

    save_bundle(
        tmp_path / family,
        result.network,
        family=family,
        hyper={},
        columns=COLUMNS,
        config={},
        history=result.history,
        processors_json="[]",
        manifest={},
    )
    bundle = load_bundle(tmp_path / family)
    serve = TSDataSampler(frame[COLUMNS], None, None, step_len=8, fillna_type="ffill+bfill")
    scores = pd.Series(
        predict(bundle.network, serve, device="cpu"), index=serve.get_index()
    ).sort_index()
    assert len(scores) == len(frame)
    for day in ("2024-01-02", "2024-03-05", "2024-03-25"):
        alone = serve.between(day, day)
        one_session = pd.Series(
            predict(result.network, alone, device="cpu"), index=alone.get_index()
        )
        pd.testing.assert_series_equal(one_session, scores.loc[[day]], check_exact=True)
