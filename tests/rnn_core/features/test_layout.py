"""Names and formulas of Alpha158. Oracle: the columns that pyqlib wrote to the fixture."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rnn_core.features.layout import (
    ALPHA158_EXPRESSIONS,
    ALPHA158_FIELDS,
    ALPHA158_NAMES,
    ALPHA158_PRICES,
    KBAR,
    ROLLING_FAMILIES,
)
from rnn_core.features.operators import OPERATORS
from rnn_core.features.tokens import tokenize


def test_names_are_pyqlibs_in_pyqlibs_order(fixtures_dir: Path) -> None:
    columns = pq.read_schema(fixtures_dir / "alpha158_qlib.parquet").names
    assert list(ALPHA158_NAMES) == [c for c in columns if c not in ("date", "instrument", "LABEL0")]
    assert len(set(ALPHA158_EXPRESSIONS.values())) == 158


def test_formulas_read_the_six_fields_and_no_other() -> None:
    tokens = [token for text in ALPHA158_EXPRESSIONS.values() for token in tokenize(text)]
    assert {token.text[1:] for token in tokens if token.kind == "field"} == set(ALPHA158_FIELDS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RSV20", "($close-Min($low, 20))/(Max($high, 20)-Min($low, 20)+1e-12)"),
        ("CNTD5", "Mean($close>Ref($close, 1), 5)-Mean($close<Ref($close, 1), 5)"),
        ("VMA60", "Mean($volume, 60)/($volume+1e-12)"),
    ],
)
def test_formula_text(name: str, text: str) -> None:
    assert ALPHA158_EXPRESSIONS[name] == text


def test_the_documentation_has_a_row_for_every_operator_and_family() -> None:
    page = (Path(__file__).parents[3] / "docs" / "semantics.md").read_text()
    cells = [re.split(r"(?<!\\)\|", line)[1] for line in page.splitlines() if line.startswith("|")]
    words = set(re.findall(r"[A-Za-z0-9]+", " ".join(cells)))
    assert set(OPERATORS) <= words
    assert {*KBAR, *ROLLING_FAMILIES, *(f"{price}0" for price in ALPHA158_PRICES)} <= words
