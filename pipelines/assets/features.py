"""`alpha158` and `label` of a dataset: features of a session's bars, and the return that matured.

Both read their look-back from the warehouse, which first confirms that every session of the
look-back is stored. In strict semantics a session's features have the same bits whatever range they
are computed in, since every window is summed afresh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.assets.checks import finite, nan_rise
from pipelines.assets.column_lineage import feature_lineage, label_lineage
from pipelines.bars.adjustment import load_bars
from pipelines.config.features import identity
from pipelines.errors import SourceError, WarehouseError
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.dataset import Dataset, features_settings, label_settings
from pipelines.market.input_versions import (
    feature_window,
    features_inputs,
    label_inputs,
    label_window,
)
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.warehouse.arrow_rows import Rows, columns_of, from_columns
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import LABEL, Table, feature_table
from rnn_core.features.operators import UNBOUNDED

if TYPE_CHECKING:
    from rnn_core.panel.panel import Panel

CODE_VERSION = "1"


def features_stage(market: Market, dataset: Dataset) -> Stage:
    """The stage of the features of a dataset: `alpha158`, or `{name}_features`."""
    table = feature_table(
        dataset.features,
        "The configured features of every bar, float32.",
        dataset.feature_formulas,
    )

    checks = market.config.checks.features

    def make(run: Run) -> None:
        # `shares` carries a figure of each session from the generator to its record.
        shares: dict[str, float] = {}
        history = _recent_shares(run, dataset)
        parts = (
            part
            for keys in chunks_of_rows(market.warehouse, "ohlcv", run.keys)
            for part in feature_partitions(run, dataset, keys, shares, history)
        )
        # The parts are a generator: each chunk is computed when its first session is written.
        for key, info in market.warehouse.write_each(table, table.name, parts):
            run.done(key, info, nan_share=shares.pop(key))

    return Stage(
        name=dataset.features,
        kind=Kind.DATA,
        dataset=dataset.name,
        group="features",
        tables=(table,),
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        inputs=lambda key, versions: features_inputs(dataset, key, versions),
        make=make,
        config=features_settings(dataset.spec),
        description=describe_features(dataset),
        kinds=("python", "numba", "parquet"),
        lineage=feature_lineage(dataset),
        checks=(
            Check("finite", checks.finite, "No feature of any bar is infinite."),
            Check(
                "nan_share",
                checks.nan_share,
                f"No column's share of missing values exceeds its mean over the "
                f"{checks.history_sessions} sessions before by more than "
                f"{checks.max_nan_rise:.0%}.",
            ),
        ),
    )


def describe_features(dataset: Dataset) -> str:
    """Describe the features of a dataset for the UI."""
    features, config = dataset.feature_set, dataset.spec.features
    name = identity(config.set)
    text = f"the set {name}" if isinstance(name, str) else "the configured set"
    back = features.look_back
    history = "all" if back >= UNBOUNDED else f"up to {back}"
    return (
        f"The {len(features)} features of {text} for every bar, {config.semantics} "
        f"semantics, from adjusted bars of this session and {history} before it. The asset keeps "
        f"this name whatever the set. The column descriptions give each formula."
    )


def feature_partitions(
    run: Run,
    dataset: Dataset,
    keys: tuple[str, ...],
    shares: dict[str, float],
    history: deque[NDArray[np.float64]],
) -> Iterator[tuple[str, pa.Table, Provenance]]:
    """Compute the partitions of consecutive sessions together, when the first is asked for.

    Args:
        run: the run.
        dataset: the dataset.
        keys: the sessions.
        shares: receives the share of missing values of each session.
        history: shares by column [F] of the sessions before; each session adds its own.

    Raises:
        CheckFailedError: features of a session are infinite.
    """
    from rnn_core.data import Panel
    from rnn_core.features import set_panel

    market, table, name = run.market, run.stage.tables[0], run.stage.name
    # The window begins with the look-back of the first session.
    window = market.sessions.between(feature_window(dataset, keys[0])[0], keys[-1])
    bars, parts = load_bars(market, window, name, dataset.feature_columns)
    if "vwap" in dataset.feature_set.fields:
        _require_vwap(bars)
    bars["member"] = parts.frame["member"].to_numpy(dtype="float64")
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(window))
    first = len(window) - len(keys)  # sessions before this one are look-back
    config = dataset.spec.features
    values = set_panel(
        panel, dataset.feature_set, semantics=config.semantics, min_periods=config.min_periods
    )  # [F, N, T]
    block, rows, counts = _rows_of(table, panel, values, first)
    del values
    start = 0
    for key, count in zip(keys, counts, strict=True):
        # The check comes before the yield: a blocking one stops the session before it is written.
        session = block[:, start : start + count]  # [F, N present]
        missing = np.isnan(session).sum(axis=1) / max(count, 1)  # [F]
        _check(run, list(dataset.feature_formulas), key, session, missing, history)
        history.append(missing)
        shares[key] = round(float(missing.mean()), 6)
        provenance = run.provenance(key, {"ohlcv": parts.digests, **parts.columns})
        yield key, rows.slice(start, count), provenance
        start += count


def _recent_shares(run: Run, dataset: Dataset) -> deque[NDArray[np.float64]]:
    """Shares of missing values by column of the stored sessions before a run, oldest first.

    Features of another set do not count.
    """
    market, name, columns = run.market, run.stage.name, list(dataset.feature_formulas)
    length = market.config.checks.features.history_sessions
    history: deque[NDArray[np.float64]] = deque(maxlen=length)
    before = market.sessions.window(run.keys[0], length + 1)[:-1]
    stored_keys = set(market.warehouse.sessions(name, before[0], before[-1]) if before else ())
    keys = [key for key in before if key in stored_keys]
    if keys:
        try:
            rows = market.warehouse.read(
                name, keys, needed_by=f"{name} (its check)", columns=columns
            ).frame
        except WarehouseError as error:
            run.log.info(f"{name}: no history to compare with ({error})")
            return history
        by_day = rows[columns].isna().groupby(rows["date"]).mean()
        history.extend(by_day.to_numpy(dtype=np.float64))
    return history


def _check(
    run: Run,
    columns: list[str],
    key: str,
    block: NDArray[np.float32],
    missing: NDArray[np.float64],
    history: deque[NDArray[np.float64]],
) -> None:
    """Check a session's features [F, N] for infinite and missing values."""
    is_infinite = np.isinf(block)
    infinite = is_infinite.sum(axis=1) if is_infinite.any() else np.zeros(len(block))  # [F]
    usual = np.asarray(history).mean(axis=0) if history else None
    run.check(
        key,
        finite({columns[f]: int(infinite[f]) for f in np.flatnonzero(infinite)}),
        nan_rise(columns, missing, usual, run.market.config.checks.features.max_nan_rise),
    )


def _rows_of(
    table: Table, panel: Panel, values: NDArray[np.float32], first: int
) -> tuple[NDArray[np.float32], pa.Table, list[int]]:
    """The features [F, N, T] of the sessions from `first` on as rows, by session and instrument.

    One table for all of them, of which a session is a slice: 160 columns a session cost more to
    make than to compute.

    Returns:
        The features [F, R], the table over their memory, and the number of rows of each session.
    """
    from rnn_core.panel.spread import spread

    present = panel.present[:, first:].T  # [T, N]
    _, name = np.nonzero(present)
    places, _ = panel.long_rows(sessions=slice(first, None))
    block = np.empty((len(values), len(name)), dtype=values.dtype)  # [F, R]
    spread(np.ascontiguousarray(values), places, block)
    instruments = pa.array(panel.instruments.to_numpy(dtype=object), pa.string())
    member = panel.fields["member"][:, first:].T[present] == 1.0
    rows = from_columns(table, [instruments.take(pa.array(name)), member, *columns_of(block)])
    return block, rows, present.sum(axis=1).tolist()


def _require_vwap(bars: pd.DataFrame) -> None:
    """Refuse a session without any vwap, which would be a silent column of NaN."""
    has_vwap = bars["vwap"].notna().groupby(bars["date"]).any()
    if not has_vwap.all():
        raise SourceError(
            f"no bar of {has_vwap.index[~has_vwap][0]:%Y-%m-%d} has an amount, and market.vwap is "
            f"`amount`; use a source that gives it, or set market.vwap to typical or none"
        )


def label_stage(market: Market, dataset: Dataset) -> Stage:
    """The stage of the labels of a dataset: `label`, or `{name}_label`."""
    return Stage(
        name=dataset.label,
        kind=Kind.DATA,
        dataset=dataset.name,
        group="features",
        tables=(LABEL.named(dataset.label),),
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        inputs=lambda key, versions: label_inputs(dataset, key, versions),
        make=lambda run: write_labels(run, dataset),
        config=label_settings(dataset.spec),
        description=(
            f"{LABEL.description} `{dataset.spec.features.label}` of the decision "
            f"{dataset.label_lag} sessions before; a name without the closes that it needs has no "
            f"row."
        ),
        kinds=("python", "parquet"),
        lineage=label_lineage(dataset),
    )


def write_labels(run: Run, dataset: Dataset) -> None:
    """Compute and write the labels that matured at the sessions of a run."""
    table = run.stage.tables[0]
    parts = (
        part
        for keys in chunks_of_rows(run.market.warehouse, "ohlcv", run.keys)
        for part in label_partitions(run, dataset, keys)
    )
    for key, info in run.market.warehouse.write_each(table, table.name, parts):
        run.done(key, info, decision_date=dataset.decision_of(key) or "none")


def label_partitions(
    run: Run, dataset: Dataset, keys: tuple[str, ...]
) -> Iterator[tuple[str, Rows, Provenance]]:
    """Compute the partitions of consecutive sessions together, when the first is asked for."""
    from rnn_core.data import Panel
    from rnn_core.features import expression_panel

    table, sessions = run.stage.tables[0], run.market.sessions
    window = sessions.between(label_window(dataset, keys[0])[0], keys[-1])
    bars, parts = load_bars(run.market, window, run.stage.name, dataset.label_columns)
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(window))
    values = expression_panel(panel, dataset.label_expression, semantics="strict")  # [N, T]
    instruments = panel.instruments.to_numpy(dtype=object)
    position = {key: t for t, key in enumerate(window)}
    for key in keys:
        versions = {"ohlcv": parts.digests, **parts.columns}
        decision = dataset.decision_of(key)
        if decision is None:
            yield key, table.empty(), run.provenance(key, versions, no_label_yet(dataset))
            continue
        column = values[:, position[decision]].astype("float32")  # [N]
        has_label = np.isfinite(column)
        dates = np.full(int(has_label.sum()), decision, dtype="datetime64[D]")
        rows = from_columns(table, [instruments[has_label], dates, column[has_label]])
        yield key, rows, run.provenance(key, versions)


def no_label_yet(dataset: Dataset) -> str:
    """The status of sessions at which no decision's label has matured."""
    return f"warm-up: the first label matures at {dataset.sessions.keys[dataset.label_lag]}"
