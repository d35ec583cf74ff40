"""A CSV of positions that are really held: `instrument,shares`, with a row `cash`.

    instrument,shares
    SH600000,1200
    SH600036,500
    cash,84210.55

Shares are as traded, the way a broker's statement has them, negative where they are short; the row
`cash` holds currency, the proceeds of short sales included. Nothing is guessed: a column that is
missing or there twice, a name twice, a cell too many (as of `cash,1,000`) or a number that is none
ends with its line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.errors import PipelineError

CASH = "cash"
_NAMES = ("instrument", "shares")


@dataclass(frozen=True)
class Held:
    """Positions that are really held.

    Attributes:
        shares: as traded, by instrument, negative of a short position.
        cash: currency.
        lines: the line of the file of each instrument.
    """

    shares: Mapping[str, float]
    cash: float
    lines: Mapping[str, int]


def read_positions(raw: bytes, where: str, *, short: bool = False) -> Held:
    """Read a CSV of positions.

    Args:
        raw: the file.
        where: its path, for messages.
        short: True if the strategy may hold short positions, and cash may be a debit.

    Raises:
        PipelineError: it is no such CSV; the message says the line.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{where}: not UTF-8 ({error}); save it as a UTF-8 CSV") from error
    rows = csv.reader(io.StringIO(text))
    if not text.strip():
        raise PipelineError(
            f"{where}: the file is empty; expected a line `instrument,shares`, a row for each "
            f"instrument held and one for `{CASH}`"
        )
    header = [cell.strip().lower() for cell in next(rows, [])]
    missing = [name for name in _NAMES if name not in header]
    if missing:
        other = next((mark for mark in ";\t|" if mark in "".join(header)), "")
        raise PipelineError(
            f"{where}, line 1: no column {' and '.join(missing)} among "
            f"{', '.join(header) or 'none'}; expected the header `instrument,shares`"
            + (f" with commas between the columns, not {other!r}" if other else "")
        )
    twice = [name for name in _NAMES if header.count(name) > 1]
    if twice:
        raise PipelineError(
            f"{where}, line 1: the column {' and '.join(twice)} stands there twice; leave one"
        )
    name_at, shares_at = (header.index(name) for name in _NAMES)
    shares: dict[str, float] = {}
    lines: dict[str, int] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        place = f"{where}, line {rows.line_num}"
        if len(row) <= max(name_at, shares_at) or not row[name_at].strip():
            raise PipelineError(
                f"{place}: {','.join(row)!r}; expected an instrument and its shares"
            )
        if any(cell.strip() for cell in row[len(header) :]):
            raise PipelineError(
                f"{place}: {','.join(row)!r} has {len(row)} cells, and the header {len(header)}; "
                f"write numbers without marks between thousands, as 1200.5"
            )
        name = row[name_at].strip()
        name = CASH if name.lower() == CASH else name
        if name in lines:
            raise PipelineError(f"{place}: {name} stands in line {lines[name]} already")
        shares[name], lines[name] = _number(row[shares_at], name, place, short), rows.line_num
    if CASH not in shares:
        raise PipelineError(
            f"{where}: no row `{CASH}`; write `{CASH},AMOUNT`, since purchases are paid from it"
        )
    cash = shares.pop(CASH)
    held = {name: number for name, number in shares.items() if number}
    if not held and not cash:
        raise PipelineError(f"{where}: neither shares nor cash, so there is nothing to order from")
    return Held(held, cash, lines)


def _number(text: str, name: str, place: str, short: bool) -> float:
    """A number of shares, or cash."""
    try:
        number = float(text.strip())
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise PipelineError(f"{place}: {text.strip()!r} of {name} is no number; write it as 1200.5")
    if number < 0 and not short and name != CASH:
        raise PipelineError(
            f"{place}: {text.strip()} shares of {name}; the strategy holds no short positions"
        )
    if number < 0 and not short:
        raise PipelineError(f"{place}: cash {text.strip()} is below zero; nothing can be bought")
    return number
