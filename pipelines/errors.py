"""The errors that people see; every message says the value, the expectation and the remedy."""

from __future__ import annotations

from collections.abc import Iterable

from rnn_core.suggestions import near_matches


class PipelineError(Exception):
    """Base of every error that the pipeline raises on purpose; its text is meant for a person.

    Args:
        message: the text.
        session: the first session that cannot be made, if the sessions before it can be.
    """

    def __init__(self, message: str = "", *, session: str | None = None) -> None:
        super().__init__(message)
        self.session = session


class ConfigError(PipelineError):
    """The YAML of a market is wrong; the message lists every problem with its place.

    Args:
        message: the text.
        problems: the problems, if the text lists several.
    """

    def __init__(self, message: str = "", *, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class UndecidedError(PipelineError):
    """Data allows several answers, and a person has to choose.

    Args:
        message: the answers with their evidence.
        option: the option of `init` that takes one.
        answers: the answers, as the option takes them.
    """

    def __init__(self, message: str, option: str, answers: tuple[str, ...]) -> None:
        super().__init__(message)
        self.option, self.answers = option, answers


class SourceError(PipelineError):
    """A source of bars gave nothing, or broke its contract."""


class MissingPackageError(SourceError):
    """A source needs a package that is not installed, or not in a version that it can use.

    Args:
        kind: the source's kind, as the YAML names it.
        package: the missing package.
        extra: the extra of this project that brings it.
        error: the error of the import.
    """

    def __init__(self, kind: str, package: str, extra: str, error: ImportError) -> None:
        super().__init__(
            f"kind: {kind} needs {package}, which cannot be imported ({error}): pip install "
            f"'rnn-signal-factory[{extra}]'"
        )


class BarsNotArrivedError(SourceError):
    """The sessions lie after the newest one that the source has: ask again later."""


class StoreUnreachableError(PipelineError, ConnectionError):
    """A remote store does not answer; the next try may succeed."""


class StoreRefusedError(PipelineError):
    """A remote store asks for credentials, or for others."""


class WarehouseError(PipelineError):
    """The warehouse cannot be written, belongs to another market, or holds a damaged partition."""


class NewerStateError(WarehouseError):
    """State on disk was made by a newer release, and this program must leave it alone."""


class OlderStateError(WarehouseError):
    """State on disk was made by an earlier release; `rnn-pipelines upgrade` brings it over."""


class MissingSessionsError(PipelineError):
    """The warehouse lacks sessions that an asset looks back on."""


class NothingToReportError(MissingSessionsError):
    """No session has a figure that a report could show."""


class ProcessorStateError(PipelineError):
    """The fitted processors are absent, or a partition was made with another state of them."""


class ModelNotTrainedError(PipelineError):
    """The bundle of the anchor session in force is absent, damaged or of another configuration."""


_CHOICES = 20  # names of a hint at most: a market has thousands
_SESSIONS = 5  # that a message names at most


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest of `choices`, or some of them if none is near."""
    names = sorted(choices)
    near = near_matches(word, names).removeprefix("; ")
    more = f" … ({len(names)} in all)" if len(names) > _CHOICES else ""
    return near or f"one of: {', '.join(names[:_CHOICES])}{more}"


def name_sessions(keys: Iterable[str], *, unit: str = "sessions") -> str:
    """`2013-02-01, 2013-02-04 … 2013-02-28 (19 sessions)`: short for logs, exact for one or two."""
    listed = sorted(keys)
    if len(listed) <= _SESSIONS:
        return ", ".join(listed)
    return f"{', '.join(listed[: _SESSIONS - 1])} … {listed[-1]} ({len(listed)} {unit})"


class CheckFailedError(PipelineError):
    """A blocking check of a session failed: nothing of the session was published."""


class ConstantLabelError(PipelineError):
    """The labels of a training window tell no name from another: there is nothing to learn."""


class NotFiniteError(PipelineError):
    """Features on their way into a model hold NaN or infinities."""
