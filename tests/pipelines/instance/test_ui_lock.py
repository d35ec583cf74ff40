"""One UI a data folder. Oracle: another process that holds the claim, and a socket that listens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import PipelineError
from pipelines.instance.ui_lock import HOST, claim_ui, is_loopback, require_port
from tests.conftest import ROOT

CLAIM_AND_START = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from pipelines.instance.ui_lock import claim_ui
    from pipelines.instance.ui_process import supervise
    with claim_ui(Path(sys.argv[1]), 3123) as claim:
        supervise(["/bin/sh", "-c", "echo $$; exec sleep 60"], claim)
    """
)


def test_a_port_that_is_taken_or_none_is_refused():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(PipelineError, match="is taken by another program; choose another"):
            require_port(taken)
    require_port(taken)
    for port in (0, 99999):
        with pytest.raises(PipelineError, match=f"--port {port}: expected 1 to 65535"):
            require_port(port)


def test_an_address_of_another_machine_is_refused():
    """192.0.2.0/24 is kept for documentation: no machine has it."""
    with pytest.raises(PipelineError, match=r"--host 192\.0\.2\.1: .*; expected an address of"):
        require_port(3000, "192.0.2.1")
    with pytest.raises(PipelineError, match=r"--host no host: .*; expected an address of"):
        require_port(3000, "no host")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104
)
def test_only_a_loopback_address_is_out_of_reach_of_others(host, expected):
    assert is_loopback(host) == expected


def test_a_second_ui_of_a_data_folder_is_refused_as_long_as_the_first_lives(market):
    """The first is a command and the program that it has started; each of them holds the claim."""
    first = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_START, str(market.paths.dagster)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    program = int(first.stdout.readline())
    said = f"a UI of {market.paths.root.parent} runs already: process {first.pid}, http://127.0.0.1:3123"

    def is_refused() -> None:
        with pytest.raises(PipelineError, match=said), claim_ui(market.paths.dagster, 3000):
            pytest.fail("two UIs of one folder")

    try:
        is_refused()
        first.kill()
        first.wait()
        is_refused()
    finally:
        first.kill()
        os.kill(program, signal.SIGKILL)
    first.stdout.read()  # to the end, which comes once nobody holds the pipe
    with claim_ui(market.paths.dagster, 3000):
        assert (market.paths.dagster / ".ui.lock").read_text() == (
            f'{{"pid": {os.getpid()}, "port": 3000, "host": "127.0.0.1"}}'
        )


def test_a_command_that_keeps_uis_away_is_no_ui(market):
    """It has no port, and nothing at an address."""
    claim = claim_ui(market.paths.dagster)
    with ThreadPoolExecutor(1) as other:  # a thread does not wait for itself
        other.submit(claim.__enter__).result()
        said = rf"^process {os.getpid()} works on .*keeps UIs away meanwhile: wait for its end$"
        with pytest.raises(PipelineError, match=said), claim_ui(market.paths.dagster, 3000):
            pytest.fail("a UI beside a command that moves the record")
        other.submit(claim.__exit__, None, None, None).result()
