"""Progress of long work: assets report to a sink, and the command line draws it.

Assets run in the same process as `rnn-pipelines`, which installs a live display for the duration
of a run. In runs of the UI no sink is installed and the reports go nowhere; the event log shows
the same there. A sink must not raise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class ProgressSink(Protocol):
    """Receiver of the reports of a run's steps."""

    def start(self, asset: str, total: int) -> None:
        """An asset begins work on `total` partitions."""

    def advance(self, asset: str, key: str, rows: int | None = None) -> None:
        """One partition of an asset is finished; `rows` is the number of its rows."""

    def note(self, asset: str, text: str, left: float | None = None) -> None:
        """The present work of an asset, an epoch say, and the seconds left for all of its work."""

    def finish(self, asset: str) -> None:
        """An asset is done."""

    def warn(self, text: str) -> None:
        """A step has warned of something."""


class _Silent:
    """The sink of runs that nobody watches on a terminal."""

    def start(self, asset: str, total: int) -> None: ...
    def advance(self, asset: str, key: str, rows: int | None = None) -> None: ...
    def note(self, asset: str, text: str, left: float | None = None) -> None: ...
    def finish(self, asset: str) -> None: ...
    def warn(self, text: str) -> None: ...


_current: ProgressSink = _Silent()


def progress() -> ProgressSink:
    """The sink of the run in this process."""
    return _current


@contextmanager
def reporting_to(sink: ProgressSink) -> Iterator[None]:
    """Send reports to `sink` inside the block."""
    global _current
    previous, _current = _current, sink
    try:
        yield
    finally:
        _current = previous
