"""Readers of the files in a qlib provider folder; each file is checked on its own.

`qlib_bins` describes the folder. `read_field` reads only the bytes of the requested sessions.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.text_encoding import read_text

VALUE = np.dtype("<f4")
"""A value on disk: little-endian float32, 4 bytes."""

_HEAD = struct.Struct("<f")


class ProviderError(ValueError):
    """A provider folder lacks something or holds a damaged file; the message is for a person.

    Examples:
        >>> QlibProvider("/no/such/folder")
        Traceback (most recent call last):
            ...
        rnn_core.data.bin_files.ProviderError: no provider folder /no/such/folder: give ...
    """


def listed(names: Sequence[Any], most: int = 5) -> str:
    """Join the first few names for a message."""
    shown = ", ".join(str(name) for name in names[:most])
    return f"{shown}, …" if len(names) > most else shown


def read_calendar(root: Path) -> pd.DatetimeIndex:
    """Read the sessions of `calendars/day.txt`.

    Args:
        root: the provider folder.

    Returns:
        T sorted tz-naive sessions.

    Raises:
        ProviderError: the file is absent or empty, a line is no date, or a date is out of order.
    """
    path = root / "calendars" / "day.txt"
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else root
        content = listed(sorted(p.name for p in folder.iterdir()), most=10)
        raise ProviderError(
            f"no calendar {path}, {folder} holds: {content or 'nothing'}. Only daily data "
            f"(day.txt) is read"
        )
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ProviderError(f"{path} is no UTF-8 text, expected one session a line: {error}") from (
            error
        )
    rows = [line.strip() for line in text.splitlines()]
    numbered = [(n, text) for n, text in enumerate(rows, start=1) if text]
    if not numbered:
        raise ProviderError(f"{path} is empty, expected one session a line")
    days = pd.to_datetime([text for _, text in numbered], errors="coerce", format="ISO8601")
    wrong = np.flatnonzero(days.isna() | (days != days.normalize()))
    if len(wrong):
        line, text = numbered[int(wrong[0])]
        raise ProviderError(f"{path}, line {line}: {text!r:.40} is no date such as 2020-01-31")
    back = np.flatnonzero(np.diff(days.to_numpy()) <= np.timedelta64(0))
    if len(back):
        line, text = numbered[int(back[0]) + 1]
        raise ProviderError(
            f"{path}, line {line}: {text} does not come after the line before: the sessions must "
            f"ascend, each written once"
        )
    return pd.DatetimeIndex(days)


def read_field(
    path: str | Path, sessions: int, span: tuple[int, int] | None = None
) -> tuple[int, NDArray[np.float32]]:
    """Read the values of a field file.

    Args:
        path: the file.
        sessions: T, the length of the calendar.
        span: positions in the calendar, the second one past the last; None for the whole file.

    Returns:
        The calendar's position of the first value, and the values. If the file has no session of
        `span`, there are no values and the position is the first one of `span`.

    Raises:
        ProviderError: the size fits no number of values, or values lie outside the calendar.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - opened once, a file a field
        # The size must fit a number of values.
        size = os.fstat(file.fileno()).st_size
        count, rest = divmod(size, VALUE.itemsize)
        if rest or count < 2:
            raise ProviderError(
                f"{path} has {size} bytes, expected 4 for the first session and 4 for every "
                f"value: it was cut off, dump it again"
            )
        # The first value is a position, which must lie in the calendar with all that follow.
        (head,) = _HEAD.unpack(file.read(_HEAD.size))
        if not (math.isfinite(head) and head >= 0 and head == int(head)):
            raise ProviderError(
                f"{path} begins with {head}, expected the position of its first session in the "
                f"calendar: it is no qlib file, or damaged"
            )
        begin, end = int(head), int(head) + count - 1
        if end > sessions:
            raise ProviderError(
                f"{path} holds the sessions {begin} to {end - 1} of a calendar of {sessions}: "
                f"its calendar is another one, dump both again"
            )
        # Only the requested part of the file is read.
        low, high = span or (begin, end)
        first, stop = max(begin, low), min(end, high)
        if first >= stop:
            return low, np.empty(0, dtype=np.float32)
        values = np.empty(stop - first, dtype=VALUE)
        file.seek((1 + first - begin) * VALUE.itemsize)
        rest_of, read = values.data.cast("B"), 0
        while got := file.readinto(rest_of[read:]):  # a network may give less at a time
            read += got
    if read != values.nbytes:
        raise ProviderError(f"{path} ended while it was read: it is being dumped, try again")
    return first, values.astype(np.float32, copy=False)
