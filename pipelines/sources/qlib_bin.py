"""Read bars from a qlib provider folder.

qlib stores prices × factor and volume ÷ factor, and the factor. This module turns them back into
bars as traded, with `adj_ratio` from the steps of the factor; without a factor file prices are
taken as adjusted, ratio 1.0. `amount` is vwap × volume if there is a vwap. Values are float32 on
disk, so a price as traded is right to about seven digits.

Instruments are read in stretches, and only the bytes of the sessions: memory follows the number of
rows, so long ranges are best fetched in stretches of sessions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.sources import QlibBinSource
from pipelines.errors import SourceError
from pipelines.sources.base import PRICES, RAW_COLUMNS, require_extra
from pipelines.sources.columns import categories
from pipelines.sources.corporate_actions import level_ratios
from pipelines.warehouse.partition_file import fingerprint
from rnn_core.data.bin_files import ProviderError
from rnn_core.data.qlib_bins import QlibProvider
from rnn_core.panel.panel import Panel

FIELDS = (*PRICES, "volume")
OPTIONAL = ("vwap", "factor")
_INSTRUMENTS = 500  # read at once
_LOOK_BACK_SESSIONS = (10, 60)  # for the factor before the range; then everything


class QlibBars:
    """Bars of a provider folder.

    Args:
        settings: the section of the YAML.
        needs_amount: refuse a folder without vwap files (`vwap: amount`).
    """

    def __init__(self, settings: QlibBinSource, *, needs_amount: bool = False) -> None:
        self._settings = settings
        self._needs_amount = needs_amount
        self._indexes: set[str] = set()

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the bars of some sessions.

        Raises:
            SourceError: no such folder, a damaged file, or a field without one.
        """
        rows = self.fetch_span(min(keys), max(keys))
        if len(set(keys)) == len(rows["date"].unique()):
            return rows
        return rows[rows["date"].isin(set(keys))]

    def fetch_span(self, first: str, last: str) -> pd.DataFrame:
        """Return the bars of all days of the provider's calendar in a span.

        Raises:
            SourceError: as `fetch`.
        """
        try:
            provider = QlibProvider(self._settings.path)
            calendar = provider.calendar
            if calendar.searchsorted(pd.Timestamp(first)) == calendar.searchsorted(
                pd.Timestamp(last), side="right"
            ):
                extra = [one.name for one in self._settings.extra]
                return pd.DataFrame(columns=[*RAW_COLUMNS, *extra])
            parts = [
                self._bars(provider, codes, optional, first, last)
                for optional, names in self._groups(provider).items()
                for codes in _stretches(names)
            ]
        except (ProviderError, OSError) as error:
            raise SourceError(f"qlib_bin: {error}") from error
        return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)

    def days(self, first: str | None = None) -> pd.Series[int]:
        """Return the provider's sessions in order, each with the number of all instruments."""
        try:
            provider = QlibProvider(self._settings.path)
            calendar, count = provider.calendar, sum(map(len, self._groups(provider).values()))
        except (ProviderError, OSError) as error:
            raise SourceError(f"qlib_bin: {error}") from error
        keys = calendar.strftime("%Y-%m-%d")
        days = pd.Series(count, index=pd.Index(keys, dtype="str"))
        return days if first is None else days[days.index >= first]

    def fingerprint(self) -> str:
        """Return the digest of the calendar file's size and time; a dump renews it last."""
        path = Path(self._settings.path) / "calendars" / "day.txt"
        try:
            stat = path.stat()
        except OSError as error:
            raise SourceError(f"qlib_bin: cannot read {path}: {error}") from error
        return fingerprint([str(path), stat.st_size, stat.st_mtime_ns])

    def unread(self) -> list[str]:
        """List the folders of features that have closes only, as those of an index."""
        return sorted(self._indexes)

    def _groups(self, provider: QlibProvider) -> dict[tuple[str, ...], list[str]]:
        """Codes by the optional fields for which they have files."""
        codes = None
        if self._settings.instruments is not None:
            listed = provider.instruments(self._settings.instruments)
            codes = {code.upper() for code in listed.instruments}
        groups: dict[tuple[str, ...], list[str]] = {}
        found: set[str] = set()
        wanted = (*OPTIONAL, *(one.column.lower() for one in self._settings.extra))
        bars = {f"{field}.day.bin" for field in FIELDS if field != "close"}
        top = provider.root / "features"
        for entry in sorted(os.scandir(top), key=lambda e: e.name) if top.is_dir() else []:
            code = entry.name.upper().removeprefix("_QLIB_")
            if not entry.is_dir() or (codes is not None and code not in codes):
                continue
            names = {name.lower() for name in os.listdir(entry.path)}  # noqa: PTH208 - names only
            if names.isdisjoint(bars):
                self._indexes.add(entry.name)
                continue
            fields = tuple(dict.fromkeys(f for f in wanted if f"{f}.day.bin" in names))
            found |= names
            if self._needs_amount and "vwap" not in fields:
                raise SourceError(
                    f"qlib_bin: {entry.path} has no vwap.day.bin, and market.vwap is amount: "
                    f"choose typical or none"
                )
            groups.setdefault(fields, []).append(code)
        if not groups:
            raise ProviderError(
                f"{top} holds no instrument"
                + ("" if codes is None else f" of {self._settings.instruments}")
            )
        lower = [replace(one, column=one.column.lower()) for one in self._settings.extra]
        given = sorted(name.removesuffix(".day.bin") for name in found)
        require_extra(lower, given, f"qlib_bin: {top}")
        return groups

    def _bars(
        self,
        provider: QlibProvider,
        codes: list[str],
        optional: tuple[str, ...],
        first: str,
        last: str,
    ) -> pd.DataFrame:
        fields = (*FIELDS, *optional)
        panel = provider.panel(codes, first, last, fields)
        has_row = np.ascontiguousarray(panel.present.T)  # [T, N], rows by session, then name
        day, name = np.nonzero(has_row)
        values = {f: panel.fields[f].T[has_row].astype("float64") for f in fields}  # [R]
        # A session on which nothing but the factor is known is one of suspension.
        traded = np.logical_or.reduce([~np.isnan(values[field]) for field in FIELDS])
        ratios = np.ones(len(day))
        if "factor" in optional and len(day):
            ratios = self._ratios(provider, panel, day, name, values["factor"])[traded]
        values = {field: column[traded] for field, column in values.items()}
        days = pd.array(panel.sessions.strftime("%Y-%m-%d").to_numpy(), dtype="str")
        names = pd.array(panel.instruments.to_numpy(), dtype="str")
        factor, volume = values.get("factor", 1.0), values["volume"]
        with np.errstate(all="ignore"):
            out = {
                "date": days.take(day[traded]),
                "instrument": names.take(name[traded]),
                **{price: values[price] / factor for price in PRICES},
                "volume": volume * factor,
                "amount": values["vwap"] * volume if "vwap" in optional else np.nan,
                "adj_ratio": ratios[: len(volume)],
            }
        for one in self._settings.extra:  # an instrument without the file has no value
            given = pd.Series(values.get(one.column.lower(), np.full(len(volume), np.nan)))
            out[one.name] = categories(given) if one.kind == "category" else given
        return pd.DataFrame(out)

    def _ratios(
        self,
        provider: QlibProvider,
        panel: Panel,
        day: NDArray[np.intp],
        name: NDArray[np.intp],
        factor: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The steps of the factor since the newest earlier session that has one."""
        entering = self._earlier_factors(provider, panel)  # [N]
        (known,) = np.nonzero(np.isfinite(entering))
        chain = pd.DataFrame({
            "date": np.concatenate([np.full(len(known), -1), day]),
            "instrument": np.concatenate([known, name]),
        })  # fmt: skip
        level = np.concatenate([entering[known], factor])
        return level_ratios(chain, level, tolerance=self._settings.tolerance)[len(known) :]

    def _earlier_factors(self, provider: QlibProvider, panel: Panel) -> NDArray[np.float64]:
        """The last known factor of each instrument before a panel, NaN for none, [N]."""
        calendar = provider.calendar
        stop = int(calendar.searchsorted(panel.sessions[0]))
        factors, end = np.full(len(panel.instruments), np.nan), stop
        for length in (*_LOOK_BACK_SESSIONS, stop):
            start, (left,) = max(0, stop - length), np.nonzero(np.isnan(factors))
            if start >= end or not len(left):
                continue
            codes = panel.instruments[left]
            earlier = provider.panel(codes, calendar[start], calendar[end - 1], ("factor",))
            values = earlier.fields["factor"].astype("float64")  # [N, T]
            is_known = np.isfinite(values) & (values > 0)
            at = is_known.shape[1] - 1 - is_known[:, ::-1].argmax(axis=1)  # [N], the last known
            newest = values[np.arange(len(at)), at]
            factors[left] = np.where(is_known.any(axis=1), newest, np.nan)
            end = start
        return factors


def _stretches(codes: list[str]) -> list[list[str]]:
    return [codes[i : i + _INSTRUMENTS] for i in range(0, len(codes), _INSTRUMENTS)]
