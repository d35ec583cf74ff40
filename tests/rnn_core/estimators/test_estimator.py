"""The estimators on a small market whose next move can be told from its bars.

Oracles: the planted signal (a bound out of sample, and about nothing once labels are shuffled),
the same bits for the same seed, qlib's reshape written out cell by cell, and the trainer itself.
Datasets are stand-ins of the interface, a few lines each; the real ones are used where named.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import (
    Alpha158,
    DataHandlerLP,
    DatasetH,
    DropnaLabel,
    TSDataSampler,
    TSDatasetH,
)
from rnn_core.estimators.estimator_data import FrameWindows
from rnn_core.evaluation import calc_ic
from rnn_core.models import KRNN, LSTM
from rnn_core.training import (
    BundleError,
    load_bundle,
    predict,
)
from tests.rnn_core.estimators.estimator_cases import (
    FAMILIES,
    SEGMENTS,
    STEPS,
    TRAINING,
    Tabular,
    TimeSeries,
    rank_ic,
)


def _shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    changed = frame.copy()
    order = np.random.default_rng(0).permutation(len(frame))
    changed[("label", "LABEL0")] = frame[("label", "LABEL0")].to_numpy()[order]
    return changed


@pytest.mark.parametrize("shape", ["series", "tabular"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_planted_signal_is_found(
    family: str, shape: str, datasets: dict, frame: pd.DataFrame
) -> None:
    """Planted: a rank correlation of 0.4. Asked for: 0.3 in two months not trained on."""
    kind, sizes = FAMILIES[family]
    dataset = datasets[shape]()
    model = kind(**sizes, **TRAINING, seed=0)
    assert model.fit(dataset) is model
    assert dataset.asked == [("train", "learn"), ("valid", "learn")]  # the test segment is not read
    scores = model.predict(dataset)
    assert dataset.asked[2:] == [("test", "infer")]
    assert (scores.name, scores.dtype) == ("score", np.float32)
    expected = frame.loc[pd.IndexSlice[slice(*SEGMENTS["test"]), :], :].index
    assert list(scores.index.names) == ["datetime", "instrument"]
    assert scores.index.tolist() == expected.tolist()  # by session, then by name
    assert rank_ic(scores, frame) > 0.3


@pytest.mark.parametrize("shape", ["series", "tabular"])
def test_shuffled_labels_teach_nothing(shape: str, datasets: dict, frame: pd.DataFrame) -> None:
    """Not 0: a network is some function of the features, whatever it was taught."""
    dataset = datasets[shape]()
    dataset.frame = _shuffled(dataset.frame)
    kind, sizes = FAMILIES["GRU"]
    scores = kind(**sizes, **TRAINING, seed=0).fit(dataset).predict(dataset)
    assert abs(rank_ic(scores, frame)) < 0.1


def test_both_shapes_are_the_same_windows(frame: pd.DataFrame, flat_rows: pd.DataFrame) -> None:
    """Oracle: the sampler, on rows whose windows are complete."""
    full = frame.index.get_level_values("instrument").value_counts()
    name = full.index[full == full.max()][0]
    windows = FrameWindows(flat_rows["feature"], flat_rows[("label", "LABEL0")], 3)
    sampler = TSDataSampler(frame, None, None, STEPS)
    day = "2020-06-15"
    row = flat_rows.index.get_loc((pd.Timestamp(day), name))
    given = windows.batch(torch.tensor([row]), torch.device("cpu"))[0].numpy()
    np.testing.assert_array_equal(given[:, :3], sampler[day, name][:, :3])
    assert given[-1, -1] == sampler[day, name][-1, -1]


def test_the_same_seed_gives_the_same_bits(datasets: dict) -> None:
    kind, sizes = FAMILIES["LSTM"]
    short = {**TRAINING, "n_epochs": 1}
    dataset = datasets["series"]()
    torch.manual_seed(1)
    once = kind(**sizes, **short, seed=5).fit(dataset)
    torch.manual_seed(2)
    again = kind(**sizes, **{**short, "threads": 2}, seed=5).fit(dataset)
    other = kind(**sizes, **short, seed=6).fit(dataset)
    pd.testing.assert_series_equal(once.predict(dataset), again.predict(dataset), check_exact=True)
    pd.testing.assert_frame_equal(once.history, again.history, check_exact=True)
    assert not once.predict(dataset).equals(other.predict(dataset))
    drawn = kind(**sizes, **short).fit(dataset)
    seed = int(drawn.history["seed"].iloc[0])
    repeated = kind(**sizes, **short, seed=seed).fit(dataset)
    assert drawn.predict(dataset).equals(repeated.predict(dataset))
    assert torch.get_num_threads() == 1  # put back


def test_several_seeds_are_averaged(datasets: dict, tmp_path: Path) -> None:
    """Oracle: one estimator for each seed."""
    kind, sizes = FAMILIES["GRU"]
    short = {**TRAINING, "n_epochs": 2}
    dataset, evals = datasets["series"](), {}
    model = kind(**sizes, **short, seed=3, seeds=3).fit(dataset, evals_result=evals)
    alone = [kind(**sizes, **short, seed=s).fit(dataset) for s in (3, 4, 5)]
    members = model.predict_members(dataset)
    assert list(members.columns) == [3, 4, 5]
    for seed, one in zip((3, 4, 5), alone, strict=True):
        np.testing.assert_array_equal(members[seed], one.predict(dataset))
        assert model.member_scores[seed] == one.member_scores[seed]
    mean = members.astype("float64").mean(axis=1).astype("float32")
    np.testing.assert_array_equal(model.predict(dataset), mean)
    assert model.history["seed"].tolist() == [3, 3, 4, 4, 5, 5]
    assert len(evals["train"]) == len(evals["valid"]) == 6

    model.save(tmp_path / "ensemble")
    loaded = kind.load(tmp_path / "ensemble")
    assert loaded.predict(dataset).equals(model.predict(dataset))
    assert loaded.history.equals(model.history)
    (tmp_path / "ensemble" / "member_01").rename(tmp_path / "away")
    with pytest.raises(BundleError, match=r"seeds \[3, 5\], expected \[3, 4, 5\]"):
        kind.load(tmp_path / "ensemble")


def test_results_history_log_and_callback(
    datasets: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kind, sizes = FAMILIES["LSTM"]
    dataset, evals, told = datasets["series"](), {"valid": [9.0]}, []
    model = kind(**sizes, **{**TRAINING, "n_epochs": 3}, seed=0, metric="ic", n_jobs=20)
    with caplog.at_level(logging.INFO, "rnn_core"):
        model.fit(dataset, evals, tmp_path / "m" / "model", callback=told.append)
    history = model.history
    assert evals["train"] == (-history["train_loss"]).tolist()
    assert evals["valid"] == history["valid_score"].tolist()
    assert [report.epoch for report in told] == [0, 1, 2]
    assert model.member_scores == {0: max(evals["valid"])}
    lines = [r.message for r in caplog.records if "epoch" in r.message]
    assert len(lines) == 3
    assert lines[0].startswith("LSTM seed 0, epoch 0 of 3: train loss ")
    assert "n_jobs=20 is not used" in caplog.text
    bundle = load_bundle(tmp_path / "m" / "model")
    assert (bundle.family, bundle.columns) == ("lstm", ("KSFT2", "ROC20", "VOL"))
    # metric "ic": the mean over sessions of the correlation, on the windows validated on
    valid = dataset.prepare("valid", ["feature", "label"], "learn")
    valid.config(fillna_type="ffill+bfill")
    index = valid.get_index()
    scores = pd.Series(predict(bundle.network, valid, device="cpu", has_label=True), index=index)
    ic, _ = calc_ic(scores, dataset.frame[("label", "LABEL0")].loc[index])
    assert model.member_scores[0] == pytest.approx(ic.mean(), abs=1e-6)


def test_without_a_validation_segment(
    datasets: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All epochs are run: as many as with `early_stop` out of reach, and the last weights stay."""
    kind, sizes = FAMILIES["GRU"]
    dataset = datasets["series"]()
    dataset.segments = {k: v for k, v in SEGMENTS.items() if k != "valid"}
    evals: dict[str, list[float]] = {}
    settings = {**TRAINING, "n_epochs": 3, "early_stop": 1}
    with caplog.at_level(logging.INFO, "rnn_core"):
        model = kind(**sizes, **settings, seed=0).fit(dataset, evals, tmp_path / "model")
    assert 'no segment "valid": all 3 epochs are run' in caplog.text
    assert evals["valid"] == [] and len(evals["train"]) == 3
    assert model.history["valid_score"].isna().all()
    assert np.isnan(model.member_scores[0])
    assert np.isnan(kind.load(tmp_path / "model").member_scores[0])
    assert [asked for asked, _ in dataset.asked] == ["train"]


def test_save_and_load(datasets: dict, tmp_path: Path) -> None:
    kind, sizes = FAMILIES["KRNN"]
    dataset = datasets["tabular"]()
    model = kind(**sizes, **{**TRAINING, "n_epochs": 1}, seed=0).fit(dataset)
    model.save(tmp_path / "model")
    loaded = KRNN.load(tmp_path / "model")
    assert loaded.arguments == dataclasses.replace(model.arguments, legacy_layout=False)
    assert loaded.predict(dataset).equals(model.predict(dataset))
    assert loaded.history.equals(model.history)
    files = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert "weights.safetensors" in files and not any(name.endswith(".pkl") for name in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]

    with pytest.raises(BundleError, match=r"holds a KRNN, not a LSTM: read it with KRNN\.load"):
        LSTM.load(tmp_path / "model")
    with pytest.raises(BundleError, match="holds another estimator; save with replace=True"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", replace=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    before = len(dataset.asked)
    with pytest.raises(BundleError, match=r"files of no estimator \(notes\.txt\)"):
        model.fit(dataset, save_path=tmp_path / "mine")
    assert len(dataset.asked) == before  # told before anything is read or trained
    with pytest.raises(BundleError, match="no bundle at"):
        KRNN.load(tmp_path / "nothing")


def test_any_segment_and_slices(datasets: dict) -> None:
    kind, sizes = FAMILIES["LSTM"]
    for shape in ("series", "tabular"):
        dataset = datasets[shape]()
        model = kind(**sizes, **{**TRAINING, "n_epochs": 1}, seed=0).fit(dataset)
        whole = model.predict(dataset, "test")
        part = model.predict(dataset, slice("2020-12-01", "2020-12-04"))
        pd.testing.assert_series_equal(
            part, whole.loc["2020-12-01":"2020-12-04"], check_exact=True, check_freq=False
        )
        assert model.predict(dataset, "valid").index.is_monotonic_increasing


def test_with_the_real_datasets(frame: pd.DataFrame, flat_rows: pd.DataFrame) -> None:
    """Oracle: the stand-ins. Windows of serving see the same rows; those of training may not."""
    kind, sizes = FAMILIES["GRU"]
    for rows, real, stand_in in (
        (frame, lambda handler: TSDatasetH(handler, SEGMENTS, STEPS), TimeSeries),
        (flat_rows, lambda handler: DatasetH(handler, SEGMENTS), Tabular),
    ):
        dataset = real(DataHandlerLP(rows, learn_processors=[DropnaLabel()]))
        model = kind(**sizes, **TRAINING, seed=0).fit(dataset)
        scores = model.predict(dataset)
        pd.testing.assert_series_equal(
            scores, model.predict(stand_in(rows, SEGMENTS)), check_exact=True
        )
        assert rank_ic(scores, frame) > 0.25


def test_the_example(bars: pd.DataFrame) -> None:
    """From bars to the information coefficient, as a reader would write it."""
    chosen = ["KSFT2", "ROC20", "KMID", "STD5", "VMA5"]
    of_features = {"fields_group": "feature"}
    handler = Alpha158(
        bars=bars,
        fit_start_time="2020-02-03",
        fit_end_time="2020-08-31",
        infer_processors=[
            {"class": "FilterCol", "kwargs": {**of_features, "col_list": chosen}},
            {"class": "RobustZScoreNorm", "kwargs": {**of_features, "clip_outlier": True}},
            {"class": "Fillna", "kwargs": of_features},
        ],
        learn_processors=[
            {"class": "DropnaLabel"},
            {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
        ],
    )
    dataset = TSDatasetH(handler, segments=SEGMENTS, step_len=8)

    model = LSTM(d_feat=5, hidden_size=16, lr=0.01, batch_size=800, n_epochs=6, seed=0)
    model.fit(dataset)
    scores = model.predict(dataset, "test")

    label = dataset.handler.fetch(slice(*SEGMENTS["test"]), col_set="label", data_key="raw")
    ic, rank_ic = calc_ic(scores, label["LABEL0"])
    assert ic.mean() > 0.2 and rank_ic.mean() > 0.2
