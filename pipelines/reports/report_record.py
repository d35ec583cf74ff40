"""Record of a report: what it was made from, in a file beside its tables.

`reports/NAME.json` holds the provenance of a report as the footer of a partition does, and the
digests of its files. It is written last, so a report that was cut off is found by its record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from pipelines.market.market import Market
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import (
    PartitionInfo,
    Provenance,
    canonical_json,
    fingerprint,
)
from pipelines.warehouse.store import Store

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
    folder, own = market.reports, f"{provenance.asset}.json"
    others = (other for other in folder.names() if other.endswith(".json") and other != own)
    of_others = {file for other in others for file in _files(folder, other)}
    digests = {file: _digest(folder, file) for file in sorted(files)}
    for file in _files(folder, own).keys() - digests.keys() - of_others:
        folder.remove(file)
    content = {"provenance": json.loads(provenance.to_json()), "files": digests}
    record = {**content, "digest": fingerprint(content)}
    folder.write(canonical_json(record).encode(), own)
    return PartitionInfo(0, record["digest"], provenance)


def read_record(market: Market, name: str) -> PartitionInfo | None:
    """The record of a report; None if it was not made, or one of its files is gone.

    Raises:
        DamagedFileError: the record or a file is not as the report wrote it.
    """
    folder, place = market.reports, market.reports.url(f"{name}.json")
    try:
        record = json.loads(folder.read(f"{name}.json"))
        digest = record.pop("digest")
        provenance, files = Provenance(**record["provenance"]), dict(record["files"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{place} cannot be read: {error}") from error
    if digest != fingerprint(record):
        raise DamagedFileError(f"{place} does not have the digest that it names")
    if not folder.names() >= files.keys():
        return None
    for file, was in files.items():
        if _digest(folder, file) != was:
            raise DamagedFileError(f"{folder.url(file)} is not as {name} wrote it")
    return PartitionInfo(0, digest, provenance)


def files_of(market: Market, name: str) -> set[str]:
    """The names of the files that belong to a report: its record, and what that names."""
    return {f"{name}.json", *_files(market.reports, f"{name}.json")}


def _files(folder: Store, record: str) -> dict[str, str]:
    """The files that a record names; none if there is no record that can be read."""
    try:
        return dict(json.loads(folder.read(record))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest(folder: Store, file: str) -> str:
    """SHA-256 of a table or page; empty for a picture."""
    return hashlib.sha256(folder.read(file)).hexdigest() if file.endswith(_COMPARED) else ""
