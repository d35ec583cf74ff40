"""`TimeRangeFlt`: keep only the instruments with rows from the start of a range to its end.

The processor looks into the future. No earlier session knows which instruments still have rows at
`end_time`, so every result on the remaining instruments (signals, IC, back-tests) is better than
any that could have been traded: survivorship bias. The processor exists because qlib has it; hence
it needs `looks_ahead=True` and warns when it is fitted.

`fit` chooses the instruments and keeps them as state, so that a session alone is filtered as inside
the range. Holes within the range do not count, and a range that starts or ends between sessions is
narrowed to the frame's sessions, as qlib narrows it to the sessions of the exchange.

Rule matched: qlib data/dataset/processor.py `TimeRangeFlt`, an instrument processor of its loader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

from rnn_core.caller import warn_caller
from rnn_core.data.processors.processor import Processor
from rnn_core.panel.frames import index_level
from rnn_core.panel.session_labels import DateLike, session_bound


class TimeRangeFlt(Processor):
    """Keep the instruments with a row at or before `start_time` and one at or after `end_time`.

    Args:
        start_time: start of the range, or None for any first row.
        end_time: end of the range, or None for any last row.
        freq: "day", the only frequency here.
        looks_ahead: must be True: the caller knows that this reads the future.

    Raises:
        ValueError: `looks_ahead` is not True; no end of the range is given; the ends are in the
            wrong order; another frequency.

    Examples:
        >>> alive = TimeRangeFlt("2024-01-02", "2024-01-03", looks_ahead=True)
        >>> kept = alive.fit(frame.iloc[:-1])(frame)  # C has no row on the second session
        >>> kept.index.get_level_values("instrument").unique().tolist()
        ['A', 'B']
    """

    def __init__(
        self,
        start_time: DateLike | None = None,
        end_time: DateLike | None = None,
        freq: str = "day",
        looks_ahead: bool = False,
    ) -> None:
        if looks_ahead is not True:
            raise ValueError(
                "TimeRangeFlt keeps the instruments that survive to end_time, which nobody knows "
                "before: results on them are biased upwards. Leave it out, or pass "
                "looks_ahead=True to have it all the same"
            )
        self.start_time = session_bound(start_time)
        self.end_time = session_bound(end_time, last=True)
        if self.start_time is None and self.end_time is None:
            raise ValueError("TimeRangeFlt was given neither start_time nor end_time: give one")
        if self.start_time and self.end_time and self.start_time > self.end_time:
            raise ValueError(
                f"TimeRangeFlt was given start_time={start_time} after end_time={end_time}: swap "
                f"them"
            )
        if freq != "day":
            raise ValueError(f"TimeRangeFlt was given freq={freq!r}, expected 'day'")
        self.freq = freq
        self.looks_ahead = looks_ahead
        self.instruments: tuple[str, ...] | None = None

    def fit(self, df: pd.DataFrame) -> Self:
        """Choose the instruments, and warn that this reads the future.

        Args:
            df: a long frame.

        Returns:
            Itself.

        Raises:
            ValueError: no session of the frame lies in the range.
        """
        sessions, day = index_level(df, "datetime")
        names, name = index_level(df, "instrument")
        axis = sessions[np.unique(day)].sort_values()
        inside = axis[axis.slice_indexer(self.start_time, self.end_time)]
        if not len(inside):
            raise ValueError(
                f"TimeRangeFlt: none of the frame's {len(axis)} sessions lies in "
                f"[{self.start_time}, {self.end_time}]: give a frame that covers the range"
            )
        rank = np.asarray(axis.get_indexer(sessions))[day]  # [R] place of the row's session
        first = np.full(len(names), len(axis), dtype=np.intp)  # [N]
        last = np.full(len(names), -1, dtype=np.intp)  # [N]
        np.minimum.at(first, name, rank)
        np.maximum.at(last, name, rank)
        keep = last >= 0
        total = int(keep.sum())
        if self.start_time is not None:
            keep &= first <= axis.searchsorted(inside[0])
        if self.end_time is not None:
            keep &= last >= axis.searchsorted(inside[-1])
        self.instruments = tuple(sorted(str(n) for n in names[keep]))
        warn_caller(
            f"TimeRangeFlt looks into the future: it keeps {len(self.instruments)} of {total} "
            f"instruments by rows up to {inside[-1]:%Y-%m-%d}, which no earlier session knows; "
            f"results on them are biased by survivorship",
        )
        return self

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the chosen instruments.

        Raises:
            RuntimeError: not fitted.
        """
        if self.instruments is None:
            raise RuntimeError("TimeRangeFlt is not fitted: call fit(df) or load_state(state)")
        names, name = index_level(df, "instrument")
        return df.loc[np.asarray(names.isin(self.instruments))[name]]

    def state(self) -> dict[str, Any] | None:
        """Return the chosen instruments; None before the fit."""
        return None if self.instruments is None else {"instruments": list(self.instruments)}

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Restore a state that `state` returned.

        Raises:
            ValueError: the state is of another class.
        """
        if set(state) != {"instruments"}:
            raise ValueError(
                f"TimeRangeFlt was given a state with {sorted(state)}, expected ['instruments']: "
                f"load it into the class that wrote it"
            )
        self.instruments = tuple(str(n) for n in state["instruments"])
        return self
