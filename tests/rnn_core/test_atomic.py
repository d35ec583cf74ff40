"""Files written in one step. Oracle: what lies in the folder before and after."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from rnn_core.atomic import atomic_write, is_leftover, temporary_path
from rnn_core.host import host_id


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
    assert one.name.split(".")[-3] == f"{host_id()}-{os.getpid()}"


def gone_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("host", "of_a_living", "days", "expected"),
    [
        ("here", True, 30, False),
        ("here", False, 0, True),
        ("", True, 0, False),  # as earlier releases named them
        ("", False, 0, True),
        ("elsewhere", False, 0, False),
        ("elsewhere", False, 6, False),
        ("elsewhere", True, 8, True),
    ],
)
def test_a_leftover_is_told_by_its_writer_or_elsewhere_by_its_age(
    tmp_path, host, of_a_living, days, expected
):
    prefix = {"here": f"{host_id()}-", "elsewhere": "0123abcd-", "": ""}[host]
    pid = os.getpid() if of_a_living else gone_process()
    path = tmp_path / f".a.png.{prefix}{pid}.89abcdef.tmp"
    path.touch()
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    assert is_leftover(path) == expected


def test_other_names_are_no_leftovers(tmp_path):
    for name in (".a.png.12.tmp", "a.png", ".a.png.0123abcg-12.89abcdef.tmp"):
        (tmp_path / name).touch()
        assert not is_leftover(tmp_path / name)
    assert not is_leftover(tmp_path / ".a.png.0123abcd-1.89abcdef.tmp")  # in place by now


@pytest.mark.parametrize("differs", ["name", "boot", "namespace"])
def test_hosts_of_one_name_are_told_apart(tmp_path, monkeypatch, differs):
    """Machines made from one image, and containers of one machine."""
    before = host_id()
    if differs == "name":
        monkeypatch.setattr("socket.gethostname", lambda: "another")
    elif differs == "boot":
        (tmp_path / "boot").write_text("5e063ef0-4931-4787-aa7e-1a1a02048442")
        monkeypatch.setattr("rnn_core.host._BOOT", tmp_path / "boot")
    else:
        (tmp_path / "pid").symlink_to("pid:[4026539999]")
        monkeypatch.setattr("rnn_core.host._NAMESPACE", tmp_path / "pid")
    assert host_id() != before
    assert len(host_id()) == 8


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
    assert not is_leftover(left)  # its writer lives
    left = left.rename(left.with_name(left.name.replace(str(os.getpid()), str(gone_process()))))
    assert is_leftover(left)
