"""`rnn-pipelines validate`. Oracle: the faults put into a market that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.onboarding.profile import profile_market
from pipelines.onboarding.yaml_validation import problems_of
from tests.pipelines.conftest import merged
from tests.pipelines.onboarding.conftest import SESSIONS

KEYS = SESSIONS.keys


def valid(path: Path) -> dict[str, Any]:
    return {
        "name": "mine",
        "market": {
            "source": {"kind": "files", "path": str(path), "basis": {"ratio": "adj_ratio"}},
            "calendar": "XNYS", "start": KEYS[0], "end": KEYS[-1], "vwap": "amount",
        },
        "dataset": {"fit_start": KEYS[60], "fit_end": KEYS[200], "infer_processors": ["Fillna"],
                    "learn_processors": ["DropnaLabel"]},
        "training": {"first_trained": KEYS[220], "window_sessions": 150, "valid_sessions": 30},
        "models": {"gru": {}},
        "portfolio": {"topk": 3, "n_drop": 1},
        "evaluation": {"quantiles": 2},
    }  # fmt: skip


@pytest.fixture
def file(bars, tmp_path) -> Path:
    bars.to_parquet(tmp_path / "bars.parquet", index=False)
    return tmp_path / "bars.parquet"


def found(file: Path, changes: dict[str, Any], **kwargs: Any):
    raw = merged(valid(file), changes)
    return problems_of(Market(parse_config(raw), root=file.parent / "state"), **kwargs)


def test_a_market_without_fault_has_no_problem(file, bars):
    result = found(file, {})
    assert (result.problems, result.remarks) == ([], [])
    assert result.profile.rows == len(bars)
    assert result.profile.rules == {}
    expected = 419 - bars.groupby("instrument").size()
    gaps = result.profile.gaps()
    assert gaps.sum() <= expected.sum()
    assert gaps.max() > 0
    assert not (file.parent / "state").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"market": {"start": "2017-06-01"}}, "market.start: 2017-06-01 is given, and the data "
                                               "begins on 2018-01-02 (148 sessions later)"),
        ({"market": {"end": "2019-12-31"}}, "market.end: 2019-12-31 is given, and the data ends "
                                             "on 2019-08-30; set market.end to it, or bring"),
        ({"market": {"closed": [KEYS[5]], "calendar": "XLON"}}, "are sessions of XLON without any"),
        ({"market": {"source": {"columns": {"close": "Last"}}}}, "has no column 'Last'"),
        ({"market": {"source": {"path": "/nowhere.csv"}}}, "no file of bars at /nowhere.csv"),
        ({"training": {"window_sessions": 300}}, "training.window_sessions: 300 is given, and "
                                                  f"{KEYS[220]}, the first trained session, has"),
        ({"dataset": {"fit_end": KEYS[70]}}, "holds 11 sessions, at least 20 are expected"),
        ({"training": {"first_trained": KEYS[200], "valid_sessions": 149, "window_sessions": 150}},
         "training: no session to train on as of"),
        ({"portfolio": {"topk": 50}}, "portfolio.topk: 50 is given, and a usual session has 10"),
        ({"ensemble": {}, "models": {"linear": {}}}, "gru learns the default label, beside linear, "
                                                     "the references; expected two models"),
        ({"portfolio": {"first": "2030-01-01"}}, "portfolio.first: 2030-01-01 is given, and the"),
        ({"market": {"universe": {"spans": "u.csv"}}}, "6 of its 10 names have no bar, 60.0% (X0"),
        ({"market": {"universe": {"spans": "late.txt"}}}, "no member has a bar on 2018-03-29"),
        ({"market": {"universe": {"spans": "gone.txt"}}}, "market.universe.spans: cannot read"),
    ],
)  # fmt: skip
def test_each_problem_is_named(file, bars, changes, problem):
    names = sorted(set(bars["instrument"]))
    unknown = [f"X{k}" for k in range(6)]
    spans = pd.DataFrame({"instrument": [*names[:4], *unknown], "start": "2018-01-01",
                          "end": "2030-01-01"})  # fmt: skip
    spans.to_csv(file.parent / "u.csv", index=False)
    (file.parent / "late.txt").write_text(f"{names[0]} 2019-01-01 2030-01-01\n")
    universe = changes.get("market", {}).get("universe")
    if universe is not None:
        changes = {"market": {"universe": {"spans": str(file.parent / universe["spans"])}}}
    result = found(file, changes)
    assert any(problem in line for line in result.problems), result.problems
    assert all("\n" not in line for line in result.problems)


def test_a_look_back_that_no_name_ever_has_half_of_is_named(file):
    raw = valid(file)
    raw["portfolio"] = {"strategy": "mean_variance", "options": {"sessions": 1000}}
    (problem,) = problems_of(Market(parse_config(raw), root=file.parent / "state")).problems
    assert problem.startswith("portfolio.options.sessions: 1000 is given, and the market has 418 ")


def test_members_without_bars_are_a_remark_unless_most_are(file, bars):
    """Names that were delisted before the bars begin are in every list of members."""
    names = [*sorted(set(bars["instrument"]))[:9], "GONE"]
    spans = "".join(f"{name} 2018-01-01 2030-01-01\n" for name in names)
    (file.parent / "u.txt").write_text(spans)
    result = found(file, {"market": {"universe": {"spans": str(file.parent / "u.txt")}}})
    assert result.problems == []
    assert any(
        "market.universe: 1 of its 10 names have no bar, 10.0% (GONE)" in line
        for line in result.remarks
    )


def test_programs_that_are_not_found_are_remarked(file):
    alerts = {"on_failure": ["no-such-program-here", "--urgent"], "on_signal": ["sh", "-c", ":"]}
    result = found(file, {"alerts": alerts})
    assert result.problems == []
    assert [line.split(":")[0] for line in result.remarks] == ["alerts.on_failure"]
    assert "'no-such-program-here'" in result.remarks[0]


def test_all_problems_come_at_once(file):
    changes = {
        "market": {"start": "2017-06-01"},
        "training": {"window_sessions": 700},
        "portfolio": {"topk": 50},
    }
    assert len(found(file, changes).problems) == 3


def test_problems_of_the_rows(file, bars):
    """A session that is spoiled, one with few names, and one without rows stop an ingest."""
    rows = bars[bars["date"] != KEYS[30]].copy()
    rows.loc[rows["date"] == KEYS[31], "volume"] = 0.0
    rows = rows[~((rows["date"] == KEYS[50]) & (rows["instrument"] > "S0005"))]
    stray = rows.head(2).assign(date=["2018-01-06", "2098-01-01"])
    early = rows.head(1).assign(date="2017-12-29")
    pd.concat([rows, stray, early]).to_parquet(file, index=False)
    result = found(file, {"checks": {"bars": {"min_coverage": 0.7}}})
    said = "\n".join(result.problems)
    assert f"{KEYS[30]} are sessions of XNYS without any row" in said
    assert f"every row of {KEYS[31]} is set aside" in said
    assert "checks.bars.min_coverage: 0.7 is given, and" in said
    assert result.profile.rules == {"zero_volume": 10, "off_calendar": 1, "future_date": 1}
    remarks = "\n".join(result.remarks)
    assert "1 rows on 2018-01-06, which are no sessions: set aside as off_calendar" in remarks
    assert "1 rows before market.start are not read" in remarks
    assert "1 rows dated in the future (2098-01-01)" in remarks
    accepted = {"market": {"quarantine": {"zero_volume": "accept"}}}
    assert "is set aside" not in "\n".join(found(file, accepted).problems)


def test_stretches_see_what_the_whole_sees(file, bars, monkeypatch):
    rows = bars.copy()
    late = (rows["instrument"] == "S0002") & (rows["date"] >= KEYS[100])
    rows.loc[late, ["open", "high", "low", "close"]] /= 3.0
    rows.to_parquet(file, index=False)
    whole = found(file, {}).profile
    monkeypatch.setattr("pipelines.onboarding.profile.STRETCH", 50)
    parts = found(file, {}).profile
    assert whole.rules == parts.rules == {"jump": 1}
    pd.testing.assert_frame_equal(whole.names, parts.names)
    pd.testing.assert_series_equal(whole.kept, parts.kept)


def test_a_market_that_has_not_begun(file):
    market = Market(parse_config(valid(file)), root=file.parent / "state")
    look = profile_market(market, today=KEYS[0])
    assert (look.sessions, look.rows) == ((), 0)
    result = problems_of(market, today=KEYS[0])
    assert any("no session of the market has closed yet" in line for line in result.problems)


def test_vendors_over_the_network_are_not_asked(file):
    raw = valid(file)
    raw["market"] |= {"source": {"kind": "yahoo", "symbols": ["A"]}, "vwap": "typical"}
    result = problems_of(Market(parse_config(raw), root=file.parent / "state"))
    assert result.problems == []
    assert "yahoo is asked by the first backfill, and was not looked at" in result.remarks[0]


def test_the_command_reports_config_errors_with_their_lines(file, capsys):
    raw = merged(valid(file), {"market": {"quarantine": {"zero_volum": "accept"}}})
    raw["models"] = {"gru": {"lrr": 1}}
    path = file.parent / "bad.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main(["validate", str(path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("problem: market.quarantine (line ")
    assert said[1].startswith("problem: models (line ")
    assert said[-1] == f"{path}: 2 problems"
    path.write_text(yaml.safe_dump(merged(valid(file), {"market": {"end": "2018-01-03"}})))
    assert main(["validate", str(path)]) == 1
    path.write_text(f"{yaml.safe_dump(valid(file))}name: twice\n")
    capsys.readouterr()
    assert main(["validate", str(path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "column 1: the key 'name' is written twice" in said[0]
    assert said[1:] == [f"{path}: 1 problem"]
    path.write_text(yaml.safe_dump(valid(file)))
    assert main(["validate", str(path)]) == 0
    assert "of 10 names" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sample", "simulated"])
def test_what_ships_is_valid(name, capsys):
    assert main(["validate", name]) == 0
    assert capsys.readouterr().out.endswith(f"{name}.yaml: valid\n")
