"""The identity of this host, so that a process can tell its neighbours from processes elsewhere.

A process number means something only among processes that see each other. Two hosts may have one
name, as machines made from one image have, and two containers of a machine have processes 1 each.
So the identity covers the host's name, the boot of its kernel and the namespace of process numbers,
which every container has of its own. A machine that boots again is another host, and so is a
container that starts again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def host_id() -> str:
    """Eight hexadecimal digits; where the system tells no boot, as on macOS, of the name alone."""
    parts = [socket.gethostname(), *filter(None, [boot_id()])]
    with contextlib.suppress(OSError):
        parts.append(str(_NAMESPACE.readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def boot_id() -> str:
    """The boot of the kernel, another one after a loss of power; empty where it is not told."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def is_running(pid: int) -> bool:
    """True if a process of this host lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
