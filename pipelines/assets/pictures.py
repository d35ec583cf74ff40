"""Pictures, tables and texts inside the UI, as the metadata that Dagster shows.

A PNG stands in Markdown, so that a page shows it without another request. Dagster is imported when
something is shown: commands that only read the stages do without it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any


def inline_picture(png: bytes, alt: str) -> Any:
    """A PNG as Markdown metadata."""
    encoded = base64.b64encode(png).decode()
    return markdown(f"![{alt}](data:image/png;base64,{encoded})")


def markdown(text: str) -> Any:
    """A text as Markdown metadata."""
    import dagster as dg

    return dg.MetadataValue.md(text)


def path_metadata(path: str) -> Any:
    """A path as metadata."""
    import dagster as dg

    return dg.MetadataValue.path(path)


def table_metadata(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows of a table as metadata; the columns are those of the first."""
    import dagster as dg

    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])


def picture_metadata(pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """PNGs by name as Markdown metadata."""
    return {name: inline_picture(png, name) for name, png in pictures.items()}
