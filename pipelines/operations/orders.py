"""`orders`: the order list of a session, for the simulated book or for one that is really held.

The list of the simulated book is read from `{model}_orders`. For a real book (`--positions`) the
strategy decides again, on the same scores and with what is held in place of what is simulated, and
the list is kept as a revision beside the partitions: no partition depends on anybody's account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.assets.portfolio_data import session_data
from pipelines.assets.portfolios import scores_of
from pipelines.errors import PipelineError, did_you_mean
from pipelines.market.books import Close, book_stages, order_rows, read_book, weights
from pipelines.market.market import Market
from pipelines.market.stage import Stage
from pipelines.operations.positions_file import Held, read_positions
from pipelines.operations.signal import late_note, require_session
from pipelines.staleness.causes import Cause, why_not_current
from pipelines.staleness.data_versions import StoredVersions
from pipelines.warehouse import revisions
from pipelines.warehouse.partition_file import Provenance
from pipelines.warehouse.portfolio_tables import issued_table, portfolio_tables

if TYPE_CHECKING:
    from rnn_core.evaluation.execution import BookState

COLUMNS = [
    "date", "model", "sequence", "side", "instrument", "rank", "reason", "sizing",
    "estimated_shares", "close", "estimated_value", "target_weight",
]  # fmt: skip
LOOK_BACK = 60  # sessions in which a name that is really held must have a bar
ISSUED_VERSION = "1"


@dataclass(frozen=True)
class OrderList:
    """The orders of a session.

    Attributes:
        key: the session at whose close they were decided.
        trades_on: the session that they are for; None after the last one of the calendar.
        orders: `COLUMNS`, a row an order, by model in the order of execution.
        notes: sentences on what was refused, left out or assumed.
        late: True if no session was asked for and a later one has closed.
    """

    key: str
    trades_on: str | None
    orders: pd.DataFrame
    notes: tuple[str, ...]
    late: bool


@dataclass(frozen=True)
class RealOrders(OrderList):
    """The orders of a book that is really held.

    Attributes:
        differences: a row for each name that the real or the simulated book holds: instrument,
            held_shares and simulated_shares as traded, negative where short, difference; both of
            cash, in currency.
        revision: the number under which the list is kept; None if the newest one is the same.
        digest: SHA-256 of the positions file.
    """

    differences: pd.DataFrame
    revision: int | None
    digest: str


def session_orders(
    market: Market, stages: Sequence[Stage], day: str | None = None, model: str | None = None
) -> OrderList:
    """Read the order lists of a session.

    Args:
        market: the market.
        stages: its stages.
        day: the session; None for the newest one that a book has.
        model: of one model; None for all.

    Raises:
        PipelineError: there is no such model, no such session, or no book of it.
        WarehouseError: a partition is damaged.
    """
    books = _chosen(stages, model)
    key, lacking = _session_of(market, books, day)
    late = late_note(market, key) if day is None else []
    frames, notes = [], [*late]
    now = StoredVersions(market, stages)
    for name, stage in books.items():
        if name in lacking:
            notes.append(f"{name}_portfolio has no session {key}; {_way(market, key)}")
            continue
        _, book, trades, orders = portfolio_tables(name)
        rows = market.warehouse.read(orders.name, [key], needed_by="orders").frame
        frames.append(_shown(rows.drop(columns="date"), key, name))
        notes += _outdated_note(market, stage, key, now)
        notes += _refusals(market, trades.name, name, key)
        holdings = market.warehouse.read(stage.name, [key], needed_by="orders").frame
        suspended = holdings.loc[holdings["suspended"].astype(bool), "instrument"]
        notes += _suspended_note(name, key, {*suspended} & {*rows["instrument"]})
        notes += _short_note(name, rows["side"].to_list())
        (facts,) = market.warehouse.read_one(book.name, key, needed_by="orders")[0].to_pylist()
        if not facts["scored"]:
            notes.append(f"{name} has no score of {key}, so there is nothing to order")
        elif rows.empty:
            notes.append(f"{name} keeps what it holds: nothing to order at the close of {key}")
    after = market.sessions.after(key)
    return OrderList(key, after, pd.concat(frames), tuple(notes), bool(late))


def real_orders(
    market: Market,
    stages: Sequence[Stage],
    file: Path,
    day: str | None = None,
    model: str | None = None,
) -> RealOrders:
    """Decide on the orders of a book that is really held, and keep them as a revision.

    Args:
        market: the market.
        stages: its stages.
        file: a CSV of the positions, see `positions_file.py`.
        day: the session at whose close the positions are held; None for the newest one.
        model: the model; may be left out if there is one.

    Raises:
        PipelineError: as of `session_orders`; several models and none named; or the file is wrong.
        OSError: the revision cannot be written.
    """
    from rnn_core.evaluation.execution import expected
    from rnn_core.evaluation.strategies import decide

    books = _chosen(stages, model)
    if len(books) > 1:
        raise PipelineError(
            f"--positions is the book of one model; name it by --model: {', '.join(books)}"
        )
    ((name, stage),) = books.items()
    key, lacking = _session_of(market, books, day)
    if lacking:
        raise PipelineError(f"{name}_portfolio has no session {key}; {_way(market, key)}")
    raw = _bytes_of(file)
    needs = market.config.portfolio.needs
    held = read_positions(raw, str(file), short=needs.sells_short)
    simulated, digest = read_book(market, name, key, "orders")
    table, _ = market.warehouse.read_one(f"{name}_prediction", key, needed_by="orders")
    scored_names, values = scores_of(table)

    # The prices of the session; a name without a bar has its last one.
    span = market.sessions.window(key, LOOK_BACK)
    names = {*scored_names, *simulated.state.instruments, *held.shares}
    data = session_data(market, span, {}, names, "orders")
    prices = data.prices
    close, factor = _latest(prices.close), _latest(np.asarray(prices.factor))
    at = {one: prices.position[one] for one in held.shares}
    unknown = [one for one, i in at.items() if np.isnan(close[i])]
    if unknown:
        known = [n for n, c in zip(prices.instruments, close, strict=True) if not np.isnan(c)]
        raise PipelineError(
            f"{file}, line {held.lines[unknown[0]]}: {unknown[0]} has no bar in the {len(span)} "
            f"sessions up to {key}; {did_you_mean(unknown[0], known)}; or take it out of the file"
        )
    state = _state(held, simulated.state, {n: (close[i], factor[i]) for n, i in at.items()})
    if state.account <= 0:
        raise PipelineError(
            f"{file}: cash and positions are worth {state.account:,.2f}; expected more than nothing"
        )
    last = len(prices.sessions) - 1
    now, facts = prices.at(last), data.known(last, needs.look_back)
    score = np.full(len(close), np.nan)
    score[[now.position[one] for one in scored_names]] = values
    config = market.config.portfolio.backtest
    try:
        rule, scored = market.config.portfolio.rule(), ~np.isnan(score)
        orders = decide(rule, state, now, score, scored, config, known=facts)
    except ValueError as error:
        raise PipelineError(f"the orders of {file} for {name} of {key}: {error}") from error
    aims = expected(state, orders, now, config)
    involved = {*state.instruments, *(order.instrument for order in orders)}
    seen = Close(
        prices={one: float(close[now.position[one]]) for one in involved},
        factors={one: float(factor[now.position[one]]) for one in involved},
        priced=(),
        bench=0.0,
        scored=len(scored_names),
        idle=None,
        lot=config.lot,
    )
    rows = order_rows(f"{name}_orders", orders, aims, seen, weights(aims.state), held.shares)
    file_digest = hashlib.sha256(raw).hexdigest()
    revision = _keep(market, stage, name, key, rows, file_digest, digest)
    late = late_note(market, key) if day is None else []
    notes = [*late]
    fresh = sorted(set(held.shares) - set(simulated.state.instruments))
    if fresh and market.config.portfolio.hold_thresh > 1:
        notes.append(
            f"{', '.join(fresh)}: the simulated book does not say since when, so taken for held "
            f"long enough to be sold"
        )
    stuck = {one for one in state.instruments if np.isnan(now.close[now.position[one]])}
    notes += _suspended_note(name, key, stuck & {order.instrument for order in orders})
    notes += _short_note(name, [order.side for order in orders])
    differences = _differences(held, simulated.state, simulated.factors)
    shown = _shown(rows.to_pandas(), key, name)
    return RealOrders(
        key, market.sessions.after(key), shown, tuple(notes), bool(late), differences, revision,
        file_digest,
    )  # fmt: skip


def _outdated_note(market: Market, stage: Stage, key: str, now: StoredVersions) -> list[str]:
    """Say that a list would be another if it were made now; the stages above are not looked at."""
    why = why_not_current(stage, key, now)
    if why is None:
        return []
    if why.cause is Cause.CONFIGURATION:
        told = "was decided under other settings than those of the YAML"
    else:
        told = f"would be made otherwise now ({why})"
    words = f"backfill --start {stage.first} --end {key} --select {stage.name}"
    return [
        f"the list of {stage.model} of {key} {told}: `{market.command(words)}` makes it again, "
        f"with --republish where it was served"
    ]


def _suspended_note(model: str, key: str, names: Collection[str]) -> list[str]:
    """Name what is held, has no bar of the session and is ordered."""
    if not names:
        return []
    return [f"{model}: {', '.join(sorted(names))}: suspended on {key}, to be closed once it trades"]


def _short_note(model: str, sides: Collection[str]) -> list[str]:
    """Say what nobody has checked of short sales."""
    count = sum(side == "short" for side in sides)
    if not count:
        return []
    return [f"{model}: {count} short sales; whether the shares can be borrowed is not known here"]


def _chosen(stages: Sequence[Stage], model: str | None) -> dict[str, Stage]:
    """The stages of the books that are asked for.

    Raises:
        PipelineError: no model has the name.
    """
    books = book_stages(stages)
    if model is None:
        return books
    if model not in books:
        raise PipelineError(f"no model {model!r}; {did_you_mean(model, books)}")
    return {model: books[model]}


def _session_of(
    market: Market, books: dict[str, Stage], day: str | None
) -> tuple[str, tuple[str, ...]]:
    """The session of the lists, and the models that have no book of it."""
    stored = {name: market.warehouse.sessions(stage.name) for name, stage in books.items()}
    if day is not None:
        require_session(market, day)
        lacking = tuple(name for name, keys in stored.items() if day not in keys)
        if lacking:
            raise PipelineError(
                f"{', '.join(f'{name}_portfolio' for name in lacking)} has no session {day}; "
                f"{_way(market, day)}"
            )
        return day, ()
    newest = max((keys[-1] for keys in stored.values() if keys), default=None)
    if newest is None:
        raise PipelineError(
            f"{', '.join(stage.name for stage in books.values())}: no session yet; "
            f"run `{market.command('demo')}` first"
        )
    return newest, tuple(name for name, keys in stored.items() if newest not in keys)


def _way(market: Market, key: str) -> str:
    words = f"backfill --start {market.plan.first_trained} --end {key}"
    return f"run `{market.command(words)}` first"


def _shown(rows: pd.DataFrame, key: str, model: str) -> pd.DataFrame:
    return rows.assign(date=key, model=model, rank=rows["rank"].astype("Int64"))[COLUMNS]


def _refusals(market: Market, trades: str, model: str, key: str) -> list[str]:
    """Say which orders could not be executed on the session."""
    rows = market.warehouse.read_one(trades, key, needed_by="orders")[0].to_pylist()
    return [
        f"{model}: the order of the session before to {row['side']} {row['instrument']} was not "
        f"filled on {key}: {row['refusal']}"
        for row in rows
        if row["refusal"]
    ]


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PipelineError(f"cannot read the positions {file}: {error.strerror}") from error


def _latest(values: np.ndarray) -> np.ndarray:
    """The last value [N] of each column of [T, N] that is not NaN."""
    row = np.where(np.isnan(values), 0, np.arange(len(values))[:, None]).max(axis=0)
    latest: np.ndarray = values[row, np.arange(values.shape[1])]
    return latest


def _state(held: Held, simulated: BookState, quotes: dict[str, tuple[float, float]]) -> BookState:
    """The real book as a state: adjusted amounts at the latest prices."""
    from rnn_core.evaluation.execution import BookState

    names = sorted(held.shares)
    amounts = [held.shares[name] / quotes[name][1] for name in names]
    prices = [float(quotes[name][0]) for name in names]
    ages = dict(zip(simulated.instruments, simulated.ages, strict=True))
    worth = sum(amount * price for amount, price in zip(amounts, prices, strict=True))
    return BookState(
        cash=held.cash,
        account=held.cash + worth,
        instruments=tuple(names),
        amounts=tuple(float(amount) for amount in amounts),
        prices=tuple(prices),
        ages=tuple(ages.get(name, 10**6) for name in names),
    )


def _differences(held: Held, simulated: BookState, factors: Mapping[str, float]) -> pd.DataFrame:
    """The real and the simulated book side by side, shares as traded."""
    shares = {
        name: amount * factors[name]
        for name, amount in zip(simulated.instruments, simulated.amounts, strict=True)
    }
    names = sorted({*shares, *held.shares})
    rows = [(name, held.shares.get(name, 0.0), shares.get(name, 0.0)) for name in names]
    rows.append(("cash", held.cash, simulated.cash))
    frame = pd.DataFrame(rows, columns=["instrument", "held_shares", "simulated_shares"])
    return frame.assign(difference=frame["held_shares"] - frame["simulated_shares"])


def _keep(
    market: Market, stage: Stage, model: str, key: str, rows: pa.Table, file: str, book: str
) -> int | None:
    """Keep an order list beside the partitions."""
    table = issued_table(model)
    made = Provenance(
        table.name,
        ISSUED_VERSION,
        stage.config_hash,
        {"positions file": file, "simulated book": book},
    )
    return revisions.add(market.warehouse, table, key, rows, made)
