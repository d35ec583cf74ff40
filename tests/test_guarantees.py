"""Every test and page that docs/guarantees.md and SECURITY.md name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def named(text: str) -> list[str]:
    """The paths in a text."""
    paths = re.findall(r"`((?:tests|benchmarks|pipelines|rnn_core)/[\w./-]+)`", text)
    return paths + re.findall(r"ARGS=((?:tests)/[\w./-]+)", text)


@pytest.mark.parametrize("page", ["docs/guarantees.md", "SECURITY.md"])
def test_what_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [path for path in named(text) if not (ROOT / path).exists()] == []
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    tables = [part for part in text.split("\n\n") if part.startswith("| promise")]
    rows = [line.split("|")[1:-1] for table in tables for line in table.splitlines()[2:]]
    assert len(rows) > 15
    assert [row[0] for row in rows if not re.search(r"`(tests|benchmarks)/", row[1])] == []


def test_what_is_missing_is_seen() -> None:
    assert named("`tests/none.py` and ARGS=tests/x") == ["tests/none.py", "tests/x"]
