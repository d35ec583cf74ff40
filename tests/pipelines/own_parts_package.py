"""The package of `examples/own_parts` on the path of a test."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

OWN_PARTS = Path(__file__).parents[2] / "examples" / "own_parts"


@pytest.fixture
def own_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the package, on the path of this process and its children."""
    monkeypatch.syspath_prepend(OWN_PARTS)
    paths = [str(OWN_PARTS), str(OWN_PARTS.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    importlib.invalidate_caches()
    yield OWN_PARTS
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        del sys.modules[name]
