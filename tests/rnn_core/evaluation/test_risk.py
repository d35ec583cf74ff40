"""Risk figures; oracles: pyqlib's recorded risk_analysis and hand calculation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import PERIODS_PER_YEAR, risk_analysis


@pytest.mark.parametrize("case", ["sum_238", "sum_252", "product_238", "product_252"])
def test_agrees_with_qlib(recorded: Path, case: str) -> None:
    """Oracle: qlib.contrib.evaluate.risk_analysis of a recorded portfolio's excess return."""
    expected = json.loads((recorded / "risk.json").read_text())[case]
    reports = pd.read_parquet(recorded / "reports.parquet")
    report = reports[reports["case"] == "default"].set_index("datetime")
    excess = report["return"] - report["bench"] - report["cost"]
    mode, count = case.split("_")
    name = {"238": "qlib_day", "252": "us"}[count]
    for periods in (int(count), name):
        got = risk_analysis(excess, periods_per_year=periods, mode=mode)  # type: ignore[arg-type]
        assert list(got.index) == list(expected)
        np.testing.assert_allclose(got.to_numpy(), list(expected.values()), rtol=0, atol=1e-10)


def test_by_hand() -> None:
    returns = pd.Series([0.1, -0.2, 0.1])
    got = risk_analysis(returns, periods_per_year=100)
    assert got["mean"] == pytest.approx(0)
    assert got["std"] == pytest.approx(math.sqrt(0.03))
    assert got["max_drawdown"] == pytest.approx(-0.2)
    product = risk_analysis(returns, periods_per_year=3, mode="product")
    assert product["annualized_return"] == pytest.approx(1.1 * 0.8 * 1.1 - 1)
    assert product["max_drawdown"] == pytest.approx(-0.2)
    # The default is qlib's year, and the first loss is no drawdown.
    assert PERIODS_PER_YEAR["qlib_day"] == 238
    first = risk_analysis(pd.Series([-0.5, 0.0]))
    assert first["annualized_return"] == pytest.approx(-0.25 * 238)
    assert first["max_drawdown"] == 0


def test_undefined_figures_are_nan() -> None:
    one = risk_analysis(pd.Series([0.01]))
    assert math.isnan(one["std"])
    assert math.isnan(one["information_ratio"])
    assert one["mean"] == 0.01
    flat = risk_analysis(pd.Series([0.01, 0.01, 0.01]))
    assert math.isnan(flat["information_ratio"])


def test_errors() -> None:
    with pytest.raises(ValueError, match="returns is empty"):
        risk_analysis(pd.Series(dtype=float))
    bad = pd.Series([0.1, np.nan, np.inf], index=pd.bdate_range("2024-01-01", periods=3))
    with pytest.raises(ValueError, match=r"2 NaN or infinite values of 3, the first at 2024-01-02"):
        risk_analysis(bad)
    with pytest.raises(ValueError, match="cannot be compounded: use mode='sum'"):
        risk_analysis(pd.Series([0.1, -1.0]), mode="product")
    with pytest.raises(ValueError, match=r"mode='geometric': expected one of \['sum', 'product'\]"):
        risk_analysis(pd.Series([0.1]), mode="geometric")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'cn' is unknown, expected a number or one of"):
        risk_analysis(pd.Series([0.1]), periods_per_year="cn")
    with pytest.raises(ValueError, match="periods_per_year=0: expected a positive number"):
        risk_analysis(pd.Series([0.1]), periods_per_year=0)
