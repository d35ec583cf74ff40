"""Data versions of one table: the digest of each partition that is stored and intact.

A file is read when its version is first asked for, and hashed whole: for small files that costs no
more than reading the footer, and a flipped byte is found before anything is called current.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import pyarrow as pa

from pipelines.errors import WarehouseError
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Absent, Outdated, Stage, Version
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import PartitionInfo, read_info
from pipelines.warehouse.warehouse import Warehouse

_READERS = 4
_FEW = 5  # sessions for which a look at each is cheaper than a list of all


class TableVersions(Mapping[str, Version]):
    """Digests of one table by session; a partition that is not intact is `Absent`.

    Attributes:
        name: the name of the table.
        damaged: by session, why its file cannot be read; of the files read so far.
        known: digests of files that have not changed since they were verified.
    """

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        self._warehouse, self._store = warehouse, warehouse.store
        self.name = name
        self._infos: dict[str, PartitionInfo | None] = {}
        self._outdated: set[str] = set()
        self.damaged: dict[str, DamagedFileError] = {}
        self.known: Mapping[str, str] = {}

    @cached_property
    def stored(self) -> frozenset[str]:
        """The sessions that have a file."""
        return frozenset(self._store.partitions(self.name))

    def info(self, key: str) -> PartitionInfo | None:
        """The footer of a partition whose bytes have its digest; None if absent or damaged."""
        if key not in self._infos:
            try:
                self._infos[key] = self._read(key)
            except DamagedFileError as error:
                self._infos[key], self.damaged[key] = None, error
        return self._infos[key]

    def _read(self, key: str) -> PartitionInfo | None:
        """Read the footer of a partition.

        Raises:
            DamagedFileError: the bytes of the file do not have its digest, or it is none of this
                place.
        """
        try:
            return read_info(pa.BufferReader(self._warehouse.content(self.name, key)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except WarehouseError as error:
            if isinstance(error.__cause__, DamagedFileError):
                raise error.__cause__ from None
            raise

    def infos(self, keys: Iterable[str]) -> dict[str, PartitionInfo]:
        """The footers of the sessions that are stored and intact."""
        return {key: info for key in keys if (info := self.info(key)) is not None}

    def column(self, name: str, origin: str, key: str) -> Version:
        """The version of a column of its own; others of the table may be outdated."""
        info = self.info(key)
        made = None if info is None else info.provenance.inputs.get(name)
        if made is None:
            return Absent(f"{self.name} ({name})")
        return made if made.startswith(origin) else Outdated(self.name)

    def load(self, keys: Sequence[str]) -> None:
        """Read the files of several sessions at once."""
        wanted = keys if len(keys) <= _FEW else [key for key in keys if key in self.stored]
        if len(keys) > _FEW:
            self._infos |= {key: None for key in keys if key not in self.stored}
        unread = [key for key in wanted if key not in self._infos]
        if unread:  # a task a reader: thousands of small ones would cost more than the files
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(self.infos, (unread[i::_READERS] for i in range(_READERS))))

    def mark_outdated(self, keys: Iterable[str]) -> None:
        """Note that sessions will be made again: nothing stored was made from their new files."""
        self._outdated |= set(keys)

    def __getitem__(self, key: str) -> Version:
        if key in self._outdated:
            return Outdated(self.name)
        if key in self.known:
            return self.known[key]
        info = self.info(key)
        return Absent(self.name) if info is None else info.digest

    def __contains__(self, key: object) -> bool:
        return key in self._outdated or key in self.known or self.info(str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.stored | self._outdated))

    def __len__(self) -> int:
        return len(self.stored | self._outdated)


class WholeVersion(TableVersions):
    """The version of a stage without partitions, under the key `WHOLE`."""

    def __init__(self, market: Market, stage: Stage) -> None:
        super().__init__(market.warehouse, stage.name)
        self._market, self._stage = market, stage

    @cached_property
    def stored(self) -> frozenset[str]:
        """`WHOLE` if the stage was made."""
        return frozenset() if self.info(WHOLE) is None else frozenset([WHOLE])

    @property
    def in_force(self) -> str | None:
        """The version; None if it was not made for the present configuration."""
        info = self.info(WHOLE)
        same = info is not None and info.provenance.config == self._stage.config_hash
        return info.digest if info is not None and same else None

    def _read(self, key: str) -> PartitionInfo | None:
        return None if self._stage.recorded is None else self._stage.recorded(self._market)

    def __getitem__(self, key: str) -> Version:
        version = super().__getitem__(key)
        return Outdated(self.name) if version != self.in_force else version
