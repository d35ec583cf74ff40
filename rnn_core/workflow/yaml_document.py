"""A workflow file as text: YAML 1.2 values, anchors, merge keys, overrides.

qlib reads its files with a YAML 1.2 parser, PyYAML follows 1.1, and they differ where it hurts:
`1e-3` is a number in 1.2 and text in 1.1, `on` is text in 1.2 and true in 1.1. The loader here has
1.2's numbers and booleans; dates stay dates, as there.

An override replaces the node that it names in the parsed document, before values are built. So it
also reaches every alias of that node: `market=csi500` changes the instruments of a handler that
says `*market`.

Rule matched: qlib cli/run.py. Its Jinja templates and BASE_CONFIG_PATH are refused, not ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rnn_core.suggestions import near_matches
from rnn_core.text_encoding import read_text
from rnn_core.workflow.problems import Keys, WorkflowError
from rnn_core.yaml_text import BoundedLoader, hidden_characters

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_OVERRIDE = "an override"
_TEMPLATE = re.compile(r"\{\{|\{%")


class _Loader(BoundedLoader):
    """A safe loader with the numbers and booleans of YAML 1.2."""

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Read a whole number: decimal even after a 0, 0o17, 0x1f; `_` may group digits."""
        text = str(self.construct_scalar(node)).replace("_", "")
        digits = text.lstrip("+-")
        base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
        return int(text, base)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in (f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("int", r"[-+]?(?:[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_whole)


@dataclass(frozen=True, eq=False)
class Document:
    """A workflow file, read but not understood.

    Attributes:
        path: of the file.
        text: of the file.
        values: the mapping that it holds, overrides applied.
        lines: path of a key to its line.
        anchored: top-level keys with an anchor at or below their value.
        overrides: as given.

    Examples:
        >>> isinstance(document, Document), document.values["market"]
        (True, 'csi300')
    """

    path: Path
    text: str
    values: dict[Any, Any]
    lines: dict[Keys, int]
    anchored: frozenset[str]
    overrides: tuple[str, ...]


def load_document(path: str | Path, overrides: Sequence[str] = ()) -> Document:
    """Read a workflow file.

    Args:
        path: of the YAML file.
        overrides: texts such as `task.model.kwargs.n_epochs=3`: keys, and positions in lists,
            from the top; the value is read as YAML. The last key may be a new one.

    Returns:
        The document.

    Raises:
        WorkflowError: no such file, no valid YAML, a key written twice, a template, or an override
            that names nothing.

    Examples:
        >>> load_document(workflow, ["task.model.kwargs.lr=1e-3"]).overrides
        ('task.model.kwargs.lr=1e-3',)
    """
    path = Path(path)
    if not path.is_file():
        raise WorkflowError(f"no workflow file {path}: give the path of a qlib workflow YAML")
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise WorkflowError(f"{path} is no UTF-8 text: {error}") from error
    # qlib renders templates; without that they would be read as other values.
    template = _TEMPLATE.search(text)
    if template:
        line = text.count("\n", 0, template.start()) + 1
        raise WorkflowError(
            f"{path}, line {line}: {template.group()} is a template, and templates are not "
            f"rendered: write the value"
        )
    try:
        # Overrides change the nodes, so the values and the lines are taken afterwards.
        root = _compose(text, str(path))
        if not isinstance(root, yaml.MappingNode):
            raise WorkflowError(f"{path} holds no mapping, expected qlib_init, task and so on")
        _refuse_twins(root, path)
        for override in overrides:
            _override(root, override)
        lines = {at: line for at, line in _lines(root, ()) if line is not None}
        loader = _Loader("")
        try:
            values = loader.construct_document(root)
        finally:
            loader.dispose()
        anchored = frozenset(_anchored(text))
    except (yaml.YAMLError, RecursionError) as error:
        raise WorkflowError(f"{path} is not valid YAML: {error}") from error
    for at, fault in hidden_characters(values):
        place = ".".join(map(str, at)) or "the top"
        raise WorkflowError(f"{path}: {place}: {fault}")
    return Document(path, text, values, lines, anchored, tuple(overrides))


def _compose(text: str, name: str) -> yaml.Node | None:
    """Parse a text into nodes, marked with its name; an alias is the node that it names."""
    loader = _Loader(text)
    loader.name = name
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _nodes(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """Yield every node once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes(key, seen)
            yield from _nodes(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _nodes(item, seen)


def _refuse_twins(root: yaml.Node, path: Path) -> None:
    """Refuse a key written twice, of which a parser would keep one silently."""
    for node in _nodes(root, set()):
        if not isinstance(node, yaml.MappingNode):
            continue
        keys: set[str] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise WorkflowError(
                        f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is "
                        f"written twice: keep one"
                    )
                keys.add(key.value)


def _lines(node: yaml.Node, at: Keys) -> Iterator[tuple[Keys, int | None]]:
    """Yield path and line of every key, below aliases too; None for a key of an override."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), _line(key)
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for k, item in enumerate(node.value):
            yield (*at, k), _line(item)
            yield from _lines(item, (*at, k))


def _line(node: yaml.Node) -> int | None:
    """Return the line of a node in the file."""
    mark = node.start_mark
    return None if mark is None or mark.name == _OVERRIDE else mark.line + 1


def _anchored(text: str) -> Iterator[str]:
    """Yield the top-level keys with an anchor at or below their value."""
    depth, key = 0, None
    for event in yaml.parse(text, Loader=_Loader):
        anchor = None if isinstance(event, yaml.AliasEvent) else getattr(event, "anchor", None)
        if depth == 1 and key is None and isinstance(event, yaml.ScalarEvent):
            key = event.value
            continue
        if anchor is not None and key is not None:
            yield key
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth == 1:  # the value of the key ends here
            key = None


def _override(root: yaml.Node, override: str) -> None:
    """Put one value in place."""
    key_path, sign, text = override.partition("=")
    keys = key_path.strip().split(".")
    if not sign or not all(keys):
        raise WorkflowError(f"override {override!r}: expected KEY.KEY=VALUE")
    try:
        new = _compose(text, _OVERRIDE)
    except yaml.YAMLError as error:
        raise WorkflowError(f"override {override!r}: the value is not valid YAML") from error
    if new is None:
        new = yaml.ScalarNode(f"{_TAG}null", "")
    node = root
    for depth, key in enumerate(keys):
        child = _below(node, key)
        last = depth == len(keys) - 1
        if last and child is not None:
            _exchange(root, child, new)
        elif last and isinstance(node, yaml.MappingNode):
            node.value.append((yaml.ScalarNode(f"{_TAG}str", key), new))
        elif child is None:
            siblings = (
                [k.value for k, _ in node.value] if isinstance(node, yaml.MappingNode) else []
            )
            raise WorkflowError(
                f"override {override!r}: the file has no {'.'.join(keys[: depth + 1])}"
                f"{near_matches(key, siblings)}"
            )
        else:
            node = child


def _below(node: yaml.Node, key: str) -> yaml.Node | None:
    """Return the value of a key, or of a position in a list."""
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
        item: yaml.Node = node.value[int(key)]
        return item
    return None


def _exchange(root: yaml.Node, old: yaml.Node, new: yaml.Node) -> None:
    """Put `new` wherever the graph has the node `old`."""
    for node in list(_nodes(root, set())):
        if isinstance(node, yaml.MappingNode):
            node.value = [(key, new if value is old else value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            node.value = [new if item is old else item for item in node.value]
