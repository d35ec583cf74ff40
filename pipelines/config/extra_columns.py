"""Columns beside the bars: `source.columns.extra` of the YAML.

    columns:
      pe: P/E ratio                            # the source's name, where it is another
      extra: [pe, mktcap, industry: category]  # $pe, $mktcap in expressions; industry has texts

A name alone is a column of numbers, `name: category` one of texts, as an industry. Which of the two
a column is, is said here and never guessed from the data, so that an expression that computes with
a category is refused before anything is read.

The columns are no part of the identity of a market, nor of the configuration hash of `ohlcv`: they
lie in a table beside the bars, and each has a version of its own (`warehouse/schemas.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pipelines.config.types import How, Section
from rnn_core.suggestions import near_matches

Kind = Literal["number", "category"]

KEY = "columns.extra"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = (
    "date", "instrument", "open", "high", "low", "close", "volume", "amount", "vwap", "factor",
    "adj_ratio", "adj_factor", "member", "basis", "session", "bar_date", "last_close", "rule",
    "policy", "aside", "source", "entering_adj_factor", "entering_last_close",
)  # fmt: skip


@dataclass(frozen=True)
class ExtraColumn:
    """A column beside the bars.

    Attributes:
        name: its name, `$name` in expressions.
        kind: `number`, or `category` for texts.
        column: the source's name of it.
    """

    name: str
    kind: Kind
    column: str


def extra_columns(entries: Any, renamed: Mapping[str, str]) -> tuple[ExtraColumn, ...]:
    """Read the list of the YAML.

    Args:
        entries: names, or mappings of one name to its kind.
        renamed: the source's names, by ours.

    Raises:
        ValueError: an entry has another form, or a name cannot stand beside the others.
    """
    if not isinstance(entries, list | tuple):
        raise ValueError(f"{KEY}: expected a list, as in [pe, industry: category], got {entries!r}")
    columns: list[ExtraColumn] = []
    for entry in entries:
        one = {entry: "number"} if isinstance(entry, str) else entry
        if not isinstance(one, dict) or len(one) != 1:
            raise ValueError(f"{KEY}: expected NAME or `NAME: category`, got {entry!r}")
        ((name, kind),) = one.items()
        if kind not in get_args(Kind):
            raise ValueError(f"{KEY}: {name} is {kind!r}, expected {' or '.join(get_args(Kind))}")
        _check_name(name, columns)
        columns.append(ExtraColumn(name, kind, renamed.get(name, name)))
    return tuple(columns)


def _check_name(name: Any, earlier: Iterable[ExtraColumn]) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{KEY}: {name!r} cannot be written $name in an expression; use letters, digits and _, "
            f"and give the source's name apart, as in `columns: {{pe: P/E, extra: [pe]}}`"
        )
    if name.lower() in _TAKEN:
        raise ValueError(
            f"{KEY}: {name!r} is a column of the bars already; give yours another name, as in "
            f"`columns: {{my_{name.lower()}: {name}, extra: [my_{name.lower()}]}}`"
        )
    for other in earlier:
        if other.name == name:
            raise ValueError(f"{KEY}: {name!r} is listed twice; leave one")
        if other.name.lower() == name.lower():
            raise ValueError(
                f"{KEY}: {name!r} cannot be told from {other.name!r} in SQL, where case does not "
                f"count; rename one"
            )


class WithExtra(Section):
    """A source that may have columns beside the bars.

    Attributes:
        extra: written as `columns.extra`; a key of `columns` with its name gives the source's name.
    """

    extra: Annotated[tuple[ExtraColumn, ...], How, Field(alias=KEY)] = ()

    @model_validator(mode="before")
    @classmethod
    def _take_extra(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if {"extra", KEY} & values.keys():
            raise ValueError(f"extra belongs under columns: `{KEY.replace('.', ': {')}: [...]}}`")
        columns = values.get("columns")
        if not isinstance(columns, dict):
            return values
        names = dict(columns)
        extra = extra_columns(names.pop("extra", ()), names)
        names = {ours: name for ours, name in names.items() if ours not in {e.name for e in extra}}
        taken = {**values, "columns": names, KEY: extra}
        if "columns" not in cls.model_fields:
            del taken["columns"]
            for name in names:
                near = near_matches(name, [e.name for e in extra])
                raise ValueError(f"columns: {name!r} is no column of {KEY}{near}")
        return taken

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema as people write it: `extra` below `columns`."""
        schema = handler.resolve_ref_schema(handler(core))
        schema["properties"].pop(KEY, None)
        schema["properties"]["columns"] = {
            "additionalProperties": {"type": "string"},
            "properties": {"extra": _LIST_SCHEMA},
            "title": "Columns",
            "type": "object",
        }
        return schema


_LIST_SCHEMA = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "additionalProperties": {"enum": list(get_args(Kind))},
                "maxProperties": 1,
            },
        ]
    },
}
