"""Features: qlib's expression language and Alpha158, in two semantics.

`strict` (the default) makes every value a function of the sessions its formula names and nothing
else; `qlib` reproduces pyqlib 0.9.7 number by number. docs/deviations.md lists the differences.
"""

from __future__ import annotations

from rnn_core.features.alpha158 import alpha158, alpha158_panel
from rnn_core.features.evaluate import compute_features, expression_panel
from rnn_core.features.expression import Expression
from rnn_core.features.layout import (
    ALPHA158_EXPRESSIONS,
    ALPHA158_FIELDS,
    ALPHA158_LOOK_BACK,
    ALPHA158_NAMES,
)
from rnn_core.features.parser import parse
from rnn_core.features.tokens import ExpressionError

__all__ = [
    "ALPHA158_EXPRESSIONS",
    "ALPHA158_FIELDS",
    "ALPHA158_LOOK_BACK",
    "ALPHA158_NAMES",
    "Expression",
    "ExpressionError",
    "alpha158",
    "alpha158_panel",
    "compute_features",
    "expression_panel",
    "parse",
]
