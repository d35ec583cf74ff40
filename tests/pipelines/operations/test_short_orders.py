"""`orders` of a strategy of target weights. Oracles: the stored partitions, and shares by hand."""

from __future__ import annotations

import pytest

from pipelines.assets.stages import stages
from pipelines.errors import PipelineError
from pipelines.operations.orders import COLUMNS, real_orders, session_orders
from tests.pipelines.hand_made import planted, rows_of, trade

RULE = {
    "strategy": "mean_variance",
    "account": 1e6,
    "options": {"sessions": 20, "cap": 0.25, "long_only": False, "gross": 1.5, "ic": 0.1},
}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A market with a book of both sides, and bars from its first session on."""
    market, keys = planted(tmp_path_factory.mktemp("short"), RULE, sessions=20, history=100)
    trade(market, keys[1:])
    return market, keys


def busiest(market, keys):
    orders = rows_of(market, "orders", keys[1:])
    kinds = orders.groupby("date")["side"].nunique()
    return f"{kinds[kinds == 4].index[-1]:%Y-%m-%d}"


def test_the_list_has_partial_trades_short_sales_and_covers(market):
    market, keys = market
    key = busiest(market, keys)
    listed = session_orders(market, stages(market), key)
    rows = listed.orders.set_index("instrument")
    held = rows_of(market, "portfolio", [key]).set_index("instrument")
    assert list(listed.orders) == COLUMNS
    assert list(dict.fromkeys(rows["side"])) == ["sell", "short", "cover", "buy"]
    partial = rows[(rows["side"] == "sell") & (rows["sizing"] == "fixed_shares")]
    assert (partial["estimated_shares"] < held.loc[partial.index, "shares"]).all()
    assert set(partial["reason"]) <= {"rebalanced"}
    whole = rows[rows["sizing"] == "all"]
    names = whole.index.intersection(held.index)
    assert whole.loc[names, "estimated_shares"].tolist() == pytest.approx(
        held.loc[names, "shares"].abs().tolist()
    )
    # The account at the close decides the amounts: shares × close is the change of the weight.
    account = rows_of(market, "book", [key])["account"].iloc[0]
    opened = rows[(rows["reason"] == "entered")]
    signed = opened["target_weight"] * account / opened["close"]
    assert opened["estimated_shares"].tolist() == pytest.approx(signed.abs().tolist(), rel=5e-3)
    count = int((rows["side"] == "short").sum())
    assert f"lstm: {count} short sales; whether the shares can be borrowed" in listed.notes[-1]


def positions(market, key, path, **changes):
    """A statement of the simulated book, short positions negative."""
    held = rows_of(market, "portfolio", [key])
    shares = dict(zip(held["instrument"], held["shares"], strict=True)) | changes
    cash = shares.pop("cash", rows_of(market, "book", [key])["cash"].iloc[0])
    lines = [f"{name},{float(number)!r}" for name, number in shares.items()]
    path.write_text("\n".join(["instrument,shares", *lines, f"cash,{float(cash)!r}"]))
    return path


def test_the_real_book_that_equals_the_simulated_one_gets_its_list(market, tmp_path):
    market, keys = market
    key = busiest(market, keys)
    file = positions(market, key, tmp_path / "held.csv")
    assert "-" in file.read_text(), "nothing is short"
    real = real_orders(market, stages(market), file, key)
    truth = session_orders(market, stages(market), key).orders
    columns = ["side", "instrument", "reason", "sizing"]
    assert real.orders[columns].to_numpy().tolist() == truth[columns].to_numpy().tolist()
    numbers = ["estimated_shares", "estimated_value", "target_weight"]
    assert real.orders[numbers].to_numpy() == pytest.approx(truth[numbers].to_numpy(), rel=1e-4)
    assert real.differences["difference"].abs().max() < 1e-6
    assert real.revision == 1
    assert any("can be borrowed" in note for note in real.notes)


def test_what_is_held_and_suspended_is_named(market, tmp_path):
    """It is ordered to be closed, and the order waits for a bar."""
    market, keys = market
    held = rows_of(market, "portfolio", keys[1:])
    row = held[held["suspended"].astype(bool)].iloc[0]
    key, name = f"{row['date']:%Y-%m-%d}", row["instrument"]
    listed = session_orders(market, stages(market), key)
    assert listed.orders.set_index("instrument").loc[name, ["reason", "sizing"]].tolist() == [
        "dropped", "all",
    ]  # fmt: skip
    said = f"lstm: {name}: suspended on {key}, to be closed once it trades"
    assert said in listed.notes
    file = positions(market, key, tmp_path / "held.csv")
    assert said in real_orders(market, stages(market), file, key).notes


def test_a_short_position_of_no_score_is_covered_as_a_whole(market, tmp_path):
    market, keys = market
    scores = rows_of(market, "prediction", keys[1:]).groupby("date")["instrument"].agg(set)
    names = {f"N{i:02}" for i in range(12)}
    key, name = next(
        (f"{day:%Y-%m-%d}", min(names - own)) for day, own in scores.items() if names - own
    )
    file = positions(market, key, tmp_path / "held.csv", **{name: -7.0})
    rows = real_orders(market, stages(market), file, key).orders.set_index("instrument")
    row = rows.loc[name, ["side", "sizing", "estimated_shares", "target_weight"]]
    assert row.tolist() == ["cover", "all", pytest.approx(7.0), 0.0]


def test_a_book_that_is_worth_nothing_is_refused(market, tmp_path):
    market, keys = market
    file = positions(market, keys[-1], tmp_path / "held.csv", cash=-1e8)
    with pytest.raises(PipelineError, match=r"are worth -.*; expected more than nothing"):
        real_orders(market, stages(market), file, keys[-1])
