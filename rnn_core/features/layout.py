"""Names, order and formulas of qlib's feature sets: one table for sets, frames and lineage.

The order of the columns is part of qlib's contract (models are trained on positions), so this table
is the only place that states it. The formula of each name is text in qlib's expression language;
this module neither parses nor computes it, and `qlib_sets` checks a person's options.

Shape letters of this package: `T` sessions, `N` instruments, `F` features, `C` instruments of one
chunk, `R` rows of a frame.

qlib: contrib/data/loader.py, Alpha158DL (9 shapes of the bar, prices, volumes, 29 families of
rolling features) and Alpha360DL; contrib/data/handler.py for the options of the handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

WINDOWS: tuple[int, ...] = (5, 10, 20, 30, 60)
"""Window lengths in sessions."""

ALPHA158_LOOK_BACK = 60
"""Sessions before D that the features of D read: the oldest change in 60 bars needs one more.

Examples:
    >>> ALPHA158_LOOK_BACK
    60
"""

ALPHA158_FIELDS: tuple[str, ...] = ("open", "high", "low", "close", "volume", "vwap")
"""Fields of the bar that the features read.

Examples:
    >>> ALPHA158_FIELDS
    ('open', 'high', 'low', 'close', 'volume', 'vwap')
"""

ALPHA158_LABEL: tuple[str, str] = ("LABEL0", "Ref($close, -2)/Ref($close, -1) - 1")
"""Name and formula of qlib's label: the return from the close of t+1 to that of t+2.

Examples:
    >>> ALPHA158_LABEL
    ('LABEL0', 'Ref($close, -2)/Ref($close, -1) - 1')
"""

ALPHA158VWAP_LABEL: tuple[str, str] = ("LABEL0", "Ref($vwap, -2)/Ref($vwap, -1) - 1")
"""Name and formula of the label of average prices (qlib: Alpha158vwap).

Examples:
    >>> ALPHA158VWAP_LABEL
    ('LABEL0', 'Ref($vwap, -2)/Ref($vwap, -1) - 1')
"""

PRICES: tuple[str, ...] = ("OPEN", "HIGH", "LOW", "CLOSE", "VWAP")
"""Fields that a price group may hold; qlib's default is all of them."""

ALPHA158_PRICES: tuple[str, ...] = ("OPEN", "HIGH", "LOW", "VWAP")
"""Fields of the handler Alpha158, which leaves out the close over itself."""

LAGS: tuple[int, ...] = (0, 1, 2, 3, 4)
"""qlib's default lags of a price or volume group, in sessions."""

KBAR: Mapping[str, str] = MappingProxyType(
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
    }
)
"""Shapes of one bar alone."""

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

SWITCHES: Mapping[str, str] = MappingProxyType(
    {"LOW" if family == "MIN" else family: family for family in ROLLING_FAMILIES}
)
"""Names of the families in qlib's `include` and `exclude`, in order: LOW for MIN, else the same."""


def price_features(fields: Iterable[str], lags: Iterable[int]) -> dict[str, str]:
    """Return past prices over the close: OPEN0, OPEN1 and so on, field by field."""
    lags = tuple(lags)
    return {f"{field}{d}": f"{_past(field.lower(), d)}/$close" for field in fields for d in lags}


def volume_features(lags: Iterable[int]) -> dict[str, str]:
    """Return past volumes over the present one: VOLUME0, VOLUME1 and so on."""
    return {f"VOLUME{d}": f"{_past('volume', d)}/($volume+1e-12)" for d in lags}


def rolling_features(families: Iterable[str], windows: Iterable[int]) -> dict[str, str]:
    """Return rolling features, family by family, each over all windows."""
    windows = tuple(windows)
    return {
        f"{family}{d}": ROLLING_FAMILIES[family].format(d=d) for family in families for d in windows
    }


def _past(field: str, d: int) -> str:
    """Write a field of `d` sessions ago."""
    return f"Ref(${field}, {d})" if d else f"${field}"


ALPHA158_EXPRESSIONS: Mapping[str, str] = MappingProxyType(
    dict(KBAR) | price_features(ALPHA158_PRICES, (0,)) | rolling_features(ROLLING_FAMILIES, WINDOWS)
)
"""Name to formula of the handler Alpha158, in qlib's column order.

Examples:
    >>> ALPHA158_EXPRESSIONS["ROC5"]
    'Ref($close, 5)/$close'
"""

ALPHA158_NAMES: tuple[str, ...] = tuple(ALPHA158_EXPRESSIONS)
"""The 158 names in qlib's column order.

Examples:
    >>> len(ALPHA158_NAMES), ALPHA158_NAMES[:3]
    (158, ('KMID', 'KLEN', 'KMID2'))
"""

ALPHA360_EXPRESSIONS: Mapping[str, str] = MappingProxyType(
    price_features(("CLOSE", "OPEN", "HIGH", "LOW", "VWAP"), range(59, -1, -1))
    | volume_features(range(59, -1, -1))
)
"""Name to formula of the handler Alpha360, in qlib's column order: by field, oldest first.

Examples:
    >>> ALPHA360_EXPRESSIONS["CLOSE59"], ALPHA360_EXPRESSIONS["VOLUME0"]
    ('Ref($close, 59)/$close', '$volume/($volume+1e-12)')
"""

ALPHA360_NAMES: tuple[str, ...] = tuple(ALPHA360_EXPRESSIONS)
"""The 360 names in qlib's column order.

Examples:
    >>> len(ALPHA360_NAMES), ALPHA360_NAMES[0], ALPHA360_NAMES[-1]
    (360, 'CLOSE59', 'VOLUME0')
"""

ALPHA158_20: tuple[str, ...] = (
    *("RESI5", "WVMA5", "RSQR5", "KLEN", "RSQR10", "CORR5", "CORD5", "CORR10", "ROC60", "RESI10"),
    *(
        "VSTD5",
        "RSQR60",
        "CORR60",
        "WVMA60",
        "STD5",
        "RSQR20",
        "CORD60",
        "CORD10",
        "CORR20",
        "KLOW",
    ),
)
"""The 20 features of Alpha158 in qlib's benchmarks of LSTM and GRU (examples/benchmarks).

Examples:
    >>> len(ALPHA158_20), ALPHA158_20[:3]
    (20, ('RESI5', 'WVMA5', 'RSQR5'))
"""
