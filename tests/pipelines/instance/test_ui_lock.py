"""One UI a market. Oracle: another process that holds the claim, and a socket that listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from pipelines.errors import PipelineError
from pipelines.instance.ui_lock import HOST, claim_ui, require_port
from tests.conftest import ROOT

CLAIM_AND_EXEC = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from pipelines.instance.ui_lock import claim_ui
    from tests.pipelines.conftest import make_market
    claim_ui(make_market(Path(sys.argv[1])), 3123)
    os.execv("/bin/sh", ["sh", "-c", "echo held; exec sleep 60"])
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


def test_a_second_ui_of_a_market_is_refused_as_long_as_the_first_lives(market):
    """The first has become another program, as `dg dev`."""
    first = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_EXEC, str(market.paths.root)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        said = f"a UI of tiny runs already: process {first.pid}, http://127.0.0.1:3123"
        with pytest.raises(PipelineError, match=said):
            claim_ui(market, 3000)
    finally:
        first.kill()
        first.wait()
    os.close(claim_ui(market, 3000))
