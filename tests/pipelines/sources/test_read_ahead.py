"""A CSV reader reads ahead in a thread: its stream stays open as long as it may read."""

from __future__ import annotations

import io
import time

import pyarrow as pa
import pytest

from pipelines.sources.csv_lines import CsvStyle
from pipelines.sources.file_formats import Wanted, read_file


class Slow(io.BytesIO):
    """A file that takes its time, and notes what is read after it was closed."""

    def __init__(self, content: bytes, late: list[str]) -> None:
        super().__init__(content)
        self._late = late

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.02)
        if self.closed:
            self._late.append("read")
            return b""
        return super().read(size)


class Files:
    """The filesystem of one such file."""

    def __init__(self, content: bytes) -> None:
        self.content, self.late = content, []

    def open_input_stream(self, path):
        return pa.PythonFile(Slow(self.content, self.late), mode="r")

    def get_file_info(self, path):
        return type("Info", (), {"size": len(self.content)})()


@pytest.mark.parametrize("rows", [10, 60_000])
def test_no_stream_is_closed_beneath_its_reader(rows):
    lines = ["day;close", *(f"2024-01-{i % 28 + 1:02d};{i}.5" for i in range(rows))]
    files = Files("\n".join(lines).encode())
    selection = Wanted(
        columns=list,
        numeric=lambda name: name == "close",
        date=None,
        date_format=None,
        check=lambda dates, where: None,
        first=None,
        last=None,
    )
    table = read_file(files, "bars.csv", "csv", CsvStyle(delimiter=";"), selection)
    assert table.num_rows == rows
    time.sleep(0.1)  # a thread that still reads would do so by now
    assert files.late == []
