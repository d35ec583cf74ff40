"""Bundles: equal bytes, verified bytes, whole or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.models import LSTMModel, build_network
from rnn_core.training import (
    BundleError,
    Trainer,
    TrainerConfig,
    atomic_dirs,
    bundle_fingerprint,
    load_bundle,
    save_bundle,
    seeded_network,
)
from rnn_core.training.bundle_files import digest, json_bytes, yaml_bytes

FILES = ["config.yaml", "history.parquet", "manifest.json", "processors.json"]
FILES = [*FILES, "weights.safetensors"]


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 1],
            "train_loss": [0.9, 0.1 + 0.2],
            "valid_score": [-1.0, -1e-300],
            "best": [True, False],
            "samples": [800, 800],
        }
    )


@pytest.fixture
def save(history: pd.DataFrame) -> Callable[..., str]:
    """Save a small LSTM; keywords change what is saved."""

    def run(path: Path, seed: int = 0, **changes) -> str:
        network = seeded_network(lambda: build_network("lstm", 3, {"hidden_size": 5}), seed)
        arguments = {
            "family": "lstm",
            "hyper": {"hidden_size": 5},
            "columns": ["KLEN", "ROC60", "CORR5"],
            "config": {"train": {"lr": 1e-3, "windows": [20, 60]}, "label": "Ref($close, -2)"},
            "history": history,
            "processors_json": '{"processors": []}',
            "manifest": {"as_of": "2024-06-28", "rows": 1234, "seed": seed, "score": -0.99},
        }
        return save_bundle(path, network, **{**arguments, **changes})

    return run


def test_round_trip(save: Callable, history: pd.DataFrame, tmp_path: Path) -> None:
    """Everything comes back; nothing but the five files is left, the generator is untouched."""
    fingerprint = save(tmp_path / "models" / "lstm")
    before = torch.get_rng_state()
    bundle = load_bundle(tmp_path / "models" / "lstm")
    assert torch.equal(before, torch.get_rng_state())
    assert sorted(p.name for p in (tmp_path / "models" / "lstm").iterdir()) == FILES
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["lstm"]
    assert bundle.fingerprint == fingerprint == bundle_fingerprint(tmp_path / "models" / "lstm")
    assert (bundle.family, bundle.columns) == ("lstm", ("KLEN", "ROC60", "CORR5"))
    assert bundle.hyper == {"hidden_size": 5, "num_layers": 2, "dropout": 0.0}
    assert bundle.config["train"] == {"lr": 0.001, "windows": [20, 60]}
    assert bundle.manifest == {"as_of": "2024-06-28", "rows": 1234, "seed": 0, "score": -0.99}
    assert bundle.processors_json == '{"processors": []}'
    pd.testing.assert_frame_equal(bundle.history, history, check_exact=True)
    assert not bundle.network.training
    expected = seeded_network(lambda: LSTMModel(3, 5), 0)
    for name, value in expected.state_dict().items():
        assert torch.equal(bundle.network.state_dict()[name], value)


def test_equal_trainings_write_equal_bytes(
    make_source: Callable, save: Callable, tmp_path: Path
) -> None:
    """Two trainings, two folders, the same five files."""
    for folder in ("a", "b"):
        config = TrainerConfig(n_epochs=2, batch_size=32, device="cpu")
        result = Trainer(config).fit(
            seeded_network(lambda: LSTMModel(3, 5), 0), make_source(100, 1), make_source(40, 2)
        )
        save_bundle(
            tmp_path / folder,
            result.network,
            family="lstm",
            hyper={"hidden_size": 5},
            columns=["a", "b", "c"],
            config={},
            history=result.history,
            processors_json="[]",
            manifest={"best_score": result.best_score},
        )
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_part_enters_the_fingerprint(
    save: Callable, history: pd.DataFrame, tmp_path: Path
) -> None:
    changes = [
        {},
        {"seed": 1},
        {"columns": ["KLEN", "ROC60", "CORR10"]},
        {"config": {}},
        {"history": history.head(1)},
        {"processors_json": "[]"},
        {"manifest": {"as_of": "2024-06-29"}},
    ]
    prints = [save(tmp_path / str(k), **change) for k, change in enumerate(changes)]
    assert len(set(prints)) == len(changes)


def test_the_same_bundle_is_kept(save: Callable, tmp_path: Path) -> None:
    first = save(tmp_path / "m")
    inode = (tmp_path / "m").stat().st_ino
    assert save(tmp_path / "m") == first
    assert save(tmp_path / "m", replace=True) == first
    assert (tmp_path / "m").stat().st_ino == inode


@pytest.mark.parametrize("can_exchange", [True, False])
def test_another_bundle_needs_replace(
    save: Callable, tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(atomic_dirs, "_exchange", lambda one, other: False)
    first = save(tmp_path / "m")
    with pytest.raises(BundleError, match=r"m holds another bundle \(.*save with replace=True"):
        save(tmp_path / "m", seed=1)
    assert bundle_fingerprint(tmp_path / "m") == first
    second = save(tmp_path / "m", seed=1, replace=True)
    assert second != first
    assert load_bundle(tmp_path / "m").fingerprint == second
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_reader_sees_the_old_or_the_new(save: Callable, tmp_path: Path) -> None:
    """A thread loads while another replaces; no load fails."""
    prints = {save(tmp_path / "m", seed=0), save(tmp_path / "other", seed=1)}
    seen, done = set(), threading.Event()

    def replace() -> None:
        for k in range(1, 31):
            save(tmp_path / "m", seed=k % 2, replace=True)
            time.sleep(0.01)
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not done.is_set():
        seen.add(load_bundle(tmp_path / "m").fingerprint)
    writer.join()
    assert seen <= prints
    assert load_bundle(tmp_path / "m").fingerprint in prints


def test_a_failed_write_leaves_nothing(
    save: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in FILES if n != "manifest.json"])
def test_a_damaged_file_is_named(save: Callable, tmp_path: Path, name: str) -> None:
    save(tmp_path / "m")
    data = bytearray((tmp_path / "m" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m" / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} of bundle .* is damaged.*train it again"):
        load_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match=r"is damaged.*or save with replace=True"):
        save(tmp_path / "m")
    save(tmp_path / "m", replace=True)
    assert load_bundle(tmp_path / "m").family == "lstm"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(save: Callable, tmp_path: Path, name: str) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(BundleError, match=rf"m has no readable {name}; train it again"):
        load_bundle(tmp_path / "m")


def test_a_changed_manifest(save: Callable, tmp_path: Path) -> None:
    save(tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "as_of": "2030-01-01"}))
    with pytest.raises(BundleError, match=r"manifest\.json of bundle .* was changed after"):
        load_bundle(tmp_path / "m")
    path.write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(BundleError, match="has format 99, this version reads 1"):
        load_bundle(tmp_path / "m")
    path.write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json of bundle .* is damaged"):
        load_bundle(tmp_path / "m")


def _crafted(folder: Path, changes: dict[str, bytes]) -> None:
    """Put other bytes into a bundle, with all digests right."""
    record = json.loads((folder / "manifest.json").read_bytes())
    for name, data in changes.items():
        (folder / name).write_bytes(data)
        record["files"][name] = digest(data)
    del record["fingerprint"]
    record["fingerprint"] = digest(json_bytes(record))
    (folder / "manifest.json").write_bytes(json_bytes(record))


_SETTINGS = {
    "family": "lstm",
    "hyper": {"hidden_size": 5, "num_layers": 2, "dropout": 0.0},
    "columns": ["KLEN", "ROC60", "CORR5"],
    "config": {},
}
_BOMB = "\n".join(
    ["family: lstm", "l0: &l0 [x, x]"]
    + [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", b"- 1"),
        ("config.yaml", b""),
        ("config.yaml", b"\xff\xfe"),
        ("config.yaml", b"{"),
        ("config.yaml", b"family: lstm"),
        ("config.yaml", _BOMB.encode()),
        ("config.yaml", b"[" * 100_000),
        ("config.yaml", b"!!python/object/apply:os.system ['true']"),
        ("config.yaml", {**_SETTINGS, "family": ["lstm"]}),
        ("config.yaml", {**_SETTINGS, "family": "no_such"}),
        ("config.yaml", {**_SETTINGS, "family": "linear"}),
        ("config.yaml", {**_SETTINGS, "hyper": [1]}),
        ("config.yaml", {**_SETTINGS, "hyper": {"hidden_size": 10**9}}),
        ("config.yaml", {**_SETTINGS, "hyper": {"hidden_size": 60_000}}),
        ("config.yaml", {**_SETTINGS, "hyper": {"num_layers": 10**9}}),
        ("config.yaml", {**_SETTINGS, "hyper": {"hidden_size": True}}),
        ("config.yaml", {**_SETTINGS, "columns": "KLEN"}),
        ("config.yaml", {**_SETTINGS, "columns": [1, 2, 3]}),
        ("config.yaml", {**_SETTINGS, "columns": []}),
        ("config.yaml", {**_SETTINGS, "columns": ["A", "B"]}),
        ("config.yaml", {**_SETTINGS, "config": 1}),
        ("config.yaml", {**_SETTINGS, "members": 10**9}),
        ("config.yaml", {**_SETTINGS, "members": 0}),
        ("config.yaml", {**_SETTINGS, "members": "two"}),
        ("config.yaml", {**_SETTINGS, "members": 2}),
        ("history.parquet", b""),
        ("history.parquet", b"PAR1PAR1"),
        ("processors.json", b"{"),
        ("processors.json", b"[" * 100_000),
        ("weights.safetensors", b""),
        ("weights.safetensors", b"\xff" * 8 + b"{}"),
        ("weights.safetensors", (2).to_bytes(8, "little") + b"{}"),
        (
            "weights.safetensors",
            (74).to_bytes(8, "little")
            + b'{"rnn.weight_ih_l0":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}    ',
        ),
    ],
)
def test_right_digests_do_not_make_a_bundle(
    save: Callable, tmp_path: Path, name: str, content: bytes | dict
) -> None:
    """Whatever a stranger packs into a bundle, it is refused by name, soon, and runs nothing."""
    save(tmp_path / "m")
    began = time.process_time()
    data = content if isinstance(content, bytes) else yaml_bytes(content)
    _crafted(tmp_path / "m", {name: data})
    with pytest.raises(BundleError, match=r"bundle .*m "):
        load_bundle(tmp_path / "m")
    assert time.process_time() - began < 10


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"[]", b"1", b"null", b'{"files": 3}', b""])
def test_a_manifest_that_is_none(save: Callable, tmp_path: Path, raw: bytes) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleError, match=r"manifest\.json of bundle .* is damaged"):
        load_bundle(tmp_path / "m")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*nowhere; train it again"):
        load_bundle(tmp_path / "nowhere")


def test_other_things_are_not_replaced(save: Callable, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"holds files of no bundle \(thesis.txt\)"):
        save(tmp_path / "data", replace=True)
    assert (tmp_path / "data" / "thesis.txt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="file is a file, expected a folder"):
        save(tmp_path / "file", replace=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyper": {"hidden_size": 6}}, "not those of a lstm with 3 columns"),
        ({"columns": ["a", "b"]}, "not those of a lstm with 2 columns"),
        ({"family": "gru"}, "not those of a gru"),
        ({"family": "ltsm"}, "no model family 'ltsm'"),
        ({"manifest": {"fingerprint": "x"}}, "the manifest has fingerprint, which the bundle"),
        ({"manifest": {"score": float("nan")}}, "the manifest holds a value that JSON cannot"),
        ({"manifest": {"rows": np.int64(3)}}, "the manifest holds a value that JSON cannot"),
        ({"config": {"lr": np.float32(1)}}, "config holds a value that YAML cannot"),
        ({"processors_json": "{"}, "processors_json is no JSON"),
    ],
)
def test_what_cannot_be_saved(save: Callable, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "m", **change)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite(history: pd.DataFrame, tmp_path: Path) -> None:
    network = LSTMModel(1, 5)
    with torch.no_grad():
        network.fc_out.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"weights fc_out\.bias are not finite"):
        save_bundle(
            tmp_path / "m",
            network,
            family="lstm",
            hyper={"hidden_size": 5},
            columns=["a"],
            config={},
            history=history,
            processors_json="[]",
            manifest={},
        )


def test_integer_keys_of_a_manifest_become_text(save: Callable, tmp_path: Path) -> None:
    save(tmp_path / "m", manifest={"per_fold": {10: (1, 2), 9: None}})
    assert load_bundle(tmp_path / "m").manifest == {"per_fold": {"10": [1, 2], "9": None}}
