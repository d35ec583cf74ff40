"""Metric loggers: trainings and realised ICs are told to trackers such as MLflow.

Nothing waits for a tracker. Each logger of the YAML works in a process of its own
(`tracker_process.py`), which is told one line an event over a pipe. A line that does not fit into
the pipe is left out; a logger that raises, hangs or dies is a warning of the log and a line in
`reports/tracking.log`, and no training fails or takes longer for it. The process outlives this one
by a minute at most, so that the last lines arrive.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from pipelines.config.models import ModelSpec
from pipelines.config.tracking import logger_class
from pipelines.market.market import Market
from pipelines.market.stage import Log
from pipelines.training.registry import bundle_folder
from pipelines.training.train import Trained
from pipelines.training.training_config import seeds_of, training_config

LOG_FILE = "tracking.log"
_SLOW_SECONDS = 30.0  # without an answer: the log says so, once
_AHEAD = 1 << 20  # bytes kept for a pipe that is full


class Logger(Protocol):
    """A metric logger: a class whose constructor takes the options of the YAML, all as strings,
    numbers, lists and mappings. It is made in a process of its own, one training at a time.

    `start` begins a training: market, model, session (its as-of), folder (of the market's state),
    family, params (flat, by name).
    `epoch` follows each epoch: seed, epoch (from 0), train_loss, valid_score, best_epoch.
    `end` ends it: status (`finished`, `failed`, or `interrupted` where the process was stopped),
    and of a finished one bundle (the folder), fingerprint, train and valid (the first and the last
    session of each), metrics (valid_score, constant_score, valid_rank_ic, best_epoch, seconds; only
    those that are defined).
    `session`, if there is one, is told a realised IC outside of trainings, whenever one is
    evaluated: market, model, folder, session (at which the label matured), decision, table, number
    (of the session in the calendar), as_of (of the model that scored), ic, rank_ic, n (names).
    What a method raises is a warning; nothing more of that training is told to it.
    """

    def start(self, facts: Mapping[str, Any], /) -> None:
        """Begin a training."""

    def epoch(self, facts: Mapping[str, Any], /) -> None:
        """Note an epoch."""

    def end(self, facts: Mapping[str, Any], /) -> None:
        """End the training."""


class TrackerProcess:
    """The process of one logger, and the pipe to it.

    Args:
        name: the logger, as the YAML names it.
        options: its options.
        market: the market, for the file of troubles.
        log: takes the warnings; it is only called by the thread that tells.
    """

    def __init__(self, name: str, options: Mapping[str, Any], market: Market, log: Log) -> None:
        self._name, self._log = name, log
        self._rest, self._left_out, self._sent, self._is_slow = bytearray(), 0, 0, False
        self._answered, self._since = 0, time.monotonic()
        self._troubles: deque[str] = deque()
        cls = logger_class(name)
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [sys.executable, "-m", "pipelines.training.tracker_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C stops the training, and its end is still told
            )
        except OSError as error:
            self._process = None
            log.warning(f"tracking.{name} could not be started: {error}")
            return
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        os.set_blocking(self._process.stdin.fileno(), False)
        threading.Thread(target=self._listen, daemon=True, name=f"tracking {name}").start()
        # Options go by the pipe: a command line is read by everybody.
        self.tell("open", {
            "name": name, "place": f"{cls.__module__}:{cls.__qualname__}", "options": options,
            "troubles": str(market.paths.reports / LOG_FILE),
        })  # fmt: skip

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell the logger an event, if its pipe takes it at once."""
        self.warn()
        line = json.dumps([event, _plain(facts)]).encode() + b"\n"
        if self._process is None:
            return
        if len(self._rest) + len(line) > _AHEAD:
            if not self._left_out:
                self._log.warning(
                    f"tracking.{self._name} does not keep up: events are left out, and the "
                    f"training goes on"
                )
            self._left_out += 1
            return
        if self._sent == self._answered:
            self._since = time.monotonic()
        self._rest += line
        self._sent += 1
        self._write()

    def warn(self) -> None:
        """Log the troubles that the logger has had so far."""
        while self._troubles:
            self._log.warning(self._troubles.popleft())
        waits = self._sent > self._answered and time.monotonic() - self._since > _SLOW_SECONDS
        if waits and not self._is_slow and self._process is not None:
            self._is_slow = True
            self._log.warning(
                f"tracking.{self._name} has not answered for {_SLOW_SECONDS:g} s; the training "
                f"does not wait for it"
            )

    def close(self) -> None:
        """Let the process end once it has dealt with what it was told; this waits for nothing."""
        self.warn()
        if self._process is None or self._process.stdin is None:
            return
        self._write()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process = None

    def _write(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            while self._rest:
                del self._rest[: os.write(self._process.stdin.fileno(), self._rest)]
        except BlockingIOError:
            pass  # the pipe is full: the rest goes with a later event
        except OSError:
            self._process = None
            self._log.warning(f"tracking.{self._name}: its process has died; it is told no more")

    def _listen(self) -> None:
        """Count the answers and keep the troubles, until the process ends."""
        process = self._process
        assert process is not None and process.stdout is not None  # noqa: S101 - as above
        for line in process.stdout:
            if line.strip() == b"done":
                self._answered += 1
                self._since = time.monotonic()
            else:
                self._troubles.append(line.decode(errors="replace").strip())
        process.stdout.close()
        process.wait()


class Tracking:
    """The loggers of a market, for the block in which a stage is made.

    Args:
        market: the market; without a section `tracking` nothing is told, and no process started.
        log: the log of the run, for warnings.
    """

    def __init__(self, market: Market, log: Log) -> None:
        self._market, self._log = market, log
        self._processes: list[TrackerProcess] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes or ():
            process.close()

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell all loggers an event; their processes start with the first."""
        if self._processes is None:
            self._processes = [
                TrackerProcess(name, options, self._market, self._log)
                for name, options in self._market.config.tracking.items()
            ]
        for process in self._processes:
            process.tell(event, facts)

    @contextmanager
    def training(self, spec: ModelSpec, as_of: str) -> Iterator[TrackedTraining]:
        """Follow a training in the block; one that raises is told as failed."""
        tracked = TrackedTraining(self, self._market, spec, as_of)
        try:
            yield tracked
        except Exception as error:
            tracked.failed(error)
            raise


class TrackedTraining:
    """A training as loggers are told of it: nothing, if a stored bundle is kept.

    Args:
        tracking: tells the loggers.
        market: the market.
        spec: the model.
        as_of: the session that trains it.
    """

    def __init__(self, tracking: Tracking, market: Market, spec: ModelSpec, as_of: str) -> None:
        self._tracking, self._market, self._spec, self._as_of = tracking, market, spec, as_of
        self._is_started = False

    def epoch(self, seed: int, report: Any) -> None:
        """Tell an epoch of a seed, an `rnn_core.training.EpochReport`."""
        self._start()
        names = ("epoch", "train_loss", "valid_score", "best_epoch")
        facts = {name: getattr(report, name) for name in names}
        self._tracking.tell("epoch", {"seed": seed, **facts})

    def finished(self, trained: Trained) -> None:
        """Tell the end of a training, with the bundle and its validation."""
        if not trained.results:
            return
        self._start()
        manifest, spec = trained.bundle.manifest, self._spec
        figures = {
            "valid_score": manifest["valid_score"],
            "constant_score": manifest["constant_score"],
            "valid_rank_ic": manifest.get("valid_rank_ic"),
            "best_epoch": float(np.mean([seed["best_epoch"] for seed in manifest["seeds"]])),
            "seconds": sum(result.seconds for result in trained.results),
        }
        self._tracking.tell("end", {
            "status": "finished",
            "bundle": str(bundle_folder(self._market, spec.name, self._as_of)),
            "fingerprint": trained.bundle.fingerprint,
            "train": manifest["train"],
            "valid": manifest["valid"],
            "metrics": {k: v for k, v in figures.items() if v is not None and math.isfinite(v)},
        })  # fmt: skip

    def failed(self, error: Exception) -> None:
        """Tell that the training failed."""
        if self._is_started:
            self._tracking.tell("end", {"status": "failed", "reason": type(error).__name__})

    def _start(self) -> None:
        if self._is_started:
            return
        self._is_started = True
        market, spec = self._market, self._spec
        config = training_config(market, spec)
        params = {
            **{f"hyper.{key}": value for key, value in config.pop("hyper").items()},
            **{f"training.{key}": value for key, value in config.pop("training", {}).items()},
            "features": len(config.pop("columns")),
            "seeds": list(seeds_of(market, spec)),
            **{key: value for key, value in config.items() if key not in ("seeds", "part")},
        }
        self._tracking.tell("start", {
            "market": market.config.name,
            "model": spec.name,
            "session": self._as_of,
            "folder": str(market.paths.root),
            "family": spec.family,
            "params": params,
        })  # fmt: skip


def _plain(value: Any) -> Any:
    """The value in JSON's types; a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat() if isinstance(value, (dt.date, dt.datetime)) else str(value)
