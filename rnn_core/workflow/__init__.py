"""Workflow: run qlib's workflow file: read and check it, build its objects, run, record.

    spec = read_workflow(load_document("workflow_config_lstm_Alpha158.yaml"))
    result = run_workflow(spec, "runs/first")

Here are qlib's `qrun` and its records. `read`, `read_dataset` and `read_records` say which keys
are supported; all others are one error before any data are loaded. The objects that a file names
are in the rooms below. The command is in `pipelines`.

The examples of its names go on from here:

    >>> import datetime as dt
    >>> from rnn_core.workflow import *
    >>> from tempfile import TemporaryDirectory
    >>> document = load_document(workflow, small)
    >>> spec = read_workflow(document, provider_uri=provider)
    >>> with TemporaryDirectory() as folder:
    ...     result = run_workflow(spec, f"{folder}/first")
"""

from __future__ import annotations

from rnn_core.workflow.folder import default_folder
from rnn_core.workflow.problems import WorkflowError
from rnn_core.workflow.read import read_workflow
from rnn_core.workflow.runner import RunResult, Watcher, run_workflow
from rnn_core.workflow.spec import WorkflowSpec
from rnn_core.workflow.yaml_document import Document, load_document

__all__ = [
    "Document",
    "RunResult",
    "Watcher",
    "WorkflowError",
    "WorkflowSpec",
    "default_folder",
    "load_document",
    "read_workflow",
    "run_workflow",
]
