"""Programs that the section `alerts` names: each is told of an event by its environment.

A program is run without a shell. One that fails or takes too long is reported to the caller, which
logs it, and otherwise ignored: an alert never fails a run.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

TEXT_LIMIT = 8_000  # characters of a variable: the kernel limits an environment
_OUTPUT_SHOWN = 500


def run_program(
    key: str, command: Sequence[str], variables: Mapping[str, str], timeout: float
) -> str | None:
    """Tell a program of an event.

    Args:
        key: the key of the YAML that names it, for the messages.
        command: the program and its arguments.
        variables: its environment beside that of this process; a NUL is left out and a very long
            text cut, since the kernel would refuse them.
        timeout: seconds after which it is stopped, with everything that it started.

    Returns:
        The trouble with the program, in words; None if it ended well.
    """
    name = shlex.join(command)
    told = {k: v.replace("\0", "")[:TEXT_LIMIT] for k, v in variables.items()}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the configuration's own program, no shell
                list(command),
                env={**os.environ, **told},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{key} `{name}` could not be started: {error}"
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            # The program has a session of its own, so that its children are stopped with it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"{key} `{name}` was stopped after {timeout:g} s"
        if status == 0:
            return None
        output.seek(0)
        text = output.read().decode(errors="replace").strip()[-_OUTPUT_SHOWN:]
    return f"{key} `{name}` ended with status {status}: {text or 'it said nothing'}"
