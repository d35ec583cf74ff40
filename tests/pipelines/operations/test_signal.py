"""`signal`: the scores of a session. Oracles: the stored predictions, and ranks by hand."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pipelines.assets.stages import stages
from pipelines.cli.main import main
from pipelines.operations.signal import COLUMNS, session_signal
from rnn_core.evaluation import rank_average
from tests.pipelines.finished_markets import named_copy_of

LAST = "2020-05-15"
MODELS = ["gru", "krnn", "lstm"]


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market whose YAML the environment names."""
    return named_copy_of(finished, tmp_path, monkeypatch)


def stored(market, model: str, key: str) -> pd.DataFrame:
    file = market.paths.warehouse / f"{model}_prediction" / f"date={key}" / "part-0.parquet"
    return pd.read_parquet(file).assign(date=pd.Timestamp(key))


def csv(capsys, *words: str) -> pd.DataFrame:
    assert main(["signal", "--csv", *words]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


def test_the_csv_holds_the_stored_scores_and_the_mean_of_their_ranks(market, capsys):
    table = csv(capsys)
    assert list(table) == COLUMNS
    assert set(table["date"]) == {LAST}
    ranks = {}
    for model in MODELS:
        rows = table[table["model"] == model].set_index("instrument")
        truth = stored(market, model, LAST).set_index("instrument")
        assert rows["score"].to_dict() == truth["score"].astype(float).to_dict()
        assert rows["as_of"].to_dict() == truth["as_of"].astype(str).str[:10].to_dict()
        assert list(rows["rank"]) == sorted(rows["rank"])
        spread = truth["seed_scores"].map(lambda v: np.nan if v is None else np.std(v, ddof=1))
        assert rows["seed_std"].to_dict() == pytest.approx(spread.to_dict(), nan_ok=True, rel=1e-6)
        # The share of the other names below each, in steps of one name and from the half of one.
        order = sorted(truth["score"].items(), key=lambda item: item[1])
        ranks[model] = {name: (i + 0.5) / len(order) for i, (name, _) in enumerate(order)}
    ensemble = table[table["model"] == "ensemble"].set_index("instrument")
    expected = {name: sum(ranks[m][name] for m in MODELS) / 3 for name in ranks["gru"]}
    assert ensemble["score"].to_dict() == pytest.approx(expected, abs=1e-12)
    assert ensemble["as_of"].isna().all()
    assert ensemble["score"].is_monotonic_decreasing


def test_the_ensemble_is_that_of_the_reports(market, capsys):
    frames = [stored(market, model, LAST).set_index(["date", "instrument"]) for model in MODELS]
    expected = rank_average([frame["score"] for frame in frames]).droplevel("datetime")
    table = csv(capsys)
    shown = table[table["model"] == "ensemble"].set_index("instrument")["score"]
    assert shown.to_dict() == pytest.approx(expected.to_dict(), abs=1e-12)


def test_json_and_top_have_the_same_rows(market, capsys):
    table = csv(capsys, "--top", "2")
    assert table.groupby("model").size().to_dict() == dict.fromkeys([*MODELS, "ensemble"], 2)
    assert main(["signal", "--json", "--top", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["instrument"] for row in rows] == list(table["instrument"])
    assert [row["score"] for row in rows] == pytest.approx(list(table["score"]), abs=1e-14)
    assert rows[-1]["as_of"] is None
    assert main(["signal", "--json", "--csv"]) == 1
    assert "--csv and --json exclude each other" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["signal", "--top", "0"])
    assert "'0' is no whole number above zero" in capsys.readouterr().err


def test_the_text_says_what_the_ensemble_is(market, capsys):
    assert main(["signal", "--top", "1"]) == 0
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("ensemble")]
    assert line.startswith(f"ensemble, {LAST}: the mean of the ranks by ")
    assert all(model in line for model in MODELS)


def test_scores_of_an_earlier_session_than_the_newest_closed_one_say_so(market, capsys):
    """Whoever trades in the evening must not take yesterday's scores for today's."""
    for model in MODELS:
        shutil.rmtree(market.paths.warehouse / f"{model}_prediction" / f"date={LAST}")
    table = csv(capsys)
    (before,) = set(table["date"])
    assert main(["signal", "--csv"]) == 0
    said = f"note: {before} is the newest session that was made, and {LAST} closed since: `rnn-"
    assert said in capsys.readouterr().err
    assert main(["signal", "--csv", "--date", before]) == 0
    assert "closed since" not in capsys.readouterr().err


def test_a_model_without_scores_is_named_and_left_out(market, capsys):
    """By default the newest session that a model scored; a day that is asked for is complete."""
    shutil.rmtree(market.paths.warehouse / "gru_prediction" / f"date={LAST}")
    signal = session_signal(market, stages(market))
    assert signal.key == LAST
    assert set(signal.averaged) == {"krnn", "lstm"}
    (note,) = signal.notes
    assert note.startswith(f"gru_prediction has no session {LAST}, it has 31 from 2020-04-01")
    average = signal.scores[signal.scores["model"] == "ensemble"]["score"]
    assert average.between(0, 1, inclusive="neither").all()
    assert main(["signal", "--csv"]) == 0
    assert f"note: gru_prediction has no session {LAST}" in capsys.readouterr().err
    assert main(["signal", "--date", LAST]) == 1
    assert "gru_prediction has no session" in capsys.readouterr().err
    shutil.rmtree(market.paths.warehouse / "lstm_prediction")
    alone = session_signal(market, stages(market))
    assert set(alone.scores["model"]) == {"krnn"}, "one model is no ensemble"
