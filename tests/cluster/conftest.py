"""Several hosts on one machine: processes with host names and data roots of their own.

Every test here has the marker `cluster`. `make cluster-test` runs them; plain `make test` leaves
them out, since they start servers and wait for leases to run out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.short_market import configuration, short  # noqa: F401 - a fixture
from tests.pipelines.conftest import _databases_made_once, _pictures  # noqa: F401
from tests.pipelines.processes import Forked
from tests.pipelines.records import postgres_storage

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
        self._processes: list[Forked] = []

    def add(self, name: str) -> Path:
        """Make the data root of a host; a link leads to the state."""
        home = self.folder / name / "dagster"
        home.mkdir(parents=True)
        storage = {"storage": postgres_storage(self.folder)}
        (home / "dagster.yaml").write_text(yaml.safe_dump(storage))
        (self.folder / name / "tiny").symlink_to(self.state, target_is_directory=True)
        return self.folder / name

    def start(self, name: str, script: str, *arguments: str | Path) -> Forked:
        """Start a Python script on a host."""
        environment = {
            "RNN_DATA_DIR": str(self.folder / name),
            "RNN_CONFIG": str(self.yaml),
            "DAGSTER_HOME": "",
        }
        process = Forked(
            AS_HOST + script, name, *arguments, environment=environment, folder=self.folder
        )
        self._processes.append(process)
        return process

    def command(self, name: str, *words: str) -> Forked:
        """Start a command of the product on a host."""
        script = "from pipelines.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
        return self.start(name, script, *words)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Hosts that share a record and a state; none yet."""
    made = Hosts(tmp_path)
    yield made
    made.end()


def ended(process: Forked) -> str:
    """The output of a process that ends well."""
    assert process.wait() == 0, process.said()
    return process.said()
