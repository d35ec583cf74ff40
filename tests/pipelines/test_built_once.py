"""A fixture shared by processes. Oracle: builders that count, in processes that ask at once."""

from __future__ import annotations

import pytest

from tests.pipelines.built_once import copy_built_once
from tests.pipelines.processes import start_python

ASK = """
import sys, time
from pathlib import Path
from tests.pipelines.built_once import copy_built_once

def build(root):
    root.mkdir()
    with (root.parent / "builds").open("a") as file:
        file.write("x")
    time.sleep(0.5)
    (root / "content").write_text("whole")

copy_built_once(Path(sys.argv[1]), Path(sys.argv[2]), build)
"""


def test_processes_that_ask_at_once_build_once_and_copy_the_whole(tmp_path):
    copies = [tmp_path / f"copy{k}" for k in range(3)]
    asking = [start_python(ASK, tmp_path / "shared" / "built", copy) for copy in copies]
    for process in asking:
        assert process.communicate()[1] == b""
    assert (tmp_path / "shared" / "builds").read_text() == "x"
    assert [(copy / "content").read_text() for copy in copies] == ["whole"] * 3


def test_a_build_that_fails_is_tried_again(tmp_path):
    def fails(root):
        root.mkdir()
        (root / "half").touch()
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        copy_built_once(tmp_path / "built", tmp_path / "copy", fails)
    copy_built_once(tmp_path / "built", tmp_path / "copy", lambda root: root.mkdir())
    assert not list((tmp_path / "copy").iterdir())
