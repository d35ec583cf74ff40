"""Bars of a market as a provider folder of qlib: calendar, instruments, a file a field.

    calendars/day.txt                one session a line
    instruments/all.txt              name<TAB>first<TAB>last session with a bar
    instruments/members.txt          the spans of the universe, of a market that has one
    features/NAME/FIELD.day.bin      little-endian float32: the position of the first bar in the
                                     calendar, then a value a session up to the last bar, NaN
                                     without a bar

Prices are adjusted by factor, volume by its inverse, `change` is the step of the adjusted close,
as qlib's own data have them; `rnn_core/data/qlib_bins.py` reads such a folder. Sessions are read in
chunks and appended, so memory does not grow with the range. float32 keeps seven digits of a value.

Rule matched: qlib scripts/dump_bin.py, utils `code_to_fname`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.bars.adjustment import adjusted
from pipelines.errors import PipelineError
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.market import Market
from rnn_core.data.bin_files import VALUE
from rnn_core.data.qlib_bins import DEVICES, ESCAPE

MEMBERS = "members"
"""The universe of a market with a point-in-time membership."""

_NEEDED_BY = "export-qlib"


@dataclass
class _Span:
    """Hold the span and the fields that an export writes for one instrument.

    Attributes:
        folder: of its files.
        first: position of its first bar in the calendar.
        stop: the position after its last one so far.
        close: its newest adjusted close.
    """

    folder: Path
    first: int
    stop: int
    close: float


def write_provider(
    market: Market, keys: Sequence[str], folder: Path, advance: Callable[[str, int], None]
) -> int:
    """Write the stored bars of some sessions as a provider folder.

    Args:
        market: the market.
        keys: the sessions, in order; they are the calendar.
        folder: is made.
        advance: is called after each session with its key and number of bars.

    Returns:
        The number of instruments.

    Raises:
        PipelineError: the name of an instrument cannot be that of a folder, or two differ in case
            alone, which qlib's folders do not tell apart.
        MissingSessionsError: a session is not stored.
        WarehouseError: a file is damaged.
    """
    place = {key: number for number, key in enumerate(keys)}
    spans: dict[str, _Span] = {}
    taken: set[str] = set()
    for chunk in chunks_of_rows(market.warehouse, "ohlcv", keys):
        stored = market.warehouse.read("ohlcv", chunk, needed_by=_NEEDED_BY).frame
        at = stored["date"].dt.strftime("%Y-%m-%d").map(place)
        bars = adjusted(stored, market.config.market.vwap)
        bars = bars.assign(factor=stored["adj_factor"], at=at)
        bars = bars.sort_values(["instrument", "at"], ignore_index=True)
        for name, first in bars.groupby("instrument")["at"].min().items():
            if name not in spans:
                own = _folder_name(str(name), taken)
                taken.add(own)
                spans[str(name)] = _Span(folder / "features" / own, int(first), int(first), np.nan)
                spans[str(name)].folder.mkdir(parents=True)
        _append(spans, bars, place[chunk[0]], len(chunk))
        counts = at.value_counts()
        for key in chunk:
            advance(key, int(counts.get(place[key], 0)))
    _lines(folder / "calendars" / "day.txt", keys)
    _lines(
        folder / "instruments" / "all.txt",
        (f"{n}\t{keys[s.first]}\t{keys[s.stop - 1]}" for n, s in sorted(spans.items())),
    )
    if not isinstance(market.universe, str):
        members = market.universe
        members = members[members["start"].astype("str") <= keys[-1]]
        rows = zip(members["instrument"], members["start"], members["end"], strict=True)
        _lines(
            folder / "instruments" / f"{MEMBERS}.txt",
            (f"{name}\t{start}\t{min(str(end), keys[-1])}" for name, start, end in rows),
        )
    return len(spans)


def _append(spans: Mapping[str, _Span], bars: pd.DataFrame, start: int, length: int) -> None:
    """Append the bars of a chunk of sessions, which lie by instrument and position `at`."""
    groups = bars.groupby("instrument", sort=False)
    before = groups["close"].shift(1)
    carried = bars["instrument"].map({name: span.close for name, span in spans.items()})
    bars = bars.assign(change=bars["close"] / before.where(before.notna(), carried) - 1.0)
    fields = [name for name in bars.columns if name not in ("date", "instrument", "at")]
    codes, names = pd.factorize(bars["instrument"])
    ends = groups["at"].agg(["min", "max"]).to_numpy() - start
    closes = groups["close"].last().to_numpy()
    # Every field of every instrument over the sessions of the chunk, NaN without a bar.
    dense = np.full((len(fields), len(names), length), np.nan, dtype=VALUE)  # [F, N, T]
    dense[:, codes, bars["at"].to_numpy() - start] = bars[fields].to_numpy().T
    for code, name in enumerate(names):
        span, (first, last) = spans[name], ends[code]
        head = [span.first] if span.stop == span.first else []
        gap = np.full(start + first - span.stop, np.nan)
        lead = np.concatenate([head, gap]).astype(VALUE).tobytes()
        for number, field in enumerate(fields):
            with (span.folder / f"{field}.day.bin").open("ab") as file:
                file.write(lead + dense[number, code, first : last + 1].tobytes())
        span.stop, span.close = start + int(last) + 1, float(closes[code])


def _folder_name(name: str, taken: Collection[str]) -> str:
    """Return the folder of an instrument, as qlib names it."""
    lower = name.lower()
    folder = f"{ESCAPE}{lower}" if lower in DEVICES else lower
    if folder in taken:
        raise PipelineError(
            f"two instruments are called {name!r} but for upper and lower case, and qlib's folders "
            f"do not tell them apart: rename one at the source (market.source.columns)"
        )
    if any(c in name for c in "/\\\t\n\r\0") or name != name.strip() or name.startswith("."):
        raise PipelineError(
            f"the instrument {name!r} cannot be the name of a folder, which qlib needs: rename it "
            f"at the source"
        )
    return folder


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
