"""Run a qlib workflow file: read and check it, build what it asks for, run, record.

    spec = read_workflow(load_document("workflow_config_lstm_Alpha158.yaml"))
    result = run_workflow(spec, "runs/first")

The file is qlib's as it is. What of it is supported is told by `read`, `read_dataset` and
`read_records`; the rest is one error before anything is loaded.
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
