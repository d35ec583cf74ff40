"""Freed memory stays in the process, unless the environment or the C library says otherwise."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from rnn_core.training.malloc import keep_freed_memory

_FAULTS = """
import resource, sys, torch
from rnn_core.training.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def cycle():
    for _ in range(20):
        blocks = [torch.ones(500_000) for _ in range(4)]  # 2 MB each
        del blocks
cycle()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
cycle()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def _fresh():
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_freed_blocks_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page faults of allocating the same 8 MB again and again, counted by the system."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    run = [sys.executable, "-c", _FAULTS, "keep"]
    faults = int(subprocess.run(run, capture_output=True, check=True).stdout)
    assert faults < 20 * 4 * 50  # 20 times 4 blocks of 488 pages, if none were kept


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
