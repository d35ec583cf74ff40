"""Every public name of the library has an example in its docstring, and the examples are true.

Oracle: doctest, that is what stands below each line. The examples of a package begin with the names
that the docstring of the package makes; those of `data` and `workflow` besides with a provider
folder, `provider`, and those of `workflow` with a file, `workflow`, and overrides that make its run
short, `small`.
"""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider
from tests.rnn_core.workflow.workflow_cases import FILES, SESSIONS, small

ROOT = Path(__file__).parents[2]
ROOMS = ("panel", "features", "data", "models", "training", "estimators", "evaluation", "workflow")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public(room: str) -> Iterator[tuple[str, Any]]:
    """Names and values that a package exports and that belong to it or to a package below it."""
    package = import_module(f"rnn_core.{room}")
    for name in package.__all__:
        yield name, getattr(package, name)


def attribute_docs(folder: Path) -> dict[str, str]:
    """Texts below the assignments of all modules of a folder, by the name that is assigned."""
    found = {}
    for path in folder.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in pairwise(body):
            match node, after:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = text
    return found


def documentation(name: str, value: Any, room: str) -> tuple[str, str]:
    """The docstring of a name, and the package that it comes from."""
    if str(getattr(value, "__module__", "")).startswith("rnn_core."):
        return value.__doc__ or "", value.__module__.split(".")[1]
    return attribute_docs(ROOT / "rnn_core" / room).get(name, ""), room


def faults(text: str, names: dict[str, Any], title: str) -> str:
    """Run the examples of a text; what they give otherwise than they say."""
    test = doctest.DocTestParser().get_doctest(text, names, title, None, 0)
    runner, said = doctest.DocTestRunner(optionflags=OPTIONS), []
    runner.run(test, out=said.append, clear_globs=False)
    names |= test.globs
    return "".join(said)


@pytest.fixture(scope="module")
def beginnings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The names with which the examples of each package begin."""
    provider = dump_provider(
        tmp_path_factory.mktemp("examples") / "cn_data", adjusted_market(14, SESSIONS)
    )
    given = {
        "data": {"provider": provider},
        "workflow": {
            "provider": provider,
            "workflow": FILES / "gru_alpha158.yaml",
            "small": small(hidden_size=4),
        },
    }
    names = {}
    for room in ROOMS:
        names[room] = given.get(room, {})
        text = import_module(f"rnn_core.{room}").__doc__ or ""
        assert faults(text, names[room], room) == ""
    return names


@pytest.mark.filterwarnings("ignore:TimeRangeFlt looks into the future")
@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_a_true_example(
    room: str, beginnings: dict[str, dict[str, Any]]
) -> None:
    bare, wrong = [], ""
    for name, value in public(room):
        text, home = documentation(name, value, room)
        if ">>>" not in text:
            bare.append(name)
        elif home == room:
            wrong += faults(text, dict(beginnings[home]), f"{room}.{name}")
    assert bare == [], "these public names have no example in their docstring"
    assert wrong == ""


def test_all_rooms_are_looked_at() -> None:
    rooms = {path.parent.name for path in (ROOT / "rnn_core").glob("*/__init__.py")}
    assert rooms == set(ROOMS)


def test_false_examples_are_seen() -> None:
    assert faults("    >>> 1 + 1\n    3\n", {}, "sum")
    assert faults("    >>> pd.Timestamp('2024-01-02').year\n    2024\n", {"pd": pd}, "year") == ""
