"""Download the bars of a vendor symbol by symbol, and keep each symbol in the market's state.

An interrupted download goes on from its last symbol, and a daily run asks for new bars only. A
symbol's file holds bars as traded with their `adj_ratio`, so it stays right when the vendor
restates its adjusted history at the next dividend: new rows are asked for together with the last
one that is held, and the ratio between the two comes from that one answer.

A session is only kept once it is over, and a missing recent bar is asked for again: vendors are
late. After `SETTLED_DAYS` a symbol without a bar is taken to have been suspended.
"""

from __future__ import annotations

import datetime as dt
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config.sources import NetworkSource
from pipelines.config.text_files import read_text
from pipelines.errors import MissingPackageError, SourceError
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.file_formats import UNREADABLE, validated
from pipelines.sources.network import Asker, Pace, VendorBusyError, may_pass
from pipelines.warehouse.store import atomic_write

SETTLED_DAYS = 7
MARGIN_DAYS = 10
"""Calendar days asked for before the first session, so that its ratio has a previous row."""
GIVE_UP_AFTER = 5
"""Symbols in a row that the vendor could not answer: it is down, the rest is not asked."""

logger = logging.getLogger(__name__)


class GetBars(Protocol):
    """A function that asks a vendor for one symbol."""

    def __call__(self, symbol: str, first: str) -> pd.DataFrame:
        """Return bars as `RAW_COLUMNS` from a day to the newest; no row if there is none.

        The `adj_ratio` of the first row is not used.

        Raises:
            OSError: the network failed; `network.may_pass` tells whether a retry may help.
            VendorBusyError: the vendor could not answer now.
            SourceError: it does not answer for this symbol.
            MissingPackageError: no symbol can be asked for.
        """
        ...


@dataclass(frozen=True)
class Held:
    """The stored bars of a symbol.

    Attributes:
        rows: bars, by date.
        first: the day from which the vendor was asked; None if it never was.
        until: the newest day that the last answer covers.
    """

    rows: pd.DataFrame
    first: str | None = None
    until: str = ""

    def covers(self, first: str, last: str) -> bool:
        """True if the vendor need not be asked for these days."""
        return self.first is not None and self.first <= first and last <= self.until


class _SymbolFailed(Exception):
    """The vendor gave no answer for one symbol; its cause is what the client raised."""


class DownloadedBars:
    """Bars of symbols from a vendor.

    Args:
        vendor: its name, for messages.
        symbols: symbols in the vendor's writing.
        get: asks for one symbol.
        folder: the folder of the stored bars.
        pace: the pace and the patience of asking.
        max_failed: the share of symbols that may fail with no more than a warning.
        today: gives the present day in the market's time zone.
        asker: makes the calls (default: by `pace`).
    """

    def __init__(
        self,
        vendor: str,
        symbols: Sequence[str],
        get: GetBars,
        folder: Path,
        pace: Pace,
        *,
        max_failed: float,
        today: Callable[[], dt.date],
        asker: Asker | None = None,
    ) -> None:
        self._vendor, self._symbols, self._get = vendor, tuple(dict.fromkeys(symbols)), get
        self._folder, self._max_failed, self._today = folder, max_failed, today
        self._ask = asker or Asker(pace)

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions; the vendor is asked for those that are not stored.

        Raises:
            SourceError: more symbols failed than `max_failed` allows (the bars of the others are
                kept), the client is not installed, or its answer cannot be stored.
        """
        first, last = min(keys), max(keys)
        sessions: set[str] = set(keys)
        failed: dict[str, BaseException] = {}
        parts, in_a_row = [_nothing()], 0
        for symbol in self._symbols:
            try:
                held = self._held(symbol)
                if not held.covers(first, last):
                    held = self._extended(symbol, held, first)
                in_a_row = 0
            except _SymbolFailed as failure:
                error = failed[symbol] = failure.__cause__ or failure
                in_a_row = in_a_row + 1 if may_pass(error) else 0
                if in_a_row == GIVE_UP_AFTER:
                    break
                continue
            parts.append(held.rows[held.rows["date"].isin(sessions)])
        self._report(failed, gave_up=in_a_row == GIVE_UP_AFTER)
        return pd.concat(parts, ignore_index=True)

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the number of stored bars a day, by session key in order."""
        counts: pd.Series[int] = pd.Series(dtype="int64")
        for symbol in self._symbols:
            counts = counts.add(self._held(symbol).rows["date"].value_counts(), fill_value=0)
        counts = counts.astype("int64").sort_index()
        return counts if first is None else counts[counts.index >= first]

    # --- one symbol --------------------------------------------------------------------------

    def _extended(self, symbol: str, held: Held, first: str) -> Held:
        """Ask the vendor for the days that are not stored, and store its answer."""
        anew = held.first is None or first < held.first
        since = first if anew or held.first is None else held.first
        if not anew and len(held.rows):
            newest = str(held.rows["date"].iloc[-1])
            answer = self._asked(symbol, newest)
            if len(answer) and answer["date"].iloc[0] != newest:
                anew = True  # the row that joins old and new is gone: all of it again
        if anew or not len(held.rows):
            start = pd.Timestamp(since) - pd.Timedelta(days=MARGIN_DAYS)
            answer = self._asked(symbol, str(start.date()))
            rows = answer
        else:
            rows = pd.concat([held.rows, answer[answer["date"] > newest]], ignore_index=True)
        today = self._today()
        settled = str(today - dt.timedelta(days=SETTLED_DAYS))
        rows = rows[(rows["date"] >= since) & (rows["date"] < str(today))].reset_index(drop=True)
        newest = str(rows["date"].iloc[-1]) if len(rows) else ""
        held = replace(held, rows=rows, first=since, until=max(newest, settled))
        self._keep(symbol, held)
        return held

    def _asked(self, symbol: str, first: str) -> pd.DataFrame:
        """The vendor's answer, by date.

        Raises:
            _SymbolFailed: there is none for this symbol. Errors that concern every symbol, and our
                own mistakes, pass through.
        """
        what = f"{self._vendor} {symbol} from {first}"
        try:
            rows = self._ask(lambda: self._get(symbol, first), what)
        except MissingPackageError:
            raise
        except (OSError, VendorBusyError, SourceError) as error:
            raise _SymbolFailed(symbol) from error
        return rows[list(RAW_COLUMNS)].sort_values("date", kind="stable", ignore_index=True)

    def _held(self, symbol: str) -> Held:
        path = self._path(symbol)
        if not path.is_file():
            return Held(_nothing())
        try:
            table = validated(pq.read_table(path))
            marks = table.schema.metadata
            return Held(table.to_pandas(), marks[b"first"].decode(), marks[b"until"].decode())
        except (*UNREADABLE, KeyError, TypeError) as error:
            logger.warning("%s is damaged and asked for again: %s", path, error)
            return Held(_nothing())

    def _keep(self, symbol: str, held: Held) -> None:
        table = pa.Table.from_pandas(held.rows, preserve_index=False)
        marks = {"first": held.first or "", "until": held.until}
        out = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(marks), out, compression="zstd")
        try:
            atomic_write(self._path(symbol), out.getvalue())
        except OSError as error:
            raise SourceError(
                f"{self._vendor}: what was got of {symbol} cannot be kept in {self._folder}: "
                f"{error}; check that the folder is writable and the disk not full"
            ) from error

    def _path(self, symbol: str) -> Path:
        return self._folder / f"{quote(symbol, safe='')}.parquet"

    def _report(self, failed: dict[str, BaseException], *, gave_up: bool) -> None:
        """Report all symbols that failed: by one warning, or by the error.

        Raises:
            SourceError: more failed than `max_failed` allows, or the vendor is down.
        """
        if not failed:
            return
        shown = "; ".join(f"{symbol}: {error}" for symbol, error in list(failed.items())[:5])
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        what = (
            f"{self._vendor}: {len(failed)} of {len(self._symbols)} symbols failed ({shown}{more})"
        )
        if gave_up:
            what += f"; the last {GIVE_UP_AFTER} in a row, so the rest was not asked for"
        if gave_up or len(failed) > self._max_failed * len(self._symbols):
            raise SourceError(
                f"{what}; what was got is kept in {self._folder}, run it again and only the rest "
                f"is asked for. Symbols that no longer exist: remove them, or raise "
                f"source.max_failed"
            ) from list(failed.values())[-1]
        logger.warning("%s; their bars are absent", what)


def downloaded_bars(
    vendor: str, settings: NetworkSource, get: GetBars, folder: Path, zone: str
) -> DownloadedBars:
    """The source that a section of the YAML describes.

    Args:
        vendor: its name, for messages.
        settings: the section.
        get: asks for one symbol.
        folder: the folder of the stored bars.
        zone: the market's time zone.

    Raises:
        SourceError: the file of symbols cannot be read, or there is no symbol.
    """
    pace = Pace(
        settings.attempts, settings.wait_seconds, settings.max_wait_seconds, settings.per_minute
    )
    return DownloadedBars(
        vendor,
        read_symbols(settings.symbols),
        get,
        folder,
        pace,
        max_failed=settings.max_failed,
        today=lambda: pd.Timestamp.now(tz=zone).date(),
    )


def read_symbols(symbols: tuple[str, ...] | Path) -> tuple[str, ...]:
    """The symbols of a section: its list, or the lines of its file.

    Raises:
        SourceError: the file cannot be read, or there is no symbol.
    """
    if isinstance(symbols, Path):
        lines = read_text(symbols, "source.symbols", SourceError).splitlines()
        symbols = tuple(name for line in lines if (name := line.split("#")[0].strip()))
    if not symbols:
        raise SourceError("source.symbols names none: list them, or a file with one a line")
    return symbols


def _nothing() -> pd.DataFrame:
    text = {"date": "str", "instrument": "str"}
    return pd.DataFrame({c: pd.Series(dtype=text.get(c, "float64")) for c in RAW_COLUMNS})
