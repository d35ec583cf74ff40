"""Encode a partition as one Parquet file that proves its own integrity and its place.

Rows, the provenance of the partition, its identity and a digest travel in one file, so one rename
publishes all of them, and a reader never sees them disagree.

The footer carries three key-value pairs. `rnn.provenance` is canonical JSON. `rnn.digest` is
written as 64 zeros and then overwritten in place with the SHA-256 of the file that had the zeros.
Verifying zeroes them again and compares. The price is a hash of the whole file on reading (about
1 GB/s); in exchange a single flipped byte, which DuckDB and pyarrow accept silently by default, is
an error.

`rnn.identity` (`identity.py`) says which market, table and session the file belongs to. It is put
into the finished file, before the other pairs, and taken out again before the digest is compared:
so the digest, which other partitions quote as a version, is one of rows and provenance alone, and a
file of a release that knew no identity is given one without any digest changing. The identity needs
no digest: a reader knows every byte that it must have.

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

from pipelines.warehouse.identity import DamagedFileError, Identity, require_known

_PROVENANCE = b"rnn.provenance"
_DIGEST = b"rnn.digest"
_BLANK = b"0" * 64
# Thrift's compact protocol puts a field header and the length (64) between a key and its value.
_VALUE_OFFSET = len(_DIGEST) + 2
_IDENTITY = b"rnn.identity"
# The pairs are a list of structs: a byte with its length and type, then each key and value, both
# behind a field header and their length, then a zero.
_STRUCTS, _ONE_MORE = 0x0C, 0x10
_FIRST_PAIR = b"\x18" + bytes([len(_PROVENANCE)]) + _PROVENANCE
_IDENTITY_PAIR = b"\x18" + bytes([len(_IDENTITY)]) + _IDENTITY + b"\x18"
_TAIL = 8  # length of the footer, then `PAR1`


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
        digest: the partition's fingerprint: SHA-256 of its file with the digest blanked and without
            the identity.
        identity: the identity that the file carries; None if it has none.
    """

    rows: int
    digest: str
    provenance: Provenance
    identity: Mapping[str, Any] | None = None


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


def encode(rows: pa.Table, provenance: Provenance, identity: Identity) -> tuple[bytes, str]:
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
    return sign(blank[:at] + digest.encode() + blank[at + 64 :], identity), digest


def sign(raw: bytes, identity: Identity) -> bytes:
    """Put an identity into the footer of a partition file that has none.

    Raises:
        DamagedFileError: the footer is not one that `encode` wrote.
    """
    value = identity.to_json().encode()
    pair = _IDENTITY_PAIR + _length_bytes(len(value)) + value + b"\x00"
    at = raw.rfind(_FIRST_PAIR)
    if at < 1 or raw[at - 1] & 0x0F != _STRUCTS:
        raise DamagedFileError("its footer cannot be read: not a partition file")
    counted = bytes([raw[at - 1] + _ONE_MORE])
    return b"".join((raw[: at - 1], counted, pair, raw[at:-_TAIL], _tail(raw, len(pair))))


def verify(raw: bytes, identity: Identity, *, unsigned: bool = False) -> str:
    """Confirm that a partition file has the digest in its footer and belongs to its place.

    Args:
        raw: the file.
        identity: the place.
        unsigned: take a file without identity, too.

    Returns:
        The digest.

    Raises:
        DamagedFileError: no digest is found, or another one than the bytes have, or the file
            belongs to another place or has no identity.
        NewerStateError: a newer release made the file.
    """
    # Piece by piece, since copies of the file would cost more than its hash.
    view, begin, end, found, counted, tail = memoryview(raw), 0, 0, None, b"", raw[-_TAIL:]
    if (pair := _identity_pair(raw)) is not None:
        begin, end, found = pair
        counted, tail = bytes([raw[begin - 1] - _ONE_MORE]), _tail(raw, begin - end)
    at = _digest_position(raw)
    if at < end:
        raise DamagedFileError("its digest is not where it is written: not a partition file")
    digest = raw[at : at + 64]
    actual = hashlib.sha256(view[: max(begin - 1, 0)])
    for piece in (counted, view[end:at], _BLANK, view[at + 64 : -_TAIL], tail):
        actual.update(piece)
    if digest != actual.hexdigest().encode():
        if found is not None:
            require_known(found, str(identity))  # which may take another digest
        raise DamagedFileError(
            f"its bytes hash to {actual.hexdigest()[:12]}…, its footer says "
            f"{digest[:12].decode(errors='replace')}…"
        )
    if found is not None or not unsigned:
        identity.require(found)
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
        identity = json.loads(pairs.get(_IDENTITY, b"null"))
        return PartitionInfo(footer.num_rows, pairs[_DIGEST].decode(), provenance, identity)
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"its footer cannot be read: {error}") from error


def _digest_position(raw: bytes) -> int:
    at = raw.rfind(_DIGEST)
    if at < 0 or at + _VALUE_OFFSET + 64 > len(raw):
        raise DamagedFileError("it has no digest: not a partition file, or cut short")
    return at + _VALUE_OFFSET


def _identity_pair(raw: bytes) -> tuple[int, int, Any] | None:
    """Find the start, the end and the value of a file's identity; None if it has none."""
    at = raw.rfind(_IDENTITY_PAIR)
    if at < 1:
        return None
    begin, length = _length_at(raw, at + len(_IDENTITY_PAIR))
    end = begin + length + 1
    if not raw.startswith(b"\x00" + _FIRST_PAIR, end - 1) or raw[at - 1] < _ONE_MORE:
        return None
    try:
        return at, end, json.loads(raw[begin : end - 1])
    except ValueError:
        return None


def _tail(raw: bytes, more: int) -> bytes:
    """The end of a file whose footer has become longer by some bytes."""
    length = int.from_bytes(raw[-_TAIL:-4], "little") + more
    return (length % 2**32).to_bytes(4, "little") + raw[-4:]


def _length_bytes(length: int) -> bytes:
    """A length as Thrift's compact protocol writes it: seven bits a byte, the lowest first."""
    out = bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*out, length])


def _length_at(raw: bytes, at: int) -> tuple[int, int]:
    """The position behind a length, and the length."""
    length = shift = 0
    while at < len(raw):
        byte = raw[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte <= 0x7F or shift > 28:
            break
    return at, length
