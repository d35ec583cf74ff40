"""Peak memory of one call, as the kernel counts it.

Linux keeps a process's high-water mark of resident memory and lets the process lower the mark to
its present size; the growth from there is what the call needed at most, result included, whoever
allocated it (numpy, malloc, another language). Only this process is counted: a contestant with
worker processes gets theirs for free.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PROCESS = Path("/proc/self")


def growth_mb(call: Callable[[], object]) -> float:
    """Growth of resident memory during a call, 10^6 bytes; NaN where there is no /proc."""
    try:
        (PROCESS / "clear_refs").write_text("5")  # lowers the high-water mark to what is held now
        before = _status_mb("VmRSS")
        kept = call()
        peak = _status_mb("VmHWM")
    except OSError:
        return float("nan")
    del kept
    return peak - before


def _status_mb(entry: str) -> float:
    """One entry of the process's status, 10^6 bytes."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(entry + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {entry} in {PROCESS}/status")
