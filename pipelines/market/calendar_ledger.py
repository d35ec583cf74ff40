"""The ledger of sessions that were derived from data: a file of the market's state.

Sessions that were derived once stay, whatever the data says later: later days are added, and a day
inserted into the past is an error that names it.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Sequence
from typing import Any

from pipelines.errors import ConfigError, SourceError, name_sessions
from pipelines.warehouse.store import StateFile

logger = logging.getLogger(__name__)


def merged(
    known: Sequence[str], days: Sequence[str], declared: set[str], ledger: StateFile
) -> list[str]:
    """The known sessions, and the later ones among the days with bars.

    Args:
        known: sessions of the ledger, in order.
        days: days with bars now, in order.
        declared: days that the YAML declares closed or special; the YAML decides about them.
        ledger: the ledger's file, for the error.

    Raises:
        SourceError: the data has bars on a day before the newest known session that was none.
    """
    if not known:
        return list(days)
    newest, accepted = known[-1], set(known) | declared
    inserted = [key for key in days if key <= newest and key not in accepted]
    if inserted:
        raise SourceError(
            f"the data now has bars of {name_sessions(inserted)}, which was no session when later "
            f"ones were made: every ordinal after it would shift. If the bars are a mistake, "
            f"remove them or put the day under market.closed; if it was a session, put it under "
            f"market.extra_sessions and make what follows again, or remove {ledger} and the "
            f"warehouse to start over"
        )
    return [*known, *(key for key in days if key > newest)]


def read_ledger(ledger: StateFile) -> dict[str, Any]:
    """Read the ledger's `fingerprint` and `sessions`; None and no session if it is absent.

    `after` is there besides where the sessions follow the end of an exchange's calendar.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        return parse_ledger(ledger.read())
    except FileNotFoundError:
        return {"fingerprint": None, "sessions": []}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{ledger}, the calendar seen so far, cannot be read: {error}; restore it from a "
            f"backup: the sessions are the folders of the warehouse's table ohlcv"
        ) from error


def parse_ledger(raw: bytes) -> dict[str, Any]:
    """Read the bytes of a ledger.

    Raises:
        ValueError: they are no ledger; so do KeyError and TypeError say.
    """
    content = json.loads(raw)
    sessions = [str(dt.date.fromisoformat(key)) for key in content["sessions"]]
    if sessions != sorted(set(sessions)):
        raise ValueError("the sessions do not ascend")
    return {**content, "fingerprint": content["fingerprint"], "sessions": sessions}


def write_ledger(ledger: StateFile, content: dict[str, Any]) -> None:
    """Keep a derived calendar, if that is possible."""
    data = (json.dumps(content, indent=0) + "\n").encode()
    try:
        if not _has(ledger, data):
            ledger.write(data, durable=True)
    except OSError as error:
        logger.warning("the calendar derived from the data was not kept in %s: %s", ledger, error)


def _has(ledger: StateFile, data: bytes) -> bool:
    try:
        return ledger.read() == data
    except FileNotFoundError:
        return False
