"""The image of `deploy/Dockerfile`, built without a registry or a daemon. Oracle: buildah.

The base is a minimal Debian, which stays in the machine's storage of images for the next run. The
packages come by the settings of this machine's pip, which are kept out of the image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.pipelines.processes import ROOT

BASE, IMAGE = "localhost/rnn-base:bookworm", "localhost/rnn-pipelines:test"
PACKAGES = "python3,python3-venv,ca-certificates"


@cache
def environment() -> dict[str, str]:
    """The variables of buildah: no daemon, and a storage that this machine's disk can have."""
    own = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    has_overlay = subprocess.run(["buildah", "info"], env=own, capture_output=True).returncode == 0
    return own if has_overlay else own | {"STORAGE_DRIVER": "vfs"}


def buildah(*words: str | Path) -> str:
    """Run buildah, and return what it wrote."""
    done = subprocess.run(
        ["buildah", *map(str, words)], env=environment(), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian with Python, made once a machine."""
    for program in ("buildah", "mmdebstrap"):
        if shutil.which(program) is None or os.geteuid() != 0:
            pytest.skip(f"no {program} here, or not root: apt-get install buildah mmdebstrap")
    if BASE not in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        archive = tmp_path_factory.mktemp("base") / "base.tar"
        made = subprocess.run(
            ["mmdebstrap", "--variant=apt", f"--include={PACKAGES}", "bookworm", archive],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            pytest.skip(f"no mirror of Debian: {made.stderr[-300:]}")
        container = buildah("from", "scratch").strip()
        buildah("add", "-q", container, archive, "/")
        buildah("commit", "-q", container, BASE)
        buildah("rm", container)
        archive.unlink()
    return BASE


def pip_settings(folder: Path) -> list[str]:
    """The options that lend the build this machine's settings of pip, and spare it bytecode."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines, volumes = ["[global]"], ["/etc/ssl/certs"]
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        key, value = name.rpartition(".")[2], value.strip("'")
        if key in ("cert", "find-links", "index-url", "extra-index-url"):
            lines.append(f"{key} = {value}")
            places = [Path(word.removeprefix("file://")) for word in value.split()]
            if "index" in key:  # its pages may name files that lie beside them
                places = [p.parent if p.parent != Path("/") else p for p in places]
            volumes += [str(place) for place in places if place.is_dir()]
    lines += ["[install]", "no-compile = false"]  # false asks for it, as pip documents
    (folder / "pip.conf").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    mounts = [f"{place}:{place}:ro" for place in dict.fromkeys(volumes)]
    return [f"--volume={mount}" for mount in (*mounts, f"{folder}/pip.conf:/etc/pip.conf:ro")]


@pytest.fixture(scope="module")
def container(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image."""
    arguments = [f"--build-arg={text}" for text in (f"BASE={base}", "EXTRAS=pipelines,postgres")]
    lent = pip_settings(tmp_path_factory.mktemp("pip"))
    buildah("bud", "--layers=false", *arguments, *lent, "-f", "deploy/Dockerfile", "-t", IMAGE, ".")
    name = buildah("from", IMAGE).strip()
    yield name
    buildah("rm", name)
    buildah("rmi", IMAGE)


def test_the_entry_point_answers(container):
    entry = buildah("inspect", "--format", "{{.OCIv1.Config.Entrypoint}}", container).strip("[]\n")
    assert entry == "rnn-pipelines"
    assert "the daily signal factory" in buildah("run", container, "--", entry, "--help")


def test_it_is_an_ordinary_user_who_owns_the_data(container):
    script = "test $(id -u) = 10001 && touch /data/x /data/dagster/x && ! touch /etc/x 2>/dev/null"
    buildah("run", container, "--", "sh", "-ec", script)


def test_the_kernels_are_compiled(container):
    """A process that needs them compiles none."""
    script = (
        "find $NUMBA_CACHE_DIR -name '*.nbc' | wc -l; python -m rnn_core.warm >/dev/null; "
        "find $NUMBA_CACHE_DIR -name '*.nbc' | wc -l"
    )
    before, after = buildah("run", container, "--", "sh", "-ec", script).split()
    assert int(before) == int(after) > 0
