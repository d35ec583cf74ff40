"""One UI a data folder, on a port of its own: checks before the webserver and the daemon start.

A webserver that finds its port taken ends by itself and leaves the daemon running unseen; a second
daemon over the same home runs the same schedules.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pipelines.errors import PipelineError
from pipelines.instance.file_lock import file_lock

_LAST_PORT = 65535
HOST = "127.0.0.1"


def require_port(port: int, host: str = HOST) -> None:
    """Confirm that the webserver can listen on a port of an address.

    Raises:
        PipelineError: the number is no port, the port is taken, or the address is none of this
            machine.
    """
    if not 1 <= port <= _LAST_PORT:
        raise PipelineError(f"--port {port}: expected 1 to {_LAST_PORT}")
    family, address = _address(host, port)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the webserver binds
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(host, error) from error
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else str(error)
            raise PipelineError(f"port {port} {why}; choose another, --port") from error


def is_loopback(host: str) -> bool:
    """True if only programs of this machine reach a server that listens on an address.

    Raises:
        PipelineError: it is no address.
    """
    _, address = _address(host, 0)
    return ip_address(address[0]).is_loopback


def _address(host: str, port: int) -> tuple[int, Any]:
    """Family and address of a socket."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise _no_address(host, error) from error
    return found[0], found[4]


def _no_address(host: str, error: OSError) -> PipelineError:
    return PipelineError(
        f"--host {host}: {error.strerror}; expected an address of this machine, {HOST} for "
        f"programs of this machine alone or 0.0.0.0 for all of its addresses"
    )


@contextmanager
def claim_ui(
    folder: Path,
    port: int | None = None,
    *,
    host: str = HOST,
    why_not: str = "a second one would run its schedules twice",
) -> Iterator[int]:
    """Be the only UI of a folder inside the block.

    Args:
        folder: the DAGSTER_HOME that the UI opens; of a market's own home the market's folder.
        port: told to those who come later; None of a command that keeps a UI away.
        host: the address of the webserver, told to them as well.
        why_not: the end of the message where a UI runs.

    Yields:
        The descriptor that holds the claim; a program to which it is passed holds it, too.

    Raises:
        PipelineError: a UI of the folder runs already, naming its process and port.
        WarehouseError: the folder cannot be written.
    """

    def refuse(holder: dict[str, Any]) -> None:
        who = f"process {holder['pid']}" if "pid" in holder else "another process"
        if holder.get("port", ...) is None:
            raise PipelineError(
                f"{who} works on {folder.parent} and keeps UIs away meanwhile: wait for its end"
            )
        where = f", http://{holder.get('host', HOST)}:{holder['port']}" if "pid" in holder else ""
        raise PipelineError(f"a UI of {folder.parent} runs already: {who}{where}; {why_not}")

    holder = {"pid": os.getpid(), "port": port, "host": host}
    with suppress(OSError):  # the lock says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".ui.lock", holder, refuse) as descriptor:
        yield descriptor
