"""Read the YAML of a market, and turn what is wrong with it into a readable error.

pydantic finds the problems; this module adds their path and line in the file, and the nearest name
for a misspelling.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.config.calendar import (
    DataCalendar,
    ExchangeCalendar,
    FileCalendar,
    UniverseOfProvider,
    UniverseSpans,
)
from pipelines.config.dataset_sections import is_inherited
from pipelines.config.market_file import FactoryConfig
from pipelines.config.own_source import OwnSource
from pipelines.config.secrets_in_text import remember
from pipelines.config.sources import OWN, SOURCES, anchor_paths, anchored
from pipelines.config.text_files import read_text
from pipelines.config.types import Section
from pipelines.errors import ConfigError, did_you_mean
from rnn_core.features.set_file import ENDINGS
from rnn_core.suggestions import near_matches
from rnn_core.yaml_text import BoundedLoader, hidden_characters, load_yaml

CONFIGS = Path(__file__).parent / "shipped"
DEFAULT_CONFIG = "sample"
ENV_CONFIG = "RNN_CONFIG"
_SEPARATORS = {("market", "source", "delimiter")}
"""Texts that may hold a character that nobody sees: Hive writes U+0001 between columns."""
_DAY = re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}\b")
TAGGED: dict[str, type[Section] | None] = {
    **SOURCES,
    OWN: OwnSource,
    "calendar_name": None,
    "calendar_exchange": ExchangeCalendar,
    "calendar_file": FileCalendar,
    "calendar_data": DataCalendar,
    "universe_all": None,
    "universe_spans": UniverseSpans,
    "universe_market": UniverseOfProvider,
}
"""Members of the unions of sections, by the name that pydantic puts into the path of an error."""


def config_path(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The path of a market's YAML, from a path or from the name of a shipped one.

    Args:
        name_or_path: a file, or a name such as `sample`; None reads `$RNN_CONFIG`, else `sample`.

    Raises:
        ConfigError: neither such a file nor such a shipped name exists.
    """
    name = str(name_or_path or os.environ.get(ENV_CONFIG) or DEFAULT_CONFIG)
    path = Path(name)
    if path.is_file():
        return path
    shipped = CONFIGS / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    shipped_names = [p.stem for p in CONFIGS.glob("*.yaml")]
    raise ConfigError(
        f"no configuration {name!r}: neither a file nor the name of a shipped one; "
        f"{did_you_mean(name, shipped_names)}"
    )


def load_config(name_or_path: str | os.PathLike[str] | None = None) -> FactoryConfig:
    """Read and validate the YAML of a market.

    Raises:
        ConfigError: the file is not YAML, or a key, type, date order or name in it is wrong.
    """
    path = config_path(name_or_path)
    text = read_text(path, "the configuration")
    try:
        raw = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_fault(error)}") from error
    except ValueError as error:  # what looks like a date is made one while the file is read
        raise ConfigError(f"{path}{_no_date(text)}: {error}; write days as YYYY-MM-DD") from error
    return parse_config(_anchored(raw, path.parent), where=str(path), text=text)


def _fault(error: yaml.YAMLError) -> str:
    """The fault of a text that is not YAML, with its line, on one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return place + " ".join((problem or str(error)).split())


def _no_date(text: str) -> str:
    """The line of the first day in a text that no calendar has; empty if there is no such day."""
    for number, line in enumerate(text.splitlines(), start=1):
        for day in _DAY.findall(line.partition("#")[0]):
            try:
                dt.date(*map(int, day.split("-")))
            except ValueError:
                return f": line {number} has the day {day}, which is none"
    return ""


def parse_config(raw: Any, *, where: str = "config", text: str | None = None) -> FactoryConfig:
    """Validate a configuration that is already a mapping.

    Raises:
        ConfigError: the message names `where`, and for every problem its path, its line in `text`
            and, for a misspelling, the nearest name.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping of sections, got {type(raw).__name__}")
    hidden = [found for found in hidden_characters(raw) if found[0] not in _SEPARATORS]
    if hidden:
        lines = line_numbers(text) if text else {}
        raise _not_valid(where, [f"{_place(loc, lines)}: {fault}" for loc, fault in hidden])
    try:
        config = FactoryConfig.model_validate(raw)
        remember({"source": dict(config.market.source), "tracking": config.tracking})
        return config
    except ValidationError as error:
        lines = line_numbers(text) if text else {}
        # What the section `features` has wrong is wrong in every dataset that takes it over.
        found = [e for e in error.errors() if not is_inherited(raw, e["loc"])]
        raise _not_valid(where, [_describe(e, lines) for e in found]) from None


def _not_valid(where: str, problems: list[str]) -> ConfigError:
    """One error for all problems."""
    listed = "\n".join(f"  {problem}" for problem in problems)
    text = f"{where} is not a valid configuration:\n{listed}"
    return ConfigError(text, problems=tuple(problems))


def _place(loc: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> str:
    """The place of a problem in words: `models.lstm (line 40)`."""
    known = next((lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines), None)
    name = ".".join(str(part) for part in loc) or "(top)"
    return name if known is None else f"{name} (line {known})"


def _anchored(raw: Any, folder: Path) -> Any:
    """The mapping, with every relative path made absolute from the folder of the YAML."""
    sections = raw if isinstance(raw, dict) else {}
    anchor_paths(sections.get("market"), folder)
    for place in ("warehouse", "state"):
        if isinstance(sections.get(place), str):
            sections[place] = anchored(sections[place], folder)
    datasets = sections.get("datasets")
    for section in (sections, *(datasets.values() if isinstance(datasets, dict) else ())):
        features = section.get("features") if isinstance(section, dict) else None
        if not isinstance(features, dict):
            continue
        feature_set = features.get("set")
        if isinstance(feature_set, str) and Path(feature_set).suffix.lower() in ENDINGS:
            features["set"] = anchored(feature_set, folder)
    return raw


def _describe(error: Any, lines: dict[tuple[Any, ...], int]) -> str:
    """One line for one problem: `models.lstm (line 40): …`."""
    loc = tuple(part for part in error["loc"] if part not in TAGGED)
    message = error["msg"].removeprefix("Value error, ")
    named = None if loc else _PLACE.match(message)
    if named is not None:  # a rule between sections names the key itself
        loc, message = tuple(named[1].split(".")), message[named.end() :]
    place = ".".join(str(part) for part in loc) or "(top)"
    line = _line_of(loc, message, lines)
    if line is not None:
        place += f" (line {line})"
    if error["type"] == "extra_forbidden":
        section = _section_at(error["loc"][:-1])
        fields = section.model_fields if section else {}
        keys = [field.alias or name for name, field in fields.items()]
        hint = did_you_mean(str(loc[-1]), keys) if section else "remove it"
        return f"{place}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{place}: required, but not given"
    value, context = error.get("input"), error.get("ctx", {})
    if error["type"] in ("tuple_type", "list_type"):
        message = f"expected a list, as in [{value}]"
    expected = str(context.get("expected_tags") or context.get("expected"))
    message += near_matches(context.get("tag", value), re.findall("'(.+?)'", expected))
    plain = isinstance(value, str | int | float | bool | dt.date) and "\n" not in message
    # An address there may hold a token or a password.
    plain = plain and loc[:1] not in (("tracking",), ("state",), ("storage_options",))
    shown = repr(value) if isinstance(value, str | float) else str(value)
    suffix = f" (given: {shown})" if plain else ""
    return f"{place}: {message}{suffix}"


_KEYS = re.compile(r"[\w.-]*\w")
_PLACE = re.compile(r"([a-z_]+(?:\.\w+)+): ")


def _line_of(loc: tuple[Any, ...], message: str, lines: dict[tuple[Any, ...], int]) -> int | None:
    """The line of the key that a problem is about.

    A section's problem is about the first key below it that the message names, if it names one,
    and there about the key or the item of a list that the message quotes.
    """
    words = ((*loc, *word.split(".")) for word in _KEYS.findall(message))
    base = next((key for key in words if key in lines), loc)
    quoted = re.findall(r"'([^']+)'", message.partition("; did you mean")[0])
    for word in quoted if base else ():
        below = (key for key in lines if key[: len(base)] == base and key[-1] == word)
        key = next(below, None)
        if key is not None:
            return lines[key]
    return next((lines[base[:n]] for n in range(len(base), 0, -1) if base[:n] in lines), None)


def _section_at(loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The section at the path `loc` of the YAML; None if the path leads to a value."""
    section: type[BaseModel] = FactoryConfig
    named = False  # True where the next part is the name of an entry, not a key of a section
    for part in loc:
        if named:
            named = False
            continue
        if part in TAGGED:
            tagged = TAGGED[part]
            if tagged is None:
                return None
            section = tagged
            continue
        by_key = {field.alias or name: field for name, field in section.model_fields.items()}
        field = by_key.get(str(part))
        candidates = [field.annotation] if field else []
        candidates += list(getattr(candidates[0], "__args__", ())) if candidates else []
        candidates += [arg for c in candidates for arg in getattr(c, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            return None
        section = nested[0]  # of a union, the tag that follows says which
        named = field is not None and get_origin(field.annotation) is dict
    return section


def line_numbers(text: str) -> dict[tuple[Any, ...], int]:
    """Path in the YAML -> line number, counted from 1."""
    lines: dict[tuple[Any, ...], int] = {}

    def walk(node: yaml.Node | None, path: tuple[Any, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, key.value)
                lines[here] = key.start_mark.line + 1
                walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                lines[(*path, i)] = value.start_mark.line + 1
                if isinstance(value, yaml.ScalarNode):  # found by its text as well
                    lines[(*path, i, value.value)] = value.start_mark.line + 1
                walk(value, (*path, i))

    walk(yaml.compose(text, Loader=BoundedLoader), ())
    return lines
