"""The UI's process group. Oracle: the kernel, for real processes as stubborn as Dagster's."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipelines.instance.ui_process import supervise
from tests.conftest import ROOT
from tests.pipelines.processes import start_python, wait_until

# As `dg dev`: ends its two servers on Ctrl-C, and leaves them alone on every other signal.
PROGRAM = textwrap.dedent(
    """
    import pathlib, signal, subprocess, sys, time
    server = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    servers = [subprocess.Popen([sys.executable, "-c", server]) for _ in range(2)]
    pathlib.Path(sys.argv[1]).write_text(" ".join(str(one.pid) for one in servers))
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        if "stubborn" in sys.argv:
            time.sleep(600)
        for one in servers:
            one.terminate()
            one.wait()
        sys.exit(7)
    """
)
COMMAND = textwrap.dedent(
    """
    import signal, sys
    from pipelines.instance import ui_process
    for number in (signal.SIGHUP, signal.SIGINT):  # whatever these tests were started under
        signal.signal(number, signal.SIG_DFL)
    for name in sys.argv[3:]:
        if name.startswith("SIG"):
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    ui_process.PATIENCE_SECONDS = 3.0 if "briefly" in sys.argv else 60.0
    sys.exit(ui_process.supervise([sys.executable, "-c", sys.argv[1], *sys.argv[2:]]))
    """
)


def is_there(pid: int) -> bool:
    """True if a process runs; a process that has ended and waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.fixture
def ui(tmp_path):
    """Starts a command over a program with two servers; gives the command and the servers."""
    started: list[subprocess.Popen[bytes]] = []
    servers: list[int] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        names = tmp_path / f"servers{len(started)}"
        process = start_python(COMMAND, PROGRAM, names, *arguments)
        started.append(process)
        wait_until(process, "two servers", lambda: names.is_file() and len(names.read_text()) > 3)
        servers.extend(map(int, names.read_text().split()))
        assert all(map(is_there, servers))
        return process, servers

    yield start
    for one in started:
        one.kill()
        one.wait()
    for pid in filter(is_there, servers):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_program_and_its_servers(ui, number):
    process, servers = ui()
    process.send_signal(number)
    assert process.wait(60) == 7  # the program's own status: it was asked and not killed
    assert not any(map(is_there, servers))


def test_what_does_not_end_when_asked_is_killed(ui):
    process, servers = ui("stubborn", "briefly")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGKILL
    assert not any(map(is_there, servers))


def test_a_second_signal_kills_at_once(ui):
    process, servers = ui("stubborn")
    began = time.monotonic()
    process.terminate()
    time.sleep(0.5)
    process.terminate()
    assert process.wait(50) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 50  # of 60 s of patience
    assert not any(map(is_there, servers))


def test_servers_do_not_outlive_a_program_that_was_killed(ui):
    process, servers = ui("briefly")
    (program,) = map(
        int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    )
    os.kill(program, signal.SIGKILL)
    assert process.wait(60) == 128 + signal.SIGKILL
    assert not any(map(is_there, servers))


@pytest.mark.parametrize(
    ("ignored", "ends", "also"),
    [
        ("SIGHUP", "SIGTERM", ()),
        ("SIGINT", "SIGTERM", ()),
        ("SIGINT", "SIGTERM", ("SIGTERM",)),  # as Dagster's handlers leave it then
    ],
)
def test_a_signal_that_was_ignored_stays_so_and_the_program_still_ends(ui, ignored, ends, also):
    """As `nohup` and a shell without job control start programs."""
    process, servers = ui(ignored, *also)
    process.send_signal(signal.Signals[ignored])
    time.sleep(1)
    assert process.poll() is None
    assert all(map(is_there, servers))
    process.send_signal(signal.Signals[ends])
    assert process.wait(60) == 7
    assert not any(map(is_there, servers))


def test_the_status_of_a_program_that_ends_by_itself():
    script = "from pipelines.instance.ui_process import supervise; import sys; sys.exit("
    script += "supervise([sys.executable, '-c', 'import sys; sys.exit(5)']))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 5


def test_what_the_program_prints_is_relayed():
    output = io.StringIO()
    assert supervise(["/bin/sh", "-c", "echo one; echo two; exit 3"], output=output) == 3
    assert output.getvalue() == "one\ntwo\n"
