"""Figures inside the UI: PNG in Markdown, so that a page shows them without another request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg


def inline_picture(png: bytes, alt: str) -> Any:
    """A PNG as Markdown metadata."""
    encoded = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{encoded})")


def picture_metadata(pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """PNGs by name as Markdown metadata."""
    return {name: inline_picture(png, name) for name, png in pictures.items()}
