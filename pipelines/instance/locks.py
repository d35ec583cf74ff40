"""Locks between processes: one training at a time on an accelerator, one writer of an asset.

Dagster's pools keep order inside what one daemon launches, but on SQLite two processes can be
granted the same slot, and a command of a person asks no daemon. A lock here is `flock` on a file
in the data root: the kernel holds it for the process and lets go when the process ends, however it
ends, so no lock is ever stale. The file itself stays and says who took it last.

`training_lock`  one training at a time on a device, across all markets of the data root. On the
                 CPU trainings may overlap: nothing is excluded.
`writer_lock`    two runs never write the same asset of a market at the same time. A run holds the
                 lock of one asset while it makes that asset and lets go before the next, so a run
                 of other sessions may pass between two of its assets; it sees whole partitions,
                 each moved into place in one step, and reads them verified.

Order: a writer lock first, a training lock inside it, never the other way; so two runs cannot wait
for each other. The locks hold on one machine: a warehouse behind a URL, written from two machines,
is not guarded.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.errors import WarehouseError
from pipelines.instance.progress import progress
from pipelines.market.market import Market

FOLDER = ".locks"
_POLL_SECONDS = 0.2
_open: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who holds or takes a lock: the process, and the run and asset that it is at work on."""

    pid: int
    run_id: str = ""
    asset: str = ""

    def __str__(self) -> str:
        run = f" (run {self.run_id[:8]}, {self.asset})" if self.run_id else ""
        return f"process {self.pid}{run}"


_at_work: ContextVar[Holder | None] = ContextVar("holder", default=None)


@contextmanager
def writer_lock(
    market: Market,
    asset: str,
    *,
    run_id: str = "",
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Be the only writer of an asset of a market inside the block.

    Args:
        market: the market.
        asset: key of the asset.
        run_id: the run that writes, for those who wait.
        on_wait: told what is waited for, once for each holder; the progress display always is.

    Raises:
        WarehouseError: the lock file cannot be made.
    """
    root = market.paths.root
    holder = Holder(os.getpid(), run_id, asset)
    named = _at_work.set(holder)
    try:
        with _locked(root.parent / FOLDER / root.name / f"{asset}.lock", asset, holder, on_wait):
            yield
    finally:
        _at_work.reset(named)


@contextmanager
def training_lock(
    market: Market, device: str, *, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Be the only training on a device inside the block; on the CPU nothing is excluded.

    Args:
        market: the market; the lock is shared by all markets of its data root.
        device: `auto`, `cpu`, `cuda` or `cuda:K`, as configured.
        on_wait: told what is waited for, once for each holder; the progress display always is.

    Raises:
        WarehouseError: the lock file cannot be made.
        ValueError: an accelerator that is not there.
    """
    accelerator = accelerator_id(device)
    if accelerator is None:
        yield
        return
    holder = _at_work.get() or Holder(os.getpid())
    path = market.paths.root.parent / FOLDER / f"gpu-{accelerator}.lock"
    with _locked(path, f"the accelerator {device}", holder, on_wait):
        yield


def accelerator_id(device: str) -> str | None:
    """What tells an accelerator from every other of this machine; None for the CPU.

    Its UUID, since `cuda:0` is another one under another CUDA_VISIBLE_DEVICES.
    """
    import torch

    from rnn_core.training.device import resolve_device

    chosen = resolve_device(device).device
    if chosen.type == "cpu":
        return None
    return str(torch.cuda.get_device_properties(chosen).uuid)


@contextmanager
def _locked(
    path: Path, what: str, holder: Holder, on_wait: Callable[[str], None] | None
) -> Iterator[None]:
    """Hold the lock of a file inside the block; waiting can be interrupted."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise WarehouseError(
            f"cannot make the lock {path}: {error}; check that {path.parent.parent} is writable, "
            f"or set RNN_DATA_DIR to a folder that is"
        ) from error
    _open.add(file)
    try:
        try:
            _wait_for(file, what, holder, on_wait)
        except OSError as error:  # a file system that knows no locks
            raise WarehouseError(
                f"cannot lock {path}: {error}; set RNN_DATA_DIR to a folder of a local disk"
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its name is lost
            os.truncate(file, 0)
            os.pwrite(file, json.dumps(asdict(holder)).encode(), 0)
        yield
    finally:
        _open.discard(file)
        os.close(file)


def _wait_for(file: int, what: str, holder: Holder, on_wait: Callable[[str], None] | None) -> None:
    told = None
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _holder_in(file)
            if other != told:
                told = other
                text = f"waiting for {what}: {other or 'another process'} is at work on it"
                if holder.asset:
                    progress().note(holder.asset, text)
                if on_wait is not None:
                    on_wait(text)
            time.sleep(_POLL_SECONDS)
        else:
            return


def _holder_in(file: int) -> Holder | None:
    """Who the file names; None while it is being written."""
    try:
        return Holder(**json.loads(os.pread(file, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _drop_in_child() -> None:
    """A forked child shares its parent's locks as long as it has their files open."""
    for file in _open:
        os.close(file)
    _open.clear()


os.register_at_fork(after_in_child=_drop_in_child)
