"""`orders`: order lists on the command line. Oracles: the stored partitions, and sums by hand."""

from __future__ import annotations

import hashlib
import io
import json
import shutil

import pandas as pd
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.operations.orders import COLUMNS
from pipelines.operations.positions_file import read_positions
from pipelines.warehouse import revisions
from pipelines.warehouse.schemas import PREDICTION
from tests.pipelines.conftest import TINY, partition_bytes
from tests.pipelines.finished_markets import named_copy_of

LAST = "2020-05-15"


@pytest.fixture
def market(finished, tmp_path, monkeypatch):
    """A copy of a finished market whose YAML the environment names."""
    return named_copy_of(finished, tmp_path, monkeypatch)


def printed(capsys, *words: str, status: int = 0) -> tuple[pd.DataFrame, str]:
    assert main(["orders", "--csv", *words]) == status
    out, err = capsys.readouterr()
    return pd.read_csv(io.StringIO(out)), err


def stored(market, kind: str, key: str) -> pd.DataFrame:
    rows, _ = market.warehouse.read_one(f"gru_{kind}", key, needed_by="test")
    return rows.to_pandas()


def busiest(market) -> str:
    """The session with the most orders of the GRU."""
    keys = market.warehouse.sessions("gru_orders")
    return max(keys[1:], key=lambda key: len(stored(market, "orders", key)))


def test_the_list_of_every_model_is_the_stored_one(market, capsys):
    table, _ = printed(capsys)
    assert list(table) == COLUMNS
    assert set(table["date"]) == {LAST}
    key = busiest(market)
    table, _ = printed(capsys, "--model", "gru", "--date", key)
    truth = stored(market, "orders", key)
    for column in ("sequence", "side", "instrument", "reason", "sizing"):
        assert table[column].tolist() == truth[column].tolist(), column
    assert table["estimated_shares"].tolist() == pytest.approx(truth["estimated_shares"].tolist())
    assert main(["orders", "--json", "--model", "gru", "--date", key]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["instrument"] for row in rows] == truth["instrument"].tolist()
    assert main(["orders", "--model", "gru", "--date", key]) == 0
    after = market.sessions.keys[market.sessions.position(key) + 1]
    head = f"gru, decided at the close of {key}, for {after}:"
    assert capsys.readouterr().out.startswith(head)


def test_what_was_refused_is_said(market, tmp_path, capsys):
    keys = market.warehouse.sessions("gru_trades")
    trades = {key: stored(market, "trades", key) for key in keys}
    key = next(key for key, rows in trades.items() if rows["refusal"].ne("").any())
    row = trades[key][trades[key]["refusal"].ne("")].iloc[0]
    _, err = printed(capsys, "--model", "gru", "--date", key)
    assert (
        f"note: gru: the order of the session before to {row['side']} {row['instrument']} was not "
        f"filled on {key}: {row['refusal']}"
    ) in err
    file = tmp_path / "positions.csv"
    file.write_text("instrument,shares\ncash,20000\n")
    _, err = printed(capsys, "--model", "gru", "--date", key, "--positions", str(file))
    assert "not filled" not in err, "that was the simulated book"


def test_orders_of_an_earlier_session_than_the_newest_closed_one_say_so(market, tmp_path, capsys):
    """The session that they are for may be over."""
    for kind in ("portfolio", "book", "trades", "orders"):
        shutil.rmtree(market.paths.warehouse / f"gru_{kind}" / f"date={LAST}")
    table, err = printed(capsys, "--model", "gru", status=3)
    (before,) = set(table["date"]) or {market.warehouse.sessions("gru_book")[-1]}
    said = f"note: {before} is the newest session that was made, and {LAST} closed since: `rnn-"
    assert said in err
    file = tmp_path / "positions.csv"
    file.write_text("instrument,shares\ncash,20000\n")
    assert said in printed(capsys, "--model", "gru", "--positions", str(file), status=3)[1]
    assert main(["orders", "--model", "gru"]) == 0, "for eyes, which read the note"
    assert main(["orders", "--model", "gru", "--json"]) == 3
    capsys.readouterr()
    assert "closed since" not in printed(capsys, "--model", "gru", "--date", before)[1]


def test_a_list_that_was_decided_under_other_settings_says_so(market, tmp_path, capsys):
    """The YAML changed since, or the scores did; the list stays as it is stored."""
    _, err = printed(capsys, "--model", "gru", "--date", LAST)
    assert "the list of gru" not in err
    before, _ = printed(capsys, "--model", "gru")
    raw = {**TINY, "portfolio": {**TINY["portfolio"], "topk": 3, "n_drop": 1}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    after, err = printed(capsys, "--model", "gru")
    assert after.equals(before)
    first = market.plan.first_trained
    assert (
        f"note: the list of gru of {LAST} was decided under other settings than those of the YAML: "
        f"`rnn-pipelines backfill --start {first} --end {LAST} --select gru_portfolio"
    ) in err
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    rows, _ = market.warehouse.read_one("gru_prediction", LAST, needed_by="test")
    table = PREDICTION.named("gru_prediction")
    changed = rows.to_pandas().assign(score=lambda frame: -frame["score"])
    made = market.warehouse.info("gru_prediction", LAST).provenance
    market.warehouse.write(table, table.name, LAST, changed, made)
    _, err = printed(capsys, "--model", "gru")
    assert f"the list of gru of {LAST} would be made otherwise now (inputs: gru_prediction)" in err


def test_the_real_book_that_equals_the_simulated_one_gets_its_list(market, tmp_path, capsys):
    """Shares as traded back to adjusted amounts: same names, sides and reasons, no difference."""
    key = busiest(market)
    book, held = stored(market, "book", key), stored(market, "portfolio", key)
    file = tmp_path / "positions.csv"
    lines = [f"{n},{float(s)}" for n, s in zip(held["instrument"], held["shares"], strict=True)]
    file.write_text("\n".join(["instrument,shares", *lines, f"cash,{float(book['cash'][0])}"]))
    before = partition_bytes(market)
    words = ("--model", "gru", "--date", key, "--positions", str(file))
    table, err = printed(capsys, *words)
    truth = stored(market, "orders", key)
    for column in ("side", "instrument", "reason"):
        assert table[column].tolist() == truth[column].tolist(), column
    assert table["estimated_value"].tolist() == pytest.approx(truth["estimated_value"].tolist())
    assert "kept as revision 1" in err
    assert partition_bytes(market) == before, "no partition depends on anybody's account"


def test_a_list_is_kept_once_with_the_digest_of_the_file(market, tmp_path, capsys):
    file = tmp_path / "positions.csv"
    words = ("--model", "gru", "--positions", str(file))
    for text, said in (
        ("instrument,shares\nS0003,1000\ncash,20000\n", "kept as revision 1"),
        ("instrument,shares\nS0003,1000\ncash,20000\n", "kept before"),
        ("Instrument, Shares \nCASH,500\n\n", "kept as revision 2"),
    ):
        file.write_text(text)
        _, err = printed(capsys, *words)
        assert said in err
    store, table = market.warehouse.store, "gru_issued_orders"
    assert revisions.numbers(store, table, LAST) == [1, 2]
    rows = revisions.first_rows(market.warehouse, table, LAST)
    assert set(rows["side"]) <= {"buy", "sell"}
    raw = store.read(*revisions.part(table, LAST, 2))
    assert hashlib.sha256(file.read_bytes()).hexdigest().encode() in raw


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty; expected a line `instrument,shares`"),
        (" \n\n", "the file is empty"),
        ("name,shares\nS0001,1\n", "line 1: no column instrument among name, shares"),
        ("instrument,shares\nS0001,1\n", "no row `cash`"),
        ("instrument,shares\nS0001,1\nS0001,2\ncash,1\n", "line 3: S0001 stands in line 2 already"),
        ("instrument,shares\nS0001,many\ncash,1\n", "line 2: 'many' of S0001 is no number"),
        (
            "instrument,shares\nS0001,-5\ncash,1\n",
            "line 2: -5 shares of S0001; the strategy holds no short",
        ),
        ("instrument,shares\nS0001,1\ncash,-1\n", "line 3: cash -1 is below zero"),
        ("instrument,shares\nS0001,1\ncash,84,210\n", "line 3: 'cash,84,210' has 3 cells, and"),
        ('instrument,shares\nS0001,"1,200"\ncash,1\n', "line 2: '1,200' of S0001 is no number"),
        ("instrument;shares\nS0001;1\ncash;1\n", "with commas between the columns, not ';'"),
        ("instrument,shares,Shares\nS0001,1,2\ncash,1\n", "the column shares stands there twice"),
        ("instrument,shares\nS0001,0\ncash,0\n", "neither shares nor cash, so there is nothing"),
        ("instrument,shares\ns0001,1\ncash,1\n", "did you mean 'S0001'"),
        ("instrument,shares\nS0001\ncash,1\n", "line 2: 'S0001'; expected an instrument and its"),
        ("instrument,shares\nS001,1\ncash,1\n", "line 2: S001 has no bar in the 60 sessions up"),
    ],
)
def test_a_bad_file_is_an_error_with_its_line(market, tmp_path, capsys, text, said):
    file = tmp_path / "positions.csv"
    file.write_text(text)
    assert main(["orders", "--model", "gru", "--positions", str(file)]) == 1
    assert said in capsys.readouterr().err


def test_files_of_other_kinds_and_words_are_refused(market, tmp_path, capsys):
    file = tmp_path / "positions.csv"
    assert main(["orders", "--model", "gru", "--positions", str(file)]) == 1
    assert f"cannot read the positions {file}: No such file" in capsys.readouterr().err
    file.write_bytes("instrument,shares\nSü,1\ncash,1\n".encode("utf-16"))
    assert main(["orders", "--model", "gru", "--positions", str(file)]) == 1
    assert "not UTF-8" in capsys.readouterr().err
    assert main(["orders", "--positions", str(file)]) == 1
    assert "name it by --model: gru, krnn, lstm" in capsys.readouterr().err
    assert main(["orders", "--model", "grü"]) == 1
    assert "no model 'grü'; did you mean 'gru'" in capsys.readouterr().err
    assert main(["orders", "--date", "2020-05-16"]) == 1
    assert "2020-05-16 is not a session" in capsys.readouterr().err
    assert main(["orders", "--json", "--csv"]) == 1
    assert "--csv and --json exclude each other" in capsys.readouterr().err


def test_a_model_without_a_book_is_named(market, capsys):
    (market.paths.warehouse / "gru_portfolio" / f"date={LAST}" / "part-0.parquet").unlink()
    table, err = printed(capsys)
    assert "gru" not in set(table["model"])
    assert f"note: gru_portfolio has no session {LAST}; run `rnn-pipelines backfill" in err
    assert main(["orders", "--model", "gru", "--date", LAST]) == 1


def test_positions_are_read_as_they_stand():
    raw = "\ufeffshares,Instrument\n12.5,A\n0,B\n,\n7,CASH\n".encode()
    held = read_positions(raw, "f")
    assert (held.shares, held.cash, held.lines["A"]) == ({"A": 12.5}, 7.0, 2)
