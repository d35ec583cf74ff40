"""The long form: `python -m tests.fuzz --minutes 10`, `--examples 1000000`, or targets by name.

Every target has a process of its own, so that one which ends it is a finding like another. Inputs
are those of hypothesis; where atheris is installed (`pip install atheris`, Python 3.11 to 3.13 on
Linux) and `--atheris` is given, it guides them by what code they reach.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.harness import ROOT, Target, fuzz, tested

MODULES = ("tests.fuzz.texts", "tests.fuzz.files")
_DAY = 86_400.0
_BUSY = 20
_GRACE_SECONDS = 300
"""A process hangs that takes so many times its time, which is the processor's, and this besides:
imports, and shrinking a finding."""


def targets(*names: str) -> dict[str, Target]:
    """All targets of some modules by name; this imports what they read with."""
    modules = [importlib.import_module(name) for name in names]
    return {target.name: target for module in modules for target in module.TARGETS}


def in_child(
    names: Sequence[str], seconds: float, *, seed: int = 0, options: Sequence[str] = ()
) -> tuple[int, str]:
    """Read random inputs of some targets in another process.

    Args:
        names: the targets.
        seconds: for each.
        seed: of the first inputs.
        options: of the command line, for the child.

    Returns:
        The exit status, and the output; where a library ended the process, with the input that did.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "input.txt"
        command = [sys.executable, "-m", "tests.fuzz", "--child", folder, *options]
        command += ["--seconds", str(seconds), "--seed", str(seed), "--", *names]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            out, _ = process.communicate(timeout=_BUSY * len(names) * seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out = f"{process.communicate()[0]}\nthe process hung"
        given = note.read_text(encoding="utf-8") if note.is_file() else ""
        if process.returncode:
            out += f"\nexit status {process.returncode}; the last input was\n{given}"
        elif "--atheris" in options:
            out = given.partition("\n")[0]
        return process.returncode, out


def _run(args: argparse.Namespace) -> int:
    """Read inputs in this process."""
    instrumented: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if args.atheris:
        import atheris

        # Of the standard library, numpy and so on nothing is learnt, and numba wants its own code.
        instrumented = atheris.instrument_imports(
            include=["rnn_core", "pipelines"],
            exclude=["rnn_core.features.strict", "rnn_core.features.qlib", "rnn_core.models"],
        )
    with instrumented:
        known = targets(*args.modules)
    for name in args.targets:
        target, folder = known[name], Path(args.child)
        place, note = folder / name.replace(" ", "_"), folder / "input.txt"
        place.mkdir()
        began = time.process_time()
        if args.atheris:
            _guided(target, place, note, args)  # ends the process
        try:
            count = fuzz(target, place, args.seconds, args.seed, note, args.examples)
        except BaseException:  # whatever it was, it is a finding
            traceback.print_exc()
            print(f"{name}: a finding", flush=True)
            return 1
        print(f"{name}: {count:,} inputs, {time.process_time() - began:.0f} CPU s", flush=True)
    return 0


def _guided(target: Target, place: Path, note: Path, args: argparse.Namespace) -> None:
    """Let atheris choose the inputs; it ends the process."""
    import atheris

    target.check(target.good, place)
    holds, _ = tested(target, place, note)
    words = [f"-seed={args.seed + 1}", "-verbosity=0", f"-artifact_prefix={place.parent}/"]
    words += [f"-max_total_time={int(args.seconds)}", "-max_len=8192"]
    words += [f"-runs={args.examples}"] if args.examples else []
    atheris.Setup([sys.argv[0], *words], holds.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]
    atheris.Fuzz()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="names (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="in all (default: 10)")
    parser.add_argument("--examples", type=int, help="a target, instead of a time")
    parser.add_argument("--atheris", action="store_true", help="inputs guided by coverage")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="(default: the time)")
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--modules", nargs="*", default=MODULES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return _run(args)
    names = args.targets or list(targets(*args.modules))
    seconds = _DAY if args.examples else args.minutes * 60 / len(names)
    options = ["--atheris"] * args.atheris
    options += ["--examples", str(args.examples)] if args.examples else []
    print(f"{len(names)} targets, seed {args.seed}", flush=True)
    status = 0
    for name in names:
        code, out = in_child([name], seconds, seed=args.seed, options=options)
        print(out.rstrip(), flush=True)
        status = status or code
    return status


if __name__ == "__main__":
    raise SystemExit(main())
