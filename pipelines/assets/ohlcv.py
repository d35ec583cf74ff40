"""`ohlcv`: bars as traded with adjustment factor and membership, bad rows set aside.

A long range is made in stretches of sessions, so that memory does not grow with it: each is
fetched, judged and written before the next, and the state that a stretch leaves
(`adjustment_state.py`) enters the next. A session that may not be written, or whose bars have not
arrived, leaves all sessions before it in place, complete. If sessions after the first stretch are
stored already, they build on bars that are being replaced: then the whole range is fetched and
judged, and waits in files, before any of it is written. If the process is killed while it writes,
the fingerprints of the sessions that it did not reach no longer fit the state that enters them
(`bar_versions.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from pipelines.assets.checks import coverage, quarantined
from pipelines.bars.adjustment_state import CARRIED, Carry, last_rows
from pipelines.bars.bar_versions import (
    bar_inputs,
    column_versions,
    first_unchained,
    in_order,
    rows_of,
)
from pipelines.bars.judge import judged
from pipelines.bars.quarantine import counts, examples
from pipelines.config.own_source import OwnSource
from pipelines.config.sources import source_label
from pipelines.errors import (
    MissingSessionsError,
    PipelineError,
    SourceError,
    WarehouseError,
)
from pipelines.market.chunks import UNKNOWN, Stretches, chunks, widest_session
from pipelines.market.extra_table import extra_table
from pipelines.market.input_versions import ohlcv_inputs
from pipelines.market.market import Market
from pipelines.market.stage import Check, Kind, Run, Stage
from pipelines.sources.fetch import fetch_sessions
from pipelines.warehouse.arrow_rows import from_columns
from pipelines.warehouse.partition_file import Provenance, fingerprint
from pipelines.warehouse.schemas import OHLCV, OHLCV_QUARANTINE, Table

CODE_VERSION = "3"
_STRETCH = 500  # sessions in memory at once, and at most
_STRETCH_ROWS = 1_500_000  # bars
_CHUNK = 50  # sessions written between two reports of progress
_SAME = 1e-9  # relative; sources give factors of floats, whose last digits may differ


def ohlcv_stage(market: Market) -> Stage:
    """The stage `ohlcv`."""
    checks, beside = market.config.checks.bars, extra_table(market.config.market.extra)
    named = ", ".join(beside.origins)
    return Stage(
        name="ohlcv",
        kind=Kind.DATA,
        group="market",
        tables=(OHLCV, OHLCV_QUARANTINE, *([beside] if named else [])),
        code_version=CODE_VERSION,
        inputs=ohlcv_inputs,
        make=make_ohlcv,
        config={
            "source": market.config.market.source.model_dump(mode="json"),
            "start": market.sessions.first,
            "quarantine": market.config.market.quarantine.model_dump(mode="json"),
            **_part(market),
        },
        description=(
            f"{OHLCV.description} Prices are as traded; adjusted price = price × `adj_factor`. "
            f"Bars that break a rule go to the table `ohlcv_quarantine`, or are kept and counted "
            f"where `market.quarantine` accepts the rule."
            + (f" The columns {named} of the source go to the table `{beside.name}`." * bool(named))
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
                f"At most {checks.max_quarantined:.0%} of the bars break a rule and are set aside.",
            ),
        ),
    )


def _part(market: Market) -> dict[str, dict[str, str]]:
    """The code of a source of another package; of a shipped one `code_version` speaks."""
    source = market.config.market.source
    return {"part": source.part.origin} if isinstance(source, OwnSource) else {}


def make_ohlcv(run: Run) -> None:
    """Fetch, judge, adjust and write the sessions of a run, stretch by stretch.

    Raises:
        MissingSessionsError: a session before the run is absent; factors build on all of them.
        BarsNotArrivedError: the source does not have the newest sessions yet.
        SourceError: a session has no bar, or none that may be kept, or restated bars would
            change factors that later sessions build on.
        CheckFailedError: a blocking check failed.
    """
    market = run.market
    earlier = market.sessions.keys[: market.sessions.position(run.keys[0])]
    if earlier:
        market.warehouse.require("ohlcv", earlier, "ohlcv (its adjustment factors)")
    carry = Carry(market.warehouse, earlier)
    # The ends of a long range, and the session before it, say how many bars a session has.
    ends = {*earlier[-1:], run.keys[-1]} if len(run.keys) > UNKNOWN else set()
    stretches = Stretches(
        run.keys, widest_session(market.warehouse, "ohlcv", ends), _STRETCH, _STRETCH_ROWS
    )
    last = stretches.at(0)[-1]
    if last == run.keys[-1] or not _is_built_upon(market, last):
        for bars, keys in _sound(run, earlier, stretches, carry):
            _write(run, bars, keys)
        return
    # Stored sessions are replaced only once the whole run is known to be sound.
    with TemporaryDirectory(prefix="ohlcv-") as folder:
        files: list[tuple[Path, tuple[str, ...]]] = []
        stop: PipelineError | None = None
        try:
            for bars, keys in _sound(run, earlier, stretches, carry):
                files.append((Path(folder) / keys[0], keys))
                feather.write_feather(bars, files[-1][0], compression="lz4")
        except PipelineError as error:
            if not files or _is_built_upon(market, files[-1][1][-1]):
                raise
            stop = error
        for file, keys in files:
            _write(run, feather.read_feather(file), keys)
        if stop is not None:
            raise stop


def _sound(
    run: Run, earlier: Sequence[str], stretches: Stretches, carry: Carry
) -> Iterator[tuple[pd.DataFrame, tuple[str, ...]]]:
    """Yield each stretch that may be written: its judged bars in order, and its sessions.

    The stretch of a session that may not be written ends before it; then its error is raised.

    Raises:
        SourceError: see `make_ohlcv`.
        CheckFailedError: likewise.
    """
    market, checks = run.market, run.market.config.checks.bars
    before = [market.warehouse.info("ohlcv", key) for key in earlier[-checks.history_sessions :]]
    history = deque((info.rows for info in before if info), maxlen=checks.history_sessions)
    for stretch in stretches:
        rows, keys, stop = _fetched(market, stretch)
        stretches.held(len(rows), stretch)
        bars = judged(market, in_order(rows), carry)
        try:
            _check(run, bars, keys, list(history))
        except PipelineError as error:
            keys, stop = _before(keys, error), error
            bars = bars[bars["session"].isin(keys)]
        # Stored sessions would build on bars that are replaced half-way.
        if stop is not None and (not keys or _is_built_upon(market, keys[-1])):
            raise stop
        carry.leave(bars)
        if keys[-1] == run.keys[-1]:
            _require_unbroken_chain(run, carry)
        yield bars, keys
        if stop is not None:
            raise stop
        good_counts = bars.loc[~bars["aside"], "session"].value_counts()
        history.extend(int(good_counts.get(key, 0)) for key in keys)


def _fetched(
    market: Market, keys: tuple[str, ...]
) -> tuple[pd.DataFrame, tuple[str, ...], PipelineError | None]:
    """The bars of a stretch up to the first session that the source lacks, and that error.

    Raises:
        SourceError: the source does not have the first session, or fails altogether.
    """
    extra = market.config.market.extra
    try:
        return fetch_sessions(market.source, market.sessions, keys, extra), keys, None
    except SourceError as error:
        keys, stop = _before(keys, error), error
        if not keys:
            raise
    return fetch_sessions(market.source, market.sessions, keys, extra), keys, stop


def _before(keys: tuple[str, ...], error: PipelineError) -> tuple[str, ...]:
    """The sessions that an error of a later one does not concern."""
    return tuple(key for key in keys if error.session is not None and key < error.session)


def _is_built_upon(market: Market, last: str) -> bool:
    """True if a session after one is stored."""
    return any(key > last for key in market.warehouse.sessions("ohlcv", first=last))


def _write(run: Run, bars: pd.DataFrame, keys: tuple[str, ...]) -> None:
    """Write a stretch, a chunk of sessions at a time; `bars` in order."""
    spans = rows_of(bars, keys)
    for part in chunks(keys, _CHUNK):
        _write_bars(run, bars.iloc[spans[part[0]].start : spans[part[-1]].stop], part)


def _write_bars(run: Run, bars: pd.DataFrame, keys: tuple[str, ...]) -> None:
    """Write the good bars of consecutive sessions and those set aside; `bars` in order."""
    warehouse = run.market.warehouse
    good, aside = bars[~bars["aside"]], bars[bars["aside"]]
    inputs = bar_inputs(run.market, bars, keys)
    provenances = {key: run.provenance(key, inputs) for key in keys}
    good_rows = _by_session(good, OHLCV, keys)
    aside = aside.assign(
        bar_date=aside["date"].to_numpy(dtype="datetime64[D]"),
        source=source_label(run.market.config.market.source),
    )
    aside_rows = _by_session(aside, OHLCV_QUARANTINE, keys)
    warehouse.write_many(
        OHLCV_QUARANTINE, "ohlcv_quarantine", ((k, aside_rows[k], provenances[k]) for k in keys)
    )
    parts = ((key, good_rows[key], provenances[key]) for key in keys)
    metadata = _told(run, good, aside, keys)
    for key, known in _write_extra(run, bars, good, keys).items():
        metadata[key] = {**metadata.get(key, {}), "known": known}
    for key, info in warehouse.write_each(OHLCV, "ohlcv", parts):
        members = pc.sum(good_rows[key]["member"], min_count=0).as_py()
        run.done(
            key, info, members=members, quarantined=len(aside_rows[key]), **metadata.get(key, {})
        )


def _write_extra(
    run: Run, bars: pd.DataFrame, good: pd.DataFrame, keys: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Write the columns beside the bars; return the share of bars with a value, by session.

    Args:
        run: the run.
        bars: all rows of the source, in order: what the version of a column is a version of.
        good: those that are bars.
        keys: the sessions.
    """
    table = extra_table(run.market.config.market.extra)
    if not table.origins:
        return {}
    versions = {
        column.name: column_versions(bars, column, keys)
        for column in table.columns
        if column.origin
    }
    finite = good[list(table.names)].replace([np.inf, -np.inf], np.nan)
    rows = _by_session(finite.assign(session=good["session"]), table, keys)
    config = fingerprint(table.origins)
    provenances = {
        key: Provenance(
            run.stage.name, CODE_VERSION, config, {n: v[key] for n, v in versions.items()}
        )
        for key in keys
    }
    run.market.warehouse.write_many(
        table, table.name, ((key, rows[key], provenances[key]) for key in keys)
    )
    known: dict[str, dict[str, float]] = {}
    for key in keys:
        count, part = max(len(rows[key]), 1), rows[key]
        known[key] = {n: round(1 - part[n].null_count / count, 6) for n in table.origins}
        if empty := [name for name, share in known[key].items() if share == 0.0]:
            run.log.warning(f"ohlcv {key}: no bar has a value of {', '.join(empty)}")
    return known


def _told(
    run: Run, good: pd.DataFrame, aside: pd.DataFrame, keys: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Warn of bars that break a rule; return accepted bars and rows by rule, by session."""
    accepted_bars = good[good["rule"] != ""]
    kinds = (
        ("set aside", aside, rows_of(aside, keys)),
        ("kept", accepted_bars, rows_of(accepted_bars, keys)),
    )
    metadata: dict[str, dict[str, object]] = {}
    for key in keys:
        rules: list[str] = []
        for fate, rows, spans in kinds:
            session_rows = rows.iloc[spans[key]]
            if len(session_rows):
                rules += list(session_rows["rule"])
                run.log.warning(
                    f"ohlcv {key}: {len(session_rows)} bars {fate} ({examples(session_rows)})"
                )
        if rules:
            span = kinds[1][2][key]
            metadata[key] = {"accepted": span.stop - span.start, "rules": counts(rules)}
    return metadata


def _check(run: Run, bars: pd.DataFrame, keys: Sequence[str], history: Sequence[int]) -> None:
    """Check the names and the bars set aside of every session, in order.

    Raises:
        SourceError: no bar of a session may be kept.
        CheckFailedError: a blocking check of a session failed.
    """
    checks = run.market.config.checks.bars
    spans, aside = rows_of(bars, keys), bars["aside"].to_numpy()
    rules, before = bars["rule"], deque(history, maxlen=checks.history_sessions)
    for key in keys:
        span = spans[key]
        bad = np.flatnonzero(aside[span]) + span.start
        total = span.stop - span.start
        rule_counts = counts(list(rules.iloc[bad])) if len(bad) else {}
        if len(bad) == total:
            raise SourceError(
                f"every bar of {key} breaks a rule "
                f"({', '.join(f'{n} × {rule}' for rule, n in rule_counts.items())}); nothing of "
                f"the session was written, check the source, or market.quarantine",
                session=key,
            )
        run.check(
            key,
            coverage(total - len(bad), list(before), checks.min_coverage),
            quarantined(len(bad), total, checks.max_quarantined, rule_counts),
        )
        before.append(total - len(bad))


def _require_unbroken_chain(run: Run, carry: Carry) -> None:
    """Require that stored sessions after the run fit the state that leaves the run.

    Args:
        run: the run.
        carry: the state that leaves the run.
    """
    market, last = run.market, run.keys[-1]
    from_last = market.warehouse.sessions("ohlcv", first=last)
    # From the next session on that this run replaces as well, that one's block is judged.
    later = list(takewhile(lambda key: key not in run.replaced, (k for k in from_last if k > last)))
    if not later or last not in from_last:
        return
    decide = list(CARRIED if "jump" in market.config.market.quarantine.set_aside else CARRIED[:1])
    try:
        names = set(carry.into(set()).index) | set(last_rows(market.warehouse, [last]).index)
        stored = Carry(market.warehouse, market.warehouse.sessions("ohlcv", last=last)).into(names)
    except (MissingSessionsError, WarehouseError):
        # A file that this run replaces cannot be read: later files name the state that entered.
        odd = first_unchained(market, later, carry)
        changes = [] if odd is None else [f"what enters {odd}"]
    else:
        now = carry.into(names).reindex(stored.index.union(list(names)))
        was = stored.reindex(now.index)
        same = (now - was).abs() <= _SAME * was.abs()
        same |= now.isna() & was.isna()
        changes = sorted(now.index[~same[decide].all(axis=1)])
    if changes:
        raise SourceError(
            f"the source restated bars of {run.keys[0]} to {last} so that adjustment factors"
            f"{' or closes' if len(decide) > 1 else ''} of {', '.join(changes[:5])} change, and "
            f"{len(later)} later sessions build on them; run the range {run.keys[0]} to "
            f"{later[-1]} instead"
        )


def _by_session(bars: pd.DataFrame, table: Table, keys: Sequence[str]) -> dict[str, pa.Table]:
    """The rows of each session, slices of one Arrow table; `bars` in order."""
    rows = from_columns(table, [bars[name].to_numpy() for name in table.names])
    return {
        key: rows.slice(span.start, span.stop - span.start)
        for key, span in rows_of(bars, keys).items()
    }
