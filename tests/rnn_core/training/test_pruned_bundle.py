"""Bundles without weights. Oracle: the bundle before it was pruned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rnn_core.models import build_network
from rnn_core.training import (
    BundleError,
    PrunedBundleError,
    load_bundle,
    save_bundle,
    seeded_network,
)
from rnn_core.training.bundle_files import MANIFEST, PRUNED, prune_bundle
from rnn_core.training.file_folder import LocalFolder, version_of

STAY = {"config.yaml", "history.parquet", MANIFEST, PRUNED}


def save(path: Path, seed: int = 0) -> str:
    return save_bundle(
        path,
        seeded_network(lambda: build_network("lstm", 3, {"hidden_size": 5}), seed),
        family="lstm",
        hyper={"hidden_size": 5},
        columns=["KLEN", "ROC60", "CORR5"],
        config={"lr": 1e-3},
        history=pd.DataFrame({"epoch": [0, 1], "train_loss": [0.9, 0.3]}),
        processors_json='{"processors": []}',
        manifest={"seed": seed},
        replace=True,
    )


def test_a_pruned_bundle_keeps_its_record(tmp_path: Path) -> None:
    save(tmp_path)
    whole = load_bundle(tmp_path)
    prune_bundle(LocalFolder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == STAY
    record = load_bundle(tmp_path, weights=False)
    assert record.members == ()
    assert record.fingerprint == whole.fingerprint
    assert (record.config, record.manifest) == (whole.config, whole.manifest)
    pd.testing.assert_frame_equal(record.history, whole.history)
    with pytest.raises(PrunedBundleError, match=r"weights of bundle .* were pruned"):
        load_bundle(tmp_path)


def test_saving_it_again_makes_it_whole(tmp_path: Path) -> None:
    fingerprint = save(tmp_path)
    prune_bundle(LocalFolder(tmp_path))
    assert save(tmp_path) == fingerprint == load_bundle(tmp_path).fingerprint
    assert not (tmp_path / PRUNED).exists()


@pytest.mark.parametrize("name", ["config.yaml", "history.parquet"])
def test_what_stays_is_verified_as_before(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    prune_bundle(LocalFolder(tmp_path))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{name} of bundle .* is damaged"):
        load_bundle(tmp_path, weights=False)


def test_a_note_excuses_no_other_bundle(tmp_path: Path) -> None:
    save(tmp_path / "a", seed=0)
    save(tmp_path / "b", seed=1)
    prune_bundle(LocalFolder(tmp_path / "a"))
    (tmp_path / "b" / PRUNED).write_bytes((tmp_path / "a" / PRUNED).read_bytes())
    (tmp_path / "b" / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"no readable weights\.safetensors"):
        load_bundle(tmp_path / "b", weights=False)


def test_a_removal_that_was_cut_off_leaves_a_whole_bundle_or_a_pruned_one(tmp_path: Path) -> None:
    save(tmp_path)
    weights = (tmp_path / "weights.safetensors").read_bytes()
    prune_bundle(LocalFolder(tmp_path))
    (tmp_path / "weights.safetensors").write_bytes(weights)  # as if it had not gone yet
    assert load_bundle(tmp_path, weights=False).members == ()
    with pytest.raises(PrunedBundleError):
        load_bundle(tmp_path)
    prune_bundle(LocalFolder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == STAY


def test_the_layout_of_an_object_store_is_pruned_as_well(tmp_path: Path) -> None:
    save(tmp_path)
    version = tmp_path / version_of((tmp_path / MANIFEST).read_bytes())
    version.mkdir()
    for path in [path for path in tmp_path.iterdir() if path.is_file() and path.name != MANIFEST]:
        path.rename(version / path.name)
    prune_bundle(LocalFolder(tmp_path))
    assert {path.name for path in version.iterdir()} == STAY - {MANIFEST, PRUNED}
    assert load_bundle(tmp_path, weights=False).config == {"lr": 1e-3}
