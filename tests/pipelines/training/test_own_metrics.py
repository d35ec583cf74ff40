"""The code of a metric of another package is part of a model's configuration."""

from __future__ import annotations

import sys

import pytest

from pipelines.config.loader import parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.training.training_config import training_config
from tests.pipelines.conftest import TINY, merged

CODE = "def spread(scores, labels):\n    return float((scores * labels).mean())\n"


def configured(tmp_path, metric):
    raw = merged(TINY, {})
    raw["models"] = {"gru": {"n_epochs": 1, "metric": metric}}
    market = Market(parse_config(raw), root=tmp_path / "tiny")
    return training_config(market, market.models[0])


def test_changed_code_of_it_is_another_configuration(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "fund_metrics.py"
    found = []
    for code in (CODE, CODE.replace("mean", "sum"), CODE):
        module.write_text(code)
        sys.modules.pop("fund_metrics", None)
        found.append(configured(tmp_path, "fund_metrics:spread"))
    sys.modules.pop("fund_metrics", None)
    assert found[0] == found[2] != found[1]
    assert found[0]["metric_part"]["module"] == "fund_metrics"
    # Models of shipped metrics have the configuration that they always had.
    assert "metric_part" not in configured(tmp_path, "ic")


def test_a_misspelt_one_is_refused_with_the_yaml(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fund_metrics.py").write_text(CODE)
    with pytest.raises(ConfigError, match=r"fund_metrics.*spraed.*did you mean 'spread'"):
        configured(tmp_path, "fund_metrics:spraed")
    sys.modules.pop("fund_metrics", None)
