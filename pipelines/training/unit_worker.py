"""A worker process of `WorkerPool`: trains the units that it is handed, one after the other.

It reads lines of JSON: the market first, then a unit each. It answers with lines on epochs, on
warnings, and on the end of a unit. The end of its input, which is the end of the process that
started it however that ends, ends it at once: a checkpoint is whole at any moment.

Data is read from the warehouse, a session's once for all units that follow one another.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import queue
import sys
import threading
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from pipelines.calendar.sessions import Sessions
from pipelines.config.market_file import FactoryConfig
from pipelines.market.market import Market
from pipelines.training.train_unit import anchor_data, spec_of, train_unit
from pipelines.training.units import Unit
from pipelines.training.windows import TrainingData

Tell = Callable[[Mapping[str, Any]], None]


def opening(market: Market) -> dict[str, Any]:
    """The line that opens a market in a worker.

    The validated configuration goes as `multiprocessing` would hand it over: its feature sets have
    no other form, and the pipe is between a process and its child.
    """
    return {
        "config": b64encode(ForkingPickler.dumps(market.config)).decode(),
        "root": str(market.paths.root),
        "sessions": dataclasses.asdict(market.sessions),
    }


def opened(line: Mapping[str, Any]) -> Market:
    """The market of such a line; its device is the one that the process can see."""
    config: FactoryConfig = ForkingPickler.loads(b64decode(line["config"]))
    device = config.training.device.partition(":")[0]
    training = config.training.model_copy(update={"device": device})
    return Market(
        config.model_copy(update={"training": training}),
        root=Path(line["root"]),
        read_only=True,
        sessions=Sessions(**{**line["sessions"], "keys": tuple(line["sessions"]["keys"])}),
    )


class _Warnings(logging.Handler):
    """Hands warnings to the process that shows them."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        self._tell({"log": [record.name, record.levelno, record.getMessage()]})


class _LatestData:
    """The data of the session that was trained last, which the next unit mostly shares."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._key: tuple[Any, ...] = ()
        self._data: TrainingData | None = None

    def __call__(self, unit: Unit) -> TrainingData:
        spec = spec_of(self._market, unit.model)
        takes_missing = spec.estimator is not None and spec.estimator.missing_values
        key = (self._market.dataset_of(unit.model).name, unit.as_of, unit.data, takes_missing)
        if self._data is None or key != self._key:
            self._data = None  # the old one goes before the new one is read
            self._data, self._key = anchor_data(self._market, spec, unit.as_of), key
        return self._data


def main() -> None:
    """Train units until the end of the input."""
    # Libraries may print what they like: the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(answer: Mapping[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(answer) + "\n")

    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    logging.captureWarnings(True)
    logging.getLogger().addHandler(_Warnings(tell))
    market = opened(requests.get())

    data = _LatestData(market)
    while True:
        request = requests.get()
        unit = Unit.of(request["unit"])
        try:
            train_unit(
                market,
                unit,
                load_data=partial(data, unit),
                on_epoch=lambda _, report: tell({"epoch": dataclasses.asdict(report)}),
                log=lambda line: None,
                threads=request["threads"],
            )
            tell({"done": True})
        except Exception as error:
            tell({"failed": {
                "type": type(error).__name__,
                "text": str(error),
                "session": getattr(error, "session", None),
                "trace": traceback.format_exc(),
            }})  # fmt: skip


def _listen(requests: queue.Queue[dict[str, Any]]) -> None:
    """Hand on the lines of the input; at its end the process ends."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
