"""Layout of both packages: the rules that import-linter's contracts do not state.

Oracle: the source, parsed; no module is imported. Every import counts: those inside functions and
under TYPE_CHECKING, the names of a lazy package (resolved through its stub), and a module that
`import_module` is given as text. The last tests break each rule in a small tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OPTIONAL = frozenset(
    {
        "bokeh",
        "torch",
        "safetensors",
        "numba",
        "matplotlib",
        "PIL",
        "exchange_calendars",
        "sqlalchemy",
        "fsspec",
    }
    | {"yfinance", "baostock", "bokeh_sampledata", "lightgbm", "mlflow", "polars", "resource"}
    | {"dagster_postgres", "qlib"}
)
"""Libraries that take seconds to import, or that an installation may lack: a function may import
one, or a module that loads one. `resource` is absent on Windows; `fsspec` brings asyncio."""

MOST_FLOORS = 14
"""Rooms in the longest chain of imports of `pipelines`."""


@dataclass(frozen=True)
class Import:
    """One imported name, as the module that holds it."""

    target: str
    line: int
    inner: bool  # within a function
    typing: bool  # under TYPE_CHECKING


@dataclass
class Module:
    """A parsed module; those of a lazy package's stub are among its imports."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


def read_tree(root: Path, *packages: str) -> dict[str, Module]:
    """The modules of some packages below a folder, by dotted name, with their imports."""
    modules, stubs = {}, {}
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path, text, ast.parse(text))
        if (stub := path.with_suffix(".pyi")).exists():
            stubs[name] = ast.parse(stub.read_text(encoding="utf-8"))
    homes: dict[tuple[str, str], str] = {}
    for name, stub in sorted(stubs.items(), reverse=True):  # a star stands for a package's names
        for node in (node for node in stub.body if isinstance(node, ast.ImportFrom)):
            for alias in node.names:
                starred = {n: m for (p, n), m in homes.items() if p == node.module}
                found = starred if alias.name == "*" else {alias.name: str(node.module)}
                homes |= {(name, n): module for n, module in found.items()}
    for module in modules.values():
        trees = [module.tree, *([stubs[module.name]] if module.name in stubs else [])]
        module.imports = [
            Import(target, line, inner, typing or tree is not module.tree)
            for tree in trees
            for target, line, inner, typing in _imports(tree, modules, homes)
            if target != module.name
        ]
        for text in re.findall(r"""import_module\(\s*["']([\w.]+)""", module.text):
            module.imports.append(Import(text, 0, inner=True, typing=True))
    return modules


def _imports(
    tree: ast.Module, modules: dict[str, Module], homes: dict[tuple[str, str], str]
) -> Iterator[tuple[str, int, bool, bool]]:
    """Target, line, whether inside a function, whether under TYPE_CHECKING; statements in order."""
    todo: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    while todo:
        node, inner, typing = todo.pop()
        inner = inner or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = typing or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        children = [
            child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)
        ]
        todo += [(child, inner, typing) for child in reversed(children)]
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = str(node.module)
            for alias in node.names:
                below = f"{package}.{alias.name}"
                home = homes.get((package, alias.name), package)
                targets.append(below if below in modules else home)
        yield from ((target, node.lineno, inner, typing) for target in targets)


@cache
def project() -> dict[str, Module]:
    return read_tree(ROOT, "rnn_core", "pipelines")


def of(modules: dict[str, Module], package: str) -> dict[str, Module]:
    return {
        name: module for name, module in modules.items() if f"{name}.".startswith(f"{package}.")
    }


def circles(modules: dict[str, Module]) -> list[set[str]]:
    """Modules that import one another, each group once (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for target in {i.target for i in modules[name].imports if i.target in modules}:
            if target not in number:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == number[name]:
            at = stack.index(name)
            groups.append(set(stack[at:]))
            del stack[at:]

    for name in modules:
        if name not in number:
            visit(name)
    return [group for group in groups if len(group) > 1]


def longest_chain(modules: dict[str, Module]) -> list[str]:
    """The longest chain of imports, from the top; a circle counts as one module."""
    group_of = {name: min(group) for group in circles(modules) for name in group}
    below: dict[str, set[str]] = {}
    for name, module in modules.items():
        targets = {group_of.get(i.target, i.target) for i in module.imports if i.target in modules}
        below.setdefault(group_of.get(name, name), set()).update(targets)

    @cache
    def chain(name: str) -> tuple[str, ...]:
        tails = [chain(target) for target in below[name] - {name}]
        return (name, *max(tails, key=len, default=()))

    return list(max(map(chain, below), key=len))


def rooms(modules: dict[str, Module]) -> dict[str, Module]:
    """The rooms of a package, each with the imports of all its modules, as if it were one."""

    def room_of(name: str) -> str:
        return ".".join(name.split(".")[:2])

    merged: dict[str, Module] = {}
    for module in modules.values():
        name = room_of(module.name)
        room = merged.setdefault(name, replace(module, name=name, imports=[]))
        targets = (replace(i, target=room_of(i.target)) for i in module.imports)
        room.imports += [i for i in targets if i.target != name]
    return merged


def repeated_names(modules: dict[str, Module], package: str) -> list[str]:
    """Files of one name, but for a command and its work, a section of the YAML and its room."""
    files: dict[str, list[str]] = {}
    for name, module in of(modules, package).items():
        if not module.is_package:
            files.setdefault(module.path.name, []).append(name)
    allowed = ({"cli", "operations"}, {"config"})
    faults = []
    for file, names in files.items():
        rooms = {name.split(".")[1] for name in names}
        pair = len(rooms) == len(names) == 2 and (rooms == allowed[0] or rooms & allowed[1])
        if len(names) > 1 and not (package == "pipelines" and pair):
            faults.append(f"{file}: {', '.join(names)}")
    return faults


def shared_names(modules: dict[str, Module], one: str, other: str) -> set[str]:
    """Names of files that both packages have."""
    names = [
        {module.path.name for module in of(modules, package).values() if not module.is_package}
        for package in (one, other)
    ]
    return names[0] & names[1]


def short_docstrings(modules: dict[str, Module]) -> list[str]:
    """Packages that do not say in two lines or more what belongs to them."""
    return [
        name
        for name, module in modules.items()
        if module.is_package and len((ast.get_docstring(module.tree) or "").splitlines()) < 2
    ]


def private_dagster(modules: dict[str, Module], room: str) -> list[str]:
    """Imports of Dagster's private modules outside a room."""
    return [
        f"{name}:{i.line} {i.target}"
        for name, module in modules.items()
        if not f"{name}.".startswith(f"{room}.")
        for i in module.imports
        if i.target.split(".")[0] == "dagster_shared"
        or (i.target.startswith("dagster") and "._" in i.target)
    ]


def loaded(modules: dict[str, Module], name: str) -> set[str]:
    """Optional libraries that the import of a module loads."""
    reached, todo = set(), [name]
    while todo:
        at = todo.pop()
        if at not in reached:
            reached.add(at)
            imports = modules[at].imports if at in modules else []
            todo += [i.target for i in imports if not i.inner and not i.typing]
    return {target.split(".")[0] for target in reached} & OPTIONAL


def inner_imports(modules: dict[str, Module], room: str) -> list[str]:
    """Imports inside functions, outside a room, that load no optional library.

    A function may import a module of its own package where that loads an optional library which
    the function's module does not load. `pipelines` may import all of `rnn_core` so, which brings
    numba or torch, and `dagster` itself, a second that commands without it save.
    `importlib.metadata` scans the installed packages.
    """
    faults = []
    for name, module in modules.items():
        if f"{name}.".startswith(f"{room}."):
            continue
        for i in module.imports:
            root = i.target.split(".")[0]
            if not i.inner or i.typing or i.target == "importlib.metadata":
                continue
            if root == name.split(".")[0]:
                fine = bool(loaded(modules, i.target) - loaded(modules, name))
            else:
                fine = root in OPTIONAL | {"rnn_core", "dagster"}
            if not fine:
                faults.append(f"{name}:{i.line} {i.target}")
    return list(dict.fromkeys(faults))


def unmirrored(root: Path, package: str) -> list[str]:
    """Folders of tests without a room of their name."""
    folders = [path for path in (root / "tests" / package).iterdir() if any(path.glob("test_*.py"))]
    return [folder.name for folder in folders if not (root / package / folder.name).is_dir()]


BOTH = ["rnn_core", "pipelines"]


@pytest.mark.parametrize("package", BOTH)
def test_no_modules_import_one_another(package: str) -> None:
    assert circles(of(project(), package)) == []


@pytest.mark.parametrize("package", BOTH)
def test_no_two_modules_share_a_name(package: str) -> None:
    assert repeated_names(project(), package) == []


def test_the_packages_share_no_name() -> None:
    assert shared_names(project(), "rnn_core", "pipelines") == set()


@pytest.mark.parametrize("package", BOTH)
def test_every_package_says_what_belongs_to_it(package: str) -> None:
    assert short_docstrings(of(project(), package)) == []


@pytest.mark.parametrize("package", BOTH)
def test_private_dagster_is_imported_in_one_room(package: str) -> None:
    assert private_dagster(of(project(), package), "pipelines.instance") == []


@pytest.mark.parametrize("package", BOTH)
def test_functions_import_optional_libraries_only(package: str) -> None:
    faults = inner_imports(project(), "pipelines.cli")
    assert [fault for fault in faults if fault.startswith(f"{package}.")] == []


def test_the_pipeline_has_few_floors() -> None:
    """A floor is a room, or a module that stands beside the rooms."""
    chain = longest_chain(rooms(of(project(), "pipelines")))
    assert len(chain) <= MOST_FLOORS, " > ".join(chain)


@pytest.mark.parametrize("package", BOTH)
def test_tests_mirror_the_rooms(package: str) -> None:
    assert unmirrored(ROOT, package) == []


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Module]:
    """A tree that breaks every rule."""
    files = {
        "core/__init__.py": '"""One line."""',
        "core/low.py": "import numba\ndef f():\n    from core.high import g",
        "core/high.py": "from core import names\nfrom core.names import f\n",
        "core/names/__init__.py": '"""First line.\n\nSecond."""',
        "core/names/__init__.pyi": "from core.low import f as f",
        "core/names/low.py": "def f():\n    import json, torch\n    import core.low\n",
        "core/text.py": "from importlib import import_module\nimport_module('core.typed')",
        "core/typed.py": "if TYPE_CHECKING:\n    from core.text import X",
        "pipe/__init__.py": '"""First line.\n\nSecond."""',
        "pipe/text.py": "from dagster._core import a\nfrom dagster import b\nimport dagster_shared",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_tree(tmp_path, "core", "pipe")


def test_circles_are_seen_through_functions_types_stubs_and_text(broken: dict[str, Module]) -> None:
    groups = sorted(map(sorted, circles(broken)))
    assert groups == [["core.high", "core.low", "core.names"], ["core.text", "core.typed"]]
    assert longest_chain(broken) == ["core.names.low", "core.high"]


def test_names_and_docstrings_are_seen(broken: dict[str, Module]) -> None:
    assert repeated_names(broken, "core") == ["low.py: core.low, core.names.low"]
    assert shared_names(broken, "core", "pipe") == {"text.py"}
    assert short_docstrings(broken) == ["core"]


def test_misplaced_imports_are_seen(broken: dict[str, Module]) -> None:
    assert private_dagster(broken, "core") == [
        "pipe.text:1 dagster._core",
        "pipe.text:3 dagster_shared",
    ]
    assert private_dagster(broken, "pipe") == []
    # core.low loads numba, which core.names.low does not; core.high loads what core.low has.
    assert inner_imports(broken, "pipe") == ["core.low:3 core.high", "core.names.low:2 json"]
    assert inner_imports(broken, "core") == []
