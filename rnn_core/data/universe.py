"""Point-in-time membership: who belonged to a universe on which session.

An index of today applied to the past knows who survived; a list of spans does not. The rule of
features is qlib's: they are computed on an instrument's full history, and the rows are then
masked by the membership of their own session, so that a name has warm features on its first day.

The file is qlib's `instruments/NAME.txt`: one line a span, `code<TAB>start<TAB>end`, both ends
included, as many lines a code as it has spans.

Shape letters: T sessions, N instruments.

Rule matched: qlib data/data.py `DatasetProvider.inst_calculator` (spans), and
data/storage/file_storage.py `FileInstrumentStorage` (file).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.processors.processor import DateLike, session_label

COLUMNS = ("instrument", "start", "end")


class Universe:
    """Spans of membership.

    Args:
        spans: columns `instrument`, `start`, `end`, one row a span; a missing end is still a
            member, a missing start was always one. Spans of a code may touch or overlap.
        name: what to call it in messages.

    Attributes:
        spans: the three columns, dates as datetime64.

    Raises:
        ValueError: a column is missing, a code is no text, a date cannot be read or has a time
            zone, a span ends before it starts, or there is none.
    """

    def __init__(self, spans: pd.DataFrame, *, name: str = "the universe") -> None:
        missing = [c for c in COLUMNS if c not in spans.columns]
        if missing:
            raise ValueError(
                f"{name} lacks the columns {missing}, expected {list(COLUMNS)}; it has "
                f"{list(spans.columns)[:12]}"
            )
        held = spans.loc[:, list(COLUMNS)].reset_index(drop=True)
        self.name = name
        self.spans = _checked(held, name, [f"row {k}" for k in range(len(held))])

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read qlib's instruments file.

        Args:
            path: a text file, one `code<TAB>start<TAB>end` a line; empty lines are skipped.

        Returns:
            The universe.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a line has not three fields, a date cannot be read, or a span ends
                before it starts; the message gives the line number.
        """
        path = Path(path)
        rows: list[list[str]] = []
        lines: list[int] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            fields = [f.strip() for f in line.split("\t")]
            if len(fields) != 3 or not all(fields):
                raise ValueError(
                    f"{path.name}, line {number}: {line!r:.80} has {len(fields)} fields separated "
                    f"by tabs, expected three: code, start, end"
                )
            rows.append(fields)
            lines.append(number)
        universe = cls.__new__(cls)
        universe.name = path.name
        held = pd.DataFrame(rows, columns=list(COLUMNS))
        universe.spans = _checked(held, path.name, [f"line {n}" for n in lines])
        return universe

    @property
    def instruments(self) -> list[str]:
        """The codes that were ever members, sorted."""
        return sorted(set(self.spans["instrument"]))

    def mask(self, sessions: pd.DatetimeIndex, instruments: Iterable[str]) -> NDArray[np.bool_]:
        """Who was a member when.

        Args:
            sessions: T sorted session labels.
            instruments: N codes; one that was never a member has a row of False.

        Returns:
            bool [N, T].

        Raises:
            ValueError: the sessions are not sorted.
        """
        if not sessions.is_monotonic_increasing:
            raise ValueError("`sessions` must be sorted: use sort_values()")
        names = pd.Index(list(instruments), dtype=object)
        at = names.get_indexer(pd.Index(self.spans["instrument"], dtype=object))
        known = at >= 0
        first = sessions.searchsorted(self.spans["start"].to_numpy()[known], "left")
        stop = sessions.searchsorted(self.spans["end"].to_numpy()[known], "right")
        steps = np.zeros((len(names), len(sessions) + 1), dtype=np.int32)
        np.add.at(steps, (at[known], first), 1)
        np.add.at(steps, (at[known], np.maximum(first, stop)), -1)
        return np.asarray(np.cumsum(steps[:, :-1], axis=1) > 0)  # [N, T]

    def members(self, date: DateLike) -> list[str]:
        """The codes of one session, sorted."""
        day = session_label(date)
        held = self.spans[(self.spans["start"] <= day) & (self.spans["end"] >= day)]
        return sorted(set(held["instrument"]))

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        return f"Universe({self.name!r}, {len(self)} spans of {len(self.instruments)} instruments)"


def _checked(spans: pd.DataFrame, name: str, places: list[str]) -> pd.DataFrame:
    """The spans with parsed dates, or an error that says where it is wrong."""
    if not len(spans):
        raise ValueError(f"{name} holds no span: expected code, start, end, one span a line")
    text = spans["instrument"].map(lambda code: isinstance(code, str) and bool(code.strip()))
    if not text.all():
        k = int(np.flatnonzero(~text)[0])
        raise ValueError(
            f"{name}, {places[k]}: the code is {spans['instrument'].iloc[k]}, expected text"
        )
    out: dict[str, Any] = {"instrument": spans["instrument"]}
    for column, unbounded in (
        ("start", pd.Timestamp("1700-01-01")),
        ("end", pd.Timestamp("2262-01-01")),
    ):
        given = spans[column]
        if isinstance(given.dtype, pd.DatetimeTZDtype):
            raise ValueError(f"{name}: `{column}` has a time zone: use .dt.tz_localize(None)")
        parsed = pd.to_datetime(given, errors="coerce", format=_format(given))
        wrong = np.flatnonzero(parsed.isna() & given.notna())
        if len(wrong):
            k = int(wrong[0])
            raise ValueError(
                f"{name}, {places[k]}: the {column} of {spans['instrument'].iloc[k]} is "
                f"{given.iloc[k]!r}, expected a date such as 2020-01-31"
            )
        out[column] = parsed.fillna(unbounded)
    checked = pd.DataFrame(out)
    turned = np.flatnonzero(checked["start"] > checked["end"])
    if len(turned):
        k = int(turned[0])
        row = checked.iloc[k]
        raise ValueError(
            f"{name}, {places[k]}: {row['instrument']} ends on {row['end']:%Y-%m-%d}, before it "
            f"starts on {row['start']:%Y-%m-%d}: swap the dates"
        )
    return checked


def _format(given: pd.Series[Any]) -> str | None:
    """ISO dates where they are text."""
    return None if pd.api.types.is_datetime64_any_dtype(given) else "ISO8601"
