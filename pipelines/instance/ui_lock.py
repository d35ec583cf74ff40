"""One UI a market, on a port of its own: what is settled before the webserver and daemon start.

A webserver that finds its port taken ends by itself and leaves the daemon running unseen; a second
daemon over the same market runs the same schedule. The claim is `flock` on a file in the market's
folder, held by the process that becomes `dg dev`: it lasts as long as that, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from pipelines.errors import PipelineError, WarehouseError
from pipelines.market.market import Market

_LAST_PORT = 65535
HOST = "127.0.0.1"


def require_port(port: int) -> None:
    """Confirm that the webserver can listen on a port.

    Raises:
        PipelineError: it is no port, or taken.
    """
    if not 1 <= port <= _LAST_PORT:
        raise PipelineError(f"--port {port}: expected 1 to {_LAST_PORT}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the webserver binds
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else str(error)
            raise PipelineError(f"port {port} {why}; choose another, --port") from error


def claim_ui(market: Market, port: int) -> int:
    """Become the only UI of a market until this process ends; a program put in its place holds on.

    Args:
        market: the market.
        port: told to those who come later.

    Returns:
        The descriptor that holds the claim.

    Raises:
        PipelineError: a UI of the market runs already, naming its process and port.
        WarehouseError: the market's folder cannot be written.
    """
    path = market.paths.root / ".ui.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WarehouseError(f"cannot make {path}: {error}; check that it is writable") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        who = _said(path)
        os.close(file)
        raise PipelineError(
            f"a UI of {market.config.name} runs already{who}; a second one would run its schedule "
            f"twice"
        ) from error
    os.truncate(file, 0)
    os.pwrite(file, f"{os.getpid()} {port}".encode(), 0)
    os.set_inheritable(file, True)
    return file


def _said(path: Path) -> str:
    """Which process holds the claim, and where it listens; empty where the file does not say."""
    pid, _, port = path.read_text().partition(" ")
    return f": process {pid}, http://{HOST}:{port}" if pid and port else ""
