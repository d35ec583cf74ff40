"""The component of a market. Oracles: Dagster's own loading, and `build_definitions`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

import pipelines
from pipelines.build import build_definitions
from pipelines.components import MarketComponent
from tests.pipelines.conftest import TINY, make_market

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
name = "mine"
version = "0.1"
requires-python = ">=3.11"

[tool.dg]
directory_type = "project"

[tool.dg.cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]

[tool.dg.project]
root_module = "mine"
registry_modules = ["pipelines"]
"""
DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture(autouse=True)
def no_market_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RNN_CONFIG", "")
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))


def keys_of(defs: dg.Definitions) -> set[dg.AssetKey]:
    return defs.resolve_asset_graph().get_all_asset_keys()


def test_the_package_has_one_name_for_dagster_to_find():
    """Beside it stands the function of notebooks, which is no component."""
    assert dir(pipelines) == ["MarketComponent", "open_market"]
    assert pipelines.MarketComponent is MarketComponent


def test_a_project_has_the_assets_of_the_market_that_a_component_names(tmp_path):
    """Two markets stand beside each other; the data folder is that of the attribute."""
    expected = keys_of(build_definitions(make_market(tmp_path / "tiny")))
    with create_defs_folder_sandbox() as sandbox:
        for name in ("tiny", "second"):
            folder = sandbox.scaffold_component(
                component_cls=MarketComponent,
                defs_path=name,
                defs_yaml_contents={
                    "type": "pipelines.MarketComponent",
                    "attributes": {"config": "market.yaml", "data": "state"},
                },
            )
            text = yaml.safe_dump({**TINY, "name": name})
            (folder / "market.yaml").write_text(text)
        with sandbox.build_all_defs() as defs:
            found = keys_of(defs)
            assert {key for key in found if key.path[0] == "tiny"} == expected
            assert len(found) == 2 * len(expected)
            for name in ("tiny", "second"):
                assert defs.resolve_job_def(f"{name}_daily").name == f"{name}_daily"
            assert not (tmp_path / "data").exists()


def test_a_mistake_in_the_yaml_is_told_with_its_line():
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(
            component_cls=MarketComponent, defs_path="us", scaffold_params={"config": "us.yaml"}
        )
        assert yaml.safe_load((folder / "defs.yaml").read_text())["attributes"] == {
            "config": "us.yaml"
        }
        (folder / "us.yaml").write_text("name: us\nmarket: {calender: XNYS}\n")
        told = "building definitions for us"
        with pytest.raises(Exception, match=told) as caught, sandbox.build_all_defs():
            pass
        error: BaseException = caught.value
        while error.__cause__ is not None:
            error = error.__cause__
        assert "market.calender (line 2): unknown key; did you mean 'calendar'" in str(error)


def dg_cli(project: Path, *words: str) -> str:
    path = os.pathsep.join([str(ROOT), str(project / "src")])
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *words],
        cwd=project, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": path, "DAGSTER_HOME": "", "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.thorough  # the tests above scaffold and load by Dagster's calls
@pytest.mark.skipif(
    not Path(sys.executable).with_name("dg").is_file(), reason="the extra `ui` is not installed"
)
def test_dg_scaffolds_a_market_that_loads(tmp_path):
    """`dg` itself, in a project that knows the package by its registry."""
    package = tmp_path / "src" / "mine"
    (package / "defs").mkdir(parents=True)
    for name, text in (
        ("../../pyproject.toml", PROJECT), ("__init__.py", ""), ("definitions.py", DEFINITIONS),
        ("defs/__init__.py", ""),
    ):  # fmt: skip
        (package / name).write_text(text)
    dg_cli(tmp_path, "scaffold", "defs", "pipelines.MarketComponent", "my-market")
    folder = package / "defs" / "my-market"
    assert yaml.safe_load((folder / "defs.yaml").read_text()) == {
        "type": "pipelines.MarketComponent", "attributes": {"config": "my-market.yaml"}
    }  # fmt: skip
    assert yaml.safe_load((folder / "my-market.yaml").read_text())["name"] == "my_market"
    assert "All definitions loaded successfully" in dg_cli(tmp_path, "check", "defs")
