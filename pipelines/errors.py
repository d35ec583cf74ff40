"""The errors people see: each says what was given, what was expected and what to do next."""

from __future__ import annotations

from collections.abc import Iterable


class PipelineError(Exception):
    """Base of every error that the pipeline raises on purpose; its text is meant for a person."""


class ConfigError(PipelineError):
    """The YAML of a market is wrong; the message lists every problem with its place."""


class SourceError(PipelineError):
    """A source of bars gave nothing, or not what its contract promises."""


class MissingPackageError(SourceError):
    """A source needs a package that is not installed, or not in a version that it can use.

    Args:
        kind: of the source, as the YAML names it.
        package: what is missing.
        extra: of this project that brings it.
        error: what importing it raised.
    """

    def __init__(self, kind: str, package: str, extra: str, error: ImportError) -> None:
        super().__init__(
            f"kind: {kind} needs {package}, which cannot be imported ({error}): pip install -e "
            f'".[{extra}]"'
        )


class BarsNotArrivedError(SourceError):
    """Sessions later than the newest that the source has: ask again later."""


class WarehouseError(PipelineError):
    """The warehouse cannot be written, belongs to another market, or holds a damaged partition."""


class MissingSessionsError(PipelineError):
    """Sessions that an asset looks back on are not in the warehouse."""


class ProcessorStateError(PipelineError):
    """The fitted processors are absent, or a partition was made with another state of them."""


class ModelNotTrainedError(PipelineError):
    """The bundle of the anchor session in force does not exist, or is not the one expected."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint naming the nearest of `choices`, or the choices themselves where none is near."""
    from rnn_core.suggestions import near_matches

    names = sorted(choices)
    near = near_matches(word, names).removeprefix("; ")
    return near or f"one of: {', '.join(names)}"


def name_sessions(keys: Iterable[str], limit: int = 5) -> str:
    """`2013-02-01, 2013-02-04 … 2013-02-28 (19 sessions)`: short for logs, exact for one or two."""
    listed = sorted(keys)
    if len(listed) <= limit:
        return ", ".join(listed)
    return f"{', '.join(listed[: limit - 1])} … {listed[-1]} ({len(listed)} sessions)"


class CheckFailedError(PipelineError):
    """A blocking check of a session failed: nothing of the session was published."""


class NotFiniteError(PipelineError):
    """Features with NaN or infinities on their way into a model."""
