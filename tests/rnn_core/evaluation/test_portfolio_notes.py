"""Notes of a backtest, and concentration; oracle: small markets by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    concentration,
    equal_weight_benchmark,
    portfolio_summary,
    topk_dropout,
)
from rnn_core.evaluation.portfolio_figures import yearly_note

DAYS = pd.bdate_range("2024-01-01", periods=6)
CONFIG = PortfolioConfig(
    topk=2, n_drop=1, account=1000.0, open_cost=0.0, close_cost=0.0, min_cost=0.0,
    limit_threshold=None,
)  # fmt: skip
NAN = np.nan


def _rows(table: dict[str, list[float]]) -> pd.Series:
    frame = pd.DataFrame(table, index=DAYS[: len(next(iter(table.values())))])
    rows = frame.stack(future_stack=True).dropna()  # noqa: PD013
    return rows.rename_axis(["datetime", "instrument"])


def _bars(table: dict[str, list[float]]) -> pd.DataFrame:
    return _rows(table).rename("close").to_frame()


def test_concentration_by_hand() -> None:
    """A and B bought for 475 each; A doubles: weights 950/1475 and 475/1475 of the account."""
    bars = _bars({"A": [10, 10, 20], "B": [5, 5, 5], "C": [5, 5, 5]})
    signal = _rows({"A": [3, 3], "B": [2, 2], "C": [1, 1]})
    result = topk_dropout(signal, bars, CONFIG, benchmark=equal_weight_benchmark(bars))
    got = concentration(result)
    assert got["held"].tolist() == [0, 2, 2]
    assert math.isnan(got["herfindahl"].iloc[0])
    assert got["herfindahl"].tolist()[1:] == pytest.approx([0.5, (4 + 1) / 9])
    assert got["effective"].tolist()[1:] == pytest.approx([2, 9 / 5])
    assert got["top_weight"].tolist() == pytest.approx([0, 0.475, 950 / 1475])
    assert got["invested"].tolist() == pytest.approx([0, 0.95, 1425 / 1475])
    assert got[["suspended", "suspended_weight"]].to_numpy().sum() == 0
    assert result.notes == ()


def test_a_delisted_holding_keeps_its_last_close_and_is_named() -> None:
    """A has no bar from the fourth session on; it cannot be sold though it ranks last."""
    bars = _bars({"A": [10, 10, 8, NAN, NAN, NAN], "B": [5.0] * 6, "C": [5.0] * 6})
    signal = _rows({"A": [3, 3, 1, 1, 1], "B": [2, 2, 2, 2, 2], "C": [1, 1, 3, 3, 3]})
    result = topk_dropout(signal, bars, CONFIG, benchmark=equal_weight_benchmark(bars))
    last = result.positions[result.positions["datetime"] == DAYS[5]].set_index("instrument")
    assert last.loc["A", "price"] == 8
    assert last["suspended"].tolist() == [True, False, False]
    share = concentration(result)
    assert share["suspended"].tolist() == [0, 0, 0, 1, 1, 1]
    assert share["suspended_weight"].iloc[-1] == pytest.approx(last.loc["A", "weight"])
    assert (result.daily["return"].iloc[3:] == 0).all()
    assert result.notes == (
        "0 purchases and 3 sales refused: suspended or at a price limit",
        "3 holdings of 13 (names times sessions) had no bar and kept the last close",
        "1 name still held at the end without any later bar, delisted or suspended, valued at the "
        "last close: A since 2024-01-03",
    )


def test_a_suspended_holding_that_trades_again_is_not_called_gone() -> None:
    bars = _bars({"A": [10, 10, NAN, NAN, 12, 12], "B": [5.0] * 6})
    signal = _rows({"A": [3.0] * 5, "B": [2.0] * 5})
    keep = dataclasses.replace(CONFIG, n_drop=0)
    for sessions, text in ((DAYS, "2 holdings of 10"), (DAYS[:4], "2 holdings of 6")):
        notes = topk_dropout(signal, bars, keep, sessions=sessions).notes
        assert any(note.startswith(text) for note in notes)
        assert not any("still held at the end" in note for note in notes)


def test_a_session_without_predictions_trades_nothing_and_is_noted() -> None:
    bars = _bars({"A": [10.0] * 6, "B": [5.0] * 6, "C": [5.0] * 6})
    signal = _rows({"A": [3, 3, 1, 1], "B": [2, 2, 2, 2], "C": [1, 1, 3, 3]})
    signal = signal.drop(DAYS[2], level=0)
    result = topk_dropout(signal, bars, CONFIG, benchmark=equal_weight_benchmark(bars))
    assert result.daily["turnover"].tolist()[3] == 0
    assert result.daily["turnover"].tolist()[4] > 0
    assert result.notes == (
        "1 session without predictions (first 2024-01-03): nothing was traded on the next",
    )


def test_without_a_benchmark_the_excess_is_undefined_never_zero() -> None:
    bars = _bars({"A": [10, 10, 11, 12], "B": [5.0] * 4})
    signal = _rows({"A": [3.0] * 3, "B": [2.0] * 3})
    result = topk_dropout(signal, bars, CONFIG)
    assert result.daily["bench"].isna().all()
    got = portfolio_summary(result)
    undefined = [name for name, value in got.items() if math.isnan(value)]
    assert undefined == [
        "benchmark_return", "annualized_excess_return_with_cost", "information_ratio_with_cost",
        "max_drawdown_with_cost", "annualized_excess_return_without_cost",
        "information_ratio_without_cost", "max_drawdown_without_cost",
    ]  # fmt: skip
    assert got["annualized_return"] > 0
    assert result.notes == ("no benchmark: its return and every excess figure is undefined (NaN)",)


def test_refused_and_unpriced_purchases_are_counted() -> None:
    bars = _bars({"A": [10, NAN, 10], "B": [5, 5, 5]}).assign(open=[10.0, 5, 5, 10, NAN])
    config = dataclasses.replace(CONFIG, deal_price="open")
    signal = _rows({"A": [3.0] * 2, "B": [2.0] * 2})
    bench = equal_weight_benchmark(bars)
    assert topk_dropout(signal, bars, config, benchmark=bench).notes == (
        "1 purchase and 0 sales refused: suspended or at a price limit",
    )
    bars.loc[(DAYS[1], "B"), "open"] = NAN
    assert topk_dropout(signal, bars, config, benchmark=bench).notes[1] == (
        "1 purchase filled at the close: the deal price is absent"
    )


@pytest.mark.parametrize(("unit", "shares"), [(100, 4700), ("cn", 4700), (1, 4750), (None, 4750)])
def test_purchases_are_whole_lots_of_shares_as_traded(unit: int | str | None, shares: int) -> None:
    """47,500 to spend at an adjusted 20, traded at 10 (factor 2): 2375 adjusted, 4750 as traded."""
    bars = _bars({"A": [20.0, 20.0]}).assign(factor=2.0)
    config = dataclasses.replace(CONFIG, topk=1, account=50_000.0, trade_unit=unit)
    held = topk_dropout(_rows({"A": [1.0]}), bars, config).positions
    assert held["amount"].tolist() == pytest.approx([shares / 2])


def test_lots_need_a_factor() -> None:
    bars = _bars({"A": [20.0, 20.0]})
    config = dataclasses.replace(CONFIG, trade_unit="us")
    signal = _rows({"A": [1.0]})
    with pytest.raises(ValueError, match=r"trade_unit needs the column 'factor'.*trade_unit=None"):
        topk_dropout(signal, bars, config)
    with pytest.raises(ValueError, match=r"a factor of 0\.0 for A on 2024-01-01"):
        topk_dropout(signal, bars.assign(factor=0.0), config)
    with pytest.raises(ValueError, match=r"trade_unit='hk': expected 1 share or more, one of"):
        dataclasses.replace(CONFIG, trade_unit="hk")
    with pytest.raises(ValueError, match="trade_unit=0: expected 1 share or more"):
        dataclasses.replace(CONFIG, trade_unit=0)


def test_the_note_names_the_portfolios_without_figures_of_a_year() -> None:
    """By hand; 60 sessions are enough."""

    def note(**portfolios: tuple[int, int]) -> str:
        return yearly_note(pd.DataFrame(portfolios, index=["sessions", "names"]).T)

    assert note(lstm=(60, 3), gru=(250, 9)) == ""
    assert note(lstm=(59, 3), gru=(1, 9)) == (
        "no figure of a year: it needs 60 sessions or more, and this is 59 sessions of 9 names"
    )
    assert note(lstm=(60, 3), gru=(59, 4), krnn=(1, 1)) == (
        "no figure of a year for gru (59 sessions of 4 names), krnn (1 session of 1 name): it "
        "needs 60 sessions or more"
    )
