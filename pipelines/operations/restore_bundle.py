"""Bring back a bundle of a backup as a whole, and count what became of the backup's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.market.market import Market
from pipelines.operations.backup_groups import held_fault, inside, model_of
from pipelines.staleness.market_files import BESIDE, bundle_fault
from pipelines.warehouse.backup_files import Backups, Entry
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.store import Store
from rnn_core.training.bundle_files import MANIFEST, UNITS


class Outcome:
    """The files of a backup by what became of them.

    Args:
        damaged: says by digest why the backup has lost a content.

    Attributes:
        counts: by kind of file, and `restored`, `replaced`, `same`, `left` or `lost`.
        first: places of files that came back before the market was locked.
        left: places of files that stay as they are, since they are intact.
        lost: places of files whose content the backup has lost.
    """

    def __init__(self, damaged: Mapping[str, str]) -> None:
        self.damaged = damaged
        self.counts: dict[str, Counter[str]] = {}
        self.first: list[str] = []
        self.left: list[str] = []
        self.lost: list[str] = []

    def note(self, kind: str, what: str, files: int = 1) -> None:
        """Count files."""
        self.counts.setdefault(kind, Counter())[what] += files


def restore_bundle(
    backups: Backups,
    market: Market,
    folder: str,
    entries: Sequence[Entry],
    outcome: Outcome,
    *,
    replace: bool,
) -> None:
    """Restore a bundle in one step, unless an intact one is there."""
    store, kind = market.bundles.below(folder), entries[0].kind
    contents: dict[str, bytes] = {}
    for entry in entries:
        content = content_of(backups, entry, outcome)
        if content is None:
            return
        contents[entry.path] = content
    held = inside(folder, contents)
    if MANIFEST not in held:
        outcome.note(kind, "lost", len(entries))
        outcome.lost.append(f"{folder}: the backup has no {MANIFEST} of it, so it is no bundle")
        return
    if why := held_fault(market, folder, folder, contents):  # of a release that read files twice
        outcome.note(kind, "lost", len(entries))
        outcome.lost.append(f"{folder}: {why}")
        return
    there = present_content(store, MANIFEST)
    names = store.files()
    is_intact = there is not None and not bundle_fault(market, store, *model_of(folder), names)
    if is_intact and there == held[MANIFEST]:
        for entry in entries:  # the figures of its units, which no fingerprint holds
            if entry.path.rpartition("/")[2] == UNITS and not store.exists(UNITS):
                store.write_at(contents[entry.path], entry.written, UNITS)
        outcome.note(kind, "same", len(entries))
    elif is_intact and not replace:
        outcome.note(kind, "left", len(entries))
        outcome.left.append(store.url())
        return
    else:
        # Of an object store the files lie in a folder of their version, which is made anew.
        newest_last = sorted(held, reverse=True)  # one below `.VERSION/` counts, as for readers
        files = {n.partition("/")[2] if n[0] == "." else n: held[n] for n in newest_last}
        beside = {} if store.is_local else {n: files.pop(n) for n in BESIDE if n in files}
        store.publish(files, MANIFEST)
        for name, data in beside.items():  # which are read where they lie
            store.write(data, name)
        outcome.note(kind, "replaced" if names else "restored", len(entries))
    if store.is_local:  # the same bytes once more, with the times by which `prune` goes
        for entry in entries:
            path = entry.path[len(folder) + 1 :].split("/")
            path = path[1:] if path[0].startswith(".") else path
            if store.exists(*path) and abs(store.written(*path) - entry.written) > 1:
                store.write_at(contents[entry.path], entry.written, *path)


def content_of(backups: Backups, entry: Entry, outcome: Outcome) -> bytes | None:
    """The content of a file of the backup; None, and noted, if the backup has lost it."""
    why = outcome.damaged.get(entry.sha256)
    try:
        if why is None:
            return backups.content(entry)
    except DamagedFileError as error:  # since the backup was verified
        why = str(error)
    outcome.note(entry.kind, "lost")
    outcome.lost.append(f"{entry.path}: {why}")
    return None


def present_content(store: Store, path: str) -> bytes | None:
    """The content of a file of the market; None if it is absent, or the disk cannot give it.

    Raises:
        ConnectionError, TimeoutError: the store does not answer, which says nothing on the file.
    """
    try:
        return store.read(*path.split("/"))
    except (ConnectionError, TimeoutError):
        raise
    except OSError:
        return None
