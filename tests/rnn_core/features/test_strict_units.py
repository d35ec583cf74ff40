"""Strict features and the unit of prices and volumes: ratios without a guard of 1e-12.

Oracles: the same bars in another unit, bit for bit; small cases by hand; the guarded formulas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnn_core.features import (
    ALPHA158_NAMES,
    alpha158_panel,
    alpha360_panel,
    compute_features,
)
from rnn_core.features.evaluate import expression_panel
from rnn_core.features.layout import ALPHA158_EXPRESSIONS
from rnn_core.panel.panel import Panel
from tests.rnn_core.features.test_alpha158_strict import feature

EPS = 1e-12


def scaled(panel: Panel, power: int, *, volume: bool) -> Panel:
    """Multiply all prices, or all volumes, by a power of two."""
    fields = {
        name: x * 2.0**power if (name == "volume") == volume else x
        for name, x in panel.fields.items()
    }
    return Panel(panel.sessions, panel.instruments, fields, panel.present)


@pytest.mark.parametrize("power", [-60, -34, -14, -1, 1, 20, 60])
def test_features_do_not_depend_on_the_unit_of_prices_or_volumes(
    gapped_market, same_bits, power: int
) -> None:
    """Numbers times a power of two round alike, so even the bits must agree (Q3, and guards)."""
    panel = gapped_market(8, gap_share=0.05)
    assert (panel.fields["volume"] == 0).any()
    prices = scaled(panel, power, volume=False)
    volumes = scaled(panel, power, volume=True)
    assert same_bits(alpha158_panel(prices), alpha158_panel(panel))
    assert same_bits(alpha360_panel(prices), alpha360_panel(panel))
    assert same_bits(alpha360_panel(volumes), alpha360_panel(panel))
    rows = [k for k, name in enumerate(ALPHA158_NAMES) if not name.startswith("CORR")]
    assert same_bits(alpha158_panel(volumes)[rows], alpha158_panel(panel)[rows])


def test_the_unit_of_float32_prices_and_of_own_formulas(gapped_market, same_bits) -> None:
    """The guard is known in any formula, wherever it stands and whatever is divided."""
    own = [
        ("A", "Mean(($close-$open)/(1e-12+$high-$low), 5)"),
        ("B", "Std($close, 9)/(Mad($close, 9)+1e-12)"),
        ("C", "Ref($close, 1)/(1e-12+Ref($low, 3))"),
        ("D", "$volume/(Sum($volume, 5)+1e-12)*($high/($low+1e-12))"),
    ]
    panel = gapped_market(9, level=2e-8, holes=0.0)
    single = {name: x.astype(np.float32) for name, x in panel.fields.items()}
    panel = Panel(panel.sessions, panel.instruments, single, panel.present)
    plain = compute_features(panel, own)
    assert plain.notna().mean().min() > 0.7
    large = {n: x if n == "volume" else x * np.float32(2.0**30) for n, x in single.items()}
    ordinary = Panel(panel.sessions, panel.instruments, large, panel.present)
    for column, values in compute_features(ordinary, own).items():
        assert same_bits(values.to_numpy(), plain[column].to_numpy()), column


def test_a_guarded_divisor_of_zero(one_name) -> None:
    """Nothing over nothing is 0; a number over it is as large as qlib makes a price of 1."""
    values = alpha158_panel(
        one_name(
            [2e-8, 2e-8, 2e-8, 2e-8],
            open=[2e-8, 1e-8, 2e-8, np.nan],
            volume=[7.0, 0.0, 0.0, 3.0],
        )
    )
    np.testing.assert_array_equal(feature(values, "KMID2"), np.float32([0, 1e12, 0, np.nan]))
    np.testing.assert_array_equal(feature(values, "KSFT2"), np.float32([0, 0, 0, 0]))
    np.testing.assert_array_equal(feature(values, "RSV5"), np.float32([0, 0, 0, 0]))
    np.testing.assert_array_equal(feature(values, "SUMP5")[1:], np.float32([0, 0, 0]))
    np.testing.assert_allclose(feature(values, "VMA5"), [1, 1e12, 1e12, 10 / 12], rtol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize(("market", "most"), [("us", 109), ("cn", 65)])
def test_ordinary_values_differ_from_guarded_ones_in_the_last_bit_at_most(
    golden_dir: Path, market: str, most: int
) -> None:
    """A guard of 1e-12 changes the rounding of about 6 of 100,000 ratios of real prices."""
    panel = Panel.from_frame(pd.read_parquet(golden_dir / f"{market}_panel.parquet"))
    guarded = {n: t for n, t in ALPHA158_EXPRESSIONS.items() if t.endswith("+1e-12)")}
    assert len(guarded) == 4 + 5 * 10
    values, changed = alpha158_panel(panel), 0
    for name, text in guarded.items():
        over, under = text.removesuffix("+1e-12)").rsplit("/(", 1)
        with np.errstate(all="ignore"):
            before = np.float32(
                expression_panel(panel, over) / (expression_panel(panel, under) + EPS)
            )
        now = values[ALPHA158_NAMES.index(name)]
        here = panel.present & ~np.isnan(before)
        np.testing.assert_array_max_ulp(now[here], before[here], maxulp=1)
        changed += int((now[here] != before[here]).sum())
    assert 0 < changed <= most
