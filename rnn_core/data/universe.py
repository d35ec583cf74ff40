"""Point-in-time membership: the instruments that belong to a universe on each session.

Today's members applied to the past would know the survivors; a list of spans does not. As in qlib,
features are computed on an instrument's full history, and the rows are then masked by the members
of their session, so that a name has complete features on its first day.

The file is qlib's `instruments/NAME.txt`: one line a span, `code<TAB>start<TAB>end`, both ends
included. A code may have several spans.

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

from rnn_core.panel.session_labels import DateLike, session_bound, session_day, session_labels
from rnn_core.text_encoding import hidden_character, read_text

COLUMNS = ("instrument", "start", "end")


class Universe:
    """A universe as spans of membership.

    Args:
        spans: columns `instrument`, `start`, `end`, one row a span. Without an end the code is
            still a member, without a start it always was. Spans of a code may touch or overlap.
        name: the universe's name in messages.

    Attributes:
        spans: the three columns, dates as datetime64.

    Raises:
        ValueError: a column is missing, a code is no text, a date cannot be read or has a time
            zone, a span ends before it starts, or there is no span.

    Examples:
        >>> spans = pd.DataFrame({"instrument": ["A", "B"], "start": ["2020-01-01", "2024-01-03"]})
        >>> Universe(spans.assign(end=None)).members("2024-01-02")
        ['A']
    """

    def __init__(self, spans: pd.DataFrame, *, name: str = "the universe") -> None:
        missing = [c for c in COLUMNS if c not in spans.columns]
        if missing:
            raise ValueError(
                f"{name} lacks the columns {missing}, expected {list(COLUMNS)}; it has "
                f"{list(spans.columns)[:12]}"
            )
        rows = spans.loc[:, list(COLUMNS)].reset_index(drop=True)
        self.name = name
        self.spans = _checked(rows, name, [f"row {k}" for k in range(len(rows))])

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read qlib's instruments file.

        Args:
            path: a text file, one `code<TAB>start<TAB>end` a line; empty lines are skipped.

        Returns:
            The universe.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: a line does not have three fields, a date cannot be read, or a span ends
                before it starts; the message gives the line number.
        """
        path = Path(path)
        rows: list[list[str]] = []
        lines: list[int] = []
        for number, line in enumerate(read_text(path).splitlines(), start=1):
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
        spans = pd.DataFrame(rows, columns=list(COLUMNS))
        universe.spans = _checked(spans, path.name, [f"line {n}" for n in lines])
        return universe

    @property
    def instruments(self) -> list[str]:
        """The sorted codes that were ever members."""
        return sorted(set(self.spans["instrument"]))

    def mask(self, sessions: pd.DatetimeIndex, instruments: Iterable[str]) -> NDArray[np.bool_]:
        """Mark the members of each session.

        Args:
            sessions: T sorted session labels.
            instruments: N codes; a code that was never a member has a row of False.

        Returns:
            bool [N, T].

        Raises:
            ValueError: the sessions are not sorted.
        """
        sessions = session_labels(sessions, "`sessions`")
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
        """Return the sorted codes of one session."""
        day = session_day(date)
        spans = self.spans[(self.spans["start"] <= day) & (self.spans["end"] >= day)]
        return sorted(set(spans["instrument"]))

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        return f"Universe({self.name!r}, {len(self)} spans of {len(self.instruments)} instruments)"


def _checked(spans: pd.DataFrame, name: str, places: list[str]) -> pd.DataFrame:
    """Parse the dates of the spans, or raise with the place of the first error."""
    if not len(spans):
        raise ValueError(f"{name} holds no span: expected code, start, end, one span a line")
    text = spans["instrument"].map(lambda code: isinstance(code, str) and bool(code.strip()))
    if not text.all():
        k = int(np.flatnonzero(~text)[0])
        raise ValueError(
            f"{name}, {places[k]}: the code is {spans['instrument'].iloc[k]}, expected text"
        )
    for code in pd.unique(spans["instrument"]):
        hidden = hidden_character(code)
        if hidden is not None:
            k = int(np.argmax(spans["instrument"] == code))
            raise ValueError(
                f"{name}, {places[k]}: the code {code!r} holds {hidden}; write it without"
            )
    out: dict[str, Any] = {"instrument": spans["instrument"]}
    for column, unbounded in (("start", "1700-01-01"), ("end", "2262-01-01")):
        code, distinct = pd.factorize(spans[column])
        days: list[Any] = []
        for k, date in enumerate(distinct):
            try:
                days.append(session_bound(date, last=column == "end"))
            except (ValueError, TypeError) as error:
                place = int(np.argmax(code == k))
                code_name = spans["instrument"].iloc[place]
                raise ValueError(
                    f"{name}, {places[place]}: the {column} of {code_name} is {date!r}, expected a "
                    f"date such as 2020-01-31 ({error})"
                ) from error
        days.append(pd.Timestamp(unbounded))  # at code -1, that of a missing date
        out[column] = pd.DatetimeIndex(days)[code]
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
