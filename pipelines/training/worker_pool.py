"""`WorkerPool`: trains units side by side, in processes of this machine.

A worker takes a unit, trains it on one thread of its own (on more where there are fewer units than
cores), and takes the next. On GPUs a worker sees one device. The process that owns the pool sees
every epoch and every warning, and its end is the end of all workers. A worker that dies, killed by
the system for its memory say, is replaced: its unit goes on from its checkpoint, the others are not
touched.

Where the number of threads decides the bits of a unit, the unit has as many as were planned, and
so many fewer run beside it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pipelines import errors
from pipelines.market.market import Market
from pipelines.training import units as unit_errors
from pipelines.training.train_unit import LoadData
from pipelines.training.unit_store import UnitStore
from pipelines.training.unit_worker import opening
from pipelines.training.units import OnEpoch, Unit, UnitFailedError

if TYPE_CHECKING:
    from rnn_core.training import EpochReport

MOST_DEATHS = 3  # of workers with the same unit
_END_SECONDS = 5.0
_IDLE_SECONDS = 10.0  # a worker waits for the next link of a chain, whose units come one by one
_ON_CPU, _ON_GPU = "cpu", "cuda"


@dataclass(frozen=True)
class Slot:
    """A place for a worker.

    Attributes:
        kind: of the units that it takes, `cpu` or `cuda`.
        environment: variables of its process.
    """

    kind: str
    environment: Mapping[str, str] = field(hash=False)


def slots_of(market: Market, workers: int | None = None) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        market: the market; its `training.device` says whether networks are trained on GPUs.
        workers: of the CPU, or of a GPU each if networks are trained on them; None for one a core,
            or one a visible GPU.

    Raises:
        ValueError: the configured device is not there.
    """
    import torch

    from rnn_core.training.device import resolve_device

    on_cpu = Slot(_ON_CPU, {"CUDA_VISIBLE_DEVICES": ""})
    wanted = market.config.training.device
    device = resolve_device(wanted).device
    if device.type == _ON_CPU:
        return [on_cpu] * (workers or cores())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    named = [every[device.index or 0]] if ":" in wanted else every
    on_gpu = [
        Slot(_ON_GPU, {"CUDA_VISIBLE_DEVICES": one}) for one in named[: workers or len(named)]
    ]
    return [*on_gpu, *[on_cpu] * cores()]


def network_slots(market: Market) -> list[Slot]:
    """The places for workers that train networks, as `slots_of` counts them."""
    slots = slots_of(market)
    return [slot for slot in slots if slot.kind == slots[0].kind]


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not told on this system
        return os.cpu_count() or 1


@dataclass(frozen=True)
class _Died:
    """The end of a unit whose worker ended."""

    status: int = 0


_End: TypeAlias = _Died | errors.PipelineError | None


class WorkerPool:
    """Workers of one market; see the module.

    Args:
        market: the market.
        slots: the places for workers.
    """

    def __init__(self, market: Market, slots: Sequence[Slot]) -> None:
        self._opening = opening(market)
        self._idle = _IDLE_SECONDS if market.config.training.warm_start else 0.0
        self._store = UnitStore(market.state)
        self._slots = list(slots)
        self._n_cpu = sum(slot.kind == _ON_CPU for slot in slots)
        self._state = threading.Condition()
        self._queue: list[Unit] = []
        self._running: dict[str, tuple[Unit, int]] = {}  # with its threads, by key
        self._failed: dict[str, errors.PipelineError] = {}
        self._deaths: Counter[str] = Counter()
        self._reports: dict[str, deque[tuple[Unit, EpochReport]]] = {}  # by model
        self._warnings: deque[tuple[str, int, str]] = deque()
        self._served: set[int] = set()  # places in `slots` that have a thread
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.is_closed = False

    def submit(self, units: Sequence[Unit]) -> None:
        """Begin with the units that the store lacks, after those that were submitted before."""
        self._store.plan(units)
        self._add([unit for unit in units if self._store.load(unit.key) is None], at_front=False)

    def finish(
        self,
        units: Sequence[Unit],
        *,
        load_data: LoadData,
        on_epoch: OnEpoch,
        log: Callable[[str], None],
    ) -> None:
        """Wait until units are in the store, and tell the epochs of their model meanwhile.

        Raises:
            PipelineError: the error of a worker.
        """
        del load_data  # workers read for themselves
        missing = [unit for unit in units if self._store.load(unit.key) is None]
        self._add(missing, at_front=True)
        if missing:
            log(f"{len(missing)} units are trained in processes of their own")
        try:
            self._wait(units, on_epoch)
        except Exception:
            raise  # the other units go on
        except BaseException:  # an interruption
            self.close()
            raise

    def close(self) -> None:
        """End all workers; what they were at goes on from its checkpoints when it is asked for."""
        with self._state:
            self.is_closed = True
            self._queue.clear()
            processes = list(self._processes)
            self._state.notify_all()
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _add(self, units: Sequence[Unit], *, at_front: bool) -> None:
        with self._state:
            keys = {unit.key for unit in units}
            for key in keys:
                self._failed.pop(key, None)
                self._deaths.pop(key, None)
            fresh = [unit for unit in units if unit.key not in self._running]
            others = [unit for unit in self._queue if unit.key not in keys or not at_front]
            if not at_front:
                queued = {unit.key for unit in self._queue}
                fresh = [unit for unit in fresh if unit.key not in queued]
            self._queue = [*fresh, *others] if at_front else [*others, *fresh]
            self._state.notify_all()
            for number, slot in enumerate(self._slots):
                if number in self._served or not any(_fits(unit, slot) for unit in self._queue):
                    continue
                if len(self._served) >= len(self._queue) + len(self._running):
                    break
                self._served.add(number)
                threading.Thread(
                    target=self._serve, args=(number,), daemon=True, name=f"unit worker {number}"
                ).start()

    def _wait(self, units: Sequence[Unit], on_epoch: OnEpoch) -> None:
        """Tell epochs and warnings until the units are settled."""
        model = units[0].model if units else ""
        while True:
            with self._state:
                reports, warnings = list(self._reports.pop(model, ())), list(self._warnings)
                self._warnings.clear()
                keys = {unit.key for unit in units}
                failure = next((self._failed[key] for key in keys if key in self._failed), None)
                open_keys = keys & {*self._running, *(unit.key for unit in self._queue)}
                if not reports and not warnings and failure is None and open_keys:
                    self._state.wait(timeout=0.5)
                    continue
            for name, level, text in warnings:
                logging.getLogger(name).log(level, "%s", text)
            for unit, report in reports:
                on_epoch(unit, report)
            if failure is not None:
                raise failure
            if not open_keys:
                return

    def _serve(self, number: int) -> None:
        """Hand units to the worker of one place, until no unit is left for it."""
        slot = self._slots[number]
        process: subprocess.Popen[bytes] | None = None
        while (taken := self._next(number)) is not None:
            try:
                process = process or self._start(slot)
                end = self._train(process, *taken)
            except (
                OSError,
                ValueError,
                TypeError,
            ) as error:  # a worker that cannot be started, or speaks no JSON
                end = UnitFailedError(f"{taken[0]}: its worker failed: {error!r}")
            self._settle(taken[0], end)
            if process is not None and process.poll() is not None:
                self._forget(process)
                process = None
        if process is not None:
            self._forget(process)

    def _next(self, number: int) -> tuple[Unit, int] | None:
        """Take the next unit that fits a place, with its threads; None if there is none left."""
        slot, until = self._slots[number], time.monotonic() + self._idle
        with self._state:
            while True:
                mine = [unit for unit in self._queue if _fits(unit, slot)]
                left = until - time.monotonic()
                if self.is_closed or (not mine and left <= 0):
                    self._served.discard(number)
                    return None
                if not mine:
                    self._state.wait(left)
                    continue
                unit = mine[0]
                beside = [n for one, n in self._running.values() if one.is_on_cpu]
                waiting = sum(one.is_on_cpu for one in self._queue)
                share = max(1, self._n_cpu // (len(beside) + waiting or 1))
                threads = (unit.threads or share) if unit.is_on_cpu else 1
                if not unit.is_on_cpu or not beside or sum(beside) + threads <= self._n_cpu:
                    self._queue.remove(unit)
                    self._running[unit.key] = (unit, threads)
                    return unit, threads
                self._state.wait()

    def _start(self, slot: Slot) -> subprocess.Popen[bytes]:
        """Start a worker and open the market in it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.training.unit_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                **slot.environment,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            start_new_session=True,  # Ctrl-C reaches the owner, which ends the workers
        )
        with self._state:
            self._processes.add(process)
            if self.is_closed:
                process.terminate()
        _send(process, self._opening)
        return process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        """Let a worker end."""
        for stream in (process.stdin, process.stdout):
            assert stream is not None  # noqa: S101 - pipes were asked for
            with contextlib.suppress(OSError):  # it is gone
                stream.close()
        process.wait()
        with self._state:
            self._processes.discard(process)

    def _train(self, process: subprocess.Popen[bytes], unit: Unit, threads: int) -> _End:
        """Have a worker train a unit."""
        _send(process, {"unit": unit.to_dict(), "threads": threads})
        end = self._hear(process, unit)
        if isinstance(end, _Died):
            return _Died(process.wait())
        return end

    def _settle(self, unit: Unit, end: _End) -> None:
        """Note the end of a unit, or put it back if its worker died."""
        with self._state:
            self._running.pop(unit.key)
            if isinstance(end, errors.PipelineError):
                self._failed[unit.key] = end
            elif end is not None and not self.is_closed:
                self._deaths[unit.key] += 1
                if self._deaths[unit.key] < MOST_DEATHS:
                    self._queue.insert(0, unit)  # it goes on from its checkpoint
                else:
                    self._failed[unit.key] = UnitFailedError(
                        f"{unit}: {MOST_DEATHS} workers died with it, the last with status "
                        f"{end.status} (-9 is mostly the system's, for lack of memory); give "
                        f"training.executor fewer workers, or train inline"
                    )
            self._state.notify_all()

    def _hear(self, process: subprocess.Popen[bytes], unit: Unit) -> _End:
        """Hear a worker until its unit ends: None for a trained one."""
        from rnn_core.training import EpochReport

        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            answer = json.loads(line)
            if "done" in answer:
                return None
            if "failed" in answer:
                return _error(unit, answer["failed"])
            with self._state:
                if "epoch" in answer:
                    reports = self._reports.setdefault(unit.model, deque())
                    reports.append((unit, EpochReport(**answer["epoch"])))
                else:
                    self._warnings.append(tuple(answer["log"]))
                self._state.notify_all()
        return _Died()


_pools: weakref.WeakKeyDictionary[Market, WorkerPool] = weakref.WeakKeyDictionary()


def pool_of(market: Market, workers: int | None) -> WorkerPool:
    """The pool of a market in this process, which lives as long as the market or the process."""
    pool = _pools.get(market)
    if pool is None or pool.is_closed:
        pool = _pools[market] = WorkerPool(market, slots_of(market, workers))
        weakref.finalize(market, pool.close)
    return pool


def _fits(unit: Unit, slot: Slot) -> bool:
    return unit.is_on_cpu == (slot.kind == _ON_CPU)


def _send(process: subprocess.Popen[bytes], line: Mapping[str, Any]) -> None:
    """Send a line to a worker; one that is gone is noticed when it is heard."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.flush()


def _error(unit: Unit, failed: Mapping[str, Any]) -> errors.PipelineError:
    """The error of a worker: one of the pipeline's own as it was, any other with its trace."""
    kind = getattr(errors, failed["type"], None) or getattr(unit_errors, failed["type"], None)
    if isinstance(kind, type) and issubclass(kind, errors.PipelineError):
        try:
            return kind(failed["text"], session=failed["session"])
        except TypeError:  # it takes other arguments
            pass
    error = UnitFailedError(f"{unit}: {failed['type']}: {failed['text']}")
    error.add_note(failed["trace"])
    return error
