"""A backfill as it was asked for, and its comparison with what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.instance.record_reads import Record
from pipelines.market.market import Market
from pipelines.market.stage import WHOLE, Stage
from pipelines.staleness.causes import Cause
from pipelines.staleness.served import Served
from pipelines.staleness.survey import Survey, Work, survey
from pipelines.staleness.verified_record import VerifiedRecord


@dataclass(frozen=True)
class Backfill:
    """A backfill that a command asks for.

    Attributes:
        market: the market.
        stages: its stages, upstream first.
        selection: those that it makes, which have a session in the range.
        sessions: the closed sessions of the range.
        is_selected: True if assets were named; False for all.
        force: make current partitions, too, and train their models anew.
        republish: make served partitions again if they would differ.
    """

    market: Market
    stages: Sequence[Stage]
    selection: Sequence[Stage]
    sessions: tuple[str, ...]
    is_selected: bool = False
    force: bool = False
    republish: bool = False

    def compare(self, record: Record) -> tuple[Work | None, list[str]]:
        """Compare before anything runs: the work that is left, if any, and lines for a person.

        Files that have not changed since they were verified are not hashed again, as by `status`. A
        command with assets may be the repair that an error has named, so it hashes them all.

        Args:
            record: the market's Dagster record.
        """
        market, stages, sessions = self.market, self.stages, self.sessions
        served = None if self.republish else Served(market, stages, record)
        wanted = {stage.name: stage.due(sessions) for stage in self.selection if stage.is_compared}
        unchanged = None
        if served is not None and not self.is_selected:
            unchanged = VerifiedRecord(market, stages, served).unchanged
        comparison = survey(market, stages, record, wanted, served=served, unchanged=unchanged)
        work = self._work(comparison)
        lines = [outlook(sessions, comparison, work, force=self.force)]
        if unchanged is not None:
            lines.append(
                f"files that have not changed since the verification of {unchanged.made} were not "
                f"hashed again; `{market.command('verify')}` hashes everything"
            )
        return work, lines

    def _work(self, comparison: Survey) -> Work | None:
        """The work that is left; None if nothing is."""
        sessions, assets = self.sessions, tuple(stage.name for stage in self.selection)
        if self.force:
            return Work(assets, sessions[0], sessions[-1])
        work = comparison.work(sessions)
        # Stages that are never compared have no versions: each one that was selected is made.
        uncompared = tuple(name for name in assets if name not in comparison.wanted)
        if work is None:
            return Work(uncompared, sessions[0], sessions[-1]) if uncompared else None
        return Work((*work.assets, *uncompared), work.first, work.last)


def outlook(sessions: tuple[str, ...], found: Survey, work: Work | None, *, force: bool) -> str:
    """Say in one line which partitions are skipped and which will run.

    Args:
        sessions: the range that was asked for.
        found: the comparison.
        work: the work that will run.
        force: True if current partitions are made, too.
    """
    range_ = f"{sessions[0]} … {sessions[-1]} ({len(sessions)} sessions)"
    served_count = sum(len(found.served(asset)) for asset in found.wanted)
    served = f"; {served_count} served partitions stay as they are" if served_count else ""
    if force and work is not None:
        return f"{range_}: all of {', '.join(work.assets)} is made again{served}"
    partitioned = [asset for asset in found.wanted if found.wanted[asset] != (WHOLE,)]
    current_count = sum(len(found.wanted[a]) - len(found.reasons[a]) for a in partitioned)
    if work is None:
        return f"{range_}: {current_count} partitions are current{served}; nothing to run"
    unrecorded_counts = {
        a: sum(why.cause == Cause.UNRECORDED for why in found.reasons[a].values())
        for a in found.wanted
    }
    to_make = {a: len(found.left(a)) - unrecorded_counts[a] for a in found.wanted}
    runs = [f"{a} {to_make[a]}" if a in partitioned else a for a in found.wanted if to_make[a]]
    runs += [asset for asset in work.assets if asset not in found.wanted]
    recorded_count = sum(unrecorded_counts.values())
    on_record = f", {recorded_count} put on record" if recorded_count else ""
    return (
        f"{range_}: {current_count} partitions are current and skipped{on_record}{served}; to run: "
        f"{', '.join(runs) or 'nothing more'}"
    )
