"""`ohlcv`: bars as traded with adjustment factor and membership, bad rows set aside."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from pipelines.assets.base import Run, chunks, session_asset
from pipelines.bars import adjustment_factors, broken_rules, membership
from pipelines.market import Market
from pipelines.partition_file import sha256
from pipelines.schemas import OHLCV, OHLCV_QUARANTINE, Table
from pipelines.sources.base import RAW_COLUMNS, fetch_bars

CODE_VERSION = "1"
_CHUNK = 50  # sessions written between two reports of progress


def ohlcv_asset(market: Market, days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset `ohlcv`."""
    universe = market.config.market.universe
    return session_asset(
        market,
        make_ohlcv,
        name="ohlcv",
        table=OHLCV,
        group="market",
        deps=(),
        code_version=CODE_VERSION,
        config={
            "source": market.config.market.source.model_dump(mode="json"),
            "start": market.sessions.first,
            "universe": universe if isinstance(universe, str) else market.universe.to_dict("list"),
        },
        partitions_def=days,
        description=(
            f"{OHLCV.description} Prices are as traded; adjusted price = price × `adj_factor`. "
            f"Bars that break a rule go to the table `ohlcv_quarantine` with the reason."
        ),
        metadata={"source": type(market.source).__name__},
    )


def make_ohlcv(run: Run) -> None:
    """Fetch, check, adjust and write the sessions of a run."""
    market, warehouse = run.market, run.market.warehouse
    earlier = market.sessions.keys[: market.sessions.position(run.keys[0])]
    if earlier:
        warehouse.require("ohlcv", earlier, "ohlcv (its adjustment factors)")
    bars = fetch_bars(market.source, run.keys)  # every session has bars, or nothing is written
    bars = bars.sort_values(["date", "instrument"], kind="stable", ignore_index=True)
    prior = prior_factors(market, earlier, set(bars["instrument"].dropna()))
    bars["adj_factor"] = adjustment_factors(bars, prior)
    bars["reason"] = broken_rules(bars)
    bars["member"] = membership(bars, market.universe)
    by_session = {str(key): rows for key, rows in bars.groupby("date")}
    for keys in chunks(run.keys, _CHUNK):
        made = {key: run.provenance({"bars": rows_fingerprint(by_session[key])}) for key in keys}
        aside = warehouse.write_many(
            OHLCV_QUARANTINE,
            "ohlcv_quarantine",
            ((k, _rows(by_session[k], OHLCV_QUARANTINE, good=False), made[k]) for k in keys),
        )
        written = warehouse.write_many(
            OHLCV, "ohlcv", ((k, _rows(by_session[k], OHLCV, good=True), made[k]) for k in keys)
        )
        for key in keys:
            rows = by_session[key]
            bad = rows[rows["reason"] != ""]
            if len(bad):
                shown = "; ".join(f"{r.instrument}: {r.reason}" for r in bad.itertuples())
                run.context.log.warning(f"ohlcv {key}: {len(bad)} bars set aside ({shown})")
            members = int(rows.loc[rows["reason"] == "", "member"].sum())
            run.done(key, written[key], members=members, quarantined=aside[key].rows)


def prior_factors(market: Market, earlier: Sequence[str], wanted: set[str]) -> pd.Series:
    """The last adjustment factor of each instrument in the sessions before a run.

    Looks back over stretches of growing length until every instrument is found or the market's
    start is reached: the run of one day mostly reads one partition. Bars set aside carry the
    factor too.

    Args:
        market: the market.
        earlier: all sessions before the run, in order.
        wanted: instruments of the run.

    Returns:
        Factors by instrument; one never seen before is absent.
    """
    found: dict[str, float] = {}
    end, length = len(earlier), 1
    while end > 0 and not wanted <= found.keys():
        keys = earlier[max(0, end - length) : end]
        rows = pd.concat(
            market.warehouse.read(
                table, keys, needed_by="ohlcv", columns=["instrument", "adj_factor"]
            ).frame
            for table in ("ohlcv", "ohlcv_quarantine")
        ).dropna()
        last = rows.sort_values("date", kind="stable").groupby("instrument")["adj_factor"].last()
        found = {**dict(zip(last.index, last, strict=True)), **found}
        end, length = end - length, length * 4
    return pd.Series(found, dtype="float64")


def rows_fingerprint(rows: pd.DataFrame) -> str:
    """A hash of a session's bars as the source gave them."""
    hashes = pd.util.hash_pandas_object(rows[list(RAW_COLUMNS)], index=False)
    return sha256(hashes.to_numpy().tobytes())


def _rows(rows: pd.DataFrame, table: Table, *, good: bool) -> pd.DataFrame:
    return rows.loc[(rows["reason"] == "") == good, list(table.names)]
