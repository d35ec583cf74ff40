"""The JSON schema of a market's YAML, for completion and hover texts in an editor.

    python -m pipelines.config.json_schema        # writes shipped/market.schema.json anew

The keys come from the sections, the hover texts from the comments of `shipped/sample.yaml`. A YAML
names the schema in its first line, which editors with a YAML language server follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.config.loader import CONFIGS, line_numbers
from pipelines.config.market_file import FactoryConfig
from pipelines.config.sources import SOURCES

SCHEMA = CONFIGS / "market.schema.json"
_MARK = "# yaml-language-server: $schema="
_COMMENT = re.compile(r"(?:^|\s)#\s?(?P<text>.*)$")


def schema_line() -> str:
    """The first line of a YAML: it names the schema to an editor."""
    return f"{_MARK}{SCHEMA}"


def market_schema() -> dict[str, Any]:
    """The JSON schema of a market's YAML."""
    schema = FactoryConfig.model_json_schema()
    schema["title"] = "a market of rnn-pipelines"
    # A misspelt kind of a shipped source is no source of another package.
    schema["$defs"]["OwnSource"]["properties"]["kind"]["not"] = {"enum": sorted(SOURCES)}
    text = (CONFIGS / "sample.yaml").read_text(encoding="utf-8")
    for path, comment in _comments(text).items():
        for place in _places(schema, schema, path):
            place.setdefault("description", comment)
    return schema


def _comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment of each key of a YAML, with the lines below it that only go on."""
    lines = text.splitlines()
    comments = {}
    for path, number in line_numbers(text).items():
        first = _COMMENT.search(lines[number - 1])
        if first is None or not all(isinstance(part, str) for part in path):
            continue
        parts = [first["text"].strip()]
        for line in lines[number:]:
            if not line.strip().startswith("#") or not line.startswith(" "):
                break
            parts.append(line.strip().lstrip("# ").strip())
        comments[path] = " ".join(parts)
    return comments


def _places(
    schema: Mapping[str, Any], node: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """The schemas of a key: one, or several where a section has several forms."""
    if "$ref" in node:
        yield from _places(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]], path)
    for form in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _places(schema, form, path)
    child = node.get("properties", {}).get(path[0])
    if child is None:
        return
    if len(path) == 1:
        yield child
    else:
        yield from _places(schema, child, path[1:])


def main() -> None:
    """Write the schema beside the shipped YAMLs."""
    SCHEMA.write_text(json.dumps(market_schema(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
