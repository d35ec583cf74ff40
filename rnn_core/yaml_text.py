"""YAML that people or strangers wrote, read within bounds.

An alias costs a few characters and stands for everything below its anchor, so ten lines can mean a
billion values; brackets nest as deep as the text is long. Both are refused while the text is
parsed, before any value is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from rnn_core.text_encoding import hidden_character

MAX_NODES = 200_000
"""Values and keys of a document, with every alias counted as what it stands for."""
MAX_DEPTH = 50
MAX_CHARACTERS = 10_000_000


class BoundedLoader(yaml.SafeLoader):
    """A safe loader that refuses a document of too many values or of too deep a nesting."""

    def __init__(self, stream: Any) -> None:
        if isinstance(stream, str | bytes) and len(stream) > MAX_CHARACTERS:
            raise yaml.YAMLError(
                f"the text has {len(stream):,} characters, at most {MAX_CHARACTERS:,} are read"
            )
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Parse one value, and count it."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"the nesting is deeper than {MAX_DEPTH}", event)
        before = self._nodes
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            size = self._sizes.get(id(node))
            if size is None:  # its anchor is still being read
                raise _refused(f"the value of &{event.anchor} refers to itself", event)
            self._nodes += size
        else:
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > MAX_NODES:
            raise _refused(f"the document stands for more than {MAX_NODES:,} values", event)
        return node


class UniqueKeyLoader(BoundedLoader):
    """A bounded loader that refuses a repeated key, of which YAML would keep the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build the mapping of a node."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *other` brings keys, of which the mapping's own are the stronger
            key = self.construct_object(key_node, deep=True)
            try:
                is_twin = key in keys
            except TypeError:
                raise _constructor_error(
                    f"a key is a {type(key).__name__}, expected text or a number", key_node
                ) from None
            if is_twin:
                raise _constructor_error(f"the key {key!r} is written twice", key_node)
            keys.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(text: str | bytes, *, loader: type[BoundedLoader] = UniqueKeyLoader) -> Any:
    """Read one YAML document as plain values.

    Raises:
        yaml.YAMLError: it is no YAML, or is out of bounds.
        ValueError: what looks like a date is none.
    """
    return yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader


def hidden_characters(
    values: Any, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find texts of a document with a character that nobody sees; see `hidden_character`.

    Keys are names. A value may have tabs and line ends, as a query has, and is not quoted, since it
    may be a secret.

    Args:
        values: the document.
        at: the place of the values.

    Yields:
        The place of each, and the fault in words.
    """
    if isinstance(values, dict):
        for key, value in values.items():
            found = hidden_character(key) if isinstance(key, str) else None
            if found is not None:
                yield at, f"the name {key!r:.80} holds {found}; write it without"
            yield from hidden_characters(value, (*at, key))
    elif isinstance(values, list):
        for position, value in enumerate(values):
            yield from hidden_characters(value, (*at, position))
    elif isinstance(values, str):
        found = hidden_character(values, lines=True)
        if found is not None:
            yield at, f"the text holds {found}; write it without"


def _constructor_error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _refused(problem: str, event: yaml.Event) -> yaml.YAMLError:
    mark: Any = event.start_mark
    return yaml.composer.ComposerError(None, None, problem, mark)
