"""Text files that are not UTF-8, or cannot be read, wherever one is named in a YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.calendar import FileCalendar
from pipelines.config.loader import config_path, load_config
from pipelines.errors import ConfigError, SourceError
from pipelines.market.calendars import file_sessions
from pipelines.market.membership import read_spans, table_spans
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_taken_off_wherever_a_file_is_named(tmp_path, encoding):
    path = tmp_path / "file.txt"
    path.write_text("2024-01-02\n2024-01-03\n", encoding)
    assert days_of(path) == ["2024-01-02", "2024-01-03"]
    path.write_text("AAA 2024-01-02 2024-01-03\n", encoding)
    assert list(read_spans(path)["instrument"]) == ["AAA"]
    path.write_text("AAA\nBBB\n", encoding)
    assert list(read_symbols(path)) == ["AAA", "BBB"]
    table = tmp_path / "spans.csv"
    table.write_text("instrument,start,end\nAAA,2024-01-02,2024-01-03\n", encoding)
    assert list(table_spans(table)["instrument"]) == ["AAA"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_configuration_with_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "sample.yaml"
    path.write_text(config_path("sample").read_text(encoding="utf-8"), encoding)
    assert load_config(path).market == load_config("sample").market
