"""Files written in one step. Oracle: what lies in the folder before and after."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from rnn_core.atomic import atomic_write, temporary_path, writer_of


def test_a_failed_rename_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "new" / "state.json"
    atomic_write(target, b"old")

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_a_temporary_name_says_whose_it_is(tmp_path):
    one, other = (temporary_path(tmp_path / "a.png") for _ in range(2))
    assert one != other
    assert one.parent == tmp_path
    assert writer_of(one) == os.getpid()
    assert writer_of(tmp_path / ".a.png.12.tmp") is None
    assert writer_of(tmp_path / "a.png") is None


def write_checkpoint(folder):
    from rnn_core.training.checkpoint import TrainingState, save_checkpoint
    from rnn_core.training.file_folder import LocalFolder

    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    save_checkpoint(LocalFolder(folder), TrainingState(network, optimizer), {})


def write_picture(folder):
    from matplotlib.figure import Figure

    from rnn_core.evaluation.render import to_png

    to_png(Figure(), folder / "a.png")


def write_handler(folder):
    from rnn_core.data import DataHandlerLP

    index = pd.MultiIndex.from_product(
        [pd.date_range("2024-01-02", periods=2), ["A"]], names=["datetime", "instrument"]
    )
    columns = pd.MultiIndex.from_tuples([("feature", "F"), ("label", "L")])
    DataHandlerLP(pd.DataFrame(1.0, index, columns)).save(folder / "handler.json")


def write_bundle(folder):
    from rnn_core.models import MODEL_FAMILIES
    from rnn_core.training.bundle import save_bundle

    hyper = {"hidden_size": 2, "num_layers": 1}
    save_bundle(
        folder / "lstm",
        MODEL_FAMILIES["lstm"].build(1, hyper),
        family="lstm",
        hyper=hyper,
        columns=["F"],
        config={},
        history=pd.DataFrame({"epoch": [0]}),
        processors_json="[]",
        manifest={},
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("write", [write_checkpoint, write_picture, write_handler, write_bundle])
def test_every_writer_leaves_names_that_can_be_swept(tmp_path, monkeypatch, write):
    """Killed before the rename, and before it could clear up."""

    def killed(*_args, **_kwargs):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("replace", "rename", "unlink"):
            patch.setattr(Path, name, killed)
        patch.setattr("os.replace", killed)
        patch.setattr("os.rename", killed)
        patch.setattr("shutil.rmtree", lambda *_args, **_kwargs: None)
        write(tmp_path)
    (left,) = tmp_path.iterdir()
    assert writer_of(left) == os.getpid()
