"""Infer what the paths of files say of their rows: the instrument, the day, or both.

Folders such as `symbol=AAA` name both themselves and their values. Otherwise the name of a file is
what its columns lack; where all files have one name, that of their folder is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.onboarding.infer_columns import guess_columns
from pipelines.sources.files import stem_of

_DAY = re.compile(r"(\D*)(\d.*\d)(\D*)")  # in a file's name, with what stands around it


@dataclass(frozen=True)
class Said:
    """The columns that paths say.

    Attributes:
        named: our names of them, in the order of the pattern's groups.
        pattern: `name_pattern` of the source; None for the whole name of a file.
        values: the texts that the paths have for each.
        place: the part of the path, for people.
    """

    named: tuple[str, ...] = ()
    pattern: str | None = None
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    place: str = "the file"


def folder_keys(path: str, names: Mapping[str, str]) -> dict[str, str]:
    """The keys of folders such as `symbol=AAA` that say a column: our word -> their name.

    Args:
        path: a file.
        names: the columns of the table, which go before its folders: our word -> their name.
    """
    ours = guess_columns(re.findall(r"(?:^|/)([^/=]+)=[^/]+(?=/)", path))
    return {
        name: ours[name] for name in ("date", "instrument") if name in ours and name not in names
    }


def said_by_paths(paths: Sequence[str], first: str, names: Mapping[str, str]) -> Said:
    """Infer the columns that paths say.

    Args:
        paths: all files.
        first: the first one of bars.
        names: the columns that the tables have: our word -> their name.
    """
    folders = folder_keys(first, names)
    if folders:
        order = sorted(folders, key=lambda name: first.index(f"{folders[name]}="))
        groups = (rf"{re.escape(folders[name])}=([^/]+)" for name in order)
        return _matched(order, rf"(?:^|/){'/(?:.*/)?'.join(groups)}/", paths,
                        f"the folder {folders[order[-1]]}=…")  # fmt: skip
    named = [name for name in ("instrument", "date") if name not in names][:1]
    if not named:
        return Said()
    stems = [stem_of(path) for path in paths]
    if len(set(stems)) == 1 < len(stems):
        return _matched(named, "([^/]+)/[^/]+$", paths, "the folder")
    days = [match for stem in stems if (match := _DAY.fullmatch(stem)) is not None]
    around = {(match[1], match[3]) for match in days}
    if named == ["date"] and len(around) == 1 and around != {("", "")}:
        before, after = map(re.escape, *around)
        return _matched(named, rf"(?:^|/){before}([^/]+?){after}\.[^/]+$", paths, "the file")
    values = [match[0] for match in days] if named == ["date"] else stems
    return Said(tuple(named), None, {named[0]: values})


def _matched(named: Sequence[str], pattern: str, paths: Sequence[str], place: str) -> Said:
    """The columns that a pattern's groups say."""
    matches = [match.groups() for path in paths if (match := re.search(pattern, path)) is not None]
    values = dict(zip(named, zip(*matches, strict=True), strict=True))
    return Said(tuple(named), pattern, values, place)
