"""New models of a market at work: they must not hold back tomorrow's signals.

The schedule asks for the oldest session that some model has no evaluation of. Counted from the
first trained session on, a new model would send it years back, one session a run, with the newest
last. So sessions before a newcomer's first evaluation do not count, and its past is a person's
`backfill`, which the schedule's reason names: one run instead of hundreds.

A new model joins with the first session that can serve it, one that trains it or one whose anchor
that backfill trained. Until then runs leave the model out: they would fail for want of its bundle.
A stage that builds on its own session before, as a portfolio does, joins with that backfill only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage
from pipelines.training.registry import has_bundle

_ENOUGH = 2  # sessions of the others: with one, a market's first session has failed for a model


@dataclass(frozen=True)
class Newcomers:
    """The stages that end the graph and lack sessions which others of them have.

    Attributes:
        first: the first session that every one of them should have.
        since: the stages that began later, with their first session on record.
        without: the stages without a session on record.
    """

    first: str = ""
    since: Mapping[Stage, str] = field(default_factory=dict)
    without: tuple[Stage, ...] = ()

    def note(self, newest: str | None, command: Callable[[str], str]) -> str:
        """The command that makes their past, as the end of a sentence; empty without newcomers.

        Args:
            newest: the newest session that is due.
            command: see `Market.command`.
        """
        new = self._new_models
        phrases = [
            f"{_lacks(stage)} yet"
            for stage in self.without
            if stage.kind is Kind.EVALUATION or stage.model not in new
        ]
        phrases += [f"{_lacks(stage)} before {key}" for stage, key in self.since.items()]
        if not phrases:
            return ""
        past = command(f"backfill --start {self.first} --end {newest}")
        return f"; {', '.join(phrases)}, which holds nothing back: `{past}` makes what it lacks"

    def left_out(self, market: Market, key: str) -> tuple[str, ...]:
        """The models that a run of a session must leave out, as none is trained to serve it."""
        return tuple(m for m in self._new_models if not _is_served(market, m, key))

    @property
    def _new_models(self) -> tuple[str, ...]:
        """The models without an evaluation, which stands for all of their stages."""
        evaluations = (stage for stage in self.without if stage.kind is Kind.EVALUATION)
        return tuple(dict.fromkeys(stage.model for stage in evaluations if stage.model))

    def unbegun(self, key: str) -> tuple[str, ...]:
        """The stages that build on their session before, and have none that a run could go on from.

        Args:
            key: the session of the run; a stage begins with its first.
        """
        return tuple(s.name for s in self.without if s.previous and s.first != key)


NOBODY = Newcomers()


def newcomers(due: Sequence[str], done: Mapping[Stage, Sequence[str]]) -> Newcomers:
    """The models, and other stages that end the graph, that joined after the others.

    Args:
        due: the sessions that every one should have, oldest first.
        done: the sessions on record of each stage that ends the graph, oldest first.
    """
    begun = {stage: _first(keys, due) for stage, keys in done.items()}
    if len(frozenset().union(*begun.values())) < _ENOUGH:
        return NOBODY
    first_keys = {stage: keys[0] for stage, keys in begun.items() if keys}
    earliest = min(first_keys.values())
    since = {stage: key for stage, key in first_keys.items() if key != earliest}
    return Newcomers(due[0], since, tuple(stage for stage in begun if stage not in first_keys))


def _first(keys: Sequence[str], due: Sequence[str]) -> list[str]:
    """The first sessions that are due, as many as tell whether a market has begun."""
    first: list[str] = []
    for key in keys[bisect_left(keys, due[0]) :] if due else ():
        place = bisect_left(due, key)
        if place == len(due) or len(first) == _ENOUGH:
            break
        if due[place] == key:
            first.append(key)
    return first


def _lacks(stage: Stage) -> str:
    """`lstm has no evaluation`; of a stage that evaluates no model, `lstm_rank has no session`."""
    if stage.kind is Kind.EVALUATION:
        return f"{stage.model} has no evaluation"
    return f"{stage.name} has no session"


def _is_served(market: Market, model: str, key: str) -> bool:
    """True if a session trains a model or finds it trained."""
    if all(model != spec.name for spec in market.models):
        return True  # the ensemble, which has no model of its own
    plan = market.plan_of(model)
    anchor = plan.anchor(key)
    if plan.trains(key) or anchor is None:
        return True
    return has_bundle(market, model, anchor)
