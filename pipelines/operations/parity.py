"""Comparison of a `qrun` folder with pyqlib: its own code on the weights that were trained here.

A child process of a Python that has pyqlib (`pyqlib_side.py`) builds pyqlib's dataset and network
from the workflow, loads the run's weights, scores the segment "test", and runs pyqlib's IC and
backtest, once of its own scores and once of the run's. The two sides share plain files and no code;
`certificate.py` compares the files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.errors import PipelineError
from pipelines.operations.certificate import (
    KEYS,
    REPORT,
    Certificate,
    Measure,
    as_json,
    markdown,
    measured,
)
from rnn_core import __version__
from rnn_core.atomic import atomic_write
from rnn_core.data.qlib_bins import QlibProvider
from rnn_core.workflow.spec import WorkflowSpec
from rnn_core.workflow.yaml_document import Document

if TYPE_CHECKING:
    from rnn_core.estimators.estimator_files import Fit

MODELS = {"LSTM": "pytorch_lstm", "GRU": "pytorch_gru", "KRNN": "pytorch_krnn"}
"""The modules of `qlib.contrib.model` by model; those of LSTM and GRU on windows end in `_ts`."""

_SIDE = "pyqlib_side.py"
_LAST_LINES = 12  # of the child's errors that a message shows


class ParityError(PipelineError):
    """No comparison with pyqlib was possible."""


def probe(python: str, spec: WorkflowSpec) -> dict[str, str]:
    """Ask an interpreter for its versions, before anything else is done.

    Args:
        python: the path of an interpreter, or its name on the path.
        spec: the workflow, whose model pyqlib must have.

    Returns:
        Version by package.

    Raises:
        ParityError: pyqlib has no such model, the interpreter cannot be run, or it cannot import
            pyqlib with its model.
    """
    if spec.model.name not in MODELS:
        raise ParityError(
            f"pyqlib has no model that is {spec.model.name} here, it has {', '.join(MODELS)}: run "
            f"the workflow without --verify-with"
        )
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        done = _run(python, Path(folder), ["versions", _module(spec)], lambda _: None)
    if done.returncode == 0:
        try:
            return {str(k): str(v) for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
        except (ValueError, IndexError, AttributeError):
            raise ParityError(
                f"--verify-with {python} is no Python: it answered {done.stdout.strip()!r:.80}"
            ) from None
    last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    raise ParityError(
        f"--verify-with {python} cannot import pyqlib with {_module(spec)}: {last}. Give the "
        f"Python of an environment that has both: python -m venv qlibenv && qlibenv/bin/pip "
        f"install pyqlib torch 'pandas<3', then --verify-with qlibenv/bin/python"
    )


def certify(
    spec: WorkflowSpec,
    folder: Path,
    python: str,
    versions: Mapping[str, str],
    told: Callable[[str], None],
) -> Certificate:
    """Compare a finished run with pyqlib, and write the certificate beside its bundle.

    Args:
        spec: the workflow that was run.
        folder: of the run.
        python: an interpreter that `probe` has accepted.
        versions: of `probe`.
        told: is called with each line of progress.

    Returns:
        The certificate; `certificate.json` and `certificate.md` hold it.

    Raises:
        ParityError: the folder holds a run of something else, or pyqlib failed.
        BundleError: the bundle is damaged.
    """
    from rnn_core.estimators.estimator_files import load_members

    require_run_of(spec, folder)
    fit, end = load_members(folder / "bundle"), _backtest_end(spec, folder)
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        place = Path(name)
        _write_request(spec, folder, fit, end, place)
        done = _run(python, place, ["score", str(place)], told)
        if done.returncode:
            lines = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise ParityError(
                f"pyqlib {versions.get('pyqlib', '')} could not do it (status "
                f"{done.returncode}):\n{lines}"
            )
        try:
            measures = measured(folder, end, place)
        except (OSError, KeyError, ValueError) as error:
            raise ParityError(f"{python} gave no answer that can be read: {error}") from error
    scored = pd.read_parquet(folder / "predictions.parquet")
    here = {name: version(name) for name in ("torch", "pandas", "numpy")}
    certificate = Certificate(
        workflow=spec.document.path.name,
        model=f"{spec.model.name} on {spec.dataset.handler}, {spec.dataset.dataset}",
        semantics=spec.semantics,
        rows=measures[0].compared,
        sessions=scored["datetime"].nunique(),
        measures=measures,
        notes=_notes(spec, folder, fit, end, measures),
        versions={"here": {"rnn-signal-factory": __version__, **here}, "pyqlib": dict(versions)},
        fingerprints=_fingerprints(folder / "bundle"),
    )
    atomic_write(folder / "certificate.json", as_json(certificate))
    atomic_write(folder / "certificate.md", markdown(certificate).encode())
    return certificate


def require_run_of(spec: WorkflowSpec, folder: Path) -> None:
    """Confirm that a folder holds a finished run of a workflow.

    Args:
        spec: the workflow.
        folder: the folder.

    Raises:
        ParityError: there is no run, or one of another file or other options.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ParityError(f"{folder} holds no finished run of qrun: {error}") from error
    expected = {
        "overrides (--set)": (record.get("overrides"), list(spec.document.overrides)),
        "semantics": (record.get("semantics"), spec.semantics),
        "provider": (record.get("provider"), asdict(spec.provider)),
        "workflow file": (text, spec.document.text),
    }
    for name, (found, given) in expected.items():
        if found != given:
            shown = "" if name == "workflow file" else f": it has {found}, given are {given}"
            raise ParityError(
                f"{folder} holds the run of another {name}{shown}. Give the options that it was "
                f"run with and {folder / 'config.yaml'}, or another --out to run this one"
            )


def _module(spec: WorkflowSpec) -> str:
    windows = spec.dataset.dataset == "TSDatasetH" and spec.model.name != "KRNN"
    return f"qlib.contrib.model.{MODELS[spec.model.name]}{'_ts' if windows else ''}"


def _run(
    python: str, folder: Path, words: list[str], told: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    """Run a copy of pyqlib's side, alone in a folder, since Python imports from a script's own."""
    shutil.copyfile(Path(__file__).with_name(_SIDE), folder / _SIDE)
    found = shutil.which(os.path.expanduser(python))  # noqa: PTH111 - a name on the path, too
    if found is None:
        raise ParityError(
            f"--verify-with {python} is no program that can be run: give the path of the Python "
            f"of an environment with pyqlib, such as qlibenv/bin/python"
        )
    # The venv of an interpreter is found by its own path, so links stay as they are.
    command = [os.path.abspath(found), str(folder / _SIDE), *words]  # noqa: PTH100
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # pyqlib sells in the order of a set
    out: list[str] = []
    with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as errors:
        try:
            child = subprocess.Popen(  # noqa: S603 - the interpreter that the caller names
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        except OSError as error:
            raise ParityError(f"--verify-with {python} cannot be run: {error}") from error
        with child:
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            try:
                for line in child.stdout:
                    out.append(line)
                    if line.startswith("pyqlib: "):
                        told(line.rstrip())
            except BaseException:
                child.kill()
                raise
        errors.seek(0)
        return subprocess.CompletedProcess(command, child.returncode, "".join(out), errors.read())


def _backtest_end(spec: WorkflowSpec, folder: Path) -> pd.Timestamp | None:
    """Return the last session that pyqlib's backtest can trade, if the run's book goes beyond it.

    Rule matched: qlib backtest/utils.py `TradeCalendarManager.get_step_time`, an IndexError on the
    last session of the calendar.
    """
    calendar = QlibProvider(spec.provider.uri).calendar
    report = folder / REPORT
    if not report.is_file() or len(calendar) < 2:
        return None
    book = pd.read_parquet(report, columns=["datetime"])["datetime"]
    return calendar[-2] if book.max() >= calendar[-1] else None


def _write_request(
    spec: WorkflowSpec, folder: Path, fit: Fit, end: pd.Timestamp | None, place: Path
) -> None:
    """Write all that pyqlib's side reads."""
    task = _plain(spec.document)["task"]
    dataset = _named(task["dataset"], "qlib.data.dataset")
    handler = dataset["kwargs"]["handler"] = _named(
        dataset["kwargs"]["handler"], "qlib.contrib.data.handler"
    )
    handler["kwargs"] = {k: v for k, v in handler.get("kwargs", {}).items() if k != "drop_raw"}
    model = {
        "class": spec.model.name,
        "module_path": _module(spec),
        "kwargs": {**(task["model"].get("kwargs") or {}), "GPU": -1, "n_jobs": 0},
    }
    records = task.get("record") or []
    records = [records] if isinstance(records, dict) else records
    portfolios = [r.get("kwargs") or {} for r in records if r["class"] == "PortAnaRecord"]
    uri = Path(os.path.expandvars(spec.provider.uri)).expanduser().absolute()
    request = {
        "provider_uri": str(uri),
        "region": spec.provider.region,
        "dataset": dataset,
        "model": model,
        "portfolio": portfolios[0] if portfolios else None,
        "backtest_end": None if end is None else f"{end:%Y-%m-%d}",
        "networks": len(fit.members),
        "time_major": _time_major(spec, fit),
        "features": fit.members[0].network.n_features,
    }
    (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
    for number, member in enumerate(fit.members):
        weights = {name: w.numpy() for name, w in member.network.state_dict().items()}
        np.savez(place / f"weights_{number}.npz", **weights)
    ours = pd.read_parquet(folder / "predictions.parquet")
    ours[[*KEYS, "score"]].to_parquet(place / "ours.parquet")


def _plain(document: Document) -> Any:
    """The values of a file as JSON has them; dates are text."""
    return json.loads(json.dumps(dict(document.values), default=str))


def _named(config: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Give a class of the file the module that qlib needs, where the file leaves it out."""
    return {**config, "module_path": config.get("module_path") or module}


def _time_major(spec: WorkflowSpec, fit: Fit) -> bool:
    """True if pyqlib's KRNN needs its columns in another order to see the same windows."""
    return spec.model.name == "KRNN" and not (fit.tabular and fit.arguments.get("legacy_layout"))


def _notes(
    spec: WorkflowSpec,
    folder: Path,
    fit: Fit,
    end: pd.Timestamp | None,
    measures: tuple[Measure, ...],
) -> tuple[str, ...]:
    """Sentences about what a reader might miss."""
    notes = []
    scored = pd.read_parquet(folder / "predictions.parquet")
    spread = float(scored["score"].std())
    if spread > 0:
        notes.append(
            f"the largest difference of a score is {measures[0].largest / spread:.1e} of the "
            f"scores' standard deviation"
        )
    if _time_major(spec, fit):
        notes.append(
            "pyqlib's KRNN cuts a row into sessions in time-major order, so its rows were laid out "
            "that way: its network, not its way of reading this dataset"
        )
    if end is not None:
        notes.append(
            f"the portfolio is compared until {end:%Y-%m-%d}: pyqlib's backtest fails on the last "
            f"session of the calendar"
        )
    if spec.provider.vwap is not None:
        notes.append("vwap is the typical price here; pyqlib takes one that is absent for missing")
    device = json.loads((folder / "run.json").read_text(encoding="utf-8"))["device"]
    if not device.startswith("cpu"):
        notes.append(f"scored here on {device}, by pyqlib on the CPU")
    if any(m.same is not None and m.largest > m.bound >= m.same for m in measures):
        by_session = scored.groupby("datetime")["score"]
        tied = int((by_session.nunique() < by_session.size()).sum())
        ties = f"equal, as on {tied:,} sessions (pyqlib's sort is not stable), or " if tied else ""
        notes.append(
            f"figures of pyqlib's own scores differ by more than a bound, and those of the same "
            f"scores do not: names whose scores are {ties}closer than round-off change places, "
            f"and an IC follows its scores"
        )
    return tuple(notes)


def _fingerprints(bundle: Path) -> tuple[str, ...]:
    manifests = sorted(bundle.glob("manifest.json")) or sorted(bundle.glob("*/manifest.json"))
    return tuple(json.loads(path.read_text())["fingerprint"] for path in manifests)
