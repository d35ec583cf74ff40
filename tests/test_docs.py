"""The documentation: its pages, links, pictures and reference are complete, without building it.

Oracle: the files themselves. An anchor has to be right for both who show the pages: forges, and
Python-Markdown, which builds the site; the two differ in how they make it of a heading.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"data/README.md"}
"""Pages that are no part of the site."""


def load(path: str) -> ModuleType:
    """A script of the folder docs as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BUILD = load("docs/build_site.py")
WRITTEN = [page for page in BUILD.nav_pages() if not page.startswith("docs/api/")]


def prose(path: Path) -> str:
    """A page without its blocks of code, whose lines with # are no headings."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


@cache
def anchors(path: Path) -> set[str]:
    """Anchors of a page that forges and the site agree on."""
    headings = [re.sub(r"[`*]", "", line) for line in re.findall(r"^#+ (.*)$", prose(path), re.M)]
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s", "-", text) for text in plain} & {
        re.sub(r"[-\s]+", "-", text) for text in plain
    }


def broken_links(path: Path) -> list[str]:
    """Links of a page to files or headings that do not exist."""
    broken = []
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", prose(path)):
        if ":" in target:
            continue
        linked = (path.parent / target).resolve() if target else path
        if not linked.is_file() or (anchor and anchor not in anchors(linked)):
            broken.append(f"{target}#{anchor}")
    return broken


def test_the_navigation_lists_every_page_once() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    names = {str(page.relative_to(ROOT)) for page in pages} - ELSEWHERE
    assert len(WRITTEN) > 30
    assert sorted(WRITTEN) == sorted(names)


@pytest.mark.parametrize("page", WRITTEN)
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken_links(ROOT / page) == []


def test_broken_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading: `of` two\n[a](page.md#a-heading-of-two) [b](none.md) [c](#none)\n"
        "[d](https://example.com)\n\n```\n# no heading\n[e](none)\n```\n"
        "## One - two\n[f](#one-two)\n"
    )
    assert broken_links(page) == ["none.md#", "#none", "#one-two"]


@pytest.mark.parametrize("room", sorted(p.stem for p in ROOT.glob("rnn_core/*") if p.is_dir()))
def test_the_reference_holds_every_public_name(room: str) -> None:
    """Oracle: `__all__` of the imported package."""
    if room == "__pycache__":
        return
    package = f"rnn_core.{room}"
    assert f"docs/api/{room}.md" in BUILD.nav_pages()
    listed = BUILD.public_names(package)
    assert sorted(name for name, _ in listed) == sorted(importlib.import_module(package).__all__)
    page = BUILD.reference(package)
    assert all(f"\n::: {module}.{name}\n" in page for name, module in listed)


def test_the_pictures_are_those_of_their_command() -> None:
    draw = load("docs/draw.py")
    for name, picture in draw.PICTURES.items():
        assert (ROOT / "docs/images" / name).read_text(encoding="utf-8") == picture()


def test_the_drawn_assets_are_those_of_a_market(tmp_path: Path) -> None:
    """Oracle: the stages of the sample market; an arrow of the picture is one of theirs."""
    from pipelines.assets.stages import stages
    from pipelines.config.loader import load_config
    from pipelines.market.market import Market

    draw = load("docs/draw.py")
    table = {stage.name: stage for stage in stages(Market(load_config("sample"), root=tmp_path))}
    assert set(draw.BOXES) <= set(table)
    others = set(table) - set(draw.BOXES)
    assert {name.split("_")[0] for name in others} <= {"gru", "krnn", "linear", "lightgbm"}
    assert [(a, b) for a, b in draw.ARROWS if a not in table[b].deps] == []
