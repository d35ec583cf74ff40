"""Names, order and formulas of Alpha158: one table for the kernels, the frames and the lineage.

Why a table: the order of the 158 columns is part of qlib's contract (models are trained on
positions), so it is written once and every kernel is told where its rows begin. The formula of
each name is text in qlib's expression language; the kernels do not interpret it, they are held to
it by the tests.

Shape letters of this package: `T` sessions, `N` instruments, `F` features, `C` instruments of one
chunk, `R` rows of a frame.

qlib: contrib/data/loader.py, Alpha158DL (9 shapes of the bar, 4 prices, 29 families x 5 windows).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WINDOWS: tuple[int, ...] = (5, 10, 20, 30, 60)
"""Window lengths in sessions."""

ALPHA158_LOOK_BACK = 60
"""Sessions before D that the features of D read: the oldest change in 60 bars needs one more."""

ALPHA158_FIELDS: tuple[str, ...] = ("open", "high", "low", "close", "volume", "vwap")
"""Fields of the bar that the features read."""

BAR_SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "KMID": "($close-$open)/$open",
        "KLEN": "($high-$low)/$open",
        "KMID2": "($close-$open)/($high-$low+1e-12)",
        "KUP": "($high-Greater($open, $close))/$open",
        "KUP2": "($high-Greater($open, $close))/($high-$low+1e-12)",
        "KLOW": "(Less($open, $close)-$low)/$open",
        "KLOW2": "(Less($open, $close)-$low)/($high-$low+1e-12)",
        "KSFT": "(2*$close-$high-$low)/$open",
        "KSFT2": "(2*$close-$high-$low)/($high-$low+1e-12)",
        "OPEN0": "$open/$close",
        "HIGH0": "$high/$close",
        "LOW0": "$low/$close",
        "VWAP0": "$vwap/$close",
    }
)
"""Features of one bar alone."""

_RISE = "Greater($close-Ref($close, 1), 0)"
_FALL = "Greater(Ref($close, 1)-$close, 0)"
_MOVE = "Abs($close-Ref($close, 1))"
_V_RISE = "Greater($volume-Ref($volume, 1), 0)"
_V_FALL = "Greater(Ref($volume, 1)-$volume, 0)"
_V_MOVE = "Abs($volume-Ref($volume, 1))"
_FLOW = "Abs($close/Ref($close, 1)-1)*$volume"

ROLLING_FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "ROC": "Ref($close, {d})/$close",
        "MA": "Mean($close, {d})/$close",
        "STD": "Std($close, {d})/$close",
        "BETA": "Slope($close, {d})/$close",
        "RSQR": "Rsquare($close, {d})",
        "RESI": "Resi($close, {d})/$close",
        "MAX": "Max($high, {d})/$close",
        "MIN": "Min($low, {d})/$close",
        "QTLU": "Quantile($close, {d}, 0.8)/$close",
        "QTLD": "Quantile($close, {d}, 0.2)/$close",
        "RANK": "Rank($close, {d})",
        "RSV": "($close-Min($low, {d}))/(Max($high, {d})-Min($low, {d})+1e-12)",
        "IMAX": "IdxMax($high, {d})/{d}",
        "IMIN": "IdxMin($low, {d})/{d}",
        "IMXD": "(IdxMax($high, {d})-IdxMin($low, {d}))/{d}",
        "CORR": "Corr($close, Log($volume+1), {d})",
        "CORD": "Corr($close/Ref($close, 1), Log($volume/Ref($volume, 1)+1), {d})",
        "CNTP": "Mean($close>Ref($close, 1), {d})",
        "CNTN": "Mean($close<Ref($close, 1), {d})",
        "CNTD": "Mean($close>Ref($close, 1), {d})-Mean($close<Ref($close, 1), {d})",
        "SUMP": f"Sum({_RISE}, {{d}})/(Sum({_MOVE}, {{d}})+1e-12)",
        "SUMN": f"Sum({_FALL}, {{d}})/(Sum({_MOVE}, {{d}})+1e-12)",
        "SUMD": f"(Sum({_RISE}, {{d}})-Sum({_FALL}, {{d}}))/(Sum({_MOVE}, {{d}})+1e-12)",
        "VMA": "Mean($volume, {d})/($volume+1e-12)",
        "VSTD": "Std($volume, {d})/($volume+1e-12)",
        "WVMA": f"Std({_FLOW}, {{d}})/(Mean({_FLOW}, {{d}})+1e-12)",
        "VSUMP": f"Sum({_V_RISE}, {{d}})/(Sum({_V_MOVE}, {{d}})+1e-12)",
        "VSUMN": f"Sum({_V_FALL}, {{d}})/(Sum({_V_MOVE}, {{d}})+1e-12)",
        "VSUMD": f"(Sum({_V_RISE}, {{d}})-Sum({_V_FALL}, {{d}}))/(Sum({_V_MOVE}, {{d}})+1e-12)",
    }
)
"""Formula of each family of rolling features, `{d}` being the window."""

FIRST_ROW: Mapping[str, int] = MappingProxyType(
    {name: row for row, name in enumerate(BAR_SHAPES)}
    | {name: len(BAR_SHAPES) + 5 * k for k, name in enumerate(ROLLING_FAMILIES)}
)
"""Row of a feature of one bar, or of a family's shortest window, in the [158, N, T] array."""

ALPHA158_EXPRESSIONS: Mapping[str, str] = MappingProxyType(
    dict(BAR_SHAPES)
    | {
        f"{family}{d}": text.format(d=d)
        for family, text in ROLLING_FAMILIES.items()
        for d in WINDOWS
    }
)
"""Name to formula, in qlib's column order."""

ALPHA158_NAMES: tuple[str, ...] = tuple(ALPHA158_EXPRESSIONS)
"""The 158 names in qlib's column order."""
