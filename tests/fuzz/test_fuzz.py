"""Random input for every reader: a result with its obvious properties, or a refusal in words.

Oracle: `tests/fuzz/harness.py` says what counts as a finding. The inputs are the same at every run,
and as many as fit into the time; `make fuzz` is the long form.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.fuzz import files, texts
from tests.fuzz.__main__ import in_child
from tests.fuzz.harness import ROUND, Target, fuzz, refusal

SECONDS = 0.4
"""The processor time that each target gets."""


@pytest.mark.parametrize("target", texts.TARGETS, ids=lambda target: target.name)
def test_text(target: Target, tmp_path: Path) -> None:
    count = fuzz(target, tmp_path, SECONDS)
    print(f"{target.name}: {count:,} inputs")
    assert count >= ROUND


def test_files() -> None:
    """A process of its own reads what libraries in C read, and must live to the end."""
    status, out = in_child([target.name for target in files.TARGETS], SECONDS)
    print(out)
    assert status == 0, out
    assert out.count("inputs") == len(files.TARGETS)


def _target(check) -> Target:
    from hypothesis import strategies as st

    return Target("x", lambda: st.integers(0, 5), check, 0)


def test_a_finding_is_found(tmp_path: Path) -> None:
    """Another exception, a message without the name, a refusal without a word."""

    def raising(error: Exception | None):
        def check(given: int, _folder: Path) -> None:
            with refusal(KeyError, naming="name"):
                if given > 3:
                    raise error

        return check

    for error in (RuntimeError("other"), KeyError("silent"), KeyError("")):
        with pytest.raises((RuntimeError, AssertionError)) as found:
            fuzz(_target(raising(error)), tmp_path, 1)
        assert "given=4" in "".join(found.value.__notes__)
    assert fuzz(_target(raising(KeyError("name"))), tmp_path, 0) > 0


def test_a_hang_is_found(tmp_path: Path, monkeypatch) -> None:
    def check(given: int, _folder: Path) -> None:
        while given == 5:
            with contextlib.suppress(Exception):  # as code that holds everything
                os.getpid()

    monkeypatch.setattr("tests.fuzz.harness.MOST_CPU_SECONDS", 0.2)
    with pytest.raises(AssertionError, match=r"more than 0\.2 s"):
        fuzz(_target(check), tmp_path, 1)


def test_the_end_of_the_process_is_found() -> None:
    options = ["--modules", "tests.fuzz.dying"]
    status, out = in_child(["dies"], 5.0, options=options)
    assert status == -signal.SIGSEGV
    assert "the last input was\ndies: " in out
    assert out.rstrip().endswith("4711")
