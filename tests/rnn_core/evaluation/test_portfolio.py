"""TopkDropout; oracles: pyqlib's own recorded backtests, and an account worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    PortfolioResult,
    equal_weight_benchmark,
    portfolio_summary,
    risk_analysis,
    topk_dropout,
)

DAYS = pd.bdate_range("2024-01-01", periods=5)
# Cases in which qlib's rule is one that strict semantics repair, and by how much a return differs.
REPAIRED = {"no_drop": 1e-3, "few_scores": 1e-3, "open_tradable": 1e-4}
# A case in which qlib buys a share more than the cash pays for.
OVERSPENT = "lots_us"
ALL = (
    "default", "open_tradable", "vwap_small", "directional", "tiny_account", "no_drop", "crowded",
    "few_scores", "lots_cn", "lots_us",
)  # fmt: skip


def _case(recorded: Path, name: str) -> tuple[dict[str, Any], pd.DataFrame]:
    case = json.loads((recorded / "cases.json").read_text())[name]
    reports = pd.read_parquet(recorded / "reports.parquet")
    report = reports[reports["case"] == name].set_index("datetime").drop(columns="case")
    return case, report


def _run(
    recorded: Path, name: str, bars: pd.DataFrame, signals: pd.DataFrame, semantics: str
) -> tuple[PortfolioResult, pd.DataFrame]:
    case, report = _case(recorded, name)
    column = case.pop("signal")
    signal = signals[column].dropna() if column == "smooth" else signals[column]
    if case["trade_unit"] is not None:
        bars = bars.merge(pd.read_parquet(recorded / "factors.parquet"))
    result = topk_dropout(
        signal,
        bars,
        PortfolioConfig(**case, semantics=semantics),  # type: ignore[arg-type]
        benchmark=equal_weight_benchmark(bars),
        sessions=pd.DatetimeIndex(report.index),
    )
    return result, report


def test_every_recorded_case_is_tested(recorded: Path) -> None:
    assert set(json.loads((recorded / "cases.json").read_text())) == set(ALL)


@pytest.mark.parametrize("semantics", ["qlib", "strict"])
@pytest.mark.parametrize("name", ALL)
def test_agrees_with_qlib(
    recorded: Path, bars: pd.DataFrame, signals: pd.DataFrame, name: str, semantics: str
) -> None:
    """Oracle: qlib's backtest with TopkDropoutStrategy: report and positions."""
    result, report = _run(recorded, name, bars, signals, semantics)
    got = result.daily
    assert list(got.columns) == list(report.columns)
    if semantics == "strict" and name in REPAIRED:
        assert (got["return"] - report["return"]).abs().max() > REPAIRED[name]
        return
    if semantics == "strict" and name == OVERSPENT:
        assert report["cash"].min() < -0.1
        assert got["cash"].min() >= 0
        return
    for column in ("return", "cost", "turnover", "bench"):
        np.testing.assert_allclose(got[column], report[column], rtol=0, atol=1e-10)
    for column in ("account", "value", "cash", "total_cost", "total_turnover"):
        np.testing.assert_allclose(got[column], report[column], rtol=1e-9, atol=1e-6)
    rows = pd.read_parquet(recorded / "positions.parquet")
    rows = rows[rows["case"] == name].drop(columns="case").reset_index(drop=True)
    keys = ["datetime", "instrument"]
    assert result.positions[keys].to_numpy().tolist() == rows[keys].to_numpy().tolist()
    for column in ("amount", "price", "weight"):
        np.testing.assert_allclose(result.positions[column], rows[column], rtol=1e-9)


def test_the_recorded_market_reaches_the_rules(recorded: Path, bars: pd.DataFrame) -> None:
    """The fixture would prove little without refusals, the least cost and too little cash."""
    _, report = _case(recorded, "default")
    positions = pd.read_parquet(recorded / "positions.parquet")
    held = positions.groupby(["case", "datetime"]).size()
    assert held["default"].max() > 6  # a refused sale left more than topk
    assert (report["turnover"] == 0).any()  # a session without signal
    suspended = positions.merge(
        bars.rename(columns={"date": "datetime"})[["datetime", "instrument", "close"]], how="left"
    )
    assert suspended["close"].isna().sum() > 100
    _, tiny = _case(recorded, "tiny_account")
    assert tiny["total_cost"].iloc[-1] % 5 == 0  # min_cost binds on every trade
    assert tiny["total_cost"].iloc[-1] > 0
    _, small = _case(recorded, "vwap_small")
    assert small["cash"].min() < 1e-6  # cut to what the cash allows


def _bars(table: dict[str, list[float]], **columns: float) -> pd.DataFrame:
    close = pd.DataFrame(table, index=DAYS[: len(next(iter(table.values())))])
    rows = close.stack(future_stack=True).dropna().rename("close")  # noqa: PD013
    rows.index = rows.index.set_names(["datetime", "instrument"])
    return rows.to_frame().assign(**columns)


def _signal(table: dict[str, list[float]]) -> pd.Series:
    scores = pd.DataFrame(table, index=DAYS[: len(next(iter(table.values())))])
    return scores.stack(future_stack=True)  # noqa: PD013


HAND = PortfolioConfig(
    topk=1, n_drop=1, account=1000.0, open_cost=0.001, close_cost=0.002, min_cost=1.0,
    limit_threshold=None,
)  # fmt: skip


def test_by_hand() -> None:
    """Buy A, swap it for B, then B is suspended: its sale is refused, C is bought all the same."""
    nan = np.nan
    bars = _bars({"A": [10, 10, 12, 12], "B": [20, 20, 20, nan], "C": [5, 5, 5, 5]})
    signal = _signal({"A": [3, 2, 1], "B": [2, 3, 2], "C": [1, 1, 3]})
    done: list[tuple[int, int]] = []
    result = topk_dropout(signal, bars, HAND, progress=lambda *step: done.append(step))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(result.daily.index) == list(DAYS[:4])
    row = result.daily.iloc[0]  # no signal before: cash
    assert (row["account"], row["return"], row["cash"]) == (1000, 0, 1000)
    row = result.daily.iloc[1]  # 95 A at 10, the least cost of 1
    assert row["cash"] == pytest.approx(1000 - 950 - 1)
    assert row["return"] == pytest.approx(0)
    assert row["cost"] == pytest.approx(1 / 1000)
    assert row["turnover"] == pytest.approx(0.95)
    row = result.daily.iloc[2]  # A sold at 12, 95% of the cash into B
    cash = 49 + 1140 - 2.28
    spent = cash * 0.95
    assert row["cash"] == pytest.approx(cash - spent * 1.001)
    assert row["account"] == pytest.approx(cash - spent * 0.001)
    assert row["return"] == pytest.approx(190 / 999)
    assert row["cost"] == pytest.approx((2.28 + spent * 0.001) / 999)
    cash -= spent * 1.001
    row = result.daily.iloc[3]
    assert row["cash"] == pytest.approx(cash * 0.05 - 1)
    last = result.positions[result.positions["datetime"] == DAYS[3]]
    assert last["instrument"].tolist() == ["B", "C"]
    assert last["price"].tolist() == [20, 5]
    assert last["amount"].tolist() == pytest.approx([spent / 20, cash * 0.95 / 5])
    assert last["weight"].sum() == pytest.approx(row["value"] / row["account"])


@pytest.mark.parametrize("both", [True, False])
def test_limits(both: bool) -> None:
    """At limit up a purchase is refused; a sale only under forbid_all_trade_at_limit."""
    config = dataclasses.replace(HAND, limit_threshold=0.095, forbid_all_trade_at_limit=both)
    bars = _bars({"A": [10, 10, 11, 11], "B": [20, 20, 20, 22]})
    signal = _signal({"A": [2, 1, 1], "B": [1, 2, 2]})
    result = topk_dropout(signal, bars, config)
    held = result.positions.groupby("datetime")["instrument"].agg("".join)
    # A is to be sold at its limit up on day 3; on day 4 B may not be bought at its limit.
    assert held[DAYS[1]] == "A"
    assert held[DAYS[2]] == ("AB" if both else "B")


def test_limit_counts_from_the_last_bar_before_a_suspension() -> None:
    config = dataclasses.replace(HAND, limit_threshold=0.095)
    bars = _bars({"A": [10, np.nan, 11, 11], "B": [5, 5, 5, 5]})
    held = topk_dropout(_signal({"A": [1, 1, 1], "B": [0, 0, 0]}), bars, config).positions
    assert held["datetime"].tolist() == [DAYS[3]]  # suspended, then limit up, then bought


def test_hold_thresh_keeps_a_name() -> None:
    config = dataclasses.replace(HAND, hold_thresh=3, account=1e6)
    bars = _bars({"A": [10.0] * 5, "B": [20.0] * 5})
    signal = _signal({"A": [2, 1, 1, 1], "B": [1, 2, 2, 2]})
    held = topk_dropout(signal, bars, config).positions.groupby("datetime")["instrument"]
    assert "A" in held.agg("".join)[DAYS[3]]
    assert "A" not in held.agg("".join)[DAYS[4]]


def test_deal_price_falls_back_to_the_close() -> None:
    bars = _bars({"A": [10, 10, 10], "B": [20, 20, 20]}, vwap=8.0)
    bars.loc[(DAYS[1], "A"), "vwap"] = np.nan
    config = dataclasses.replace(HAND, deal_price="vwap")
    held = topk_dropout(_signal({"A": [2.0], "B": [1.0]}), bars, config).positions
    assert held["amount"].tolist() == pytest.approx([95.0])


@pytest.mark.parametrize("power", [-60, -34, 0, 40])
def test_a_portfolio_does_not_depend_on_the_unit_of_the_currency(power: int) -> None:
    """Prices of 1e-8 are prices in strict semantics; qlib takes the deal price for absent."""
    unit = 2.0**power
    bars = _bars({"A": [10, 11, 12, 11], "B": [20, 19, 21, 22]}, vwap=8.0)
    signal = _signal({"A": [2.0, 1.0, 2.0], "B": [1.0, 2.0, 1.0]})
    config = dataclasses.replace(HAND, deal_price="vwap", min_cost=0.0)
    plain = topk_dropout(signal, bars, config)
    prices = bars[["close", "vwap"]] * unit
    tiny = topk_dropout(
        signal,
        bars.assign(**prices),
        dataclasses.replace(config, account=config.account * unit),
    )
    shares = ["return", "turnover", "cost"]
    pd.testing.assert_frame_equal(tiny.daily[shares], plain.daily[shares], check_exact=True)
    assert tiny.positions["amount"].tolist() == plain.positions["amount"].tolist()
    assert (tiny.daily["turnover"] > 0).any()
    if power < -30:
        as_qlib = dataclasses.replace(config, account=1.0, semantics="qlib")
        assert any(
            "close" in note for note in topk_dropout(signal, bars.assign(**prices), as_qlib).notes
        )


def test_nothing_later_changes_a_row(bars: pd.DataFrame, signals: pd.DataFrame) -> None:
    """Leakage: bars and scores after a session leave its row as it is, bit for bit."""
    config = PortfolioConfig(topk=6, n_drop=2)
    whole = topk_dropout(signals["smooth"], bars, config).daily
    cut = whole.index[70]
    part = topk_dropout(
        signals["smooth"][signals.index.get_level_values(0) < cut],
        bars[bars["date"] <= cut],
        config,
    ).daily
    pd.testing.assert_frame_equal(part, whole.loc[:cut], check_exact=True)


def test_strict_repairs() -> None:
    """n_drop=0 sells nothing; a name without a score is not bought."""
    bars = _bars({"A": [10.0] * 5, "B": [20.0] * 5, "C": [5.0] * 5})
    rising = _signal({"A": [2, 1, 1, 1], "B": [1, 2, 2, 2], "C": [0, 0, 0, 0]})
    keep = dataclasses.replace(HAND, n_drop=0)
    held = topk_dropout(rising, bars, keep).positions
    assert set(held["instrument"]) == {"A"}
    qlib = topk_dropout(rising, bars, dataclasses.replace(keep, semantics="qlib"))
    assert qlib.daily["value"].iloc[2] == 0
    silent = rising.where(rising.index.get_level_values(1) == "A")
    two = dataclasses.replace(HAND, topk=2)
    assert set(topk_dropout(silent, bars, two).positions["instrument"]) == {"A"}
    other = topk_dropout(silent, bars, dataclasses.replace(two, semantics="qlib"))
    assert set(other.positions["instrument"]) == {"A", "B"}


def test_strict_buys_nothing_where_qlib_counts_below_zero() -> None:
    """Four names held, topk 3, all suspended: qlib buys "all candidates but the last"."""
    nan = np.nan
    held = {name: [10.0, 10, 10, nan] for name in "ABCD"}
    bars = _bars(held | {name: [10.0] * 4 for name in "EF"})
    order = {"A": [6, 3, 3], "B": [5, 5, 5], "C": [4, 4, 4], "D": [3, 6, 6], "E": [2, 2, 2]}
    signal = _signal(order | {"F": [1, 1, 1]})
    config = dataclasses.replace(
        HAND, topk=3, n_drop=3, hold_thresh=5, only_tradable=True, account=1e6
    )
    for semantics, names in (("strict", "ABCD"), ("qlib", "ABCDE")):
        settings = dataclasses.replace(config, semantics=semantics)
        rows = topk_dropout(signal, bars, settings).positions
        assert "".join(rows[rows["datetime"] == DAYS[3]]["instrument"]) == names


def test_default_sessions_and_history_before_them() -> None:
    bars = _bars({"A": [10.0] * 5, "B": [20.0] * 5})
    signal = _signal({"A": [1.0] * 3, "B": [2.0] * 3}).drop(DAYS[0], level=0)
    assert list(topk_dropout(signal, bars, HAND).daily.index) == list(DAYS[1:4])
    given = topk_dropout(signal, bars, HAND, sessions=list(DAYS[2:4])).daily
    assert list(given.index) == list(DAYS[2:4])
    assert given["turnover"].iloc[0] > 0  # the signal of the session before the first is used


def test_equal_weight_benchmark_by_hand() -> None:
    nan = np.nan
    bars = _bars({"A": [10, 11, nan, 12], "B": [20, 22, 22, nan], "C": [nan, 5, 6, nan]})
    got = equal_weight_benchmark(bars)
    assert got.tolist() == pytest.approx([0, 0.1, 0.1, 0])
    flat = bars.reset_index().rename(columns={"datetime": "date"})
    pd.testing.assert_series_equal(equal_weight_benchmark(flat.sample(frac=1)), got)


def test_summary(bars: pd.DataFrame, signals: pd.DataFrame) -> None:
    bench = equal_weight_benchmark(bars)
    result = topk_dropout(signals["noisy"], bars, PortfolioConfig(topk=6), benchmark=bench)
    got = portfolio_summary(result, periods_per_year="us")
    daily = result.daily
    with_cost = risk_analysis(
        daily["return"] - daily["bench"] - daily["cost"], periods_per_year=252
    )
    assert got["annualized_excess_return_with_cost"] == with_cost["annualized_return"]
    assert got["information_ratio_with_cost"] == with_cost["information_ratio"]
    assert got["max_drawdown_with_cost"] == with_cost["max_drawdown"]
    absolute = (daily["return"] - daily["cost"]).mean() * 252
    assert got["annualized_return"] == pytest.approx(absolute)
    assert got["benchmark_return"] == pytest.approx(daily["bench"].mean() * 252)
    lost = got["annualized_excess_return_without_cost"] - with_cost["annualized_return"]
    assert lost == pytest.approx(daily["cost"].mean() * 252)
    assert got["total_cost"] == daily["total_cost"].iloc[-1] > 0
    assert got["turnover"] == pytest.approx(daily["turnover"].mean())
    assert got["sessions"] == len(daily)
    assert not any(math.isnan(value) for value in got.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"topk": 0}, "topk=0: expected 1 name or more"),
        ({"topk": 3, "n_drop": 4}, r"n_drop=4: expected 0 to topk \(3\) names"),
        ({"hold_thresh": -1}, "hold_thresh=-1"),
        ({"risk_degree": 1.5}, r"risk_degree=1.5: expected a share in \(0, 1\]"),
        ({"account": 0.0}, "account=0.0: expected positive cash"),
        ({"open_cost": -0.1}, "open_cost=-0.1"),
        ({"min_cost": float("nan")}, "min_cost=nan"),
        ({"limit_threshold": 0.0}, "limit_threshold=0.0: expected a return"),
        ({"deal_price": "mid"}, "deal_price='mid': expected one of"),
        ({"semantics": "loose"}, "semantics='loose': expected one of"),
    ],
)
def test_config_errors(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PortfolioConfig(**setting)


def test_input_errors() -> None:
    bars = _bars({"A": [10.0] * 4, "B": [20.0] * 4})
    signal = _signal({"A": [1.0] * 3, "B": [2.0] * 3})
    with pytest.raises(ValueError, match="signal is empty"):
        topk_dropout(signal.iloc[:0], bars, HAND)
    with pytest.raises(ValueError, match="bars is empty"):
        topk_dropout(signal, bars.iloc[:0], HAND)
    with pytest.raises(ValueError, match=r"no column 'vwap'.*choose another deal_price"):
        topk_dropout(signal, bars, dataclasses.replace(HAND, deal_price="vwap"))
    with pytest.raises(
        ValueError, match="signal has 1 days without any bar, the first is 2024-01-02"
    ):
        topk_dropout(signal, bars.drop(DAYS[1], level=0), HAND)
    with pytest.raises(ValueError, match=r"1 of them without bars \(\['2030-01-01'\]\)"):
        topk_dropout(signal, bars, HAND, sessions=[DAYS[0], pd.Timestamp("2030-01-01")])
    with pytest.raises(ValueError, match="no return on 3 of 4 sessions, the first is 2024-01-02"):
        topk_dropout(signal, bars, HAND, benchmark=pd.Series([0.0], index=DAYS[:1]))
    with pytest.raises(ValueError, match="pass bars of the same time"):
        topk_dropout(signal, bars[bars.index.get_level_values(0) > DAYS[2]], HAND)
    with pytest.raises(ValueError, match=r"a close of -1.0 for A on 2024-01-01"):
        topk_dropout(signal, bars.replace(10.0, -1.0), HAND)
