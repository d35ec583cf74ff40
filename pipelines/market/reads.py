"""The sessions that a partition is made from, by table: the look-back in words.

Dagster maps partitions by identity, so its pages do not show that the features of a session read 60
sessions before it. `Stage.inputs` says what a partition is made from, and here the versions that it
asks for are counted: the words follow the provenance, and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from pipelines.market.stage import WHOLE, DataVersions, Stage, Version

Reads = Mapping[str, Sequence[str]]
"""Table -> the sessions that are read, in order; `(WHOLE,)` of a stage without partitions."""


class _Asked(Mapping[str, Version]):
    """The versions of one table, which notes the sessions that are asked for."""

    def __init__(self, versions: Mapping[str, Version] | None) -> None:
        self._versions = versions
        self.sessions: set[str] = set()

    def __getitem__(self, key: str) -> Version:
        version = "" if self._versions is None else self._versions[key]
        self.sessions.add(key)
        return version

    def __contains__(self, key: object) -> bool:
        return self._versions is None or key in self._versions

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions or ())

    def __len__(self) -> int:
        return len(self._versions or ())


class AskedVersions(Mapping[str, Mapping[str, Version]]):
    """Data versions that note what is asked for.

    Args:
        versions: the versions; without them every session of every table has one.
    """

    def __init__(self, versions: DataVersions | None = None) -> None:
        self._versions = versions
        self._tables: dict[str, _Asked] = {}

    def __getitem__(self, table: str) -> Mapping[str, Version]:
        if table not in self._tables:
            of_table = None if self._versions is None else self._versions[table]
            self._tables[table] = _Asked(of_table)
        return self._tables[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions or ())

    def __len__(self) -> int:
        return len(self._versions or ())

    @property
    def reads(self) -> Reads:
        """The sessions that were asked for; what is no table's has a space in its name."""
        return {
            table: sorted(asked.sessions)
            for table, asked in self._tables.items()
            if asked.sessions and " " not in table
        }


def reads_of(inputs: Callable[[DataVersions], object]) -> Reads:
    """The sessions that inputs are taken from, whatever is stored.

    Args:
        inputs: gives the inputs from the versions.
    """
    versions = AskedVersions()
    inputs(versions)
    return versions.reads


def read_words(reads: Reads) -> str:
    """The reads of a partition: `ohlcv 2012-09-28 … 2012-12-27, 61 sessions; processors`."""
    return "; ".join(
        table if tuple(keys) == (WHOLE,) else f"{table} {_span(keys)}"
        for table, keys in reads.items()
    )


def stored_reads(stage: Stage, stored: Callable[[str], Collection[str]]) -> Callable[[str], str]:
    """The reads in words of partitions that were made before, by session.

    Args:
        stage: whose partitions they are.
        stored: the stored sessions of a table; what is not stored was not read.
    """

    def words(key: str) -> str:
        reads = reads_of(lambda versions: stage.inputs(key, versions))
        kept = {t: [k for k in keys if k == WHOLE or k in stored(t)] for t, keys in reads.items()}
        return read_words({table: keys for table, keys in kept.items() if keys})

    return words


def _span(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    return f"{keys[0]} … {keys[-1]}, {len(keys)} sessions"


def look_back_sentence(stage: Stage, sessions: Sequence[str]) -> str:
    """Say which sessions a partition of a stage reads besides its own; empty if it reads none.

    Args:
        stage: the stage.
        sessions: of the market; what the last one reads stands for all.
    """
    last = sessions[-1]
    reads = reads_of(lambda versions: stage.inputs(last, versions)) if stage.tables else {}
    phrases = []
    for table, keys in reads.items():
        if table == stage.name or WHOLE in keys or tuple(keys) == (last,):
            continue
        if keys[-1] == last:
            phrases.append(f"{table} of the {len(keys)} sessions up to it")
        else:
            ago = len(sessions) - 1 - sessions.index(keys[-1])
            phrases.append(f"{table} of {ago} session{'s' if ago > 1 else ''} before it")
    return f" A session is made from {' and '.join(phrases)}." if phrases else ""
