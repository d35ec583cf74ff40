"""Build the documentation site: `make docs`, that is `python docs/build_site.py`.

The pages are the project's Markdown files as they stand, which link to one another, and to files of
code and YAML, relative to the repository. So they are gathered below `build/docs` at the same
relative places, and a link means the same on the site as on a forge; nothing is rewritten. The
reference of the library is one page a package, made from its docstrings. Zensical builds the site
from there, and any warning, such as a link to nothing, is an error.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GATHERED = ROOT / "build" / "docs"
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def nav_pages(entries: Any = None) -> list[str]:
    """The pages of the navigation in zensical.toml, in order, relative to the repository."""
    if entries is None:
        project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
        entries = project["nav"]
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    return [page for part in parts for page in nav_pages(part)]


def links(page: Path) -> Iterator[Path]:
    """The files of the repository that a page links to or shows."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in LINK.findall(text):
        if ":" not in target:
            yield (page.parent / target).resolve()


def public_names(package: str) -> list[tuple[str, str]]:
    """Name and module of what a package of the library exports, in the order of its modules."""
    folder = ROOT.joinpath(*package.split("."))
    stub = folder / "__init__.pyi"
    source = stub if stub.exists() else folder / "__init__.py"
    names = []
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rnn_core."):
            if str(node.module) == "rnn_core.lazy":
                continue
            for alias in node.names:
                if alias.name == "*":  # all names of a package below
                    names += public_names(str(node.module))
                else:
                    names.append((alias.name, str(node.module)))
    return names


def reference(package: str) -> str:
    """The page of a package: its docstring, and every public name with its own."""
    lines = [f"# {package}", "", f"::: {package}", "    options:"]
    lines += [
        "      show_root_heading: false",
        "      show_root_toc_entry: false",
        "      members: false",
        "",
    ]
    for name, module in public_names(package):
        lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


def gather() -> None:
    """Copy the pages and what they link to, and write the pages of the reference."""
    shutil.rmtree(GATHERED, ignore_errors=True)
    for page in nav_pages():
        target = GATHERED / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.startswith("docs/api/"):
            target.write_text(reference(f"rnn_core.{target.stem}"), encoding="utf-8")
            continue
        shutil.copy(ROOT / page, target)
        for linked in links(ROOT / page):
            if linked.is_file() and linked.suffix != ".md":
                copy = GATHERED / linked.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(linked, copy)


if __name__ == "__main__":
    gather()
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    zensical = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    sys.exit(subprocess.run(zensical, cwd=ROOT, check=False).returncode)
