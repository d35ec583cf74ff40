"""Say which market, table and session a piece of state belongs to, in the state itself.

A path is no proof: a file that is copied over another, a folder restored to the wrong place or a
bundle of another model keep their own digest. So each partition carries its identity in the footer,
a bundle in a file of its own, and the fitted state under a key. A reader knows what belongs at the
place that it reads, and takes anything else for damage.

`FORMAT` numbers the form of all state of a market together; `market.json` records it. State of
format 1 has no identity: it is refused until `rnn-pipelines upgrade` has signed it. A program
refuses formats that it does not know by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import NewerStateError

FORMAT = 2
UNSIGNED = 1  # the format of releases that gave no identity


class DamagedFileError(ValueError):
    """A file is not the one that was written at its place.

    Attributes:
        brief: a word on it for a table, empty if only bytes differ.
    """

    brief = ""


class MisplacedFileError(DamagedFileError):
    """A file is intact and belongs to another place."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"it says that it is {found}, and {expected} was expected: a copy of that lies here"
        )
        self.brief = f"it is {found}"


class UnsignedFileError(DamagedFileError):
    """A file is intact and has no identity: an earlier release wrote it."""

    brief = "no identity, see rnn-pipelines upgrade"

    def __init__(self, expected: str) -> None:
        super().__init__(
            f"it does not say that it is {expected}: an earlier release wrote it. "
            f"`rnn-pipelines upgrade` signs it, for that market's YAML, if what lies around it "
            f"confirms its place"
        )


@dataclass(frozen=True)
class Identity:
    """The place that a piece of state belongs to.

    Attributes:
        market: the market's name.
        kind: `table` for a partition, `model` for a bundle, `state` for the fitted processors.
        name: the table's folder, the model or the state.
        session: the session of a partition or the anchor of a bundle, `YYYY-MM-DD`; `all` for
            state without sessions.
    """

    market: str
    kind: Literal["table", "model", "state"]
    name: str
    session: str

    def __str__(self) -> str:
        return _said(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the format."""
        return {
            "format": FORMAT,
            "market": self.market,
            self.kind: self.name,
            "session": self.session,
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def require(self, found: Any) -> None:
        """Confirm that state carries this identity.

        Args:
            found: the identity that it carries, as read from JSON; None for none.

        Raises:
            UnsignedFileError: it carries none.
            NewerStateError: a newer release made it.
            MisplacedFileError: it belongs to another place.
        """
        if found is None:
            raise UnsignedFileError(str(self))
        require_known(found, str(self))
        if found != self.to_dict():
            raise MisplacedFileError(_said(found), str(self))


def require_known(found: Any, state: str) -> int:
    """Refuse state of a newer format, and return the format.

    Args:
        found: a mapping that may have a `format`; `UNSIGNED` without one.
        state: the state, in words.

    Raises:
        NewerStateError: the format is newer than this program's.
    """
    number = found.get("format", UNSIGNED) if isinstance(found, Mapping) else UNSIGNED
    if isinstance(number, int) and number > FORMAT:
        raise NewerStateError(
            f"{state} was made by a newer release, format {number}; this program knows format "
            f"{FORMAT}. Update the program; nothing was changed"
        )
    return number if isinstance(number, int) else UNSIGNED


def _said(place: Any) -> str:
    """Words for an identity: `ohlcv of 2013-11-18 of the market us`."""
    if not isinstance(place, Mapping):
        return repr(place)
    kind = next((kind for kind in ("table", "model", "state") if kind in place), None)
    name = f"a {place[kind]} bundle" if kind == "model" else str(place.get(kind or "", "nothing"))
    session = place.get("session")
    of = f" of {session}" if kind != "state" else ""
    return f"{name}{of} of the market {place.get('market')}"
