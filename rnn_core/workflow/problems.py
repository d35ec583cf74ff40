"""The problems of a workflow file, all of them in one error.

A file is read key by key through `Section`s. A key that no reader asks for is a problem, and so is
an unsupported value. Each problem is noted with the path of its key and its line in the file, and
the reading goes on, so that one error lists everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rnn_core.panel.session_labels import session_bound
from rnn_core.suggestions import near_matches

Keys = tuple[str | int, ...]

_ABSENT: Any = object()


class WorkflowError(ValueError):
    """A workflow that cannot be run as it is given; the text is meant for a person.

    Examples:
        >>> read_workflow(load_document(workflow, ["task.model.class=Transformer"]))
        Traceback (most recent call last):
            ...
        rnn_core.workflow.problems.WorkflowError: gru_alpha158.yaml has 1 problem, ...
          task.model.class (line 47): 'Transformer' is not supported, expected LSTM, GRU, KRNN
    """


class _KeyedError(WorkflowError):
    """A WorkflowError whose text begins with the key that asked."""


@contextmanager
def asked_by(key: str) -> Iterator[None]:
    """Begin the text of an error of the block with the key that asked; the innermost key stands.

    Raises:
        WorkflowError: the block raised an error about a value.
    """
    try:
        yield
    except _KeyedError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise _KeyedError(f"{key}: {told(error)}") from error


class Problems:
    """The problems found so far.

    Args:
        lines: path of a key to its line in the file.
    """

    def __init__(self, lines: Mapping[Keys, int] | None = None) -> None:
        self._lines = dict(lines or {})
        self.found: list[str] = []

    def add(self, path: Keys, text: str) -> None:
        """Note a problem.

        Args:
            path: of the key.
            text: the problem, and the supported values.
        """
        place = ".".join(str(part) for part in path) or "the file"
        line = self._lines.get(path)
        self.found.append(f"{place}{f' (line {line})' if line else ''}: {text}")

    def raise_if_any(self, name: str) -> None:
        """Raise one error for all problems.

        Args:
            name: of the file.

        Raises:
            WorkflowError: there is any problem.
        """
        if not self.found:
            return
        count = len(self.found)
        text = "\n".join("  " + problem.replace("\n", "\n      ") for problem in self.found)
        raise WorkflowError(
            f"{name} has {count} problem{'s' * (count > 1)}, nothing was run:\n{text}"
        )


class Section:
    """A mapping of the file that is being read.

    Args:
        given: the value found at `path`; if it is no mapping, that is a problem.
        path: of the section.
        problems: collects the problems of the section.
    """

    def __init__(self, given: Any, path: Keys, problems: Problems) -> None:
        self.path, self.problems = path, problems
        if not isinstance(given, Mapping):
            problems.add(path, f"is {shown(given)}, expected a mapping")
        self._given: Mapping[Any, Any] = given if isinstance(given, Mapping) else {}
        self._read: list[str] = []
        self._ignored: list[str] = []
        self.broken = not isinstance(given, Mapping)

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, and count the key as read."""
        self._read.append(key)
        return self._given.get(key, default)

    def need(self, key: str, what: str) -> Any:
        """Return the value of a required key; without the key, None and a problem."""
        if key not in self._given and not self.broken:
            self.problems.add((*self.path, key), f"is missing, expected {what}")
        return self.get(key)

    def choice(
        self, key: str, allowed: Collection[Any], default: Any = _ABSENT, note: str = ""
    ) -> Any:
        """Return the value of a key that must be one of a few.

        Args:
            key: of the section.
            allowed: the values.
            default: value of an absent key; without a default the key is required.
            note: ends the message about another value.

        Returns:
            The value, or None if it is not among them.
        """
        words = ", ".join(plain(value) for value in allowed)
        if key not in self._given:
            self._read.append(key)
            return self.need(key, f"one of {words}") if default is _ABSENT else default
        value = self.get(key)
        for candidate in allowed:
            if type(value) is type(candidate) and value == candidate:
                return candidate
        self.problem(
            key,
            f"{shown(value)} is not supported, expected {words}"
            f"{near_matches(value, allowed)}{note}",
        )
        return None

    def number(
        self, key: str, default: float | None, *, least: float | None = None, whole: bool = False
    ) -> Any:
        """Return the value of a key that must be a number; the default if it is not."""
        value = self.get(key, default)
        if key not in self._given:
            return value
        kinds = (int,) if whole else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if not fits or (least is not None and value < least):
            bound = "" if least is None else f" from {least:g} on"
            self.problem(key, f"is {shown(value)}, expected a {'whole ' * whole}number{bound}")
            return default
        return value

    def section(self, key: str, what: str) -> Section:
        """Return the section below a required key."""
        value = self.need(key, what)
        if key not in self._given:  # noted already
            value = {}
        child = Section(value, (*self.path, key), self.problems)
        child.broken |= key not in self._given
        return child

    def optional(self, key: str) -> Section:
        """Return the section below a key; an empty one if the key is absent or null."""
        value = self.get(key)
        return Section({} if value is None else value, (*self.path, key), self.problems)

    def ignore(self, *keys: str) -> None:
        """Accept keys that nothing reads and that change nothing."""
        self._ignored.extend(keys)

    def problem(self, key: str, text: str) -> None:
        """Note a problem of a key."""
        self.problems.add((*self.path, key), text)

    def rest(self) -> dict[str, Any]:
        """Return the keys that nobody has read, and count them as read."""
        read_keys = {*self._read, *self._ignored}
        remainder = {key: value for key, value in self._given.items() if key not in read_keys}
        self._read.extend(remainder)
        return remainder

    def close(self) -> None:
        """Note the keys that nobody has read."""
        read_keys = list(dict.fromkeys(self._read))
        for key in self.rest():
            self.problem(
                key,
                f"unknown key, supported: {', '.join(read_keys)}"
                f"{near_matches(key, [*read_keys, *self._ignored])}",
            )


def shown(value: Any) -> str:
    """Format a value for a message."""
    return f"{value!r:.60}" if not isinstance(value, (dict, list)) else f"a {type(value).__name__}"


def plain(value: Any) -> str:
    """Format a supported value as in the file."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def read_date(section: Section, key: str) -> Any:
    """Return the value of a key that must be a date or null; of others None and a problem."""
    value = section.get(key)
    try:
        session_bound(value)
    except (ValueError, TypeError):
        section.problem(key, f"is {shown(value)}, expected a date such as 2008-01-01")
        return None
    return value


def told(error: BaseException) -> str:
    """Return the text of an error; of a KeyError without its quotation marks."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def names(values: Iterable[Any]) -> str:
    """Join names for a message."""
    return ", ".join(str(value) for value in values)
