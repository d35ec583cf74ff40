"""Text files with and without byte order marks. Oracle: Python's codecs that wrote them."""

from __future__ import annotations

import pandas as pd
import pytest

from rnn_core.data import Universe
from rnn_core.data.bin_files import read_calendar
from rnn_core.features.set_file import load_feature_set
from rnn_core.text_encoding import hidden_character, read_text
from rnn_core.workflow.yaml_document import load_document

MARKED = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]  # all but the first write a mark


@pytest.mark.parametrize("encoding", MARKED)
def test_the_mark_is_taken_off(tmp_path, encoding):
    path = tmp_path / "file.txt"
    path.write_bytes("schön\r\n中国\n".encode(encoding))
    assert read_text(path) == "schön\n中国\n"


def test_utf_16_without_a_mark_is_no_utf_8(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes("AAA\n".encode("utf-16-le"))
    with pytest.raises(UnicodeDecodeError, match="zero byte, as of UTF-16"):
        read_text(path)


@pytest.mark.parametrize("encoding", MARKED)
def test_instruments_and_days_keep_their_first_line(tmp_path, encoding):
    path = tmp_path / "u.txt"
    path.write_text("AAA\t2022-01-03\t2023-01-03\nBBB\t2022-01-03\t2023-01-03\n", encoding)
    assert Universe.from_file(path).instruments == ["AAA", "BBB"]
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "day.txt").write_text("2022-01-03\n2022-01-04\n", encoding)
    assert list(read_calendar(tmp_path)) == list(pd.to_datetime(["2022-01-03", "2022-01-04"]))


@pytest.mark.parametrize("encoding", MARKED)
def test_yaml_files_are_read(tmp_path, encoding):
    path = tmp_path / "set.yaml"
    path.write_text("features:\n  A: $close/$open\n", encoding)
    assert list(load_feature_set(path).names) == ["A"]
    work = tmp_path / "work.yaml"
    work.write_text("qlib_init: {region: cn}\n", encoding)
    document = load_document(work)
    assert document.values["qlib_init"] == {"region": "cn"}  # noqa: PD011 - no frame


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AAPL\0", "U+0000 a control character"),
        ("\x1b[2J", "U+001B a control character"),
        ("A\u202eB", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("A\u2066B", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("A\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\ufeffA", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("A\u2028", "U+2028 LINE SEPARATOR"),
        ("A\x85", "U+0085 a control character"),
        ("\udcff", "U+DCFF a control character"),
        ("A\nB", "U+000A a control character"),
    ],
)
def test_characters_that_nobody_sees(text: str, said: str) -> None:
    assert hidden_character(text) == said


@pytest.mark.parametrize(
    "text", ["AAPL", "BRK B", "贵州茅台", "Ünï", "נקסט", "می\u200cخواهم", "1\xa0000", ""]
)
def test_characters_of_names(text: str) -> None:
    """Names of any script and numbers with spaces hold no hidden character."""
    assert hidden_character(text) is None


def test_a_text_of_several_lines() -> None:
    assert hidden_character("SELECT *\n\tFROM x\r\n", lines=True) is None
    assert hidden_character("SELECT 1\0", lines=True) == "U+0000 a control character"
