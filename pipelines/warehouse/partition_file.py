"""Encode a partition as one Parquet file that proves its own integrity.

Rows, the provenance of the partition and a digest of the file travel in one file, so one rename
publishes all three, and a reader never sees them disagree.

The footer carries two key-value pairs: `rnn.provenance` (canonical JSON) and `rnn.digest`, which is
written as 64 zeros and then overwritten in place with the SHA-256 of the file that had the zeros.
Verifying zeroes them again and compares. The price is a hash of the whole file on reading (about
1 GB/s); in exchange a single flipped byte, which DuckDB and pyarrow accept silently by default, is
an error.

Pages are lz4 without column statistics: floats hardly compress, dates are folders, and writing
160 columns costs half of what zstd with statistics does.

The bytes are a function of rows, schema, provenance and library versions alone: no time, host or
duration goes in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_PROVENANCE = b"rnn.provenance"
_DIGEST = b"rnn.digest"
_BLANK = b"0" * 64
# Thrift's compact protocol puts a field header and the length (64) between a key and its value.
_VALUE_OFFSET = len(_DIGEST) + 2


class DamagedFileError(ValueError):
    """The bytes are not a partition file whose digest matches."""


@dataclass(frozen=True)
class Provenance:
    """The origin of a partition: code, configuration and inputs.

    Attributes:
        asset: the key of the asset that wrote the partition.
        code_version: the asset's hand-bumped version.
        config: SHA-256 of the configuration that the asset uses, and of no other.
        inputs: fingerprint of every input by name (a table, `processors`, a bundle).
        status: `ok`, or why the partition has no rows.
    """

    asset: str
    code_version: str
    config: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    status: str = "ok"

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(self.__dict__ | {"inputs": dict(self.inputs)})


@dataclass(frozen=True)
class PartitionInfo:
    """The footer of a partition.

    Attributes:
        digest: the partition's fingerprint: SHA-256 of its file with the digest blanked.
    """

    rows: int
    digest: str
    provenance: Provenance


def canonical_json(value: Any) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, allow_nan=False)


def sha256(*parts: str | bytes) -> str:
    """SHA-256 over parts, each closed by a newline so that no two lists hash alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\n")
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(canonical_json(value))


def encode(rows: pa.Table, provenance: Provenance) -> tuple[bytes, str]:
    """The bytes of a partition file, and its digest."""
    sink = pa.BufferOutputStream()  # a Python file would take the interpreter's lock a page
    text_columns = [f.name for f in rows.schema if pa.types.is_string(f.type)]
    with pq.ParquetWriter(
        sink, rows.schema, compression="lz4", use_dictionary=text_columns, write_statistics=False
    ) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(
            {_PROVENANCE.decode(): provenance.to_json(), _DIGEST.decode(): _BLANK.decode()}
        )
    blank = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(blank).hexdigest()
    at = _digest_position(blank)
    return blank[:at] + digest.encode() + blank[at + 64 :], digest


def verify(raw: bytes) -> str:
    """Confirm that a partition file has the digest in its footer, and return the digest.

    Raises:
        DamagedFileError: no digest is found, or another one than the bytes have.
    """
    at = _digest_position(raw)
    digest = raw[at : at + 64]
    actual = hashlib.sha256(raw[:at])
    actual.update(_BLANK)
    actual.update(raw[at + 64 :])
    if digest != actual.hexdigest().encode():
        raise DamagedFileError(
            f"its bytes hash to {actual.hexdigest()[:12]}…, its footer says "
            f"{digest[:12].decode(errors='replace')}…"
        )
    return digest.decode()


def read_info(source: Any) -> PartitionInfo:
    """Read the footer of a partition file, a path or an open binary file, without verifying it.

    Raises:
        DamagedFileError: the footer is not one that `encode` wrote.
    """
    try:
        footer = pq.read_metadata(source)
        pairs = footer.metadata or {}
        provenance = Provenance(**json.loads(pairs[_PROVENANCE]))
        return PartitionInfo(footer.num_rows, pairs[_DIGEST].decode(), provenance)
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"its footer cannot be read: {error}") from error


def _digest_position(raw: bytes) -> int:
    at = raw.rfind(_DIGEST)
    if at < 0 or at + _VALUE_OFFSET + 64 > len(raw):
        raise DamagedFileError("it has no digest: not a partition file, or cut short")
    return at + _VALUE_OFFSET
