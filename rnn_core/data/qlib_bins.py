"""A reader of qlib's provider folder: calendar, universes and one file a field.

    calendars/day.txt                      one session a line
    instruments/MARKET.txt                 code<TAB>start<TAB>end, a span a line
    features/CODE/FIELD.day.bin            little-endian float32: the position of the first value
                                           in the calendar, then a value a session

A reader that trusts such files shifts or loses data without a word. Here an impossible file is an
error that names it: a size that fits no number of values, values outside the calendar, fields of
one instrument over different sessions. A field without a file is an error too, for which qlib
returns NaN (quirk Q8: VWAP0 is then 0 after Fillna). Folder and file names may be in any case.

If an instrument did not trade on a session inside its files, all its values are NaN there. In qlib
such a session is a row, in strict semantics it is not: `keep_suspended` chooses.

Rule matched: qlib data/storage/file_storage.py, utils `code_to_fname`; scripts/dump_bin.py.

Shape letters: T sessions, N instruments.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.bin_files import ProviderError, listed, read_calendar, read_field
from rnn_core.data.universe import Universe
from rnn_core.panel.panel import KEYS, Panel
from rnn_core.panel.session_labels import LEVELS, DateLike, session_range
from rnn_core.suggestions import near_matches

FIELDS: tuple[str, ...] = ("open", "high", "low", "close", "volume", "vwap")
"""Fields of a bar that Alpha158 and Alpha360 read."""

TYPICAL = ("high", "low", "close")
"""Fields of the typical price, (high + low + close) / 3."""

Vwap = Literal["typical"] | None

ESCAPE = "_qlib_"
DEVICES = {
    "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}  # fmt: skip
"""Names that Windows refuses for a folder; qlib puts ESCAPE before them."""

logger = logging.getLogger(__name__)


class QlibProvider:
    """A provider folder of daily bars.

    Args:
        root: the folder; `~` and environment variables are expanded.

    Attributes:
        root: the folder.
        calendar: all T sessions.

    Raises:
        ProviderError: the folder does not exist, or has no readable calendar.

    Examples:
        >>> source = QlibProvider(provider)
        >>> source.markets, source.calendar[0].date().isoformat()
        (['all', 'csi300'], '2020-01-01')
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(os.path.expandvars(root)).expanduser()
        if not self.root.is_dir():
            raise ProviderError(
                f"no provider folder {self.root}: give the folder that holds calendars, "
                f"instruments and features"
            )
        self.calendar = read_calendar(self.root)

    @property
    def markets(self) -> list[str]:
        """The names of the universes that have a file."""
        return sorted(path.stem for path in (self.root / "instruments").glob("*.txt"))

    def instruments(self, market: str) -> Universe:
        """Read the members of a universe, by session.

        Args:
            market: name of the universe, e.g. "csi300", in any case.

        Returns:
            The spans of `instruments/MARKET.txt`.

        Raises:
            ProviderError: the file does not exist (the message lists the existing ones), or is
                wrong: see `Universe.from_file`.
        """
        for path in sorted((self.root / "instruments").glob("*.txt")):
            if path.stem.lower() == market.lower():
                try:
                    return Universe.from_file(path)
                except ValueError as error:
                    raise ProviderError(f"{path}: {error}") from error
        known = ", ".join(self.markets) or "none"
        raise ProviderError(
            f"no universe {market!r} in {self.root / 'instruments'}, there are: {known}"
            f"{near_matches(market, self.markets)}"
        )

    def panel(
        self,
        instruments: Iterable[str] | Universe | None = None,
        start: DateLike | None = None,
        end: DateLike | None = None,
        fields: Sequence[str] = FIELDS,
        *,
        keep_suspended: bool = False,
        vwap: Vwap = None,
    ) -> Panel:
        """Read fields as dense arrays.

        Args:
            instruments: codes, or a universe, of which every instrument is read over its whole
                history; None for every folder. A code without a folder is left out, and logged.
            start: first session, or None.
            end: last session, included, or None.
            fields: names of fields, such as "close"; only their files are opened.
            keep_suspended: make sessions without a value rows all the same, as qlib does.
            vwap: "typical" uses (high + low + close) / 3 for an instrument without a file of vwap;
                by default that is an error.

        Returns:
            float32 fields over the sessions from start to end, in the order of `fields`.

        Raises:
            ProviderError: a field without a file, a damaged file, no instrument with a folder,
                or no session between start and end.
        """
        if isinstance(instruments, Universe):
            instruments = instruments.instruments
        if instruments is None:
            instruments = [name.removeprefix(ESCAPE).upper() for name in self._folders]
        # The axes of the panel.
        folders = self._of(sorted(set(instruments)))
        first, stop = self._range(start, end)
        shape = (len(folders), stop - first)
        values = {name: np.full(shape, np.nan, dtype=np.float32) for name in fields}
        present = np.zeros(shape, dtype=np.bool_)
        # One instrument after the other; `span` is the place of its previous field.
        absent: dict[str, list[str]] = {}
        for row, (code, folder) in enumerate(folders.items()):
            span: tuple[str, slice] | None = None
            for name in fields:
                path = self._file(folder, name)
                if path is None and name == "vwap" and vwap == "typical":
                    continue
                if path is None:
                    absent.setdefault(name, []).append(code)
                    continue
                span = self._fill(values[name][row], path, (first, stop), span)
            if "vwap" in values and vwap == "typical" and self._file(folder, "vwap") is None:
                span = self._typical(values["vwap"][row], code, folder, (first, stop), span)
            if span is not None:
                present[row, span[1]] = True
        if absent:
            raise ProviderError(self._absence(absent, len(folders)))
        if not keep_suspended and values:
            traded = np.logical_or.reduce([~np.isnan(x) for x in values.values()])
            present &= traded
        sessions = pd.DatetimeIndex(self.calendar[first:stop], name=LEVELS[0])
        return Panel(sessions, pd.Index(list(folders), name=KEYS[1]), values, present)

    def bars(
        self,
        instruments: Iterable[str] | Universe | None = None,
        start: DateLike | None = None,
        end: DateLike | None = None,
        fields: Sequence[str] = FIELDS,
        *,
        keep_suspended: bool = False,
        vwap: Vwap = None,
    ) -> pd.DataFrame:
        """Read fields as a long frame: `date`, `instrument` and the fields, as `alpha158` takes it.

        Arguments and errors are those of `panel`, which needs less memory. `panel` also keeps a
        session on which no instrument has a row, and a frame cannot.
        """
        panel = self.panel(
            instruments, start, end, fields, keep_suspended=keep_suspended, vwap=vwap
        )
        frame = panel.to_frame(np.stack([panel.fields[name] for name in fields]), list(fields))
        return frame.rename_axis(list(KEYS)).reset_index()

    def series(self, code: str, field: str = "close") -> pd.Series[Any]:
        """Read one field of one instrument, such as the closes of a benchmark.

        Args:
            code: the instrument, in any case.
            field: name of the field.

        Returns:
            float32 over the sessions of the file, NaN without a trade.

        Raises:
            ProviderError: no folder of this code, no file of this field, or a damaged one.
        """
        folder = self._of([code])[code]
        path = self._file(folder, field)
        if path is None:
            raise ProviderError(self._absence({field: [code]}, 1))
        first, values = read_field(path, len(self.calendar))
        index = pd.DatetimeIndex(self.calendar[first : first + len(values)], name=LEVELS[0])
        return pd.Series(values, index=index, name=field)

    def without_field(self, instruments: Iterable[str], field: str) -> list[str]:
        """Return the codes that have a folder, but no file of a field.

        Args:
            instruments: codes; a code without a folder is left out, and logged.
            field: name of the field.

        Returns:
            Codes, in the order given.

        Raises:
            ProviderError: no code has a folder.
        """
        folders = self._of(list(instruments))
        return [code for code, folder in folders.items() if self._file(folder, field) is None]

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Folders of features by code in lower case."""
        folders: dict[str, str] = {}
        top = self.root / "features"
        entries = sorted(os.scandir(top), key=lambda e: e.name) if top.is_dir() else []
        for entry in entries:
            code = entry.name.lower()
            if not entry.is_dir():
                continue
            if code in folders:
                raise ProviderError(
                    f"{top} holds {Path(folders[code]).name} and {entry.name}, which are one code: "
                    f"remove the older one"
                )
            folders[code] = entry.path
        return folders

    def _of(self, codes: Sequence[str]) -> dict[str, str]:
        """Return the folder of each code that has one, in the order given."""
        folders: dict[str, str] = {}
        for code in codes:
            name = code.lower()
            folder = self._folders.get(f"{ESCAPE}{name}" if name in DEVICES else name)
            if folder is not None:
                folders[code] = folder
        lacking = [code for code in codes if code not in folders]
        if not folders:
            raise ProviderError(
                f"{self.root / 'features'} has no folder of {listed(lacking)}, it holds "
                f"{len(self._folders)}: {listed([*self._folders])}"
                f"{near_matches(lacking[0].lower() if lacking else '', self._folders)}"
            )
        if lacking:
            logger.warning(
                "%d of %d instruments have no folder of features and are left out: %s",
                len(lacking),
                len(codes),
                listed(lacking),
            )
        return folders

    def _file(self, folder: str, field: str) -> str | None:
        """Find the file of a field; None if there is none.

        Paths are texts here: a market has tens of thousands of these files.
        """
        name = f"{field}.day.bin"
        path = f"{folder}{os.sep}{name}"
        if os.path.isfile(path):  # noqa: PTH113
            return path
        names = {entry.name.lower(): entry.name for entry in os.scandir(folder)}
        own = names.get(name.lower())
        return None if own is None else f"{folder}{os.sep}{own}"

    def _range(self, start: DateLike | None, end: DateLike | None) -> tuple[int, int]:
        """Return the positions of the sessions from start to end, the second one past the last."""
        span = session_range(self.calendar, start, end)
        if span.start == span.stop:
            raise ProviderError(
                f"no session between {start} and {end}: the calendar of {self.root} spans "
                f"{self.calendar[0]:%Y-%m-%d} to {self.calendar[-1]:%Y-%m-%d}"
            )
        return span.start, span.stop

    def _fill(
        self,
        row: NDArray[np.float32],
        path: str,
        bounds: tuple[int, int],
        span: tuple[str, slice] | None,
    ) -> tuple[str, slice]:
        """Put a file's values between two positions into a row [T]; return their place in it.

        `span` is the path and the place of the instrument's previous field; the places must agree.
        """
        begin, values = read_field(path, len(self.calendar), bounds)
        place = slice(begin - bounds[0], begin - bounds[0] + len(values))
        if span is not None and span[1] != place:
            raise ProviderError(
                f"{path} and {Path(span[0]).name} beside it hold different sessions: dump the "
                f"instrument again, all fields together"
            )
        row[place] = values
        return path, place

    def _typical(
        self,
        row: NDArray[np.float32],
        code: str,
        folder: str,
        bounds: tuple[int, int],
        span: tuple[str, slice] | None,
    ) -> tuple[str, slice] | None:
        """Put typical prices into a row [T]."""
        prices = np.full((len(TYPICAL), len(row)), np.nan, dtype=np.float32)
        for k, name in enumerate(TYPICAL):
            path = self._file(folder, name)
            if path is None:
                raise ProviderError(self._absence({name: [code]}, 1))
            span = self._fill(prices[k], path, bounds, span)
        row[:] = prices.mean(axis=0, dtype=np.float64)
        return span

    def _absence(self, absent: dict[str, list[str]], total: int) -> str:
        """Write the message about fields without files."""
        parts = [
            f"no file {name}.day.bin for {len(codes)} of {total} instruments ({listed(codes)})"
            for name, codes in absent.items()
        ]
        advice = "dump the field for all of them, or leave out the features that read it"
        if "vwap" in absent:
            advice += ', or choose vwap="typical", which is (high + low + close) / 3'
        return f"{self.root / 'features'}: {'; '.join(parts)}. {advice[0].upper()}{advice[1:]}"
