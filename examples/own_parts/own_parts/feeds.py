"""Sources of bars: sessions in, a frame of bars out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pandas as pd

from pipelines.errors import SourceError
from pipelines.sources.base import RAW_COLUMNS


class CsvOverHttp:
    """Daily bars from one CSV file at an address: date (YYYY-MM-DD), instrument, open, high, low,
    close, volume, and if known amount (currency) and adj_ratio (1.0 where it is left out).

    The file is asked for again only if it has changed since (`If-Modified-Since`). An address that
    cannot be reached is asked again by the run itself: what `urllib` raises is known as transient.

    Args:
        file: path of the file below the address; it says what the bars are (`options`).
        address: of the server (`access`, since another mirror gives the same bars).
        token: sent as `Authorization: Bearer`, if there is one (`access`).
        timeout_seconds: for an answer.
    """

    def __init__(
        self, file: str, address: str, token: str | None = None, timeout_seconds: float = 30.0
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError("address: expected one that begins with http:// or https://")
        self.url = f"{address.rstrip('/')}/{file}"
        self.token, self.timeout_seconds = token, timeout_seconds
        self._bars: pd.DataFrame | None = None
        self._changed = ""

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """The bars of some sessions.

        Raises:
            SourceError: the server refuses, or the file lacks a column.
        """
        bars = self._read()
        return bars[bars["date"].isin(set(keys))].reset_index(drop=True)

    def days(self, first: str | None = None) -> pd.Series:
        """The number of bars by day: with it the pipeline tells late bars from absent ones."""
        counts = self._read().groupby("date").size()
        return counts if first is None else counts[counts.index >= first]

    def _read(self) -> pd.DataFrame:
        request = Request(self.url)  # noqa: S310 - the constructor has seen the scheme
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if self._bars is not None and self._changed:
            request.add_header("If-Modified-Since", self._changed)
        try:
            with urlopen(request, timeout=self.timeout_seconds) as answer:  # noqa: S310
                text = answer.read()
                self._changed = answer.headers.get("Last-Modified", "")
        except HTTPError as error:
            if error.code == 304 and self._bars is not None:
                return self._bars
            if error.code >= 500:
                raise ConnectionError(f"{self.url}: {error}") from error  # asked again later
            raise SourceError(
                f"{self.url}: {error}; check the file's name and the token"
            ) from error
        rows = pd.read_csv(io.BytesIO(text), dtype={"date": str, "instrument": str})
        rows = rows.assign(**{
            name: default
            for name, default in (("amount", float("nan")), ("adj_ratio", 1.0))
            if name not in rows
        })  # fmt: skip
        lacking = [name for name in RAW_COLUMNS if name not in rows]
        if lacking:
            raise SourceError(f"{self.url} lacks {', '.join(lacking)}; it has {', '.join(rows)}")
        numbers = dict.fromkeys(RAW_COLUMNS[2:], "float64")
        self._bars = rows[list(RAW_COLUMNS)].astype(numbers)
        return self._bars
