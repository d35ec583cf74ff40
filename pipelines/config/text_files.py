"""Read the text files that people write: configurations, lists of days, members and symbols."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import ConfigError, PipelineError
from rnn_core import text_encoding


def read_text(path: Path, what: str, error: type[PipelineError] = ConfigError) -> str:
    """The content of a UTF-8 file, or of one whose byte order mark tells its encoding.

    Args:
        path: the file.
        what: the purpose of the file, for the message: a key of the YAML.
        error: the class of error to raise.

    Raises:
        PipelineError: `error`: the file cannot be read, or is not UTF-8.
    """
    try:
        return text_encoding.read_text(path)
    except OSError as reason:
        raise error(f"{what}: cannot read {path}: {reason}") from reason
    except UnicodeDecodeError as reason:
        line = reason.object[: reason.start].count(b"\n") + 1
        raise error(
            f"{what}: {path} is not UTF-8: line {line} holds the byte "
            f"0x{reason.object[reason.start]:02x}; save the file as UTF-8"
        ) from reason
