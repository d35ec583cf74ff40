"""Served sessions: their predictions were made before they could be traded on.

A prediction of decision date D is *served* if it was first made at or before the open of the
session after D, and *backfilled* if it was made later, when its outcome could be known. Where
trading does not pause, so that the next session has begun by the midnight that ends D and no score
of D can come before it (a market round the clock, futures that close for an hour), it is served if
it was made before the close of the session after D, or within 24 hours of that one's open where
its closing time is not known: a calendar of one's own, an extra session that the exchange's lacks.

The time is that of the first materialization in Dagster's record: Parquet files hold no times, so
that a partition made twice has the same bytes, and a second record would have to be kept in step.
Making a partition again does not change that time; a partition that was lost or damaged counts from
its new materialization. A partition that the record lacks counts from the modification time of its
file (or of its oldest revision), under which `sync` and every run put it on record. Copies that do
not keep modification times turn served sessions into backfilled ones, never the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pipelines.calendar.trading_times import served_until
from pipelines.instance.record_reads import Record, first_recorded
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.warehouse import revisions
from pipelines.warehouse.warehouse import LONGEST_CLOSE_DAYS

_HISTORY = (Kind.MODEL, Kind.PREDICTION, Kind.PORTFOLIO, Kind.EVALUATION)
_LONGEST_CLOSE = pd.Timedelta(days=LONGEST_CLOSE_DAYS)


def served_sessions(
    market: Market,
    record: Record,
    table: str,
    first: str = "",
    last: str = "9999-12-31",
) -> set[str]:
    """The sessions whose predictions were made in time to be traded on.

    Args:
        market: the market.
        record: its Dagster record.
        table: the table of a model's predictions.
        first, last: bounds of the sessions, both included.

    Returns:
        Session keys.
    """
    store = market.warehouse.store
    times = first_recorded(record, market, table, first, last)
    for key in set(store.partitions(table, first, last)) - times.keys():
        times[key] = pd.Timestamp(revisions.first_written(store, table, key), unit="s", tz="UTC")
    # A calendar takes a second to work out its opening times: only candidates need them.
    candidates = {
        key: when
        for key, when in times.items()
        if key in market.sessions and when <= pd.Timestamp(key, tz="UTC") + _LONGEST_CLOSE
    }
    return {key for key, when in candidates.items() if when <= served_until(market.sessions, key)}


class Served:
    """History: the partitions that a person may have traded on, looked up as needed.

    A question about a session looks up the year around it, so that a daily run costs the same at
    any length of history.

    Args:
        market: the market.
        stages: its stages.
        record: its Dagster record.
    """

    def __init__(self, market: Market, stages: Sequence[Stage], record: Record) -> None:
        self._market = market
        self._predictions = by_model(stages, Kind.PREDICTION)
        self._record = record
        self._sessions: dict[str, set[str]] = {}
        self._years: dict[tuple[str, str], set[str]] = {}

    def sessions(self, model: str) -> set[str]:
        """The sessions whose predictions of a model were served; none without predictions."""
        if model not in self._sessions:
            self._sessions[model] = self._look_up(model)
        return self._sessions[model]

    def _look_up(self, model: str, *bounds: str) -> set[str]:
        stage = self._predictions.get(model)
        if stage is None:
            return set()
        return served_sessions(self._market, self._record, stage.name, *bounds)

    def _of_year(self, model: str, year: str) -> set[str]:
        """The served sessions of a year, or of all years if they are known."""
        if model in self._sessions:
            return self._sessions[model]
        if (model, year) not in self._years:
            self._years[model, year] = self._look_up(model, f"{year}-01-01", f"{year}-12-31")
        return self._years[model, year]

    def includes(self, model: str, key: str) -> bool:
        """True if the prediction of a model for a session was served."""
        return key in self._of_year(model, key[:4])

    def holds(self, stage: Stage, key: str) -> bool:
        """True if a partition was served, or belongs to a served session.

        A served session has its prediction, the pointer to the model of the prediction, the
        portfolio that traded on it and the evaluation of its decision.
        """
        if stage.model is None or stage.kind not in _HISTORY:
            return False
        decision: str | None = key
        if stage.kind is Kind.EVALUATION:
            decision = self._market.decision_of(stage.dataset, key)
        return decision is not None and self.includes(stage.model, decision)

    def gave(self, model: str, anchor: str) -> bool:
        """True if the model trained at a session gave served scores: its bundle is history, too."""
        keys = self._market.plan_of(model).sessions_of(anchor)
        return any(self.includes(model, key) for key in keys)

    def follows(self, model: str, as_of: str) -> bool:
        """True if a session was served at or after this one, by whatever bundle of the model."""
        newest = int(self._market.sessions.keys[-1][:4])
        years = range(newest, int(as_of[:4]) - 1, -1)
        return any(max(self._of_year(model, f"{year}"), default="") >= as_of for year in years)

    def leaves_to_make(self, model: str, anchor: str) -> bool:
        """True if the model of an anchor has sessions that were not served, or sessions to come."""
        plan, last = self._market.plan_of(model), self._market.last_closed()
        if plan.anchor(last) == anchor:
            return True
        closed = (key for key in plan.sessions_of(anchor) if key <= last)
        return any(not self.includes(model, key) for key in closed)
