"""The JSON schema of the YAML. Oracle: a validator of JSON schemas, and the loader."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.config.json_schema import SCHEMA, market_schema, schema_line
from pipelines.config.loader import CONFIGS
from tests.pipelines.conftest import TINY, merged

SHIPPED = sorted(CONFIGS.glob("*.yaml"))


def plain(value: Any) -> Any:
    """The YAML as an editor reads it: days are texts."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, dt.date) else value


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_stored_schema_is_that_of_the_sections():
    """`python -m pipelines.config.json_schema` writes it anew."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == market_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_markets_are_valid_and_name_it(path, validator):
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == schema_line().replace(str(SCHEMA), SCHEMA.name)
    validator.validate(plain(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"fit": "expanding"}},
        {"dataset": {"fit": {"expanding": {"every": 5}}}},
        {"dataset": {"infer_processors": [{"my.procs:Winsorize": {"at": 0.1}}, "my.procs:Plus"]}},
        {"models": {"gru": None}},
        {"market": {"source": {"kind": "my.feeds:Bars", "options": {"a": 1}}}},
        {"market": {"source": {"kind": "files", "path": "a.csv", "basis": "adjusted"}}},
        {"market": {"calendar": {"from": "data", "timezone": "Asia/Shanghai"}}},
        {"alerts": {"on_failure": None}},
    ],
)
def test_what_people_write_is_valid(change, validator):
    config = merged(TINY, change)
    if "source" in change.get("market", {}):
        config["market"]["source"] = change["market"]["source"]
    if "calendar" in change.get("market", {}):
        config["market"]["calendar"] = change["market"]["calendar"]
    validator.validate(config)


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"retrain_evry": 3}},
        {"training": {"retrain_every": 0}},
        {"dataset": {"fit": "rolling"}},
        {"dataset": {"fit": {"rolling": {"windows": 3}}}},
        {"dataset": {"infer_processors": ["RobustZScore"]}},
        {"market": {"source": {"kind": "file"}}},
        {"market": {"vwap": "mean"}},
    ],
)
def test_what_the_loader_refuses_is_marked(change, validator):
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(merged(TINY, change))


def test_keys_have_the_comments_of_the_sample_as_hover_texts():
    schema = market_schema()
    training = schema["$defs"]["TrainingConfig"]["properties"]
    assert (
        training["window_sessions"]["description"] == "labels matured in the last so many sessions"
    )
    assert training["retrain_every"]["description"].endswith(
        "a model's entry below may have its own"
    )
    known = [d for s in schema["$defs"].values() for d in s.get("properties", {}).values()]
    assert sum("description" in one for one in known) > 80
