"""Dagster's private names: only `pipelines/instance` uses them, and each exists as it did.

Oracle: the installed Dagster. The list is read from the sources, imports inside functions and under
TYPE_CHECKING included; so are texts that name a module for Dagster to load.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("pipelines", "rnn_core", "benchmarks", "tests/pipelines", "tests/ui")
PRIVATE = re.compile(r"dagster\._[\w.]+|dagster_shared(\.[\w.]+)?")


def private_names(source: str) -> Iterator[tuple[str, str | None]]:
    """Module and symbol of every private import of a source; no symbol where a module is named."""
    if not re.search(r"dagster\._|dagster_shared", source):  # which most need not be parsed for
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and PRIVATE.fullmatch(node.module or ""):
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names if PRIVATE.fullmatch(a.name))
        elif isinstance(node, ast.Constant) and PRIVATE.fullmatch(str(node.value)):
            yield str(node.value), None


def users() -> dict[tuple[str, str | None], list[str]]:
    """Every private name with the files that use it."""
    found: dict[tuple[str, str | None], list[str]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__):
                for name in private_names(path.read_text(encoding="utf-8")):
                    found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


USERS = users()
MAY = ("pipelines/instance/", "tests/")
METADATA = ("dagster._core.execution.context.metadata_logging", "AssetMetadataHandle")


@pytest.mark.parametrize(
    ("module", "symbol"), [pytest.param(*n, id=".".join(filter(None, n))) for n in USERS]
)
def test_what_is_imported_from_a_private_module_is_there(module, symbol):
    where = f"used by {', '.join(USERS[module, symbol])}"
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        pytest.fail(f"Dagster has no module {module} any more, {where}: {error}")
    assert symbol is None or hasattr(found, symbol), f"{module} has no {symbol} any more, {where}"


def test_only_the_room_of_the_instance_uses_private_names():
    """Tests may look behind the curtain; the program, its benchmarks and the library may not."""
    elsewhere = {
        f"{module}.{symbol}": [path for path in paths if not path.startswith(MAY)]
        for (module, symbol), paths in USERS.items()
    }
    assert {name: paths for name, paths in elsewhere.items() if paths} == {}
    assert any(path.startswith("pipelines/instance/") for path in USERS[METADATA])


def test_every_way_of_naming_a_private_module_is_found():
    source = """
if TYPE_CHECKING:
    from dagster_shared.error import A, B
def f():
    import dagster._serdes
    from dagster._core import C as D
    return {"module": "dagster._core.storage"}
import dagster as dg
from dagster_pipes import E
"""
    assert set(private_names(source)) == {
        ("dagster_shared.error", "A"),
        ("dagster_shared.error", "B"),
        ("dagster._serdes", None),
        ("dagster._core", "C"),
        ("dagster._core.storage", None),
    }
    assert ("dagster._core.storage.noop_compute_log_manager", None) in USERS
