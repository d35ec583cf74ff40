"""`ohlcv`: bars as traded with adjustment factor and membership, bad rows set aside."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.assets.base import Run, chunks, session_asset
from pipelines.bar_inputs import bar_inputs, in_order, rows_of
from pipelines.bars import adjustment_factors, broken_rules, membership
from pipelines.checks import Check, coverage, quarantined
from pipelines.errors import SourceError, name_sessions
from pipelines.market import Market
from pipelines.rows import from_columns
from pipelines.schemas import OHLCV, OHLCV_QUARANTINE, Table
from pipelines.sources.base import fetch_bars

CODE_VERSION = "1"
_CHUNK = 50  # sessions written between two reports of progress


def ohlcv_asset(market: Market, days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset `ohlcv`."""
    checks = market.config.checks.bars
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
        },
        partitions_def=days,
        description=(
            f"{OHLCV.description} Prices are as traded; adjusted price = price × `adj_factor`. "
            f"Bars that break a rule go to the table `ohlcv_quarantine` with the reason."
        ),
        metadata={"source": type(market.source).__name__},
        checks=(
            Check(
                "coverage",
                checks.coverage,
                f"At least {checks.min_coverage:.0%} of the median number of names of the "
                f"{checks.history_sessions} sessions before have bars.",
            ),
            Check(
                "quarantined",
                checks.quarantined,
                f"At most {checks.max_quarantined:.0%} of the bars break a rule.",
            ),
        ),
    )


def make_ohlcv(run: Run) -> None:
    """Fetch, check, adjust and write the sessions of a run; nothing is written unless all is well.

    Raises:
        MissingSessionsError: a session before the run is absent; factors build on all of them.
        SourceError: a session has no bar, or none that breaks no rule, or restated bars would
            change factors that later sessions build on.
    """
    market, warehouse = run.market, run.market.warehouse
    earlier = market.sessions.keys[: market.sessions.position(run.keys[0])]
    if earlier:
        warehouse.require("ohlcv", earlier, "ohlcv (its adjustment factors)")
    bars = in_order(fetch_bars(market.source, run.keys))
    reasons = broken_rules(bars)
    prior = prior_factors(market, earlier, set(bars["instrument"].dropna()))
    bars["adj_factor"] = adjustment_factors(bars, prior)
    bars["reason"] = reasons
    bars["member"] = membership(bars, market.universe)
    _require_good_bars(run, bars)
    _check(run, bars, earlier)
    _require_unbroken_factors(run, bars)
    spans = rows_of(bars, run.keys)
    for keys in chunks(run.keys, _CHUNK):
        _write_bars(run, bars.iloc[spans[keys[0]].start : spans[keys[-1]].stop], keys)


def _write_bars(run: Run, bars: pd.DataFrame, keys: tuple[str, ...]) -> None:
    """Write the good bars of consecutive sessions and those set aside; `bars` by date."""
    warehouse = run.market.warehouse
    broken = (bars["reason"] != "").to_numpy()
    good, aside = bars[~broken], bars[broken]
    inputs = bar_inputs(bars, keys)
    made = {key: run.provenance(inputs[key]) for key in keys}
    kept = _by_session(good, OHLCV, keys)
    spoiled = _by_session(aside, OHLCV_QUARANTINE, keys)
    warehouse.write_many(
        OHLCV_QUARANTINE, "ohlcv_quarantine", ((k, spoiled[k], made[k]) for k in keys)
    )
    parts = ((key, kept[key], made[key]) for key in keys)
    for key, info in warehouse.write_each(OHLCV, "ohlcv", parts):
        if len(spoiled[key]):
            bad = aside[aside["date"] == key]
            shown = "; ".join(f"{r.instrument}: {r.reason}" for r in bad.itertuples())
            run.context.log.warning(f"ohlcv {key}: {len(bad)} bars set aside ({shown})")
        members = pc.sum(kept[key]["member"], min_count=0).as_py()
        run.done(key, info, members=members, quarantined=len(spoiled[key]))


def _check(run: Run, bars: pd.DataFrame, earlier: Sequence[str]) -> None:
    """Compare the names and the bars set aside of every session with what is usual."""
    checks, warehouse = run.market.config.checks.bars, run.market.warehouse
    good = bars["reason"] == ""
    names, total = bars[good]["date"].value_counts(), bars["date"].value_counts()
    before = [warehouse.info("ohlcv", key) for key in earlier[-checks.history_sessions :]]
    history = deque((info.rows for info in before if info), maxlen=checks.history_sessions)
    for key in run.keys:
        n, n_bars = int(names.get(key, 0)), int(total.get(key, 0))
        run.check(
            key,
            coverage(n, list(history), checks.min_coverage),
            quarantined(n_bars - n, n_bars, checks.max_quarantined),
        )
        history.append(n)


def _require_good_bars(run: Run, bars: pd.DataFrame) -> None:
    """Every session has a bar that breaks no rule."""
    good = set(bars.loc[bars["reason"] == "", "date"])
    spoiled = [key for key in run.keys if key not in good]
    if spoiled:
        reasons = bars.loc[bars["date"] == spoiled[0], "reason"].value_counts()
        raise SourceError(
            f"every bar of {name_sessions(spoiled)} breaks a rule ({spoiled[0]}: "
            f"{', '.join(f'{n} × {reason}' for reason, n in reasons.items())}); nothing was "
            f"written, check the source"
        )


def _require_unbroken_factors(run: Run, bars: pd.DataFrame) -> None:
    """Sessions after the run build on the factors that leave it: these may not change alone."""
    market, last = run.market, run.keys[-1]
    later = [key for key in market.warehouse.sessions("ohlcv") if key > last]
    if not later or last not in market.warehouse.sessions("ohlcv"):
        return
    stored = _last_factors(market, [last])
    leaving = bars[bars["date"] == last].dropna(subset="instrument")
    now = leaving.groupby("instrument")["adj_factor"].last()
    changed = sorted(
        name for name in now.index if name in stored and stored[name] != now[name]
    ) + sorted(set(stored) - set(now.index))
    changed += [name for name in now.index if name not in stored]
    if changed:
        raise SourceError(
            f"the source restated bars of {run.keys[0]} to {last} so that adjustment factors of "
            f"{', '.join(changed[:5])} change, and {len(later)} later sessions build on them; run "
            f"the range {run.keys[0]} to {later[-1]} instead"
        )


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
        found = {**_last_factors(market, earlier[max(0, end - length) : end]), **found}
        end, length = end - length, length * 4
    return pd.Series(found, dtype="float64")


def _last_factors(market: Market, keys: Sequence[str]) -> dict[str, float]:
    """The last factor of each instrument in some sessions, bars set aside included."""
    rows = pd.concat(
        market.warehouse.read(
            table, keys, needed_by="ohlcv", columns=["instrument", "adj_factor"]
        ).frame
        for table in ("ohlcv", "ohlcv_quarantine")
    ).dropna()
    last = rows.sort_values("date", kind="stable").groupby("instrument")["adj_factor"].last()
    return dict(zip(last.index, last, strict=True))


def _by_session(bars: pd.DataFrame, table: Table, keys: Sequence[str]) -> dict[str, pa.Table]:
    """The rows of each session, slices of one Arrow table; `bars` by date."""
    rows = from_columns(table, [bars[name].to_numpy() for name in table.names])
    return {
        key: rows.slice(span.start, span.stop - span.start)
        for key, span in rows_of(bars, keys).items()
    }
