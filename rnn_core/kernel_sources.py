"""A hash of the modules that a compiled kernel calls, for numba's cache.

numba keeps compiled code by the file that the kernel stands in. A kernel that closes over this hash
is compiled anew when a file of its callees changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def sources_digest(modules: Iterable[ModuleType]) -> str:
    """SHA-256 over the source files of some modules.

    Args:
        modules: those whose kernels and constants are compiled in, in a fixed order.

    Returns:
        64 hexadecimal digits.
    """
    files = [Path(str(module.__file__)) for module in modules]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
