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
two runs cannot wait for each other.

Where the home of the data root has its record in Postgres, writers' and units' locks are locks of
that server and hold between all hosts that share the record (`record_lock.py`); otherwise they are
files, and hold on one machine (`file_lock.py`). A device is one of its machine, so its lock is
always a file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import PipelineError
from pipelines.instance.file_lock import FOLDER, file_lock
from pipelines.instance.progress import progress
from pipelines.instance.settings import SETTINGS, record_is_postgres
from pipelines.market.paths import dagster_home

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from pipelines.market.market import Market

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
        WarehouseError: the lock cannot be made.
    """
    holder = {**_this_process(), "run_id": run_id, "asset": asset}
    named = _at_work.set(holder)
    try:
        with _locks(market, [asset], holder, _tell_once(asset, asset, on_wait)):
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
        WarehouseError: a lock cannot be made.
    """

    def refuse(holder: dict[str, Any]) -> None:
        raise PipelineError(
            f"{_name(holder)} is at work on {market.config.name}: wait for its end; nothing was "
            f"deleted"
        )

    with _locks(market, list(assets), _this_process(), refuse):
        yield


@contextmanager
def only_daemon(home: Path) -> Iterator[None]:
    """Be the only UI, with its daemon, over a record in Postgres inside the block.

    A record in local files is guarded by `claim_ui`, on the one machine that has it.

    Args:
        home: DAGSTER_HOME.

    Raises:
        PipelineError: a UI of another data root or host runs; the message names it.
        WarehouseError: the server cannot be asked.
    """

    def refuse(holder: dict[str, Any]) -> None:
        raise PipelineError(
            f"a UI over the record of {home} runs already: {_name(holder)}; a second daemon would "
            f"run its schedules twice. Open that one, or end it first"
        )

    server = lock_server(home)
    with _of_record(server, ["ui"], _this_process(), refuse) if server else nullcontext():
        yield


def lock_server(home: Path) -> Engine | None:
    """The Postgres server that holds the record of a home; None if the record is a local file.

    Raises:
        ConfigError: Dagster refuses the owner's settings.
    """
    with suppress(OSError):
        stat = (home / SETTINGS).stat()
        return _server(home, stat.st_mtime_ns, stat.st_size)
    return None


@lru_cache(maxsize=16)
def _server(home: Path, _changed: int, _size: int) -> Engine | None:
    if not record_is_postgres(home):
        return None
    from pipelines.instance.record_lock import record_server

    return record_server(home)


@contextmanager
def _locks(
    market: Market,
    assets: Sequence[str],
    holder: dict[str, Any],
    on_busy: Callable[[dict[str, Any]], None],
) -> Iterator[None]:
    """Hold the locks of some assets of a market."""
    root = market.paths.root
    server = lock_server(dagster_home(root.parent))
    with ExitStack() as locks:
        if server is not None:
            names = [f"{root.name}/{asset}" for asset in assets]
            locks.enter_context(_of_record(server, names, holder, on_busy))
        else:
            for asset in assets:
                path = _lock_file(market, asset)
                locks.enter_context(file_lock(path, {"asset": asset, **holder}, on_busy))
        yield


def _of_record(
    server: Engine,
    names: Sequence[str],
    holder: dict[str, Any],
    on_busy: Callable[[dict[str, Any]], None],
) -> AbstractContextManager[None]:
    """Locks of the record's server; files need no library of databases."""
    from pipelines.instance.record_lock import record_locks

    return record_locks(server, names, holder, on_busy)


def _lock_file(market: Market, name: str) -> Path:
    root = market.paths.root
    return root.parent / FOLDER / root.name / f"{name}.lock"


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


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
    holder = _at_work.get() or _this_process()
    tell = _tell_once(f"the training unit {key[:12]}", holder.get("asset"), on_wait)
    with _locks(market, [f"units/{key}"], dict(holder), tell):
        yield


def forget_units(market: Market, keys: Iterable[str]) -> None:
    """Remove the lock files of units that are joined; who waits for one takes a new file."""
    for key in keys:
        _lock_file(market, f"units/{key}").unlink(missing_ok=True)


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
    holder = _at_work.get() or _this_process()
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
    if "pid" not in holder:
        return "another process"
    # A name may be cut off at the length that Postgres keeps.
    is_here = socket.gethostname().startswith(holder.get("host", socket.gethostname()))
    host = "" if is_here else f" on {holder['host']}"
    run = f" (run {holder['run_id'][:8]}, {holder['asset']})" if holder.get("run_id") else ""
    return f"process {holder['pid']}{host}{run}"
