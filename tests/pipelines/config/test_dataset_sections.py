"""The sections `datasets` and `features`: what is taken over, and what is refused by its key."""

from __future__ import annotations

import pytest
import yaml

from pipelines.config.loader import load_config, parse_config
from pipelines.errors import ConfigError
from rnn_core.data.processors import Processor
from tests.pipelines.conftest import (
    TINY,
    merged,
)
from tests.pipelines.training.test_datasets import TINY_LABEL, WEEK, several


def test_one_fault_of_the_shared_features_is_told_once(tmp_path):
    text = yaml.safe_dump(
        {**{k: v for k, v in TINY.items() if k != "dataset"},
         "features": {"lable": "x"},
         "datasets": {"a": TINY["dataset"], "b": {**TINY["dataset"], "features": {"setz": 1}}}}
    )  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = text.splitlines()
    assert len(caught.value.problems) == 2
    for key, problem in zip(("setz", "lable"), sorted(caught.value.problems), strict=True):
        number = next(n for n, line in enumerate(lines, 1) if f"{key}:" in line)
        assert f"{key} (line {number}): unknown key" in problem


def test_merge_keys_and_an_empty_section(tmp_path):
    config = {k: v for k, v in TINY.items() if k != "dataset"}
    day = yaml.safe_dump(TINY["dataset"], default_flow_style=True).strip()
    text = yaml.safe_dump(config) + (
        f"features:\ndatasets:\n  day: &day {day}\n  week:\n    <<: *day\n    step_len: 9\n"
    )
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    loaded = load_config(path).dataset_specs
    assert [spec.config.step_len for spec in loaded] == [5, 9]
    assert loaded[1].config.infer_processors == loaded[0].config.infer_processors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": TINY["dataset"]}, "either `dataset`"),
        ({"datasets": {}}, "either `dataset`"),
        ({"models": {"gru": {"dataset": "dya"}}}, "models.gru.dataset: no dataset 'dya'; did you"),
        ({"models": {"gru": {"dataset": 3}}}, "gru: dataset is 3, expected the name"),
        (
            {"datasets": {"a": {"default": True}, "day": {"default": True}}},
            "default: day is the default already",
        ),
        ({"datasets": {"day": {"features": {"lable": "x"}}}}, "unknown key; did you mean 'label'"),
        ({"datasets": {"day": {"steplen": 3}}}, "unknown key; did you mean 'step_len'"),
        ({"datasets": {"Day": {}}}, "should match pattern"),
        (
            {"datasets": {"day": {"fit_start": "2019-01-02"}}},
            "datasets.day.fit_start 2019-01-02 lies before market.start",
        ),
        (
            {"datasets": {"day": {"infer_processors": [{"FilterCol": {"col_list": ["NO"]}}]}}},
            "datasets.day.infer_processors: .*NO",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(change, message):
    config = merged(TINY, {})
    day = config.pop("dataset")
    config["datasets"] = {"day": day}
    for name in change.get("datasets", {}):
        config["datasets"].setdefault(name, day)
    config = merged(config, change) if change != {"datasets": {}} else {**config, "datasets": {}}
    with pytest.raises(ConfigError, match=message):
        parse_config(config)


def test_a_model_of_a_market_with_one_dataset_names_none():
    with pytest.raises(ConfigError, match=r"models.gru.dataset: no dataset 'day'; leave it out"):
        parse_config(merged(TINY, {"models": {"gru": {"dataset": "day"}}}))


def test_features_that_a_dataset_leaves_out_are_those_of_the_market(tmp_path):
    market = several(
        tmp_path / "tiny",
        {"week": {"features": {"label": WEEK}}},
        {"gru": {}},
        features={"semantics": "qlib"},
    )
    assert [d.spec.features.semantics for d in market.datasets] == ["qlib", "qlib"]
    assert [d.spec.features.label for d in market.datasets] == [TINY_LABEL, WEEK]


class Forgetful(Processor):
    """A processor that keeps its argument under another name, which nothing could store."""

    def __init__(self, by=1.0):
        self._by = by

    def __call__(self, df):
        return df


def test_a_processor_that_could_not_be_stored_is_refused_with_the_yaml():
    raw = merged(TINY, {})
    raw["dataset"]["infer_processors"] = [f"{__name__}:Forgetful"]
    with pytest.raises(ConfigError, match=r"does not keep its argument 'by': set self\.by"):
        parse_config(raw)
