"""Random input for everything that reads what people or strangers wrote.

A target is a strategy of inputs and a function that reads one. The function returns where the input
was read and its obvious properties held, or where one of the project's own errors named what was
given; everything else is a finding: another exception, a failed property, more than
`MOST_CPU_SECONDS` for one input, or the end of the process. So that the last one is seen as well,
`python -m tests.fuzz` writes every input down before it is read.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings

ROOT = Path(__file__).resolve().parents[2]
MOST_CPU_SECONDS = 10
ROUND = 50
"""Inputs of one run of hypothesis, which remembers what it tried only inside one."""


class HangError(BaseException):
    """One input took more than `MOST_CPU_SECONDS`; no `except Exception` on the way holds it."""


@dataclass(frozen=True)
class Target:
    """A reader and the inputs that it is given.

    Args:
        name: for people and the command line.
        inputs: a strategy of inputs.
        check: reads one in a folder of its own; raises for a finding.
        good: an input that is right. It is read first, without a limit, since kernels may compile.
        native: True if a library in C reads the bytes: the process itself may end.
    """

    name: str
    inputs: Callable[[], hypothesis.strategies.SearchStrategy[Any]]
    check: Callable[[Any, Path], None]
    good: Any
    native: bool = False


@contextmanager
def refusal(*own: type[Exception], naming: str = "") -> Iterator[None]:
    """Let the project's own errors pass, if they say something.

    Args:
        own: the classes of errors that a caller is promised.
        naming: a text that the message must hold, as the name of the file.
    """
    try:
        yield
    except own as error:
        said = str(error)
        assert said.strip(), f"{type(error).__name__} without a word"
        assert naming in said, f"the message does not name {naming}: {said}"


def raised_by_the_project(error: BaseException) -> bool:
    """True if the raise statement of an error stands in the project's own code."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return any(Path(last).is_relative_to(ROOT / package) for package in ("rnn_core", "pipelines"))


@contextmanager
def limited() -> Iterator[None]:
    """Stop what takes too long, by the clock of this process: others may be busy."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_SECONDS)
    try:
        yield
    except HangError as hang:
        raise AssertionError(f"more than {MOST_CPU_SECONDS} s for one input") from hang
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def tested(
    target: Target, folder: Path, note: Path | None = None, most: int = ROUND, before: int = 0
) -> tuple[Callable[[], None], list[int]]:
    """A property of hypothesis for a target, and the number of inputs that it has read.

    Args:
        target: the target.
        folder: where inputs that are files are put.
        note: a file that gets every input before it is read.
        most: inputs of one call.
        before: inputs that were read before, for the note.
    """
    count = [0]

    @settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
        print_blob=False,
    )
    @hypothesis.given(target.inputs())
    def holds(given: Any) -> None:
        count[0] += 1
        if note is not None:
            said = f"{target.name}: {count[0] + before:,} inputs\n{given!r}\n"
            note.write_text(said, encoding="utf-8", errors="replace")
        with limited():
            target.check(given, folder)

    return holds, count


def fuzz(
    target: Target,
    folder: Path,
    seconds: float,
    seed: int = 0,
    note: Path | None = None,
    examples: int | None = None,
) -> int:
    """Read random inputs for a time, or a number of them.

    Args:
        target: the target.
        folder: where inputs that are files are put.
        seconds: of this process, as others may be busy.
        seed: of the first round; equal seeds give equal inputs.
        note: as for `tested`.
        examples: the number, if it shall end with one.

    Returns:
        The number of inputs.

    Raises:
        Exception: a finding, with the smallest input that shows it in its notes.
    """
    target.check(target.good, folder)
    end, total = time.process_time() + seconds, 0
    while not total or (time.process_time() < end and total < (examples or total + 1)):
        holds, count = tested(target, folder, note, before=total)
        hypothesis.seed(seed)(holds)()
        total, seed = total + count[0], seed + 1
    return total
