"""`{name}_portfolio`: the book of a model after each session, and the orders for the next one.

Partition D is knowable at the close of D. It begins with the book of D - 1 and the orders that were
decided then, executes them at the prices and refusals of D, and decides on the scores of D what to
order for D + 1. What D + 1 brings changes nothing in it. The fold over all partitions is the
library's backtest, number by number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.assets.portfolio_data import session_data
from pipelines.config.models import ModelSpec
from pipelines.errors import MissingSessionsError, PipelineError
from pipelines.market.books import Carried, Close, book_rows, opened_book, read_book
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.extra_table import bars_read
from pipelines.market.input_versions import portfolio_inputs
from pipelines.market.market import Market
from pipelines.market.stage import ColumnRef, Kind, Run, Stage, Version
from pipelines.warehouse.portfolio_tables import portfolio_tables

if TYPE_CHECKING:
    from rnn_core.evaluation.account import Market as Prices
    from rnn_core.evaluation.align import FloatArray
    from rnn_core.evaluation.execution import Order

CODE_VERSION = "2"
_NAMED = 20  # names of orders that the page of a partition shows


def portfolio_stage(market: Market, spec: ModelSpec) -> Stage:
    """The stage `{name}_portfolio`."""
    return stage_of_model(market, spec.name, market.dataset_of(spec.name).name)


def stage_of_model(market: Market, model: str, dataset: str | None) -> Stage:
    """The stage of the portfolio that trades on the table `{model}_prediction`."""
    settings, tables = market.config.portfolio, portfolio_tables(model)
    first = market.plan.first_trained
    if settings.first is not None:
        first = max(first, market.sessions.at_or_after(settings.first))
    name, prediction = tables[0].name, f"{model}_prediction"
    columns = settings.columns
    bars = tuple(ColumnRef("ohlcv", column) for column in ("close", "adj_factor"))
    score = ColumnRef(prediction, "score")
    return Stage(
        name=name,
        kind=Kind.PORTFOLIO,
        group="portfolio",
        model=model,
        dataset=dataset,
        tables=tables,
        deps=tuple(dict.fromkeys(("ohlcv", prediction, *bars_read(columns)))),
        previous=True,
        first=first,
        inputs=lambda key, versions: portfolio_inputs(
            market.sessions,
            model,
            first,
            key,
            versions,
            window=settings.window_sessions,
            columns=columns,
        ),
        make=lambda run: make_portfolio(run, model),
        code_version=CODE_VERSION,
        config=settings.book_identity,
        description=(
            f"{tables[0].description} {settings.words}. "
            f"Beside it `{tables[1].name}` (cash and figures), "
            f"`{tables[2].name}` (what was traded or refused) and `{tables[3].name}` (the orders "
            f"for the next session). It begins with the book of the session before."
        ),
        lineage={"amount": (*bars, score), "price": bars, "target_weight": (*bars, score)},
    )


def make_portfolio(run: Run, model: str) -> None:
    """Carry the book of a model through every session of a run.

    Raises:
        MissingSessionsError: the book of the session before is absent; the message names it.
        PipelineError: a strategy of another package orders what nobody can execute.
    """
    first = str(run.stage.first)
    warm_up = [key for key in run.keys if key < first]
    for key in warm_up:
        _write_nothing(run, key, first)
    due_keys = run.keys[len(warm_up) :]
    if not due_keys:
        return
    name, before = run.stage.name, run.market.sessions.back(due_keys[0], 1)
    digests = dict[str, Version]()
    if before is None or due_keys[0] == first:
        carried = opened_book(run.market)
    else:
        try:
            carried, digests[before] = read_book(run.market, model, before, name)
        except MissingSessionsError as error:
            raise MissingSessionsError(
                f"{name} of {due_keys[0]} begins with the book of {before}, which is not in the "
                f"warehouse; `{_way(run, before)}` makes it, or portfolio.first: {due_keys[0]} "
                f"opens the books there"
            ) from error
    for keys in chunks_of_rows(run.market.warehouse, "ohlcv", due_keys):
        carried = _simulate(run, model, keys, carried, digests)


def _write_nothing(run: Run, key: str, first: str) -> None:
    """Write the empty partitions of a session of the warm-up."""
    trained = run.market.plan.first_trained
    why = (
        f"the first trained session is {trained}"
        if first == trained
        else f"the books are opened on {first}"
    )
    made = run.provenance(key, {}, f"warm-up: {why}")
    for table in reversed(run.stage.tables):
        info = run.market.warehouse.write(table, table.name, key, table.empty(), made)
    run.done(key, info)


def _way(run: Run, before: str) -> str:
    words = f"backfill --start {run.stage.first} --end {before} --select {run.stage.name}"
    return run.market.command(words)


def _simulate(
    run: Run, model: str, keys: tuple[str, ...], carried: Carried, digests: dict[str, Version]
) -> Carried:
    """Write the partitions of consecutive sessions, and return what the last one leaves."""
    from rnn_core.evaluation.execution import execute, expected
    from rnn_core.evaluation.strategies import decide

    market, name, read = run.market, run.stage.name, f"{model}_prediction"
    settings = market.config.portfolio
    config, rule, needs = settings.backtest, settings.rule(), settings.needs
    # Everything is read once for the range.
    before = market.sessions.back(keys[0], 1)
    span = keys if before is None else (before, *keys)
    market.warehouse.require(read, keys, name)
    predictions = {key: market.warehouse.read_one(read, key, needed_by=name) for key in keys}
    scores = {key: scores_of(rows) for key, (rows, _) in predictions.items()}
    # A name may have lost its bar since it was scored, or trade no more and be held.
    names = {*carried.state.instruments, *(order.instrument for order in carried.orders)}
    names = names.union(*(session for session, _ in scores.values()))
    data = session_data(market, span, carried.idle, names, name)
    prices = data.prices
    versions: dict[str, Mapping[str, Version]] = {
        **data.versions,
        read: {key: digest for key, (_, digest) in predictions.items()},
        name: digests,
    }
    # The latest price and factor of every name, a suspended one's too.
    close, factor = _latest(prices, carried, before)
    for key in keys:
        t = int(prices.sessions.searchsorted(pd.Timestamp(key)))
        now = prices.at(t)
        priced = ~np.isnan(now.close)
        close = np.where(priced, now.close, close)
        factor = np.where(priced, prices.factor[t], factor)  # type: ignore[index]
        session, values = scores[key]
        score = np.full(len(priced), np.nan)
        score[[now.position[one] for one in session]] = values
        scored = ~np.isnan(score)
        # Yesterday's orders at today's prices, then the orders for tomorrow.
        try:
            done = execute(carried.state, carried.orders, now, config)
            orders = decide(
                rule, done.state, now, score, scored, config, known=data.known(t, needs.look_back)
            )
        except ValueError as error:
            raise PipelineError(f"{name} of {key}: {error}", session=key) from error
        aims = expected(done.state, orders, now, config)
        # A name without a bar keeps the close that its next move is measured from.
        idle = None
        if config.limit_threshold is not None:
            gone = np.flatnonzero(~priced & ~np.isnan(close)).tolist()
            idle = {now.instruments[i]: float(close[i]) for i in gone}
        involved = {*done.state.instruments, *(trade.order.instrument for trade in done.trades)}
        involved |= {order.instrument for order in orders}
        at = {one: now.position[one] for one in involved}
        seen = Close(
            prices={one: float(close[i]) for one, i in at.items()},
            factors={one: float(factor[i]) for one, i in at.items()},
            priced={one for one, i in at.items() if priced[i]},
            bench=float(data.bench[t]),
            scored=int(scored.sum()),
            idle=idle,
        )
        rows = book_rows(model, carried, done, orders, aims, seen)
        made = run.provenance(key, versions)
        # The holdings come last: other stages and the next session look at them.
        for table, part in reversed([*zip(run.stage.tables, rows, strict=True)]):
            info = market.warehouse.write(table, table.name, key, part, made)
        digests[key] = info.digest
        figures = done.figures
        run.done(
            key,
            info,
            account=figures.account,
            return_with_cost=figures.ret - figures.cost,
            orders=len(orders),
            **order_words(orders),
            refused=sum(bool(trade.refusal) for trade in done.trades),
        )
        carried = Carried(done.state, orders, seen.factors, idle or {})
    return carried


def order_words(orders: Sequence[Order]) -> dict[str, str]:
    """Name what is to be traded at the next session, for the page of a partition.

    Args:
        orders: in their order.

    Returns:
        `sell`, `short`, `cover` and `buy`, where there are some.
    """
    words = {}
    for side in ("sell", "short", "cover", "buy"):
        names = [order.instrument for order in orders if order.side == side]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        if names:
            words[side] = ", ".join(names[:_NAMED]) + more
    return words


def _latest(prices: Prices, carried: Carried, before: str | None) -> tuple[FloatArray, FloatArray]:
    """The latest adjusted close and factor [N] of each name before the range, NaN where none."""
    n = len(prices.instruments)
    close, factor = np.full(n, np.nan), np.full(n, np.nan)
    if before is not None:
        row = prices.sessions.get_loc(pd.Timestamp(before))
        close, factor = prices.close[row].copy(), prices.factor[row].copy()  # type: ignore[index]
    for name, price in zip(carried.state.instruments, carried.state.prices, strict=True):
        close[prices.position[name]] = price
        factor[prices.position[name]] = carried.factors[name]
    return close, factor


def scores_of(rows: pa.Table) -> tuple[list[str], FloatArray]:
    """The names that a session scores, and their scores."""
    return rows["instrument"].to_pylist(), rows["score"].to_numpy().astype(np.float64)
