"""The instruction set that `program` writes and `machine` runs: operations, groups, statistics.

The codes are plain integers, because compiled kernels take module constants as constants.
"""

from __future__ import annotations

# Operations on one session's values; all but the last few are one loop over a block.
ADD, SUB, MUL, DIV, RATIO, POWER, GREATER, LESS = range(8)
GT, GE, LT, LE, EQ, NE, AND, OR = range(8, 16)
ABS, SIGN, LOG, NOT, IF = range(16, 21)
SHIFT = 21
"""The value some sessions earlier or later."""
FIRST = 22
"""The value of the first row."""
EXIST = 23
"""The value where there is a row, missing elsewhere."""
HOLD = 24
"""The condition where there is a row, false elsewhere."""
STORE = 25
"""Into the result."""

# Instructions.
RUN = 0
"""Operations, block by block."""
MOMENTS, COMOMENTS, SUMS, CONDITIONS, EXTREMES, DECAYED, RANKS, QUANTILES, LAGGED = range(1, 10)

# Statistics of a window.
MEAN, VAR, STD, SLOPE, RSQUARE, RESI = range(6)
CORR, COV = 6, 7
SUM, COUNT, SHARE = 8, 9, 10
EXTREME, POSITION = 11, 12
DECAYED_MEAN = 13
RANK, QUANTILE = 14, 15
MAD, SKEW, KURT, WMA, GROWING_EMA = range(16, 21)

# Rows of the workspace that every program has.
PRESENT = 0
"""1 where the instrument has a row, else 0."""
NEXT = 1
"""Position of the first session from here on with a row."""
FIELDS = 2
"""The first field."""

GEOMETRY_ROWS = 6
"""Rows per level that depend on the places of the values, not on the values."""
