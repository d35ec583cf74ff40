"""Locks of the pipeline: one training at a time on an accelerator, one writer of an asset.

Dagster's pools keep order inside what one daemon launches, but on SQLite two processes can be
granted the same slot, and a command of a person asks no daemon.

`unit_lock`      a training unit is trained once, whoever plans it.
`training_lock`  one training at a time on a device, across all markets of the data root. On the
                 CPU trainings may overlap: nothing is excluded.
`writer_lock`    two runs never write the same asset of a market at the same time. A run holds the
                 lock of one asset while it makes that asset and lets go before the next, so a run
                 of other sessions may pass between two of its assets; it sees whole partitions,
                 each moved into place in one step, and reads them verified.

Order: a writer lock first, a unit's inside it, a training lock innermost, never the other way; so
two runs cannot wait for each other. The locks hold on one machine: a warehouse behind a URL,
written from two machines, is not guarded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import PipelineError
from pipelines.instance.file_lock import file_lock
from pipelines.instance.progress import progress

if TYPE_CHECKING:
    from pipelines.market.market import Market

FOLDER = ".locks"


_at_work: ContextVar[dict[str, Any] | None] = ContextVar("holder", default=None)


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
        on_wait: told the holder that is waited for, once each; the progress display always is.

    Raises:
        WarehouseError: the lock file cannot be made.
    """
    holder = {"pid": os.getpid(), "run_id": run_id, "asset": asset}
    named = _at_work.set(holder)
    try:
        with file_lock(_lock_file(market, asset), holder, _tell_once(asset, asset, on_wait)):
            yield
    finally:
        _at_work.reset(named)


@contextmanager
def only_writer(market: Market, assets: Iterable[str]) -> Iterator[None]:
    """Be the only writer of some assets of a market inside the block, without waiting.

    Args:
        market: the market.
        assets: keys of the assets.

    Raises:
        PipelineError: another process writes one; the message names it.
        WarehouseError: a lock file cannot be made.
    """

    def refuse(holder: dict[str, Any]) -> None:
        raise PipelineError(
            f"{_name(holder)} is at work on {market.config.name}: wait for its end; nothing was "
            f"deleted"
        )

    with ExitStack() as locks:
        for asset in assets:
            path = _lock_file(market, asset)
            locks.enter_context(file_lock(path, {"pid": os.getpid(), "asset": asset}, refuse))
        yield


def _lock_file(market: Market, asset: str) -> Path:
    root = market.paths.root
    return root.parent / FOLDER / root.name / f"{asset}.lock"


@contextmanager
def unit_lock(
    market: Market, key: str, *, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Be the only one that trains a unit inside the block.

    Args:
        market: the market.
        key: of the unit.
        on_wait: told the holder that is waited for, once each; the progress display always is.

    Raises:
        WarehouseError: the lock file cannot be made.
    """
    holder = _at_work.get() or {"pid": os.getpid()}
    tell = _tell_once(f"the training unit {key[:12]}", holder.get("asset"), on_wait)
    with file_lock(_unit_file(market, key), holder, tell):
        yield


def forget_units(market: Market, keys: Iterable[str]) -> None:
    """Remove the lock files of units that are joined; who waits for one takes a new file."""
    for key in keys:
        _unit_file(market, key).unlink(missing_ok=True)


def _unit_file(market: Market, key: str) -> Path:
    return _lock_file(market, f"units/{key}")


@contextmanager
def training_lock(
    market: Market, device: str, *, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Be the only training on a device inside the block; on the CPU nothing is excluded.

    Args:
        market: the market; the lock is shared by all markets of its data root.
        device: `auto`, `cpu`, `cuda` or `cuda:K`, as configured.
        on_wait: told the holder that is waited for, once each; the progress display always is.

    Raises:
        WarehouseError: the lock file cannot be made.
        ValueError: an accelerator that is not there.
    """
    accelerator = accelerator_id(device)
    if accelerator is None:
        yield
        return
    holder = _at_work.get() or {"pid": os.getpid()}
    path = market.paths.root.parent / FOLDER / f"gpu-{accelerator}.lock"
    tell = _tell_once(f"the accelerator {device}", holder.get("asset"), on_wait)
    with file_lock(path, holder, tell):
        yield


def accelerator_id(device: str) -> str | None:
    """The identity of an accelerator on this machine; None for the CPU.

    Its UUID, since `cuda:0` is another one under another CUDA_VISIBLE_DEVICES.
    """
    import torch

    from rnn_core.training.device import resolve_device

    chosen = resolve_device(device).device
    if chosen.type == "cpu":
        return None
    return str(torch.cuda.get_device_properties(chosen).uuid)


def _tell_once(
    what: str, asset: str | None, on_wait: Callable[[str], None] | None
) -> Callable[[dict[str, Any]], None]:
    """A listener that says who is waited for, once for each holder."""
    told: dict[str, Any] = {}

    def tell(holder: dict[str, Any]) -> None:
        nonlocal told
        if holder == told:
            return
        told = holder
        text = f"waiting for {what}: {_name(holder)} is at work on it"
        if asset:
            progress().note(asset, text)
        if on_wait is not None:
            on_wait(text)

    return tell


def _name(holder: dict[str, Any]) -> str:
    run = f" (run {holder['run_id'][:8]}, {holder['asset']})" if holder.get("run_id") else ""
    return f"process {holder['pid']}{run}" if "pid" in holder else "another process"
