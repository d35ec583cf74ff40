"""The key `training.executor` of the YAML: who trains the units of a model's bundles.

It decides no bit of a bundle, so it is part of no fingerprint. It belongs to a machine more than to
a market: the environment variable `RNN_TRAINING_EXECUTOR` of a host goes before the YAML, and takes
the same text.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipelines.config.types import PositiveInt, Section
from pipelines.errors import ConfigError
from rnn_core.yaml_text import load_yaml

ENV_EXECUTOR = "RNN_TRAINING_EXECUTOR"
MULTIPROCESS = "dagster:multiprocess_executor"


class ExecutorConfig(Section):
    """The section `training.executor`: it names who trains units.

    Attributes:
        kind: `inline`, one after the other in this process; `processes`, side by side in processes
            of this machine; `dagster`, as steps of a run of their own; `auto`, the first two as it
            suits the machine.
        workers: processes of `processes`; None for one a core, or one a visible GPU.
        run_with: of `dagster`, the executor of the steps, `package:name`.
        config: of `dagster`, the configuration of that executor.
    """

    kind: Literal["auto", "inline", "processes", "dagster"] = "auto"
    workers: PositiveInt | None = None
    run_with: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = MULTIPROCESS
    config: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> ExecutorConfig:
        kinds = {"workers": "processes", "run_with": "dagster", "config": "dagster"}
        for key in self.model_fields_set & kinds.keys():
            if self.kind != kinds[key]:
                raise ValueError(
                    f"{key} is a setting of kind: {kinds[key]}, and the kind is {self.kind}; leave "
                    f"it out, or write {{kind: {kinds[key]}, {key}: …}}"
                )
        return self


def _named(value: Any) -> Any:
    """A word alone is the kind."""
    return {"kind": value} if isinstance(value, str) else value


TrainingExecutor = Annotated[
    ExecutorConfig,
    BeforeValidator(_named),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["auto", "inline", "processes", "dagster"]},
                ExecutorConfig.model_json_schema(),
            ]
        }
    ),
    Field(exclude=True),  # never dumped, so that no fingerprint or page holds it
]


def executor_config(configured: ExecutorConfig) -> ExecutorConfig:
    """The executor of this host: that of the environment, else the configured one.

    Raises:
        ConfigError: the environment names none.
    """
    text = os.environ.get(ENV_EXECUTOR)
    if not text:
        return configured
    try:
        return ExecutorConfig.model_validate(_named(load_yaml(text)))
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{ENV_EXECUTOR} is {text!r}, expected inline, processes, dagster or auto, or a "
            f"mapping as {{kind: processes, workers: 4}}: {error}"
        ) from error
