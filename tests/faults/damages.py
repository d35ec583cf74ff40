"""Damage to files, and the way back that the program's own words give.

`DAMAGES` are what disks, editors and people do to a file. `mended` follows the messages: it asks
`status`, runs the command that it names, or the one that an error names, until `status` says that
everything is current.
"""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.commands import run

CURRENT = "everything is current"
_COMMAND = re.compile(r"`rnn-pipelines ([^`]+)`")
_STEPS = 6  # more commands than any message should need


def _flipped(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << dice.randrange(8))]) + raw[at + 1 :]


Damage = Callable[[bytes, random.Random], bytes | None]
DAMAGES: Mapping[str, Damage] = {
    "flip": _flipped,
    "cut": lambda raw, dice: raw[: dice.randrange(1, len(raw))],
    "empty": lambda raw, dice: b"",
    "zeros": lambda raw, dice: bytes(len(raw)),
    "delete": lambda raw, dice: None,
    "append": lambda raw, dice: raw + dice.randbytes(50),
}
"""The damages that need no other file; None is no file."""


def do(damage: str, path: Path, seed: str = "") -> None:
    """Damage a file."""
    raw = DAMAGES[damage](path.read_bytes(), random.Random(f"{damage} {path.name} {seed}"))
    replace(path, raw)


def replace(path: Path, raw: bytes | None) -> None:
    """Put other bytes into the place of a file, as another file of the disk."""
    path.unlink()
    if raw is not None:
        path.write_bytes(raw)


@dataclass
class Mended:
    """The way back.

    Attributes:
        steps: the commands and their exit statuses.
        said: what they said, one text each.
        is_current: `status` says at last that everything is current.
    """

    steps: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    is_current: bool = False

    def __str__(self) -> str:
        return "\n".join(
            f"$ {step}\n{said}" for step, said in zip(self.steps, self.said, strict=True)
        )


def mended(folder: Path) -> Mended:
    """Follow the messages of a damaged market until it is current, or they name no command."""
    way = Mended()
    words = ["status"]
    for _ in range(2 * _STEPS):
        command = run(folder, *words)
        said = command.said()
        way.steps.append(f"{' '.join(words)}: {command.status}")
        way.said.append(said)
        assert "Traceback" not in said, f"a traceback:\n{way}"
        if words == ["status"] and command.status == 0:
            way.is_current = CURRENT in said
            return way
        named = [found for line in said.splitlines() if (found := _COMMAND.findall(line))]
        if command.status == 0 or not named:
            if words == ["status"]:
                return way
            words = ["status"]
        else:
            words = shlex.split(named[-1][0])
            words = [word for word in words if word not in ("--config", str(folder / "tiny.yaml"))]
    return way
