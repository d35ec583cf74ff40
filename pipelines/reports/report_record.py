"""Record of a report: what it was made from, in a file beside its tables.

`reports/NAME.json` holds the provenance of a report as the footer of a partition does, and the
digests of its files. It is written last, so a report that was cut off is found by its record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipelines.market.market import Market
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import (
    PartitionInfo,
    Provenance,
    canonical_json,
    fingerprint,
)
from pipelines.warehouse.store import atomic_write

_COMPARED = (".csv", ".html")  # two reports draw the same pictures: those need only be there


def write_record(market: Market, provenance: Provenance, files: Iterable[str]) -> PartitionInfo:
    """Record a report whose files are in place, and remove those that only its last record names.

    Args:
        market: the market.
        provenance: what the report was made from; it names the report.
        files: names of its files below the folder of the reports.

    Returns:
        The record as `read_record` gives it.
    """
    folder, name = market.paths.reports, provenance.asset
    of_others = {file for other in folder.glob("*.json") if other.stem != name
                 for file in _files(other)}  # fmt: skip
    digests = {file: _digest(folder / file) for file in sorted(files)}
    for file in _files(folder / f"{name}.json").keys() - digests.keys() - of_others:
        (folder / file).unlink(missing_ok=True)
    content = {"provenance": json.loads(provenance.to_json()), "files": digests}
    record = {**content, "digest": fingerprint(content)}
    atomic_write(folder / f"{name}.json", canonical_json(record).encode())
    return PartitionInfo(0, record["digest"], provenance)


def read_record(market: Market, name: str) -> PartitionInfo | None:
    """The record of a report; None if it was not made, or one of its files is gone.

    Raises:
        DamagedFileError: the record or a file is not as the report wrote it.
    """
    path = market.paths.reports / f"{name}.json"
    try:
        record = json.loads(path.read_bytes())
        digest = record.pop("digest")
        provenance, files = Provenance(**record["provenance"]), dict(record["files"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}") from error
    if digest != fingerprint(record):
        raise DamagedFileError(f"{path} does not have the digest that it names")
    for file, was in files.items():
        if not (path.parent / file).is_file():
            return None
        if _digest(path.parent / file) != was:
            raise DamagedFileError(f"{path.parent / file} is not as {name} wrote it")
    return PartitionInfo(0, digest, provenance)


def _files(record: Path) -> dict[str, str]:
    """The files that a record names; none if there is no record that can be read."""
    try:
        return dict(json.loads(record.read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest(path: Path) -> str:
    """SHA-256 of a table or page; empty for a picture."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix in _COMPARED else ""
