"""Alpha158 in qlib semantics. Oracle: pyqlib 0.9.7 itself, recorded.

The small fixture is awkward on purpose (see tests/fixtures/make_alpha158.py); the golden files are
two real markets. Missing cells must agree on every row; numbers exactly where nothing is rounded
on the way or where the dtype path is fixed, else to the tolerance that is fair for the statistic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.features import (
    ALPHA158_NAMES,
    alpha158,
    alpha158_panel,
    compute_features,
)
from rnn_core.features.layout import ALPHA158_PRICES, KBAR, price_features
from rnn_core.features.qlib import recurrences
from rnn_core.panel.panel import Panel

LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
BAR_SHAPES = {*KBAR, *price_features(ALPHA158_PRICES, (0,))}  # they see one bar alone
EXACT = {*BAR_SHAPES, "ROC", "RANK", "CNTP", "CNTN", "CNTD", "IMAX", "IMIN", "IMXD"}
LOOSE = {"BETA", "RSQR", "RESI", "CORR", "CORD"}


def check(bars: pd.DataFrame, recorded: pd.DataFrame, label: str) -> None:
    """Compare every recorded row, suspended ones included."""
    panel = Panel.from_frame(bars)
    values = alpha158_panel(panel, semantics="qlib")
    name = panel.instruments.get_indexer(recorded["instrument"])
    day = panel.sessions.get_indexer(recorded["date"])
    for f, feature in enumerate(ALPHA158_NAMES):
        ours, theirs = values[f, name, day], recorded[feature].to_numpy()
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=feature)
        family = feature if feature in BAR_SHAPES else feature.rstrip("0123456789")
        if family in EXACT:
            np.testing.assert_array_equal(ours, theirs, err_msg=feature)
        else:
            rtol, atol = (1e-4, 1e-6) if family in LOOSE else (1e-5, 0)
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=feature)
    inside = np.zeros(panel.shape, dtype=bool)
    inside[name, day] = True
    assert np.isnan(values[:, ~inside]).all()

    frame = compute_features(panel, [("LABEL0", LABEL)], semantics="qlib")
    theirs = recorded.set_index(["date", "instrument"])[label].reindex(frame.index)
    np.testing.assert_array_equal(frame["LABEL0"].to_numpy(), theirs.to_numpy())


def test_agrees_with_pyqlib_on_an_awkward_market(fixtures_dir: Path) -> None:
    bars = pd.read_parquet(fixtures_dir / "alpha158_bars.parquet")
    recorded = pd.read_parquet(fixtures_dir / "alpha158_qlib.parquet")
    cells = recorded[list(ALPHA158_NAMES)].to_numpy()
    assert np.isinf(cells).any()
    assert np.isnan(cells).mean() > 0.01
    assert len(recorded) > len(bars), "the fixture must hold suspended sessions"
    check(bars, recorded, "LABEL0")


@pytest.mark.golden
@pytest.mark.parametrize("market", ["us", "cn"])
def test_agrees_with_pyqlib_on_a_real_market(golden_dir: Path, market: str) -> None:
    recorded = pd.read_parquet(golden_dir / f"{market}_alpha158.parquet")
    label = next(name for name in recorded.columns if name.startswith("Ref("))
    check(pd.read_parquet(golden_dir / f"{market}_panel.parquet"), recorded, label)


@pytest.mark.parametrize("length", [5, 20, 60])
def test_running_statistics_are_pandas_bit_for_bit(fixtures_dir: Path, length: int) -> None:
    """Early values 1e6 times the later ones: only the same round-off gives the same digits."""
    recorded = np.load(fixtures_dir / "alpha158_rolling.npz")
    x = recorded["x"]
    start, out = np.zeros(len(x), dtype=np.int64), np.empty(x.shape)
    recurrences.running_sum(x, start, length, False, out)
    np.testing.assert_array_equal(out, recorded[f"sum{length}"])
    recurrences.running_sum(x, start, length, True, out)
    np.testing.assert_array_equal(out, recorded[f"mean{length}"])
    recurrences.running_var(x, start, length, out)
    np.testing.assert_array_equal(out, recorded[f"var{length}"])


def test_frame_holds_the_rows_that_exist(fixtures_dir: Path) -> None:
    bars = pd.read_parquet(fixtures_dir / "alpha158_bars.parquet")
    frame = alpha158(bars.sample(frac=1, random_state=0), semantics="qlib")
    recorded = pd.read_parquet(fixtures_dir / "alpha158_qlib.parquet")
    recorded = recorded.set_index(["date", "instrument"]).reindex(frame.index)
    assert len(frame) == len(bars)
    assert frame.index.names == ["datetime", "instrument"]
    assert frame.index.is_monotonic_increasing
    assert (frame.dtypes == np.float32).all()
    np.testing.assert_array_equal(frame["RANK20"].to_numpy(), recorded["RANK20"].to_numpy())


def test_first_missing_value_is_the_position_of_the_extreme(one_name) -> None:
    """Q1 kept: numpy's argmax answers with the first NaN."""
    panel = one_name([1.0, 5.0, 3.0, 2.0, 3.0], high=[1.0, 5.0, np.nan, 2.0, 3.0])
    values = alpha158_panel(panel, semantics="qlib")
    row = ALPHA158_NAMES.index("IMAX5")
    np.testing.assert_array_equal(values[row, 0], np.float32([0.2, 0.4, 0.6, 0.6, 0.6]))


def test_regression_poisoned_by_one_infinity_stays_so(one_name) -> None:
    """Q2 kept: the running sums never recover."""
    panel = one_name([1.0, np.inf, *np.linspace(1, 2, 70)])
    values = alpha158_panel(panel, semantics="qlib")
    assert np.isnan(values[ALPHA158_NAMES.index("RSQR5"), 0, 2:]).all()
