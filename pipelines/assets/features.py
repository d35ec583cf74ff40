"""`alpha158` and `label`: features of a session's bars, and the return that matured with them.

Both read their look-back from the warehouse, which first confirms that every session of the
look-back is stored. In strict semantics a session's features have the same bits whatever range they
are computed in, since every window is summed afresh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.assets.checks import finite, nan_rise
from pipelines.assets.column_lineage import feature_lineage, label_lineage
from pipelines.assets.partitions import chunks
from pipelines.bars.adjustment import load_bars
from pipelines.config.features import identity
from pipelines.errors import SourceError, WarehouseError
from pipelines.market.input_versions import (
    alpha158_inputs,
    feature_window,
    label_inputs,
    label_window,
)
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.warehouse.arrow_rows import Rows, columns_of, from_columns
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.schemas import LABEL, Table, feature_table
from rnn_core.features.operators import UNBOUNDED

CODE_VERSION = "1"


def alpha158_stage(market: Market) -> Stage:
    """The stage `alpha158`."""
    table = feature_table(
        "alpha158", "The configured features of every bar, float32.", market.feature_formulas
    )

    checks = market.config.checks.features

    def make(run: Run) -> None:
        # `shares` carries a figure of each session from the generator to its record.
        shares: dict[str, float] = {}
        history = _recent_shares(run)
        parts = (
            part
            for keys in chunks(run.keys)
            for part in feature_partitions(run, table, keys, shares, history)
        )
        # The parts are a generator: each chunk is computed when its first session is written.
        for key, info in market.warehouse.write_each(table, table.name, parts):
            run.done(key, info, nan_share=shares.pop(key))

    return Stage(
        name="alpha158",
        kind=Kind.DATA,
        group="features",
        tables=(table,),
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        inputs=lambda key, versions: alpha158_inputs(market, key, versions),
        make=make,
        config=features_config(market),
        description=describe_features(market),
        kinds=("python", "numba", "parquet"),
        lineage=feature_lineage(market),
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


def describe_features(market: Market) -> str:
    """Describe the asset `alpha158` of a market for the UI."""
    features = market.feature_set
    name = identity(market.config.features.set)
    text = f"the set {name}" if isinstance(name, str) else "the configured set"
    back = features.look_back
    history = "all" if back >= UNBOUNDED else f"up to {back}"
    return (
        f"The {len(features)} features of {text} for every bar, {market.config.features.semantics} "
        f"semantics, from adjusted bars of this session and {history} before it. The asset keeps "
        f"this name whatever the set. The column descriptions give each formula."
    )


def features_config(market: Market) -> dict[str, object]:
    """The configuration that decides the bytes of the features."""
    features = market.config.features
    config: dict[str, object] = {
        "set": identity(features.set),
        "semantics": features.semantics,
        "vwap": market.config.market.vwap,
    }
    if features.min_periods > 1:  # partitions without this key were made with 1
        config["min_periods"] = features.min_periods
    return config


def feature_partitions(
    run: Run,
    table: Table,
    keys: tuple[str, ...],
    shares: dict[str, float],
    history: deque[NDArray[np.float64]],
) -> Iterator[tuple[str, pa.Table, Provenance]]:
    """Compute the partitions of consecutive sessions together, when the first is asked for.

    Args:
        run: the run.
        table: the configured features.
        keys: the sessions.
        shares: receives the share of missing values of each session.
        history: shares by column [F] of the sessions before; each session adds its own.

    Raises:
        CheckFailedError: features of a session are infinite.
    """
    from rnn_core.data import Panel
    from rnn_core.features import set_panel

    market = run.market
    # The window begins with the look-back of the first session.
    window = market.sessions.between(feature_window(market, keys[0])[0], keys[-1])
    bars, parts = load_bars(market, window, "alpha158")
    if "vwap" in market.feature_set.fields:
        _require_vwap(bars)
    bars["member"] = parts.frame["member"].to_numpy(dtype="float64")
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(window))
    first = len(window) - len(keys)  # sessions before this one are look-back
    config = market.config.features
    by_session = _by_session(
        set_panel(
            panel,
            market.feature_set,
            semantics=config.semantics,
            min_periods=config.min_periods,
        ),  # [F, N, T]
        first,
    )
    instruments = panel.instruments.to_numpy(dtype=object)
    for t, (key, features) in enumerate(zip(keys, by_session, strict=True), start=first):
        # The check comes before the yield: a blocking one stops the session before it is written.
        present = panel.present[:, t]
        block = features[:, present]  # [F, N present]
        missing = np.isnan(block).mean(axis=1) if block.size else np.zeros(len(block))  # [F]
        _check(run, key, block, missing, history)
        history.append(missing)
        shares[key] = round(float(missing.mean()), 6)
        member = panel.fields["member"][present, t] == 1.0
        rows = from_columns(table, [instruments[present], member, *columns_of(block)])
        yield key, rows, run.provenance(key, {"ohlcv": parts.digests})


def _recent_shares(run: Run) -> deque[NDArray[np.float64]]:
    """Shares of missing values by column of the stored sessions before a run, oldest first.

    Features of another set do not count.
    """
    market, columns = run.market, list(run.market.feature_formulas)
    length = market.config.checks.features.history_sessions
    history: deque[NDArray[np.float64]] = deque(maxlen=length)
    before = market.sessions.window(run.keys[0], length + 1)[:-1]
    stored_keys = set(market.warehouse.sessions("alpha158"))
    keys = [key for key in before if key in stored_keys]
    if keys:
        try:
            rows = market.warehouse.read(
                "alpha158", keys, needed_by="alpha158 (its check)", columns=columns
            ).frame
        except WarehouseError as error:
            run.log.info(f"alpha158: no history to compare with ({error})")
            return history
        by_day = rows[columns].isna().groupby(rows["date"]).mean()
        history.extend(by_day.to_numpy(dtype=np.float64))
    return history


def _check(
    run: Run,
    key: str,
    block: NDArray[np.float32],
    missing: NDArray[np.float64],
    history: deque[NDArray[np.float64]],
) -> None:
    """Check a session's features [F, N] for infinite and missing values."""
    columns = list(run.market.feature_formulas)
    infinite = np.isinf(block).sum(axis=1)  # [F]
    usual = np.asarray(history).mean(axis=0) if history else None
    run.check(
        key,
        finite({columns[f]: int(infinite[f]) for f in np.flatnonzero(infinite)}),
        nan_rise(columns, missing, usual, run.market.config.checks.features.max_nan_rise),
    )


def _by_session(values: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    """The features of the sessions from `first` on, [F, N, T] -> [T, F, N].

    The loop copies a feature at a time, so that source and target both stay in the cache.
    """
    features, n, t = values.shape
    out = np.empty((t - first, features, n), dtype=values.dtype)  # [T, F, N]
    for f in range(features):
        out[:, f] = values[f, :, first:].T
    return out


def _require_vwap(bars: pd.DataFrame) -> None:
    """Refuse a session without any vwap, which would be a silent column of NaN."""
    has_vwap = bars["vwap"].notna().groupby(bars["date"]).any()
    if not has_vwap.all():
        raise SourceError(
            f"no bar of {has_vwap.index[~has_vwap][0]:%Y-%m-%d} has an amount, and market.vwap is "
            f"`amount`; use a source that gives it, or set market.vwap to typical or none"
        )


def label_stage(market: Market) -> Stage:
    """The stage `label`."""
    features = market.config.features
    return Stage(
        name="label",
        kind=Kind.DATA,
        group="features",
        tables=(LABEL,),
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        inputs=lambda key, versions: label_inputs(market, key, versions),
        make=write_labels,
        config={"label": features.label, "vwap": market.config.market.vwap},
        description=(
            f"{LABEL.description} `{features.label}` of the decision {market.label_lag} sessions "
            f"before; a name without the closes that it needs has no row."
        ),
        kinds=("python", "parquet"),
        lineage=label_lineage(market),
    )


def write_labels(run: Run) -> None:
    """Compute and write the labels that matured at the sessions of a run."""
    market = run.market
    parts = (part for keys in chunks(run.keys) for part in label_partitions(run, keys))
    for key, info in market.warehouse.write_each(LABEL, LABEL.name, parts):
        run.done(key, info, decision_date=market.decision_of(key) or "none")


def label_partitions(run: Run, keys: tuple[str, ...]) -> Iterator[tuple[str, Rows, Provenance]]:
    """Compute the partitions of consecutive sessions together, when the first is asked for."""
    from rnn_core.data import Panel
    from rnn_core.features import expression_panel

    market, sessions = run.market, run.market.sessions
    window = sessions.between(label_window(market, keys[0])[0], keys[-1])
    bars, parts = load_bars(market, window, "label")
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(window))
    values = expression_panel(panel, market.label, semantics="strict")  # [N, T]
    instruments = panel.instruments.to_numpy(dtype=object)
    position = {key: t for t, key in enumerate(window)}
    for key in keys:
        versions = {"ohlcv": parts.digests}
        decision = market.decision_of(key)
        if decision is None:
            yield key, LABEL.empty(), run.provenance(key, versions, no_label_yet(market))
            continue
        column = values[:, position[decision]].astype("float32")  # [N]
        has_label = np.isfinite(column)
        dates = np.full(int(has_label.sum()), decision, dtype="datetime64[D]")
        rows = from_columns(LABEL, [instruments[has_label], dates, column[has_label]])
        yield key, rows, run.provenance(key, versions)


def no_label_yet(market: Market) -> str:
    """The status of sessions at which no decision's label has matured."""
    return f"warm-up: the first label matures at {market.sessions.keys[market.label_lag]}"
