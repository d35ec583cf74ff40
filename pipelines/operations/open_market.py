"""A market's tables for notebooks and scripts: `open_market("sample")["lstm_prediction"]`.

Opening a market reads its YAML and nothing else of it. A table is read when its rows are asked for,
and only the sessions that were asked for; every file is verified as by the pipeline. Nothing here
writes. In SQL the same rows are the views of `rnn-pipelines sql`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipelines.assets.stages import stages
from pipelines.config.loader import load_config
from pipelines.errors import MissingSessionsError, WarehouseError, did_you_mean, name_sessions
from pipelines.instance.market_list import config_of, markets_of
from pipelines.market.market import Market
from pipelines.market.paths import data_root
from pipelines.warehouse.schemas import Table
from rnn_core.notebook import fact_line, fact_table


class StoredTable:
    """One table of a market, a partition a session.

    Attributes:
        name: the table.
        columns: its columns, the session `date` first.
    """

    def __init__(self, market: Market, table: Table) -> None:
        self._market = market
        self.name = table.name
        self.columns: tuple[str, ...] = ("date", *table.schema.names)

    @property
    def sessions(self) -> list[str]:
        """The sessions that are stored, in order, as YYYY-MM-DD."""
        return self._market.warehouse.sessions(self.name)

    def read(
        self,
        start: str | None = None,
        end: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        allow_gaps: bool = False,
    ) -> pd.DataFrame:
        """Read the rows of some sessions, every file verified.

        Args:
            start: the first day, YYYY-MM-DD; None for the first that is stored.
            end: the last day, included; None for the last that is stored.
            columns: the columns to read, None for all; `date` always comes first.
            allow_gaps: read what is stored where sessions between stored ones are absent.

        Returns:
            One row a session and instrument, or a session, with the columns of the table.

        Raises:
            ValueError: a day is not written YYYY-MM-DD.
            MissingSessionsError: sessions of the range are absent between the first and the last
                that are stored, unless `allow_gaps`.
            WarehouseError: no session of the range is stored, or a file is damaged.
        """
        stored = self.sessions
        first, last = _day(start, "start", "0001-01-01"), _day(end, "end", "9999-12-31")
        keys = [key for key in stored if first <= key <= last]
        within = [
            key
            for key in (self._market.sessions.keys if stored else ())
            if max(first, stored[0]) <= key <= min(last, stored[-1])
        ]
        absent = sorted(set(within).difference(keys))
        if absent and not allow_gaps:
            command = self._market.command(f"backfill --start {absent[0]} --end {absent[-1]}")
            raise MissingSessionsError(
                f"{self.name} lacks {name_sessions(absent)}, between sessions that are stored; "
                f"`{command}` makes them, allow_gaps=True reads the others"
            )
        if not keys:
            held = f"{stored[0]} to {stored[-1]} are" if stored else "no session is"
            asked = f"{start or 'the beginning'} to {end or 'the end'}"
            raise WarehouseError(
                f"{self.name} has no session from {asked}: {held} stored; "
                f"`{self._market.backfill_command()}` makes all that there can be"
            )
        read = self._market.warehouse.read
        return read(self.name, keys, needed_by="open_market", columns=columns).frame

    def _facts(self) -> dict[str, str]:
        stored = self.sessions
        span = f"{len(stored)}, {stored[0]} to {stored[-1]}" if stored else "none"
        return {"table": self.name, "sessions": span, "columns": str(len(self.columns))}

    def __repr__(self) -> str:
        return fact_line(self, self._facts())

    def _repr_html_(self) -> str:
        return fact_table(self, self._facts())


class StoredMarket(Mapping[str, StoredTable]):
    """The tables of a market by name, upstream first; read-only.

    Attributes:
        name: the market.
    """

    def __init__(self, market: Market) -> None:
        self.name = market.config.name
        self._tables = {
            table.name: StoredTable(market, table)
            for stage in stages(market)
            for table in stage.tables
        }

    def __getitem__(self, name: str) -> StoredTable:
        if name not in self._tables:
            raise KeyError(f"{self.name} has no table {name!r}; {did_you_mean(name, self._tables)}")
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return fact_line(self, {"name": self.name, "tables": ", ".join(self)})


def open_market(name: str | os.PathLike[str] | None = None) -> StoredMarket:
    """Open the tables of a market for reading.

    Args:
        name: a market of the data folder, a shipped YAML's name, or the path of a YAML; None for
            the one that `RNN_CONFIG` names, else the sample.

    Returns:
        Table by name; rows are read when they are asked for.

    Raises:
        ConfigError: there is no such market or YAML, or the YAML is wrong.
    """
    named = None if name is None else os.fspath(name)
    if named in markets_of(data_root()) and not Path(named).is_file():
        named = config_of(data_root(), named)
    return StoredMarket(Market(load_config(named), named=named, read_only=True))


def _day(text: str | None, name: str, default: str) -> str:
    """Parse a day into a session key, so that it compares as one.

    Raises:
        ValueError: the text is not a date, or not written YYYY-MM-DD.
    """
    try:
        return default if text is None else f"{dt.datetime.strptime(text, '%Y-%m-%d').date()}"
    except (TypeError, ValueError):
        raise ValueError(f"{name}={text!r} is not a date; write YYYY-MM-DD") from None
