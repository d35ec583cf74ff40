"""Features: qlib's expression language and feature sets, in two semantics.

Here are the parser, the operators, their two engines and the sets Alpha158 and Alpha360 (qlib's
`qlib.data.ops` and feature loaders). Processors of features are in `rnn_core.data`. `strict`, the
default, makes every value a function of the sessions that its formula names; `qlib` reproduces
pyqlib 0.9.7 number by number. docs/deviations.md lists the differences.

The examples of its names go on from here:

    >>> import pandas as pd
    >>> from rnn_core.data import simulate_market
    >>> from rnn_core.features import *
    >>> from rnn_core.panel import Panel
    >>> sessions = pd.bdate_range("2024-01-01", periods=70)
    >>> bars = simulate_market(3, sessions, seed=0, split_rate=0, late_listing_share=0)
    >>> bars["vwap"] = bars["amount"] / bars["volume"]
    >>> panel = Panel.from_frame(bars)
"""

from __future__ import annotations

from rnn_core.features.alpha158 import alpha158, alpha158_panel, alpha360, alpha360_panel
from rnn_core.features.evaluate import compute_features, expression_panel
from rnn_core.features.expression import Expression, horizon_of
from rnn_core.features.layout import (
    ALPHA158_20,
    ALPHA158_EXPRESSIONS,
    ALPHA158_FIELDS,
    ALPHA158_LABEL,
    ALPHA158_LOOK_BACK,
    ALPHA158_NAMES,
    ALPHA158VWAP_LABEL,
    ALPHA360_EXPRESSIONS,
    ALPHA360_NAMES,
)
from rnn_core.features.own_features import FeatureFunction, own_feature
from rnn_core.features.parser import parse
from rnn_core.features.qlib_sets import alpha158_set, alpha360_set
from rnn_core.features.set_file import load_feature_set
from rnn_core.features.sets import FeatureSet, compute_set, set_panel
from rnn_core.features.tokens import ExpressionError

__all__ = [
    "ALPHA158VWAP_LABEL",
    "ALPHA158_20",
    "ALPHA158_EXPRESSIONS",
    "ALPHA158_FIELDS",
    "ALPHA158_LABEL",
    "ALPHA158_LOOK_BACK",
    "ALPHA158_NAMES",
    "ALPHA360_EXPRESSIONS",
    "ALPHA360_NAMES",
    "Expression",
    "ExpressionError",
    "FeatureFunction",
    "FeatureSet",
    "alpha158",
    "alpha158_panel",
    "alpha158_set",
    "alpha360",
    "alpha360_panel",
    "alpha360_set",
    "compute_features",
    "compute_set",
    "expression_panel",
    "horizon_of",
    "load_feature_set",
    "own_feature",
    "parse",
    "set_panel",
]
