"""The wheel holds every file that the packages need, and works where the repository is not.

Oracle: the files that git tracks below the two packages; and a market that is made, in an empty
folder, by a process that imports the unpacked wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from rnn_core import __version__
from tests.pipelines.conftest import TINY, merged

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
SMALL = merged(TINY, {"models": {name: {"n_epochs": 1} for name in TINY["models"]}})


def tracked(*folders: str) -> list[str]:
    """The files of some folders that are under version control."""
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no repository to ask for its files")
    return listed.stdout.splitlines()


def build(what: str, source: Path, out: Path) -> Path:
    """Build a `wheel` or an `sdist` of a folder, by the installed setuptools, without network."""
    out.mkdir(exist_ok=True)
    code = f"import sys, setuptools.build_meta as b; b.build_{what}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source distribution of the tracked files."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools.__version__} is too old to build the project")
    folder = tmp_path_factory.mktemp("package")
    for name in tracked():
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    with tarfile.open(build("sdist", folder / "source", folder / "sdist")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    assert (unpacked / "constraints.txt").is_file() and not (unpacked / "tests").exists()
    for name in tracked("docs", "examples", "notebooks"):  # the README links to them
        assert (unpacked / name).is_file(), name
    return build("wheel", unpacked, folder / "wheel")


@pytest.mark.thorough
def test_the_wheel_holds_what_is_tracked(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert sorted(names) == sorted(tracked("rnn_core", "pipelines"))


@pytest.mark.thorough
def test_the_command_of_the_wheel_makes_a_market_in_an_empty_folder(
    wheel: Path, tmp_path: Path
) -> None:
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "tiny.yaml").write_text(yaml.safe_dump(SMALL))
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("RNN_", "DAGSTER_"))}
    environment |= {"PYTHONPATH": str(tmp_path / "installed"), "RNN_TRAINING_EXECUTOR": "inline"}

    def command(*words: str) -> str:
        code = (
            "import sys, pipelines; print(pipelines.__file__); "
            "from pipelines.cli.main import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=empty, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        assert done.stdout.startswith(str(tmp_path / "installed"))
        return done.stdout

    assert __version__ in command("--version")
    command("demo", "--config", "tiny.yaml")
    assert (empty / "data" / "reports" / "tiny.html").stat().st_size > 100_000
    command("status", "--config", "tiny.yaml")
    command("validate", "sample")  # a shipped YAML, and the bars of the sample


def test_the_version_is_said_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changes, re.M)[0]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert newest == cited == __version__


def test_extras_and_pythons_are_those_that_are_tested() -> None:
    extras = PROJECT["optional-dependencies"]
    users = set(extras) - {"all", "dev", "docs", "browser"}
    brought, todo = set(), ["all"]
    while todo:
        for text in extras[todo.pop()]:
            for name in re.findall(r"rnn-signal-factory\[([\w,]+)\]", text):
                todo += [one for one in name.split(",") if one not in brought]
                brought |= set(name.split(","))
    assert brought == users
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert tests["jobs"]["tests"]["strategy"]["matrix"]["python"] == pythons


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    runs = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    for words in re.findall(r"make (\w+)(?: EXTRAS=([\w,]+))?", "\n".join(runs)):
        assert re.search(rf"^{words[0]}:", makefile, re.M), words
        assert set(filter(None, words[1].split(","))) <= set(PROJECT["optional-dependencies"])
    assert any(runs)
