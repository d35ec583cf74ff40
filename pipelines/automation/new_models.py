"""Models that were added to a market at work: they must not hold back tomorrow's signals.

The schedule asks for the oldest session that some model has no evaluation of. Counted from the
first trained session on, a new model would send it years back, one session a run, with the newest
last. So sessions before a newcomer's first evaluation do not count, and its past is a person's
`backfill`, which the schedule's reason names: one run instead of hundreds.

It joins with the first session that can serve it, one that trains it or one whose anchor was
trained by that backfill. Until then runs leave it out: they would fail for want of its bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.market.market import Market
from pipelines.training.registry import bundle_path

_ENOUGH = 2  # sessions of the others: with one, a market's first session has failed for a model


@dataclass(frozen=True)
class Newcomers:
    """The models that have no evaluation of sessions which others have.

    Attributes:
        first: the first session that every model should have.
        since: evaluation asset -> its first session on record.
        without: evaluation assets of which nothing is on record.
    """

    first: str = ""
    since: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def note(self, newest: str | None, command: Callable[[str], str]) -> str:
        """What makes their past, as the end of a sentence; empty where there is none.

        Args:
            newest: the newest session that is due.
            command: see `Market.command`.
        """
        said = [f"{_model(name)} has no evaluation yet" for name in self.without]
        said += [f"{_model(n)} has no evaluation before {key}" for n, key in self.since.items()]
        if not said:
            return ""
        past = command(f"backfill --start {self.first} --end {newest}")
        return f"; {', '.join(said)}, which holds nothing back: `{past}` makes what it lacks"

    def left_out(self, market: Market, key: str) -> tuple[str, ...]:
        """The models that a run of a session must leave out, as none is trained to serve it."""
        return tuple(m for m in map(_model, self.without) if not _is_served(market, m, key))


NOBODY = Newcomers()


def newcomers(due: Sequence[str], done: Mapping[str, Collection[str]]) -> Newcomers:
    """The models that joined after the others.

    Args:
        due: the sessions that every model should have, oldest first.
        done: the sessions on record of each asset that ends the graph.
    """
    made = {name: [key for key in due if key in keys] for name, keys in done.items()}
    begun = {name: keys[0] for name, keys in made.items() if keys}
    if len({key for keys in made.values() for key in keys}) < _ENOUGH:
        return NOBODY
    earliest = min(begun.values())
    since = {name: key for name, key in begun.items() if key != earliest}
    return Newcomers(due[0], since, tuple(name for name in made if name not in begun))


def _model(evaluation: str) -> str:
    return evaluation.removesuffix("_evaluation")


def _is_served(market: Market, model: str, key: str) -> bool:
    """Whether a session trains a model or finds it trained."""
    plan = market.plan_of(model)
    anchor = plan.anchor(key)
    if plan.trains(key) or anchor is None:
        return True
    return (bundle_path(market, model, anchor) / "manifest.json").is_file()
