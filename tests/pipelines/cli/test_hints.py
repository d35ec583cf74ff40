"""Commands that messages name can be pasted: they hit the market that they speak of."""

from __future__ import annotations

import shutil

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.config.loader import parse_config
from pipelines.errors import PipelineError
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.training import train_unit
from tests.pipelines.conftest import TINY
from tests.pipelines.finished_markets import backfill, part_of, put_on_record


@pytest.fixture
def tiny(finished, tmp_path, monkeypatch):
    """The YAML of a finished market whose record is empty."""
    file = tmp_path / "my market.yaml"
    file.write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    shutil.copytree(finished.paths.root, tmp_path / "data" / "tiny")
    return file


def test_a_command_names_its_market():
    config = parse_config(TINY)
    assert Market(config).command("sync") == "rnn-pipelines sync"
    named = Market(config, named="my market.yaml")
    assert named.command("sync") == "rnn-pipelines sync --config 'my market.yaml'"


def test_what_status_and_signal_advise_is_for_this_market(tiny, capsys):
    config = ["--config", str(tiny)]
    main(["status", *config])
    assert f"`rnn-pipelines sync --config '{tiny}'`" in capsys.readouterr().out
    shutil.rmtree(tiny.parent / "data" / "tiny" / "warehouse" / "gru_evaluation")
    main(["sync", *config])
    capsys.readouterr()
    main(["status", *config])
    said = capsys.readouterr().out
    assert f"backfill --start 2020-04-01 --end 2020-05-15 --config '{tiny}'` makes what" in said
    assert main(["signal", "--date", "2020-03-20", *config]) == 1
    assert "the first session that trains is 2020-04-01" in capsys.readouterr().err


def test_a_query_over_the_catalog(tiny, capsys):
    config = ["--config", str(tiny)]
    asked = "SELECT count(DISTINCT date) AS n FROM gru_prediction"
    assert main(["sql", asked, "--csv", *config]) == 0
    assert capsys.readouterr().out == "n\n32\n"
    assert main(["sql", "FROM nothing", *config]) == 1
    assert "'FROM nothing': Catalog Error" in capsys.readouterr().err
    assert main(["sql", " ", *config]) == 1
    assert "the query is empty; write one, as 'SHOW TABLES'" in capsys.readouterr().err


def test_refit_fits_the_processors_again(tiny, capsys):
    config = ["--config", str(tiny)]
    path = tiny.parent / "data" / "tiny" / "warehouse" / "processors.json"
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert main(["refit", *config]) == 0
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns != stamp
    assert "fitted on 2020-01-10 … 2020-03-13" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("rnn-signal-factory ")


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market of one model, on record."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    market = part_of(finished, tmp_path / "tiny", "gru")
    with dagster_instance(market) as instance:
        return put_on_record(market, instance)


def test_a_backfill_begins_with_models_where_they_begin(market):
    """Before the first training it makes data alone: two runs, and no partition of the warm-up."""
    keys, first = market.sessions.keys, market.plan.first_trained
    shutil.rmtree(market.paths.warehouse / "label" / f"date={keys[2]}")
    for name in ("gru_prediction", "gru_evaluation"):
        shutil.rmtree(market.paths.warehouse / name / f"date={keys[-1]}")
    backfill(market, start=keys[0], end=keys[-1])
    assert market.warehouse.sessions("label") == list(keys)
    for table in ("gru_model", "gru_prediction", "gru_evaluation"):
        assert market.warehouse.sessions(table) == [key for key in keys if key >= first]
    assert backfill(market, start=keys[0], end=keys[5])[0] is None
    with pytest.raises(PipelineError, match=f"the first is {first}"):
        backfill(market, start=keys[0], end=keys[5], select="gru_model")
    with pytest.raises(PipelineError, match="--start 2020-05-01 is after --end 2020-04-01"):
        backfill(market, start="2020-05-01", end="2020-04-01")


def test_force_trains_anew(market, monkeypatch):
    anchor, trained = market.plan.first_trained, []
    original = train_unit._fit_network

    def counted(market, spec, *rest):
        trained.append(spec.name)
        return original(market, spec, *rest)

    monkeypatch.setattr(train_unit, "_fit_network", counted)
    manifest = market.paths.models / "gru" / anchor / "manifest.json"
    before = manifest.read_bytes()
    backfill(market, start=anchor, end=anchor, select="gru_model")
    assert trained == []
    backfill(market, start=anchor, end=anchor, select="gru_model", force=True)
    assert trained == ["gru"]
    assert manifest.read_bytes() == before, "same seed, same CPU: same bits"
