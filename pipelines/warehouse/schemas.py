"""Define the columns of every table, for writing, reading, metadata and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type, its meaning and its unit.

    Attributes:
        origin: of a column that has a version of its own, the beginning of that version: a hash of
            how the column is read.
    """

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False
    origin: str = ""


@dataclass(frozen=True)
class Table:
    """A table: one Parquet file a session, rows sorted by `sort_by`.

    Attributes:
        durable: True if a file that is made soon after its session is put on the disk for good:
            what it says of that evening cannot be made again.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    sort_by: tuple[str, ...] = ("instrument",)
    durable: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a partition; `date` is the folder's, not a column of the file."""
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])

    def named(self, name: str) -> Table:
        """The same columns under the name of another folder."""
        return replace(self, name=name)

    def empty(self) -> pd.DataFrame:
        """No rows, every column with its type."""
        frame: pd.DataFrame = self.schema.empty_table().to_pandas()
        return frame

    @cached_property
    def origins(self) -> dict[str, str]:
        """Say how each column with a version of its own is read, by name.

        A partition of such a table names the versions of its columns among its inputs. What reads
        one column stays as it is when another is added, taken away or restated.
        """
        return {c.name: c.origin for c in self.columns if c.origin}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)


_TEXT, _F32, _F64, _DATE, _BOOL = pa.string(), pa.float32(), pa.float64(), pa.date32(), pa.bool_()

_BAR_COLUMNS = (
    Column("open", _F64, "first price of the session, currency, as traded"),
    Column("high", _F64, "highest price, as traded"),
    Column("low", _F64, "lowest price, as traded"),
    Column("close", _F64, "last price, as traded"),
    Column("volume", _F64, "shares traded"),
    Column("amount", _F64, "turnover, currency; null where the source has none", nullable=True),
)

EXTRA = "ohlcv_extra"
"""The table of the columns beside the bars."""

OHLCV = Table(
    "ohlcv",
    "Daily bars as traded, the adjustment factor and point-in-time membership.",
    (
        Column("instrument", _TEXT, "code of the instrument"),
        *_BAR_COLUMNS,
        Column(
            "adj_factor",
            _F64,
            "cumulative product of adj_ratio since the instrument's first bar here (1.0); adjusted "
            "price = price × adj_factor, adjusted volume = volume ÷ adj_factor",
        ),
        Column("member", _BOOL, "whether the instrument is a member of the universe this session"),
    ),
    durable=True,
)

OHLCV_QUARANTINE = Table(
    "ohlcv_quarantine",
    "Bars that break a rule and were set aside, as the source gave them; nothing downstream reads "
    "their prices.",
    (
        Column("instrument", _TEXT, "code as the source gave it", nullable=True),
        Column("bar_date", _DATE, "the row's own date: the session's, unless it is off_calendar"),
        *(Column(c.name, c.type, c.description, nullable=True) for c in _BAR_COLUMNS),
        Column("adj_ratio", _F64, "close before ÷ that close on this bar's basis", nullable=True),
        Column("adj_factor", _F64, "the factor carried through this bar", nullable=True),
        Column(
            "last_close",
            _F64,
            "close × adj_factor that the next bar is compared with (rule jump): of the newest bar "
            "that is set aside for nothing but a jump",
            nullable=True,
        ),
        Column("rule", _TEXT, "names of the rules that the bar breaks, joined by `; `"),
        Column("policy", _TEXT, "policy of each of them: quarantine, or accept (not the cause)"),
        Column("source", _TEXT, "kind of the source, and the file or folder"),
    ),
    sort_by=("instrument", "bar_date", "rule", "close"),
    durable=True,
)


def extra_bars_table(columns: Mapping[str, tuple[pa.DataType, str, str]]) -> Table:
    """The columns of a market beside its bars: a row for each row of `ohlcv`.

    Args:
        columns: type, description and origin (`Column.origin`), by name.
    """
    return Table(
        EXTRA,
        "Columns of the source beside the bars, as it gives them: nothing is adjusted.",
        (
            Column("instrument", _TEXT, "code of the instrument"),
            *(
                Column(name, kind, description, nullable=True, origin=origin)
                for name, (kind, description, origin) in columns.items()
            ),
        ),
        durable=True,
    )


LABEL = Table(
    "label",
    "Raw forward return of the decision date that matured at this session.",
    (
        Column("instrument", _TEXT, "code of the instrument"),
        Column("decision_date", _DATE, "the session at whose close the decision is taken"),
        Column("label", _F32, "value of the label expression (a simple return)"),
    ),
)

PROCESSOR_STATE = Table(
    "processors",
    "The state of the processors in force after the close of this session.",
    (
        Column("as_of", _DATE, "the session whose partition fitted it"),
        Column("fit_start", _DATE, "first session of its fit window"),
        Column("fit_end", _DATE, "last session of its fit window"),
        Column("hash", _TEXT, "SHA-256 of both chains of processors"),
        Column("state", _TEXT, "both chains, their statistics and their origin as JSON"),
    ),
    sort_by=("as_of",),
)

DATASET_LEARN = Table(
    "dataset_learn",
    "Learning rows that matured at this session: members with features and a finite label.",
    (
        Column("instrument", _TEXT, "code of the instrument"),
        Column("decision_date", _DATE, "the session whose features belong to the row"),
        Column("label", _F32, "label after the learn processors"),
        Column("raw_label", _F32, "label before them (a simple return)"),
    ),
)

MODEL = Table(
    "model",
    "The model in force after the close of this session: a pointer to its bundle.",
    (
        Column("as_of", _DATE, "the session whose partition trained it"),
        Column("bundle", _TEXT, "folder of the bundle below the market's models folder"),
        Column("fingerprint", _TEXT, "SHA-256 over the bundle's files"),
        Column("trained_here", _BOOL, "whether this session's partition trained it"),
    ),
    sort_by=("as_of",),
)

PREDICTION = Table(
    "prediction",
    "Scores for this decision date, members with a bar only.",
    (
        Column("instrument", _TEXT, "code of the instrument"),
        Column("score", _F32, "model output; only its cross-sectional order is meant"),
        Column(
            "seed_scores",
            pa.list_(_F32),
            "of each network of an ensemble, in the order of the seeds; the score is their mean",
            nullable=True,
        ),
        Column("as_of", _DATE, "the session whose partition trained the model"),
        Column("fingerprint", _TEXT, "fingerprint of the model's bundle"),
    ),
    durable=True,
)


ENSEMBLE_WEIGHTS = Table(
    "ensemble_weights",
    "The weight of each model in the ensemble's score of this session, by trailing rank IC.",
    (
        Column("model", _TEXT, "name of the model"),
        Column("weight", _F64, "share of its ranks in the average; all add up to 1"),
        Column("mean_rank_ic", _F64, "of the evaluations that count", nullable=True),
        Column("sessions", pa.int32(), "evaluations that count: those that all models have"),
    ),
    sort_by=("model",),
)


def evaluation_table(quantiles: int) -> Table:
    """One row of scores for the decision date whose labels matured at this session."""
    return Table(
        "evaluation",
        "Scores of the predictions whose labels matured at this session.",
        (
            Column("decision_date", _DATE, "the session whose predictions are scored"),
            Column("as_of", _DATE, "the session whose partition trained the model"),
            Column("n", pa.int32(), "names with both a score and a label"),
            Column("ic", _F64, "Pearson correlation of score and raw label", nullable=True),
            Column("rank_ic", _F64, "Spearman correlation of score and raw label", nullable=True),
            Column("seed_ic", pa.list_(_F64), "IC of each network of an ensemble", nullable=True),
            Column("seed_rank_ic", pa.list_(_F64), "rank IC of each", nullable=True),
            Column("mean_label", _F64, "mean raw label of the names scored", nullable=True),
            Column("long_short", _F64, "top minus bottom quantile, simple return", nullable=True),
            Column(
                "hit_rate",
                _F64,
                "share of names whose score and return lie on the same side of their medians",
                nullable=True,
            ),
            *(
                Column(f"q{k}", _F64, f"mean raw label of score quantile {k}", nullable=True)
                for k in range(1, quantiles + 1)
            ),
        ),
        sort_by=("decision_date",),
    )


def feature_table(name: str, description: str, features: Mapping[str, str]) -> Table:
    """A table of float32 features by instrument; `features` maps names to their formula."""
    return Table(
        name,
        description,
        (
            Column("instrument", _TEXT, "code of the instrument"),
            Column("member", _BOOL, "whether the instrument is a member of the universe"),
            *(Column(n, _F32, formula, nullable=True) for n, formula in features.items()),
        ),
    )
