"""The metric logger of MLflow; it needs the extra `mlflow`.

A training is a run of the experiment: its parameters, its epochs as steps, the validation figures
and, as tags, the folder and the fingerprint of the bundle. The realised ICs of a model are the
metrics of one run beside them, `MARKET MODEL realised`: a step a session, dated by it.
"""

from __future__ import annotations

import calendar
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

_TEXT = 500  # characters of a parameter that every store of MLflow takes


class MlflowLogger:
    """Log trainings and realised ICs to MLflow.

    Args:
        experiment: name of the experiment, made where there is none; the market's by default.
        uri: of the tracking server or the store. By default `$MLFLOW_TRACKING_URI`, else the file
            `mlflow.db` of the data folder. A token belongs into `$MLFLOW_TRACKING_TOKEN`.
        tags: tags of every run.
    """

    def __init__(
        self,
        experiment: str | None = None,
        uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        self._experiment, self._uri = experiment, uri
        self._tags = {str(key): str(value) for key, value in (tags or {}).items()}
        self._client: Any = None
        self._run_id = ""
        self._realised: dict[str, str] = {}

    def start(self, facts: Mapping[str, Any], /) -> None:
        """Begin a run with the parameters of the training."""
        name = f"{facts['market']} {facts['model']} {facts['session']}"
        self._run_id = self._new_run(facts, name, "training", {"rnn.session": facts["session"]})
        self._params({"family": facts["family"], **facts["params"]})

    def epoch(self, facts: Mapping[str, Any], /) -> None:
        """Log the losses of an epoch; those of a seed that is not 0 have it in their name."""
        suffix = f"_seed_{facts['seed']}" if facts["seed"] else ""
        names = ("train_loss", "valid_score")
        figures = {f"{name}{suffix}": facts[name] for name in names}
        self._metrics(self._run_id, figures, step=facts["epoch"])

    def end(self, facts: Mapping[str, Any], /) -> None:
        """Log the validation and the place of the bundle, and end the run."""
        self._metrics(self._run_id, facts.get("metrics", {}))
        for name in ("bundle", "fingerprint", "train", "valid", "reason"):
            if name in facts:
                value = facts[name]
                text = value if isinstance(value, str) else " … ".join(map(str, value))
                self._client.set_tag(self._run_id, f"rnn.{name}", text)
        status = {"finished": "FINISHED", "failed": "FAILED"}.get(facts["status"], "KILLED")
        self._client.set_terminated(self._run_id, status)

    def session(self, facts: Mapping[str, Any], /) -> None:
        """Log the realised IC and rank IC of a session."""
        suffix = "_common" if facts["table"].endswith("_common") else ""
        day = dt.date.fromisoformat(facts["session"])
        self._metrics(
            self._realised_run(facts),
            {f"{name}{suffix}": facts[name] for name in ("ic", "rank_ic")},
            step=facts["number"],
            milliseconds=calendar.timegm(day.timetuple()) * 1000,
        )

    def _realised_run(self, facts: Mapping[str, Any]) -> str:
        """The run of the realised ICs of a model, made where there is none."""
        model = facts["model"]
        if model not in self._realised:
            self._open(facts)
            query = (
                f"tags.`rnn.market` = '{facts['market']}' and tags.`rnn.model` = '{model}' "
                f"and tags.`rnn.kind` = 'realised'"
            )
            runs = self._client.search_runs([self._experiment_id], query, max_results=1)
            if runs:
                self._realised[model] = runs[0].info.run_id
            else:
                name = f"{facts['market']} {model} realised"
                self._realised[model] = self._new_run(facts, name, "realised", {})
                self._client.set_terminated(self._realised[model], "FINISHED")
        return self._realised[model]

    def _new_run(
        self, facts: Mapping[str, Any], name: str, kind: str, tags: Mapping[str, str]
    ) -> str:
        self._open(facts)
        own = {"rnn.market": facts["market"], "rnn.model": facts["model"], "rnn.kind": kind}
        run = self._client.create_run(
            self._experiment_id, run_name=name, tags={**self._tags, **own, **tags}
        )
        return str(run.info.run_id)

    def _open(self, facts: Mapping[str, Any]) -> None:
        """Connect to the store, and find the experiment or make it."""
        if self._client is not None:
            return
        # A dead server is given up within seconds; whoever sets these knows better.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        data = Path(facts["folder"]).parent
        default = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{data / 'mlflow.db'}"
        client = MlflowClient(tracking_uri=self._uri or default)
        name = self._experiment or str(facts["market"])
        # Two processes that make the tables of one store at once break it.
        (data / ".locks").mkdir(exist_ok=True)
        with FileLock(data / ".locks" / "mlflow.lock"):
            found = client.get_experiment_by_name(name)
            self._experiment_id = (
                client.create_experiment(name) if found is None else found.experiment_id
            )
        self._client = client

    def _params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = [Param(key, str(value)[:_TEXT]) for key, value in params.items()]
        self._client.log_batch(self._run_id, params=texts)

    def _metrics(
        self,
        run_id: str,
        figures: Mapping[str, float | None],
        *,
        step: int = 0,
        milliseconds: int | None = None,
    ) -> None:
        """Log figures, those that are defined."""
        from mlflow.entities import Metric

        now = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        when = now if milliseconds is None else milliseconds
        metrics = [Metric(k, float(v), when, step) for k, v in figures.items() if v is not None]
        if metrics:
            self._client.log_batch(run_id, metrics=metrics)
