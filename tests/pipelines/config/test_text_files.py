"""Text files that are not UTF-8, or cannot be read, wherever one is named in a YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.calendar import FileCalendar
from pipelines.config.loader import load_config
from pipelines.errors import ConfigError, SourceError
from pipelines.market.calendars import file_sessions
from pipelines.market.membership import read_spans
from pipelines.sources.downloads import read_symbols


def days_of(path: Path) -> list[str]:
    return file_sessions(FileCalendar(file=path, timezone="UTC"))


@pytest.mark.parametrize(
    ("read", "what", "error"),
    [
        (load_config, "the configuration", ConfigError),
        (days_of, "market.calendar.file", ConfigError),
        (read_spans, "market.universe.spans", ConfigError),
        (read_symbols, "source.symbols", SourceError),
    ],
)
def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path, read, what, error):
    path = tmp_path / "file.txt"
    path.write_bytes("# gut\n# schön\n".encode("latin-1"))
    message = (
        rf"^{what}: .*file\.txt is not UTF-8: line 2 holds the byte 0xf6; save the file as UTF"
    )
    with pytest.raises(error, match=message):
        read(path)
