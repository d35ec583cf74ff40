"""The child of `tests.pipelines.processes.Forked`: what its server imports, and how a fork begins.

Nothing here may start a thread at import, since a fork has only the thread that forked.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import pytest  # noqa: F401 - else each fork imports the main module of the tests anew

import pipelines.build
import pipelines.instance.record_lock
import pipelines.instance.ui_lock  # noqa: F401
from tests.pipelines import conftest  # noqa: F401


def run_script(
    script: str, arguments: Sequence[str], environment: dict[str, str], folder: str, said: str
) -> None:
    """Run a script in this process, which was forked for it.

    Args:
        script: its text.
        arguments: its `sys.argv`, from the second on.
        environment: its environment.
        folder: where it works.
        said: a file that receives what it writes to its standard output and error.
    """
    receiver = os.open(said, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(receiver, standard)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("ignore")
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102
