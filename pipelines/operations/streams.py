"""Standard streams whose reader may leave early, as in `rnn-pipelines signal | head`.

A command then goes on with its work in silence and ends with its own exit status: a backfill is
worth no less because nobody reads its progress, and `status` says still whether anything is stale.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipelines.errors import PipelineError


class _Descriptor(io.FileIO):
    """A descriptor that leads nowhere from the first failed write on.

    Python tries unwritten text again at its exit, and would fail then with a status of its own.
    """

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):
                return len(data)
            raise PipelineError(f"cannot write the output: {error}") from error


def lasting_stream(
    descriptor: int, encoding: str = "utf-8", errors: str = "strict", *, close: bool = False
) -> IO[str]:
    """A text stream over a descriptor, flushed a line at a time, whose reader may leave.

    Args:
        descriptor: open for writing.
        encoding: of the text.
        errors: the treatment of characters that the encoding lacks.
        close: close the descriptor with the stream.
    """
    raw = _Descriptor(descriptor, "w", closefd=close)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=True)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let the readers of standard output and error leave inside the block.

    A stream that the caller closed leads nowhere, so that no file takes its descriptor. Streams
    that something else put in place, such as a test, stay.
    """
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, lasting_stream(os.open(os.devnull, os.O_WRONLY), close=True))
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, lasting_stream(stream.fileno(), stream.encoding, stream.errors))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(PipelineError):
                stream.flush()
        sys.stdout, sys.stderr = before
