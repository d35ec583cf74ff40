"""The processes of a contest between libraries answer, and their end is explained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


SERVER = """
import sys
sys.path.insert(0, {peers!r})
from contest import serve, take_stdout
replies = take_stdout()
print("chatter of a library")
serve(lambda number: {{"twice": 2 * number}}, replies)
"""


def test_contestants_answer_and_their_end_is_explained(load, tmp_path: Path) -> None:
    """A contestant gives an answer to each question, and a failing one its last words."""
    script = tmp_path / "server.py"
    script.write_text(SERVER.format(peers=str(BENCHMARKS / "peers")))
    contestant = load("contest").Contestant([sys.executable, script], tmp_path / "log.txt")
    assert [contestant.ask(number=n) for n in (2, 3)] == [{"twice": 4}, {"twice": 6}]
    with pytest.raises(RuntimeError, match=r"(?s)server\.py ended:.*chatter.*TypeError"):
        contestant.ask(other=1)
    contestant.close()
