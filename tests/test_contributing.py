"""The table "How do I add …" of CONTRIBUTING.md is true. Oracle: the source, by what each example
of the table defines and who names it.

For every row the test follows the identifiers of its example through both packages: a file that
names one is a file that had to be touched to add it. The exported names of a package's `__init__`
are stated apart on the page.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_FILES = 3

EXAMPLES = {
    "a model family": {"KRNNModel", "KRNNHyper"},
    "an estimator that is no network": {"LightGBMModel", "LightGBM"},
    "a source of bars": {"BaostockSource", "baostock_bars"},
    "a processor": {"CSRankNorm"},
    "a field": {"WithExtra"},
    "a feature": {"KBAR"},
    "a check": {"max_nan_rise", "nan_rise"},
    "a figure of a report": {"plot_coverage"},
    "a strategy": {"LongShort"},
    "an asset": {"label_stage"},
    "a command": {"run_prune", "cli.prune"},
}
"""The identifiers of each row's example in the code."""


@cache
def table() -> dict[str, tuple[list[str], str]]:
    """The files of every row as they stand on the page, and its example."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = {}
    for line in page[page.index("## How do I add") :].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and "`" in cells[1]:
            rows[cells[0]] = (re.findall(r"`([\w./]+)`", cells[1]), cells[2].strip("`"))
    return rows


@cache
def named() -> dict[str, set[str]]:
    """The files of both packages that name an identifier; imports of a module by its last part."""
    found: dict[str, set[str]] = {}
    for path in [*ROOT.glob("rnn_core/**/*.py"), *ROOT.glob("pipelines/**/*.py")]:
        if path.name == "__init__.py":
            continue
        file = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _names(node):
                found.setdefault(name, set()).add(file)
    return found


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ImportFrom(module=str(module)):
            room = module.split(".")[-1]
            return [n for a in node.names for n in (a.name, f"{room}.{a.name}")]
    return []


def test_every_row_has_an_example() -> None:
    assert set(table()) == set(EXAMPLES)


@pytest.mark.parametrize("row", EXAMPLES)
def test_the_example_stands_in_the_files_of_its_row(row: str) -> None:
    """At most three files name it, and the page tells each of them."""
    listed, _ = table()[row]
    files = set().union(*(named().get(name, set()) for name in EXAMPLES[row]))
    assert files, f"nothing in the code is called {EXAMPLES[row]}"
    assert len(files) <= MOST_FILES
    told = [file.replace("NAME", r"\w+") for file in listed]
    for file in files:
        assert any(re.fullmatch(f"{one.rstrip('/')}(/\\w+)?(\\.py)?", file) for one in told), (
            f"{file} names {EXAMPLES[row]}, and the row `{row}` of CONTRIBUTING.md does not say so"
        )
