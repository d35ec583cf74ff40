"""`rnn-pipelines signal`: the scores of a session."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pipelines.cli.arguments import add_config, day, market_of
from pipelines.errors import PipelineError

if TYPE_CHECKING:
    from pipelines.calendar.sessions import Sessions


def add_command(commands: Any) -> None:
    """Add the command to the parser of `rnn-pipelines`."""
    command = commands.add_parser("signal", help="print the scores of a session")
    command.add_argument(
        "--date", type=day, help="the session (default: the newest that was scored)"
    )
    add_config(command)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pipelines.assets.stages import stages
    from pipelines.market.stage import Kind, by_model

    market = market_of(args, read_only=True)
    if args.date is not None:
        _require_session(market.sessions, args.date)
        if args.date < market.plan.first_trained:
            raise PipelineError(
                f"no model has scores of {args.date}: the first session that trains is "
                f"{market.plan.first_trained} (training.first_trained)"
            )
    for name, stage in by_model(stages(market), Kind.PREDICTION).items():
        table = stage.name
        keys = market.warehouse.sessions(table)
        if not keys:
            raise PipelineError(f"{table} has no session yet; run `{market.command('demo')}` first")
        key = args.date or keys[-1]
        if key not in keys:
            raise PipelineError(
                f"{table} has no session {key}, it has {len(keys)} from {keys[0]} to {keys[-1]}; "
                f"run `{market.command(f'backfill --start {key} --end {key}')}` first"
            )
        rows = market.warehouse.read(table, [key], needed_by="signal").frame
        print(f"{name}, {key}:")
        scores = rows[["instrument", "score", "as_of"]].sort_values("score", ascending=False)
        print(scores.to_string(index=False) if len(scores) else "  no scores: no model in force")
    return 0


def _require_session(sessions: Sessions, key: str) -> None:
    """Require that a day is a session of the market.

    Raises:
        PipelineError: the day is no session; the message names its neighbours.
    """
    if key in sessions:
        return
    neighbours = [
        *[k for k in sessions.keys if k < key][-1:],
        *[k for k in sessions.keys if k > key][:1],
    ]
    raise PipelineError(
        f"{key} is not a session of {sessions.calendar}; the nearest of this market: "
        f"{', '.join(neighbours)}"
    )
