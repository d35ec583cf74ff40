"""A backup: contents by their digest, and manifests that say where each of them belongs.

    objects/ab/SHA256          a content, whatever files have it
    MARKET/TIME.json           one backup: the digest and the place of every file

An object is never replaced and a manifest is written last, so a backup that is cut off leaves the
earlier ones as they were, and one more backup holds only what has changed since.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.errors import WarehouseError
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import canonical_json, fingerprint
from pipelines.warehouse.store import Store

FORMAT = 1
_OBJECTS = "objects"
PLACES = ("yaml", "tables", "models", "state", "machine", "home")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z\.json")


@dataclass(frozen=True)
class Entry:
    """A file of a backup.

    Attributes:
        place: the store that it belongs to, of `PLACES`.
        path: its path there.
        sha256: of its content.
        bytes: its length.
        written: when it was made, seconds since 1970: what was served is told by that.
        kind: of file, in words.
    """

    place: str
    path: str
    sha256: str
    bytes: int
    written: float
    kind: str


@dataclass(frozen=True)
class Manifest:
    """One backup of a market.

    Attributes:
        market: its name.
        made: when, as the file of the manifest is named.
        config: the path of its YAML, or the name of a shipped one.
        files: all of its files.
    """

    market: str
    made: str
    config: str
    files: tuple[Entry, ...]


class Backups:
    """The backups below a folder.

    Args:
        store: the folder.

    Attributes:
        mended: places of contents that were damaged, and that `keep` has written again.
    """

    def __init__(self, store: Store) -> None:
        self.mended: list[str] = []
        self._store = store
        self._kept = set[str]()  # digests of contents that are there, and compared
        self._sizes = {name.split("/")[-1]: n for name, n in store.sizes(_OBJECTS).items()}

    def __str__(self) -> str:
        return str(self._store)

    def markets(self) -> list[str]:
        """The markets that have a backup."""
        return [name for name in self._store.tables() if name != _OBJECTS and self.times(name)]

    def times(self, market: str) -> list[str]:
        """The times of the backups of a market, oldest first."""
        names = self._store.files(market)
        return [name.removesuffix(".json") for name in names if _TIME.fullmatch(name)]

    def keep(self, content: bytes) -> tuple[str, bool]:
        """Keep a content, and return its digest, and True if it was not there yet.

        One that an earlier backup has is read and compared: a changed byte keeps the size.

        Raises:
            OSError: it cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._kept:
            return digest, False
        parts = (_OBJECTS, digest[:2], digest)
        is_there = digest in self._sizes
        if not (is_there and self._has(content, *parts)):
            self._store.write(content, *parts)
            if is_there:
                self.mended.append(self._store.url(*parts))
        self._kept.add(digest)
        return digest, not is_there

    def _has(self, content: bytes, *parts: str) -> bool:
        try:
            return self._sizes[parts[-1]] == len(content) and self._store.read(*parts) == content
        except (ConnectionError, TimeoutError):
            raise
        except OSError:  # a disk that cannot give it back has lost it
            return False

    def write(self, manifest: Manifest) -> str:
        """Put a manifest in place, which makes the backup count, and return its place.

        Raises:
            WarehouseError: there is one of that time.
            OSError: it cannot be written.
        """
        content = _plain(manifest)
        self._store.settle_all()  # the contents count once the manifest is there
        signed = canonical_json({**content, "digest": fingerprint(content)}).encode()
        parts = (manifest.market, f"{manifest.made}.json")
        if not self._store.create(signed, *parts, durable=True):
            raise WarehouseError(f"{self._store.url(*parts)} is there already; nothing was changed")
        return self._store.url(*parts)

    def read(self, market: str, made: str) -> Manifest:
        """Read a manifest, verified.

        Raises:
            WarehouseError: it is damaged, of another market, or of a newer release.
        """
        parts = (market, f"{made}.json")
        try:
            content = dict(json.loads(self._store.read(*parts)))
            digest = content.pop("digest")
            found = content.pop("format")
            entries = tuple(Entry(**entry) for entry in content.pop("files"))
            manifest = Manifest(files=entries, **content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(parts, f"it cannot be read: {error}") from error
        if found != FORMAT:
            raise WarehouseError(
                f"{self._store.url(*parts)} has the format {found}, this release reads {FORMAT}: "
                f"restore with the release that made it"
            )
        if digest != fingerprint(_plain(manifest)) or manifest.market != market:
            raise self._damaged(parts, "it is not as it was written")
        for entry in entries:
            if entry.path.startswith("/") or ".." in entry.path.split("/"):
                raise self._damaged(parts, f"it names {entry.path!r}, which no backup does")
            if entry.place not in PLACES:
                places = ", ".join(PLACES)
                raise self._damaged(parts, f"it names the place {entry.place!r}, none of {places}")
        return manifest

    def _damaged(self, parts: tuple[str, ...], why: str) -> WarehouseError:
        return WarehouseError(
            f"the backup {self._store.url(*parts)} is damaged: {why}; `restore --at TIME` takes "
            f"another one of {', '.join(self.times(parts[0])) or 'none'}"
        )

    def content(self, entry: Entry) -> bytes:
        """The content of a file, verified.

        Raises:
            DamagedFileError: it is gone or damaged.
        """
        parts = (_OBJECTS, entry.sha256[:2], entry.sha256)
        try:
            content = self._store.read(*parts)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{self._store.url(*parts)} is not there") from error
        except (ConnectionError, TimeoutError):  # of a remote store: no word on the content
            raise
        except OSError as error:
            raise DamagedFileError(f"{self._store.url(*parts)} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DamagedFileError(f"{self._store.url(*parts)} does not have its digest")
        return content

    def lost(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Read all contents, and say by their digests why some cannot be restored."""
        lost: dict[str, str] = {}
        for digest, entry in {entry.sha256: entry for entry in entries}.items():
            try:
                self.content(entry)
            except DamagedFileError as error:
                lost[digest] = str(error)
        return lost


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(manifest)}
