"""`rnn-pipelines signal`: print the scores of a session, by model and by their ensemble.

The ensemble is the mean of the ranks that the models give a name, each from 0 (the lowest score) to
1 (the highest), over the models that have scores of the session and the names that all of them
score; models of the families linear and lightgbm are held against it and are no part of it. It is
the ensemble of the reports.
"""

from __future__ import annotations

import argparse
import sys

from pipelines.cli.arguments import CONFIG, Arguments, count, day, market_of
from pipelines.errors import PipelineError

ARGUMENTS: Arguments = {
    "--date": {"type": day, "help": "the session (default: the newest that was scored)"},
    "--top": {"type": count, "metavar": "N", "help": "the N best of each model only"},
    "--csv": {"action": "store_true", "help": "as CSV"},
    "--json": {"action": "store_true", "help": "as JSON, a list of rows"},
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.assets.stages import stages
    from pipelines.market.market import ENSEMBLE
    from pipelines.operations.signal import session_signal

    if args.csv and args.json:
        raise PipelineError("--csv and --json exclude each other")
    market = market_of(args, read_only=True)
    signal = session_signal(market, stages(market), args.date)
    for note in signal.notes:
        print(f"note: {note}", file=sys.stderr)
    scores = signal.scores
    if args.top is not None:
        scores = scores.groupby("model", sort=False).head(args.top)
    if args.csv:
        sys.stdout.write(scores.to_csv(index=False))
    elif args.json:
        print(scores.to_json(orient="records", indent=2, double_precision=15))
    else:
        for model, rows in scores.groupby("model", sort=False):
            mean = f" the mean of the ranks by {', '.join(signal.averaged)}, from 0 to 1"
            print(f"{model}, {signal.key}:{mean if model == ENSEMBLE else ''}")
            columns = ["rank", "instrument", "score", *(["as_of"] if model != ENSEMBLE else [])]
            columns += ["seed_std"] if rows["seed_std"].notna().any() else []
            print(rows[columns].to_string(index=False))
    return 0
