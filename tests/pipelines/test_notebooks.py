"""The notebooks run as they stand, each in a kernel of its own. Oracle: no cell fails, and a cell
shows something of the same form as what is stored.

The two that read a market are given a tiny one, where they show other numbers than the stored ones
of the sample.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.pipelines.finished_markets import named_copy_of, stamps

nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[dev]'")
pytest.importorskip("ipykernel", reason="pip install -e '.[dev]'")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


def shown(notebook) -> list[list[str]]:
    """The kinds of output of each cell; warnings on standard error are none."""
    return [
        [out.output_type for out in cell.outputs if out.get("name") != "stderr"]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def said(notebook) -> list[str]:
    """The lines that are the same for every market: how commands ended, and that all is current."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    lines = "".join(out.text for out in outputs if out.get("name") == "stdout").splitlines()
    return [line for line in lines if line.startswith(("exit status", "everything is current"))]


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute a notebook in a folder, and compare the form of what it shows."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    stored = shown(notebook), said(notebook)
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    assert (shown(notebook), said(notebook)) == stored


def test_all_notebooks_are_run_and_keep_small_outputs() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for path in NOTEBOOKS.glob("*.ipynb"):
        assert f'run("{path.stem}"' in text
        assert path.stat().st_size < 50_000
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]  # run once
        assert not any("error" in kinds for kinds in shown(notebook))


def test_a_day_in_production_shows_a_loss_and_its_repair() -> None:
    """The copy goes on record, a file is lost (3), made again; `run` expects the same lines."""
    notebook = nbformat.read(NOTEBOOKS / "a_day_in_production.ipynb", as_version=4)
    ended = [line for line in said(notebook) if line.startswith("exit status")]
    assert ended == [f"exit status {status}" for status in (0, 0, 3, 0, 0, 0, 0)]
    assert said(notebook)[1:3] == ["everything is current", "exit status 0"]


@pytest.mark.thorough
def test_the_library_on_a_frame(tmp_path, monkeypatch) -> None:
    run("library_on_a_frame", tmp_path, monkeypatch)


@pytest.mark.thorough
def test_an_own_feature(tmp_path, monkeypatch) -> None:
    run("own_feature", tmp_path, monkeypatch)


def test_reading_a_warehouse(finished, tmp_path, monkeypatch) -> None:
    named_copy_of(finished, tmp_path, monkeypatch)
    run("reading_a_warehouse", tmp_path, monkeypatch)


@pytest.mark.thorough
def test_a_day_in_production(finished, tmp_path, monkeypatch) -> None:
    market = named_copy_of(finished, tmp_path, monkeypatch)
    before = stamps(market)
    run("a_day_in_production", tmp_path, monkeypatch)
    assert stamps(market) == before  # it works on a copy
