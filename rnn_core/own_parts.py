"""Parts of other packages: classes that a configuration names and this project does not ship.

A part is named as `package.module:Name`, or by an entry point of an installed package. What is
stored (a bundle, a processor's state) names parts, too, but only a configuration is ever followed:
reading what is stored imports nothing.

The origin of a part says which code it is. It changes with the part's own module and with every
module of the same top-level package that this one imports, directly or through others; packages
beside it count by their version. An attribute `code_version` of the part stands for all of that.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rnn_core.suggestions import near_matches


@dataclass(frozen=True)
class OwnPart:
    """A part of another package.

    Attributes:
        name: as the configuration names it.
        value: the class or function.
        origin: `module`, `distribution` ("" of code that is not installed) and `digest`, or
            `code_version` in the digest's place.
    """

    name: str
    value: Any
    origin: dict[str, str]


def is_own(name: str, group: str) -> bool:
    """True if a name is `package.module:Name`, or an entry point of a group."""
    return ":" in name or name in _entry_points(group, _installed())


def entry_points(group: str) -> tuple[str, ...]:
    """The names of the entry points of a group, `rnn_core.models` say, of installed packages."""
    return tuple(sorted(_entry_points(group, _installed())))


def _installed() -> tuple[tuple[str, int], ...]:
    """The folders that packages are imported from, and when each last had one put in or out."""
    return tuple((place, _changed(place)) for place in sys.path)


def _changed(place: str) -> int:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=64)
def _entry_points(group: str, installed: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    """The places `package.module:Name` of a group by name; of two of one name the first stands.

    Reading the entry points of every package takes tens of milliseconds, and a run asks often.
    """
    places: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=group):
        places.setdefault(point.name, point.value)
    return places


def load_part(name: str, group: str, *, functions: bool = False) -> OwnPart:
    """Import a part, and find out which code it is.

    Args:
        name: `package.module:Name`, or an entry point of the group.
        group: the group of entry points.
        functions: take a plain function as well as a class.

    Raises:
        ValueError: there is no such module, or no such name in it.
    """
    value = import_part(name, group, functions=functions)
    return OwnPart(name, value, _origin(value))


def import_part(name: str, group: str, *, functions: bool = False) -> Any:
    """Import the class, or function, of a part.

    Args:
        name: `package.module:Name`, or an entry point of the group.
        group: the group of entry points.
        functions: take a plain function as well as a class.

    Raises:
        ValueError: there is no such module, or no such name in it.
    """
    place = name
    if ":" not in name:
        points = _entry_points(group, _installed())
        if name not in points:
            raise ValueError(
                f"no installed package has an entry point {name!r} of {group}"
                f"{near_matches(name, points)}; expected one of these, or package.module:Name"
            )
        place = points[name]
    module_name, _, attribute = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever an import of foreign code raises
        remedy = (
            "install its package into this environment, or put its folder on PYTHONPATH"
            if isinstance(error, ImportError)
            else f"its code was found and failed: `python -c 'import {module_name}'` says where"
        )
        raise ValueError(
            f"cannot import {module_name} for {name!r}: {type(error).__name__}: {error}; {remedy}"
        ) from error
    value = getattr(module, attribute, None)
    if not isinstance(value, type) and not (functions and inspect.isfunction(value)):
        found = "nothing" if value is None else type(value).__name__
        raise ValueError(
            f"{module_name} has {found} under the name {attribute!r}, expected a class"
            f"{' or a function' if functions else ''}"
            f"{near_matches(attribute, vars(module))}"
        )
    return value


def _origin(part: Any) -> dict[str, str]:
    """The module, the distribution and the version of the code of a part."""
    top = part.__module__.partition(".")[0]
    distributions = _distributions().get(top, [])
    installed = [f"{name} {importlib.metadata.version(name)}" for name in distributions[:1]]
    origin = {"module": part.__module__, "distribution": "".join(installed)}
    version = getattr(part, "code_version", None)
    if version is not None:
        return {**origin, "code_version": str(version)}
    return {**origin, "digest": source_digest(part.__module__)}


def source_digest(module_name: str) -> str:
    """SHA-256 over a module and all that it imports.

    Modules of its own top-level package count by their source, other packages by their version,
    and the standard library not at all.

    Raises:
        ValueError: a module has no source file.
    """
    top = module_name.partition(".")[0]
    # Following one import finds those of the module behind it.
    sources: dict[str, bytes] = {}
    others: set[str] = set()
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _file_of(name)
        if path is None:
            continue  # a name of a module that is none, but a class or function
        sources[name] = path.read_bytes()
        is_package = path.name == "__init__.py"
        for imported in _imports(name, ast.parse(sources[name]), is_package=is_package):
            first = imported.partition(".")[0]
            if first == top:
                parts = imported.split(".")
                waiting += [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            elif first not in sys.stdlib_module_names:
                others.add(first)
    if module_name not in sources:
        raise ValueError(f"{module_name} has no source file; give the part a `code_version`")
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    for version in sorted(_versions(others)):
        digest.update(f"{version}\0".encode())
    return digest.hexdigest()


def _file_of(module_name: str) -> Path | None:
    """The source file of a module; None if there is no such module, or it has none."""
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(name: str, tree: ast.AST, *, is_package: bool) -> Iterator[str]:
    """The modules, or names in them, that a module imports anywhere in its code."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _versions(packages: Iterable[str]) -> set[str]:
    """The distributions behind some packages, with their versions."""
    known = _distributions()
    return {
        f"{name} {importlib.metadata.version(name)}"
        for package in packages
        for name in known.get(package, ())
    }


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
