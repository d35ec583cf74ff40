"""`market.json`: the market that a warehouse belongs to, and the format of its state.

The first write records both. Later writes of another market are refused, and so is all work with
state of another format: of a newer one for good, of an earlier one until it is upgraded. An earlier
release that meets a `format` refuses in its turn: it names that as a difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.errors import NewerStateError, OlderStateError, WarehouseError
from pipelines.warehouse.identity import FORMAT, UNSIGNED, require_known
from pipelines.warehouse.partition_file import canonical_json
from pipelines.warehouse.store import Store

FILE = "market.json"


class MarketRecord:
    """The record of a warehouse's market.

    Args:
        store: the warehouse's files.
        identity: the market that works with it, with its `name`.
        as_now: turns the identity that an earlier release recorded into that of this release.
        upgrade: the command that brings the state of an earlier release over.
        sync: the command that records the market again where the record is lost or damaged.
    """

    def __init__(
        self,
        store: Store,
        identity: Mapping[str, Any],
        as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        upgrade: str,
        sync: str,
    ) -> None:
        self._store = store
        self._identity: dict[str, Any] = json.loads(canonical_json(dict(identity)))
        self._as_now = as_now
        self._upgrade, self._sync = upgrade, sync
        self._claimed = False
        self._known = False

    @property
    def name(self) -> str:
        """The name of the market that works with the warehouse."""
        return str(self._identity.get("name"))

    def claim(self) -> None:
        """Record the market at the first write; refuse a warehouse of another market.

        Raises:
            WarehouseError: it belongs to another market, its state has another format, or the
                record cannot be written.
        """
        if self._claimed:
            return
        try:
            if self._read() is None:
                self._store.create(
                    self._content(), FILE, durable=True
                )  # another market may come first
            self.require_same_market()
        except OSError as error:
            raise WarehouseError(
                f"cannot write to the warehouse {self._store.root}: {error}; check that it is a "
                f"folder and writable, or set RNN_DATA_DIR to another place"
            ) from error
        self.require_format()
        self._claimed = True

    def write(self) -> None:
        """Record the market with this program's format.

        Raises:
            OSError: the record cannot be written.
        """
        self._store.write(self._content(), FILE, durable=True)
        self._known = True

    def is_lost(self) -> bool:
        """True if there is no record, or one that cannot be read.

        Raises:
            NewerStateError: a newer release made it.
        """
        try:
            return self._read() is None
        except NewerStateError:
            raise
        except WarehouseError:
            return True

    def _content(self) -> bytes:
        return canonical_json({"format": FORMAT, **self._identity}).encode()

    def format(self) -> int | None:
        """The recorded format; None if nothing was recorded yet.

        Raises:
            NewerStateError: a newer release made the state.
            WarehouseError: the record cannot be read.
        """
        recorded = self._read()
        return None if recorded is None else recorded[1]

    def require_format(self) -> None:
        """Confirm that the state on disk has this program's format.

        Raises:
            OlderStateError: an earlier release made it, and it is not upgraded yet.
            NewerStateError: a newer release made it.
            WarehouseError: the record cannot be read.
        """
        if self._known:
            return
        number = self.format()
        if number is not None and number < FORMAT:
            raise OlderStateError(
                f"{self._store.root} was made by an earlier release, format {number}, whose files "
                f"do not say which market, table and session they belong to; this program works "
                f"with format {FORMAT}: `{self._upgrade}` signs them and computes nothing again"
            )
        self._known = number is not None

    def require_same_market(self) -> None:
        """Refuse a warehouse of another market; one without a record belongs to none.

        Raises:
            WarehouseError: it belongs to another market; the message names the differences.
            NewerStateError: a newer release made it.
        """
        recorded = self._read()
        if recorded is None:
            return
        theirs, ours = dict(self._as_now(recorded[0])), self._identity
        differ = sorted(k for k in theirs | ours if theirs.get(k) != ours.get(k))
        if differ:
            differences = "; ".join(
                f"{k}: {theirs.get(k)!r} there, {ours.get(k)!r} here" for k in differ
            )
            raise WarehouseError(
                f"{self._store.root} is the warehouse of another market ({differences}); give this "
                f"configuration another name, or delete that folder to start over. If only "
                f"{self._store.path(FILE)} was damaged, delete it: `{self._sync}` records the "
                f"market again"
            )

    def _read(self) -> tuple[dict[str, Any], int] | None:
        """The recorded identity and format; None if nothing was recorded yet."""
        try:
            raw = self._store.read(FILE)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            recorded = dict(json.loads(raw))
            number = int(recorded.get("format", UNSIGNED))
        except (ValueError, TypeError) as error:
            raise WarehouseError(
                f"{self._store.path(FILE)} cannot be read: {error}; restore it from a copy, or "
                f"`{self._sync}` records the market again as the YAML has it"
            ) from error
        require_known(recorded, f"the state in {self._store.root}")
        recorded.pop("format", None)
        return recorded, number
