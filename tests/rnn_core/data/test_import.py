"""Import of rnn_core.data. Oracle: sys.modules of a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys


def test_the_package_is_imported_without_torch():
    """A process that only reads frames must not pay for torch, whichever name it uses."""
    code = (
        "import sys; from rnn_core.data import *; TSDataSampler; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
