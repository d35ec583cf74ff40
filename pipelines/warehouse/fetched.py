"""Files and listings of object stores that were fetched once, for as long as a piece of work lasts.

A request costs tens of milliseconds and money, and one command asks for the same partition several
times: the survey of staleness, the digest of an input, its rows. Within `fetched_once` a file is
fetched once and a folder listed once; what this process writes is kept in step. A piece of work so
sees one state of its inputs, whatever others write meanwhile, and records the versions that it saw.
Whoever takes a lock on what it is about to make looks again (`Store.forget`). Outside of it nothing
is kept: a process that waits for news, as the daemon does, asks each time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MOST = 256 * 2**20  # bytes of all files
_LARGEST = 32 * 2**20  # bytes of a file


class Fetched:
    """Contents by URL, and listings by the URL of their folder: path below it -> time written.

    Attributes:
        copied: folders whose files were published on a disk and copied, so that they lie plain.
    """

    def __init__(self) -> None:
        self.copied: set[str] = set()
        self._lock = threading.Lock()
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._listings: dict[str, dict[str, float]] = {}
        self._bytes = 0

    def content(self, url: str) -> bytes | None:
        """The content of a file, if it was fetched."""
        with self._lock:
            if url in self._contents:
                self._contents.move_to_end(url)
            return self._contents.get(url)

    def listing(self, folder: str) -> Mapping[str, float] | None:
        """The files below a folder, if it was listed, or one around it was."""
        with self._lock:
            for listed, files in self._listings.items():
                if folder == listed:
                    return dict(files)
                if folder.startswith(f"{listed}/"):
                    inside = folder[len(listed) + 1 :] + "/"
                    return {
                        name[len(inside) :]: written
                        for name, written in files.items()
                        if name.startswith(inside)
                    }
        return None

    def keep(self, url: str, data: bytes) -> None:
        """Keep the content of a file, and let go of what was used longest ago."""
        with self._lock:
            self._drop(url)
            if len(data) > _LARGEST:
                return
            self._contents[url] = data
            self._bytes += len(data)
            while self._bytes > _MOST:
                self._drop(next(iter(self._contents)))

    def keep_listing(self, folder: str, files: Mapping[str, float]) -> None:
        """Keep the listing of a folder."""
        with self._lock:
            self._listings[folder] = dict(files)

    def written(self, url: str, data: bytes) -> None:
        """Note that this process has written a file."""
        self.keep(url, data)
        with self._lock:
            for listed, files in self._listings.items():
                if url.startswith(f"{listed}/"):
                    files[url[len(listed) + 1 :]] = time.time()

    def removed(self, url: str) -> None:
        """Note that this process has removed a file."""
        with self._lock:
            self._drop(url)
            for listed, files in self._listings.items():
                if url.startswith(f"{listed}/"):
                    files.pop(url[len(listed) + 1 :], None)

    def forget(self, folder: str) -> None:
        """Let go of a folder's listing, and of all contents below it."""
        with self._lock:
            around = [f for f in self._listings if f"{folder}/".startswith(f"{f}/")]
            for listed in {*around, *(f for f in self._listings if f.startswith(f"{folder}/"))}:
                del self._listings[listed]
            self.copied -= {f for f in self.copied if f"{f}/".startswith(f"{folder}/")}
            for url in [url for url in self._contents if url.startswith(f"{folder}/")]:
                self._drop(url)

    def _drop(self, url: str) -> None:
        self._bytes -= len(self._contents.pop(url, b""))


_turn = threading.Lock()
_work: list[Fetched] = []  # one for each block that is open; all but the first are the same


def present() -> Fetched | None:
    """The files that the present piece of work has fetched; None outside of one."""
    return _work[-1] if _work else None


@contextmanager
def fetched_once() -> Iterator[None]:
    """Fetch each remote file and list each remote folder once while the block runs."""
    with _turn:
        _work.append(_work[0] if _work else Fetched())
    try:
        yield
    finally:
        with _turn:
            _work.pop()
