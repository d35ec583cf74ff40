"""`alpha158` and `label`: features of a session's bars, and the return that matured with them.

Both read their look-back from the warehouse, which first confirms that every session of it is
there. In strict semantics a session's features have the same bits whatever range they are
computed in, since every window is summed afresh.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd

from pipelines import inputs
from pipelines.assets.base import Run, chunks, nan_share, session_asset
from pipelines.errors import SourceError
from pipelines.market import Market
from pipelines.partition_file import Provenance
from pipelines.schemas import LABEL, Table, feature_table

CODE_VERSION = "1"
_CHUNK = 120  # sessions computed at once; their look-back comes on top


def alpha158_asset(market: Market, days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset `alpha158`."""
    features = market.config.features
    table = feature_table(
        "alpha158", "The configured features of every bar, float32.", market.feature_formulas
    )

    def body(run: Run) -> None:
        for keys in chunks(run.keys, _CHUNK):
            write_features(run, table, keys)

    return session_asset(
        market,
        body,
        name="alpha158",
        table=table,
        group="features",
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        config=features_config(market),
        partitions_def=days,
        description=(
            f"{len(market.feature_formulas)} Alpha158 features of every bar, qlib's names and "
            f"order, {features.semantics} semantics, from adjusted bars of this session and up to "
            f"60 before it. The column descriptions give each formula."
        ),
        kinds={"python", "numba", "parquet"},
    )


def features_config(market: Market) -> dict[str, object]:
    """The configuration that the features use."""
    features = market.config.features
    return {
        "set": features.set,
        "semantics": features.semantics,
        "vwap": market.config.market.vwap,
    }


def write_features(run: Run, table: Table, keys: tuple[str, ...]) -> None:
    """Compute and write the features of consecutive sessions."""
    from rnn_core.data import Panel
    from rnn_core.features import ALPHA158_NAMES, alpha158_panel

    market = run.market
    needed = market.sessions.between(inputs.feature_window(market, keys[0])[0], keys[-1])
    bars, parts = market.load_bars(needed, "alpha158")
    if "vwap" not in bars:
        bars["vwap"] = np.nan  # its one feature, VWAP0, is not among the columns then
    else:
        _require_vwap(bars)
    bars["member"] = parts.frame["member"].to_numpy(dtype="float64")
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(needed))
    values = alpha158_panel(panel, semantics=market.config.features.semantics)  # [158, N, T]
    names = list(market.feature_formulas)
    places = [ALPHA158_NAMES.index(n) for n in names]
    by_session = np.ascontiguousarray(values[places].transpose(2, 0, 1))  # [F, N, T] -> [T, F, N]

    shares: dict[str, float] = {}

    def partitions() -> Iterator[tuple[str, pd.DataFrame, Provenance]]:
        for t, key in enumerate(needed):
            if key < keys[0]:
                continue
            rows = panel.present[:, t]
            block = by_session[t][:, rows]  # [F, N present]
            shares[key] = nan_share(block)
            frame = pd.DataFrame(block.T, columns=names)  # [N present, F]
            frame.insert(0, "instrument", panel.instruments[rows])
            frame.insert(1, "member", panel.fields["member"][rows, t] == 1.0)
            made_from = inputs.alpha158_inputs(market, key, {"ohlcv": parts.digests})
            yield key, frame, run.provenance(made_from)

    written = market.warehouse.write_many(table, run.name, partitions())
    for key in keys:
        run.done(key, written[key], nan_share=shares[key])


def _require_vwap(bars: pd.DataFrame) -> None:
    """No session is without any vwap, which would be a silent column of NaN."""
    there = bars["vwap"].notna().groupby(bars["date"]).any()
    if not there.all():
        raise SourceError(
            f"no bar of {there.index[~there][0]:%Y-%m-%d} has an amount, and market.vwap is "
            f"`amount`; use a source that gives it, or set market.vwap to typical or none"
        )


def label_asset(market: Market, days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset `label`."""
    features = market.config.features
    return session_asset(
        market,
        write_labels,
        name="label",
        table=LABEL,
        group="features",
        deps=("ohlcv",),
        code_version=CODE_VERSION,
        config={"label": features.label, "vwap": market.config.market.vwap},
        partitions_def=days,
        description=(
            f"{LABEL.description} `{features.label}` of the decision {market.label_lag} sessions "
            f"before; a name without the closes that it needs has no row."
        ),
        kinds={"python", "parquet"},
    )


def write_labels(run: Run) -> None:
    """Compute and write the labels that matured at the sessions of a run."""
    for keys in chunks(run.keys, _CHUNK):
        _write_label_chunk(run, keys)


def _write_label_chunk(run: Run, keys: tuple[str, ...]) -> None:
    from rnn_core.data import Panel
    from rnn_core.features import expression_panel

    market, sessions = run.market, run.market.sessions
    needed = sessions.between(inputs.label_window(market, keys[0])[0], keys[-1])
    bars, parts = market.load_bars(needed, "label")
    panel = Panel.from_frame(bars, sessions=pd.DatetimeIndex(needed))
    values = expression_panel(panel, market.label, semantics="strict")  # [N, T]

    def partitions() -> Iterator[tuple[str, pd.DataFrame, Provenance]]:
        for key in keys:
            made_from = inputs.label_inputs(market, key, {"ohlcv": parts.digests})
            decision = market.decision_of(key)
            if decision is None:
                yield key, LABEL.empty(), run.provenance(made_from, no_label_yet(market))
                continue
            column = values[:, needed.index(decision)].astype("float32")  # [N]
            rows = np.isfinite(column)
            frame = pd.DataFrame(
                {
                    "instrument": panel.instruments[rows],
                    "decision_date": pd.Timestamp(decision).date(),
                    "label": column[rows],
                }
            )
            yield key, frame, run.provenance(made_from)

    written = market.warehouse.write_many(LABEL, run.name, partitions())
    for key in keys:
        run.done(key, written[key], decision_date=market.decision_of(key) or "none")


def no_label_yet(market: Market) -> str:
    """The status of sessions at which no decision's label has matured."""
    return f"warm-up: the first label matures at {market.sessions.keys[market.label_lag]}"
