"""Several hosts on one machine: processes with host names and data roots of their own.

Every test here has the marker `cluster`. `make cluster-test` runs them; plain `make test` leaves
them out, since they start servers and wait for leases to run out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.short_market import configuration, short  # noqa: F401 - a fixture
from tests.pipelines.conftest import _migrations_read_once, _pictures  # noqa: F401
from tests.pipelines.records import postgres_storage

ROOT = Path(__file__).parents[2]
AS_HOST = """
import socket, sys
name = sys.argv.pop(1)
socket.gethostname = lambda: name
"""
"""The head of a script that runs on a host of a name, which its identity depends on."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


class Hosts:
    """Data roots of hosts that share one record in Postgres and the state of the short market.

    Args:
        folder: holds `NAME/`, the data root of each host, and `state/`, as a shared disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state" / "tiny"
        self.yaml = folder / "tiny.yaml"
        self.yaml.write_text(yaml.safe_dump(configuration()))
        self._processes: list[subprocess.Popen[str]] = []

    def add(self, name: str) -> Path:
        """Make the data root of a host; a link leads to the state."""
        home = self.folder / name / "dagster"
        home.mkdir(parents=True)
        storage = {"storage": postgres_storage(self.folder)}
        (home / "dagster.yaml").write_text(yaml.safe_dump(storage))
        (self.folder / name / "tiny").symlink_to(self.state, target_is_directory=True)
        return self.folder / name

    def start(self, name: str, script: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a Python script on a host."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RNN_DATA_DIR": str(self.folder / name),
            "RNN_CONFIG": str(self.yaml),
            "DAGSTER_HOME": "",
        }
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", AS_HOST + script, name, *map(str, arguments)],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def command(self, name: str, *words: str) -> subprocess.Popen[str]:
        """Start a command of the product on a host."""
        script = "from pipelines.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
        return self.start(name, script, *words)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Hosts that share a record and a state; none yet."""
    made = Hosts(tmp_path)
    yield made
    made.end()


def ended(process: subprocess.Popen[str]) -> str:
    """The output of a process that ends well."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output
