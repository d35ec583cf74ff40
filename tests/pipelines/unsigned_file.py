"""Partition files as releases without identity wrote them."""

from __future__ import annotations

from typing import Any

from pipelines.warehouse.partition_file import _ONE_MORE, _TAIL, _identity_pair, _tail


def without_identity(raw: bytes) -> tuple[bytes, Any]:
    """The file as it was before its identity was put in, and the identity; None for none."""
    if (pair := _identity_pair(raw)) is None:
        return raw, None
    at, end, identity = pair
    counted = bytes([raw[at - 1] - _ONE_MORE])
    return b"".join((raw[: at - 1], counted, raw[end:-_TAIL], _tail(raw, at - end))), identity
